package daemon

import "fmt"

// amount returns n and a noun: "1 entry", "2 entries".
func amount(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

func entriesText(n int) string { return amount(n, "entry", "entries") }
