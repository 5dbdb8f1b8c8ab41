package tests

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"
)

const (
	mostColumns = 120 // in code
	tabColumns  = 4
)

// TestLinesAreNotLong checks the lines of all Go and C files, tests included. It leaves out
// generated files and go:generate lines, which cannot be folded.
func TestLinesAreNotLong(t *testing.T) {
	files := 0
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && strings.HasPrefix(d.Name(), ".") && path != "..":
			return filepath.SkipDir
		case d.IsDir() || !isCode(d.Name()):
			return nil
		}
		files++
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for n, line := range bytes.Split(content, []byte("\n")) {
			if columns := columnsOf(line); columns > mostColumns && !bytes.HasPrefix(line, []byte("//go:generate ")) {
				t.Errorf("%s:%d: %d columns, %d at most", strings.TrimPrefix(path, "../"), n+1, columns, mostColumns)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if files < 100 {
		t.Errorf("only %d files were checked", files)
	}
}

// isCode reports whether a file is code that was written by hand.
func isCode(name string) bool {
	switch filepath.Ext(name) {
	case ".go":
		return !strings.HasSuffix(name, "_bpfel.go")
	case ".c", ".h":
		return name != "vmlinux.h"
	}
	return false
}

// columnsOf counts every character as one column, and a tab as tabColumns.
func columnsOf(line []byte) int {
	return utf8.RuneCount(line) + (tabColumns-1)*bytes.Count(line, []byte("\t"))
}
