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

var (
	errDryRun = errors.New("dry run") // ends an import before it changes anything
	errHeld   = errors.New("held")    // ends an import that a bound holds
)

// bounds are the bounds of a change of a set.
type bounds struct {
	config.Import
	section string // of the configuration that has them
	// mayBeEmpty tells that an empty set is usual, as long as it was small before.
	mayBeEmpty bool
}

// check returns an error if the list is to change nothing. result has its effect, and the
// causes if it is held.
func (r listChange) check(empty bool, counts engine.Replaced, result *control.ImportResult) error {
	causes := r.bounds.heldBy(r.Import, empty, counts, result.Coverage)
	switch {
	case r.DryRun:
		result.Held = causes
		return errDryRun
	case len(causes) > 0 && !r.Accept:
		result.Held = causes
		return errHeld
	}
	return nil
}

// heldBy returns the causes why a list is not applied unless the request accepts them.
// empty reports that the list has no prefix, not even one that the guard refuses.
func (b bounds) heldBy(
	r control.Import, empty bool, counts engine.Replaced, covers control.Coverage,
) (causes []string) {
	add := func(format string, args ...any) { causes = append(causes, fmt.Sprintf(format, args...)) }
	before, after := counts.Before(), counts.After()
	switch {
	case b.mayBeEmpty && before < smallSet:
	case empty && before == 0:
		add("the list has no prefix")
	case empty:
		add("the list has no prefix, and would remove all %s", entriesText(before))
	case after == 0 && before == 0:
		add("the guard refuses all of its prefixes")
	case after == 0:
		add("it would remove all %s", entriesText(before))
	case before < smallSet:
	case 100*after < before*(100-int(b.MaxShrink)):
		add("of %s only %d would be left (%s.max_shrink is %s)", entriesText(before), after, b.section, b.MaxShrink)
	case b.MaxGrow > 0 && after > before*b.MaxGrow:
		add("%s would become %d (%s.max_grow is %d)", entriesText(before), after, b.section, b.MaxGrow)
	}
	if r.Force || r.Action == policy.Shadow {
		return causes
	}
	if 100*covers.IPv4 > float64(b.MaxShare) {
		add("its prefixes cover %.3g%% of IPv4 (%s.max_share is %s)", 100*covers.IPv4, b.section, b.MaxShare)
	}
	if 100*covers.IPv6 > float64(b.MaxShare) {
		add("its prefixes cover %.3g%% of 2000::/3, the IPv6 Internet (%s.max_share is %s)",
			100*covers.IPv6, b.section, b.MaxShare)
	}
	return causes
}

// held returns the error of a list that is held.
func held(r control.ImportResult) error {
	return control.Errorf(control.CodeHeld, "the list is held, and nothing was changed: %s. It would add %s, "+
		"remove %d and keep %d, and the guard refuses %d. If the list is right, add --accept",
		strings.Join(r.Held, "; "), entriesText(r.Added), r.Removed, r.Unchanged,
		len(r.Refused))
}
