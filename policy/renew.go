package policy

import "cmp"

// Renew returns the entry to hold if fresh is put while old, which has the same kind,
// prefix and origin, is in force. The stronger action decides: drop, then limit, then
// shadow, and of two limits the one with the lower rate. If both are equally strong, the
// one that lasts longer decides. kept reports that old stays.
//
// A stronger action with a later deadline of the other entry would be an entry that nobody
// has asked for, such as a permanent drop from a permanent shadow and a drop for an hour.
func Renew(old, fresh Entry) (held Entry, kept bool) {
	if cmp.Or(compareStrength(old, fresh), cmp.Compare(old.Deadline, fresh.Deadline)) > 0 {
		old.Forced = old.Forced || fresh.Forced
		return old, true
	}
	fresh.Created = old.Created
	return fresh, false
}

// Loses reports whether fresh in place of old is weaker than old, or ends earlier.
func Loses(old, fresh Entry) bool {
	return compareStrength(old, fresh) > 0 || old.Deadline > fresh.Deadline
}

// compareStrength compares what two entries of the same kind drop. Of two equal ones, the one that
// drops answers too is the stronger.
func compareStrength(x, y Entry) int {
	limits := 0
	if x.Action == Limit && y.Action == Limit {
		limits = y.Rate.Compare(x.Rate)
	}
	return cmp.Or(cmp.Compare(strength(x.Action), strength(y.Action)), limits, compareReplies(x, y))
}

func compareReplies(x, y Entry) int {
	switch {
	case x.Replies == y.Replies:
		return 0
	case y.Replies:
		return 1
	}
	return -1
}

func strength(a Action) int {
	switch a {
	case Drop:
		return 3
	case Limit:
		return 2
	case Shadow:
		return 1
	}
	return 0
}
