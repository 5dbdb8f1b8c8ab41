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

const tableHead = `
| kernel | release | verified, plain | verified, several buffers | card | queues | mode |
|---|---|--:|--:|---|--:|---|
`

// renew rewrites the rows of a page's table, in the order of the list. A kernel that was not run
// keeps its row.
func renew(path string, list []kernel, rows []row) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read the page: %w", err)
	}
	head, rest, ok := strings.Cut(string(b), begin)
	table, tail, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		return fmt.Errorf("%s has no place for the table", path)
	}
	lines := make(map[string]string)
	for _, line := range strings.Split(table, "\n") {
		if f := strings.Split(line, "|"); len(f) > 1 {
			lines[strings.TrimSpace(f[1])] = line
		}
	}
	for _, r := range rows {
		lines[r.kernel.name] = fmt.Sprintf("| %s | %s | %s | %s | %s | %d | %s |", r.kernel.name, r.version, r.plain,
			r.frags, r.kernel.card, r.queues, r.mode)
	}
	t := tableHead
	for _, k := range list {
		if line, ok := lines[k.name]; ok {
			t += line + "\n"
		}
	}
	return os.WriteFile(path, []byte(head+begin+t+"\n"+end+tail), 0o644)
}
