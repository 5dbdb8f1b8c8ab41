package main

import (
	"fmt"
	"os"
	"strings"
)

const (
	begin = "<!-- kernels: begin -->\n"
	end   = "<!-- kernels: end -->\n"
)

// renew writes the table of a page anew.
func renew(path string, rows []row) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read the page: %w", err)
	}
	head, rest, ok := strings.Cut(string(b), begin)
	_, tail, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		return fmt.Errorf("%s has no place for the table", path)
	}
	var t strings.Builder
	t.WriteString("\n| Linux | verified, plain | verified, several buffers | card | queues | mode |\n|---|--:|--:|---|--:|---|\n")
	for _, r := range rows {
		fmt.Fprintf(&t, "| %s | %s | %s | %s | %d | %s |\n", r.version, r.plain, r.frags, r.kernel.card, r.queues, r.mode)
	}
	t.WriteString("\n")
	return os.WriteFile(path, []byte(head+begin+t.String()+end+tail), 0o644)
}
