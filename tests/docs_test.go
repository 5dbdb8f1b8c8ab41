package tests

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// foreign are clauses of quoted messages that come from the kernel or a library.
var foreign = []string{
	"no space left on device",
	"operation not supported",
	"failed to attach link",
	"address already in use",
	"read-only file system",
}

// TestQuotedMessagesExist checks that every message quoted in docs/troubleshooting.md is in the
// source, so that readers find the page by the message they see. Quoted messages are code blocks
// marked text, the output in code blocks marked console, and the code at the beginning of a list
// item.
//
// A message is put together from several strings. Therefore it is compared clause by clause: each
// clause of three words or more must be in a string of the source.
func TestQuotedMessagesExist(t *testing.T) {
	page, err := os.ReadFile("../docs/troubleshooting.md")
	if err != nil {
		t.Fatal(err)
	}
	quotes := quoted(string(page))
	if len(quotes) < 20 {
		t.Fatalf("only %d messages found in the page: %q", len(quotes), quotes)
	}
	patterns := messagePatterns(t)
	for _, quote := range quotes {
		for _, clause := range clauses(quote) {
			if words(clause) < 3 || slices.Contains(foreign, clause) {
				continue
			}
			if !slices.ContainsFunc(patterns, func(p *regexp.Regexp) bool { return p.MatchString(clause) }) {
				t.Errorf("docs/troubleshooting.md quotes %q, but no string in the source has %q", quote, clause)
			}
		}
	}
}

var (
	listItem = regexp.MustCompile("^- `[^`]+`(?:,? (?:or|and) `[^`]+`)*")
	code     = regexp.MustCompile("`([^`]+)`")
)

// quoted returns the messages that a page quotes.
func quoted(page string) []string {
	var all []string
	for n, part := range strings.Split(page, "```") {
		if n%2 == 0 {
			all = append(all, quotedByItems(part)...)
			continue
		}
		language, block, _ := strings.Cut(part, "\n")
		for line := range strings.Lines(block) {
			output := !strings.HasPrefix(line, "#") && !strings.Contains(line, "  ")
			if language == "text" || language == "console" && output {
				all = append(all, line)
			}
		}
	}
	return all
}

// quotedByItems returns the code at the beginning of the list items of a text.
func quotedByItems(text string) []string {
	var all []string
	for line := range strings.Lines(strings.ReplaceAll(text, "\n  ", " ")) {
		for _, m := range code.FindAllStringSubmatch(listItem.FindString(line), -1) {
			all = append(all, m[1])
		}
	}
	return all
}

// clauses splits a message at the places where strings are put together.
func clauses(message string) []string {
	parts := regexp.MustCompile(`: |; |, |…| \(|\)|\n`).Split(strings.ReplaceAll(message, "`", ""), -1)
	for i, p := range parts {
		parts[i] = strings.Trim(p, " .,:")
	}
	return parts
}

// words counts the words of a clause, without what stands for a verb: numbers,
// addresses and paths.
func words(clause string) int {
	n := 0
	for _, w := range strings.Fields(clause) {
		if !strings.ContainsAny(w, "0123456789/") {
			n++
		}
	}
	return n
}

// messagePatterns returns what the clauses of all strings in the source match,
// with one to three words in place of each verb.
func messagePatterns(t *testing.T) []*regexp.Regexp {
	const filled = `\S+(?: \S+){0,2}`
	verb := regexp.MustCompile(`%[-+#0-9.]*[a-zA-Z]`)
	seen := map[string]*regexp.Regexp{}
	for _, message := range sourceStrings(t) {
		for _, clause := range clauses(message) {
			fixed := verb.ReplaceAllString(clause, "")
			if seen[clause] != nil || len(strings.Fields(fixed)) < 2 {
				continue
			}
			parts := verb.Split(clause, -1)
			for i, p := range parts {
				parts[i] = regexp.QuoteMeta(p)
			}
			// A verb at the front may stand for the end of the clause before.
			pattern := strings.TrimPrefix(strings.Join(parts, filled), filled+" ")
			seen[clause] = regexp.MustCompile(`^(?:\S+ )?` + pattern + "$")
		}
	}
	var all []*regexp.Regexp
	for _, p := range seen {
		all = append(all, p)
	}
	return all
}

// sourceStrings returns the strings in the Go files of the project, without tests.
func sourceStrings(t *testing.T) []string {
	var all []string
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (path == "../tests" || path == "../.git"):
			return filepath.SkipDir
		case !strings.HasSuffix(path, ".go"), strings.HasSuffix(path, "_test.go"), strings.HasSuffix(path, "_bpfel.go"):
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if s, ok := constant(n); ok {
				all = append(all, s)
				return false
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// constant returns the text of a string, also of one that is put together with +.
func constant(n ast.Node) (string, bool) {
	switch n := n.(type) {
	case *ast.BasicLit:
		s, err := strconv.Unquote(n.Value)
		return s, err == nil && n.Kind == token.STRING
	case *ast.BinaryExpr:
		x, okX := constant(n.X)
		y, okY := constant(n.Y)
		return x + y, okX && okY
	}
	return "", false
}
