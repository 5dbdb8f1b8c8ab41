package engine

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/paraxial/paraxial/policy"
)

// replaceWith imports lines as entries like e of the origin "feed".
func (b *bench) replaceWith(e policy.Entry, check func(Replaced) error, lines ...string) (Replaced, error) {
	b.Helper()
	list, err := ReadList(strings.NewReader(strings.Join(lines, "\n")), 2*b.room.Nodes, func(int) {})
	if err != nil {
		return Replaced{}, err
	}
	e.Origin = "feed"
	return b.Replace(b.Context(), Set{List: list, Entry: e, Now: 1000, Check: check}, func(int, int) {})
}

// imported returns the entries of the origin "feed".
func (b *bench) imported(kind policy.Kind) map[string]policy.Entry {
	found := make(map[string]policy.Entry)
	for r := range b.book.Origin(kind, "feed") {
		e, _ := b.book.Resolve(r)
		found[e.Prefix.String()] = e
	}
	return found
}

// The lifetime and the reason of a line count before those of the import. Of several lines of a
// prefix the one that lasts longest counts.
func TestListDetails(t *testing.T) {
	b := newBench(t, 1000)
	e := entry("::")
	e.Deadline, e.Reason = 77, "of the import"
	_, err := b.replaceWith(e, nil, "192.0.2.1", "192.0.2.2 for=60s", "192.0.2.3 reason=own", "192.0.2.4 for=forever",
		"192.0.2.5 for=10s reason=short", "192.0.2.5 for=20s reason=long", "192.0.2.5 for=15s",
		"192.0.2.6 for=forever reason=x", "192.0.2.6", "192.0.2.7 for=1h", "192.0.2.7 for=forever")
	if err != nil {
		t.Fatal(err)
	}
	in := func(d time.Duration) policy.Deadline { return policy.After(1000, d) }
	got := make(map[string]string)
	for p, e := range b.imported(policy.Block) {
		got[p] = fmt.Sprint(e.Deadline, " ", e.Reason)
	}
	want := map[string]string{
		"192.0.2.1/32": "77 of the import", "192.0.2.2/32": fmt.Sprint(in(time.Minute), " of the import"),
		"192.0.2.3/32": "77 own", "192.0.2.4/32": fmt.Sprint(policy.Forever, " of the import"),
		"192.0.2.5/32": fmt.Sprint(in(20*time.Second), " long"), "192.0.2.6/32": "77 of the import",
		"192.0.2.7/32": fmt.Sprint(policy.Forever, " of the import"),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// The number of different reasons is bounded.
func TestListReasons(t *testing.T) {
	var list strings.Builder
	for i := range policy.MaxListReasons {
		fmt.Fprintf(&list, "192.0.2.1 reason=%d\n", i)
	}
	if _, err := ReadList(strings.NewReader(list.String()), 10, func(int) {}); err != nil {
		t.Errorf("as many reasons as are accepted: %v", err)
	}
	_, err := ReadList(strings.NewReader(list.String()+"192.0.2.1 reason=x\n"), 10, func(int) {})
	if _, ok := errors.AsType[TooLargeError](err); !ok {
		t.Errorf("one reason more: %v", err)
	}
}

// The share is that of the union of the prefixes.
func TestShare(t *testing.T) {
	var most []string // 219 prefixes of /8, of which each is narrow enough for the guard
	for i := range 219 {
		most = append(most, netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(i + 1)}), 8).String())
	}
	for _, tt := range []struct {
		list     []string
		ip4, ip6 float64
	}{
		{nil, 0, 0},
		{[]string{"0.0.0.0/0", "192.0.2.1", "::/0", "2001:db8::/32"}, 1, 1},
		{[]string{"128.0.0.0/2", "128.0.0.0/1", "129.0.0.0/8", "10.0.0.0/8", "10.1.0.0/16"}, 0.5 + 1.0/256, 0},
		{[]string{"2000::/4", "2800::/5", "fc00::/7", "64:ff9b::/96"}, 0, 0.5},
		{[]string{"2000::/2", "2001:db8::/32"}, 0, 1},
		{most, 219.0 / 256, 0},
	} {
		l, err := ReadList(strings.NewReader(strings.Join(tt.list, "\n")), 1000, func(int) {})
		if err != nil {
			t.Fatal(err)
		}
		got := [2]float64{l.Share(policy.IPv4), l.Share(policy.IPv6)}
		if math.Abs(got[0]-tt.ip4) > 1e-9 || math.Abs(got[1]-tt.ip6) > 1e-9 {
			t.Errorf("%.60v: %v, want %v and %v", tt.list, got, tt.ip4, tt.ip6)
		}
	}
}

// Entries with another expiry, reason or action are renewed. An import of the same list is not.
func TestReplaceCounts(t *testing.T) {
	b := newBench(t, 1000)
	drop := entry("::")
	later, shadow, limit := drop, drop, drop
	drop.Deadline, later.Deadline = 1<<40, 1<<41
	shadow.Action = policy.Shadow
	limit.Action, limit.Rate = policy.Limit, policy.Rate{PerSecond: 5, Unit: policy.Packets}
	for i, step := range []struct {
		entry policy.Entry
		lines []string
		want  Replaced
	}{
		{drop, []string{"192.0.2.1", "192.0.2.2"}, Replaced{Added: 2}},
		{drop, []string{"192.0.2.1", "192.0.2.2"}, Replaced{Unchanged: 2}},
		{later, []string{"192.0.2.1", "192.0.2.2"}, Replaced{Unchanged: 2, Renewed: 2}},
		{later, []string{"192.0.2.1 reason=x", "192.0.2.3"}, Replaced{Added: 1, Removed: 1, Unchanged: 1, Renewed: 1}},
		{drop, []string{"192.0.2.1 reason=x", "192.0.2.3"}, Replaced{Unchanged: 2, Renewed: 2, Shortened: 2}},
		{limit, []string{"192.0.2.1", "192.0.2.3"}, Replaced{Unchanged: 2, Renewed: 2, Shortened: 2}},
		{shadow, []string{"192.0.2.1"}, Replaced{Removed: 1, Unchanged: 1, Renewed: 1, Shortened: 1}},
	} {
		var checked Replaced
		got, err := b.replaceWith(step.entry, func(r Replaced) error { checked = r; return nil }, step.lines...)
		if err != nil || got != step.want || checked != got {
			t.Errorf("step %d: %+v, checked %+v, %v; want %+v", i, got, checked, err, step.want)
		}
		for p, e := range b.imported(policy.Block) {
			if e.Action != step.entry.Action || e.Rate != step.entry.Rate || e.Deadline != step.entry.Deadline {
				t.Errorf("step %d: %s is %+v", i, p, e)
			}
		}
	}
}

// A change that the check refuses is not made, also if it is large.
func TestReplaceChecked(t *testing.T) {
	for _, n := range []int{10, smallImport + 1} {
		b := newBench(t, 100_000)
		if _, err := b.importLines("203.0.113.1"); err != nil {
			t.Fatal(err)
		}
		before := b.state()
		held := errors.New("held")
		got, err := b.replaceWith(entry("::"), func(Replaced) error { return held },
			many(netip.MustParseAddr("198.18.0.0"), n)...)
		if !errors.Is(err, held) || got.Added != n || got.Removed != 1 {
			t.Errorf("%d entries: %+v, %v", n, got, err)
		}
		if diff := cmp.Diff(before, b.state()); diff != "" {
			t.Errorf("%d entries: something was changed (-before +after):\n%.2000s", n, diff)
		}
	}
}

// The allows of an origin are a set of their own.
func TestReplaceAllows(t *testing.T) {
	b := newBench(t, 100_000)
	if _, err := b.importLines("203.0.113.1", "203.0.113.2"); err != nil {
		t.Fatal(err)
	}
	allow := entry("::")
	allow.Kind, allow.Action = policy.Allow, policy.NoAction
	other := allow
	other.Prefix, other.Origin = netip.MustParsePrefix("192.0.2.9/32"), "other"
	if err := b.apply(policy.PutOp(other)); err != nil {
		t.Fatal(err)
	}
	for i, step := range []struct {
		lines []string
		want  Replaced
	}{
		{[]string{"192.0.2.1", "192.0.2.2"}, Replaced{Added: 2}},
		{[]string{"192.0.2.2", "203.0.113.2"}, Replaced{Added: 1, Removed: 1, Unchanged: 1}},
	} {
		if got, err := b.replaceWith(allow, nil, step.lines...); err != nil || got != step.want {
			t.Errorf("step %d: %+v, %v; want %+v", i, got, err, step.want)
		}
	}
	if len(b.imported(policy.Block)) != 2 || len(b.imported(policy.Allow)) != 2 ||
		b.kernel.nodes["allow 192.0.2.2/32"] == (policy.Verdict{}) {
		t.Errorf("entries: %+v", b.state())
	}
	before := b.state()
	_, err := b.replaceWith(allow, nil, many(netip.MustParseAddr("198.18.0.0"), MostAllows)...)
	if _, ok := errors.AsType[TooLargeError](err); !ok {
		t.Errorf("an import with more changes than can be made: %v", err)
	}
	if diff := cmp.Diff(before, b.state()); diff != "" {
		t.Errorf("something was changed (-before +after):\n%.2000s", diff)
	}
	if _, err := b.replaceWith(allow, nil, many(netip.MustParseAddr("198.18.0.0"), MostAllows-2)...); err != nil {
		t.Errorf("as many changes as can be made: %v", err)
	}
}

// While a set of allows is replaced, edits of it wait, and edits of the blocks of the origin do not.
func TestReplaceAllowsClaims(t *testing.T) {
	b := newBench(t, 1000)
	allow := entry("192.0.2.7")
	allow.Kind, allow.Action, allow.Origin = policy.Allow, policy.NoAction, "feed"
	block := entry("192.0.2.7")
	block.Origin = "feed"
	_, err := b.replaceWith(allow, func(Replaced) error {
		if err := b.result(started(func() error { return b.apply(policy.PutOp(block)) })); err != nil {
			t.Errorf("a block of the origin: %v", err)
		}
		b.turn.Lock()
		defer b.turn.Unlock()
		if b.claimed.check([]policy.Op{policy.PutOp(allow)}) == nil {
			t.Error("the allows are not claimed")
		}
		return nil
	}, "192.0.2.1")
	if err != nil {
		t.Fatal(err)
	}
}

// A large import may make limits, and is refused if there is no room for them.
func TestReplaceLimits(t *testing.T) {
	const n = smallImport + 1
	b, k := newLimitBench(t, 3*n)
	list := many(netip.MustParseAddr("198.18.0.0"), n)
	limit := entry("::")
	limit.Action, limit.Rate = policy.Limit, policy.Rate{PerSecond: 5, Unit: policy.Packets}
	b.room.Limits = n - 1
	if _, err := b.replaceWith(limit, nil, list...); !errors.Is(err, ErrFull) {
		t.Fatalf("an import of more limits than there is room for: %v", err)
	}
	b.room.Limits = n
	for i, step := range []struct {
		entry  policy.Entry
		limits int
		want   Replaced
	}{
		{limit, n, Replaced{Added: n}},
		{entry("::"), 0, Replaced{Unchanged: n, Renewed: n}},
		{limit, n, Replaced{Unchanged: n, Renewed: n, Shortened: n}},
	} {
		got, err := b.replaceWith(step.entry, nil, list...)
		if err != nil || got != step.want || b.book.Limits() != step.limits || len(k.limits) != step.limits {
			t.Errorf("step %d: %+v, %v, %d limits, %d in the kernel; want %+v and %d", i, got, err, b.book.Limits(),
				len(k.limits), step.want, step.limits)
		}
	}
	if _, err := b.importLines("192.0.2.1"); err != nil || len(k.limits) != 0 {
		t.Errorf("%d limits are left, %v", len(k.limits), err)
	}
}

// Amend puts and removes some prefixes, and leaves the others and other origins alone.
func TestAmend(t *testing.T) {
	b := newBench(t, 1000)
	e := entry("::")
	e.Deadline = 77
	if _, err := b.replaceWith(e, nil, "192.0.2.1", "192.0.2.2", "192.0.2.3"); err != nil {
		t.Fatal(err)
	}
	other := entry("192.0.2.4")
	if err := b.apply(policy.PutOp(other)); err != nil {
		t.Fatal(err)
	}
	list, err := ReadList(strings.NewReader("192.0.2.3\n192.0.2.2 for=1h reason=x\n192.0.2.9"), 10, func(int) {})
	if err != nil {
		t.Fatal(err)
	}
	e.Origin = "feed"
	gone := []netip.Prefix{netip.MustParsePrefix("192.0.2.1/32"), netip.MustParsePrefix("192.0.2.4/32"),
		netip.MustParsePrefix("192.0.2.9/32"), netip.MustParsePrefix("192.0.2.77/32")}
	got, err := b.Amend(b.Context(), Set{List: list, Entry: e, Now: 1000}, gone)
	if want := (Replaced{Added: 1, Removed: 1, Unchanged: 2, Renewed: 1}); err != nil || got != want {
		t.Errorf("amended %+v, %v; want %+v", got, err, want)
	}
	found := b.imported(policy.Block)
	if len(found) != 3 || found["192.0.2.2/32"].Reason != "x" || found["192.0.2.9/32"].Deadline != 77 {
		t.Errorf("entries %+v", found)
	}
	if _, ok := b.book.Get(other.Key()); !ok {
		t.Error("the entry of another origin is gone")
	}
}

// An end that differs by less than the slack stays as it is.
func TestSlack(t *testing.T) {
	for _, tt := range []struct {
		old, end, slack policy.Deadline
		stays           bool
	}{
		{1000, 1003, 3, true}, {1003, 1000, 3, true}, {1000, 1004, 3, false}, {1000, 1001, 0, false},
		{1000, 1000, 0, true}, {policy.Forever, policy.Forever, 3, true},
		{policy.Forever, policy.Forever - 1, 3, false}, {policy.Forever - 1, policy.Forever, 3, false},
	} {
		s := Set{Slack: tt.slack}
		if got := s.near(tt.old, tt.end); got != tt.stays {
			t.Errorf("%+v: stays %t", tt, got)
		}
	}
}
