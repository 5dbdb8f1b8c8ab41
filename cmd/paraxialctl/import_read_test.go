package main

import (
	"flag"
	"net/netip"
	"testing"

	"github.com/urfave/cli/v2"

	"github.com/paraxial/paraxial/lists"
)

// TestDetailsOfManyEntries: the flags are looked up once, and not for each entry of a list. A look-up
// takes microseconds and allocates memory.
func TestDetailsOfManyEntries(t *testing.T) {
	flags := flag.NewFlagSet("import", flag.ContinueOnError)
	c := cli.NewContext(cli.NewApp(), flags, nil)
	allocations := func(entries int) float64 {
		list := &lists.List{Entries: make([]lists.Entry, entries)}
		for i := range list.Entries {
			list.Entries[i].Prefix = netip.MustParsePrefix("192.0.2.1/32")
		}
		return testing.AllocsPerRun(10, func() { (&program{}).useDetails(c, list) })
	}
	if few, many := allocations(1), allocations(1000); many > 2*few {
		t.Errorf("%.0f allocations for one entry, %.0f for 1000", few, many)
	}
}
