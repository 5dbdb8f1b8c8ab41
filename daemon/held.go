package daemon

import (
	"errors"
	"fmt"
	"strings"

	"github.com/paraxial/paraxial/config"
	"github.com/paraxial/paraxial/control"
	"github.com/paraxial/paraxial/engine"
	"github.com/paraxial/paraxial/policy"
)

// smallSet is the number of entries below which a set may shrink and grow freely.
const smallSet = 100

// errDryRun ends an import before it changes anything.
var errDryRun = errors.New("dry run")

// checkImport returns an error if the import is to change nothing. result has its effect.
func (d *Daemon) checkImport(
	r control.Import, empty bool, counts engine.Replaced, result *control.ImportResult,
) error {
	causes := heldBy(d.settings().Import, r, empty, counts, result.Coverage)
	switch {
	case r.DryRun:
		result.Held = causes
		return errDryRun
	case len(causes) > 0 && !r.Accept:
		return held(causes, *result)
	}
	return nil
}

// heldBy returns the causes why a list is not applied unless the request accepts them.
// empty reports that the list has no prefix, not even one that the guard refuses.
func heldBy(
	b config.Import, r control.Import, empty bool, counts engine.Replaced, covers control.Coverage,
) (causes []string) {
	add := func(format string, args ...any) { causes = append(causes, fmt.Sprintf(format, args...)) }
	before, after := counts.Before(), counts.After()
	switch {
	case empty && before == 0:
		add("the list has no prefix")
	case empty:
		add("the list has no prefix, and would remove all %d entries", before)
	case after == 0 && before > 0:
		add("it would remove all %d entries", before)
	case before < smallSet:
	case 100*after < before*(100-int(b.MaxShrink)):
		add("of %d entries only %d would be left (import.max_shrink is %s)", before, after, b.MaxShrink)
	case b.MaxGrow > 0 && after > before*b.MaxGrow:
		add("%d entries would become %d (import.max_grow is %d)", before, after, b.MaxGrow)
	}
	if r.Force || r.Action == policy.Shadow {
		return causes
	}
	if 100*covers.IPv4 > float64(b.MaxShare) {
		add("its prefixes cover %.3g%% of IPv4 (import.max_share is %s)", 100*covers.IPv4, b.MaxShare)
	}
	if 100*covers.IPv6 > float64(b.MaxShare) {
		add("its prefixes cover %.3g%% of 2000::/3, the IPv6 Internet (import.max_share is %s)",
			100*covers.IPv6, b.MaxShare)
	}
	return causes
}

// held returns the error of a list that is held.
func held(causes []string, r control.ImportResult) error {
	return control.Errorf(control.CodeHeld, "the list is held, and nothing was changed: %s. It would add %d entries, "+
		"remove %d and keep %d, and the guard refuses %d. If the list is right, add --accept",
		strings.Join(causes, "; "), r.Added, r.Removed, r.Unchanged, len(r.Refused))
}
