package policy

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
)

func roomEntry(n int, origin, author string) Entry {
	a := netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)})
	return Entry{
		Prefix: netip.PrefixFrom(a, 32), Kind: Block, Action: Drop, Origin: origin, Author: author, Deadline: Forever,
	}
}

func TestStandingOf(t *testing.T) {
	for _, c := range []struct {
		origin, author string
		want           Standing
	}{
		{"cli", "uid:0", Operator},
		{"api:0", "uid:0", Operator},
		{"cli", "uid:1000", Common},
		{"api:1000", "uid:1000", Common},
		{"ipsum", "uid:0", Common},
		{"detector:syn", "detector", Automatic},
		{"feed:rules", "reporter:feeds", Common},
		{"guard:session", "guard", Operator},
	} {
		if got := StandingOf(c.origin, c.author); got != c.want {
			t.Errorf("%s by %s: standing %d, want %d", c.origin, c.author, got, c.want)
		}
	}
}

// The reserve is the larger one of 1/64 and 1024, and never more than half.
func TestReserve(t *testing.T) {
	for nodes, want := range map[int]int{1: 0, 2: 1, 1000: 500, 2048: 1024, 20_000: 1024, 1 << 20: 16_384} {
		if got := RoomFor(nodes, nodes).Reserve; got != want {
			t.Errorf("%d nodes: %d are reserved, want %d", nodes, got, want)
		}
	}
}

// Lists leave room for detectors and root, and detectors leave room for root.
func TestEachStandingFillsItsRoom(t *testing.T) {
	const nodes = 4096
	room, b := RoomFor(nodes, nodes), NewBook(nodes+1)
	n := 0
	for _, c := range []struct {
		origin, author string
		until          int // nodes in the trie
		says           string
	}{
		{"list", "uid:0", nodes - 1024, "1024 are reserved for detectors and commands of root"},
		{"cli", "uid:7", nodes - 1024, "1024 are reserved for detectors and commands of root"},
		{"detector:syn", "detector", nodes - 256, "256 are reserved for commands of root"},
		{"list", "uid:0", nodes - 256, "1024 are reserved"},
		{"cli", "uid:0", nodes, "there is room for 4096 prefixes: "},
	} {
		err := error(nil)
		for err == nil {
			e := roomEntry(n, c.origin, c.author)
			before := b.Usage(c.author)
			b.Apply([]Op{PutOp(e)})
			if err = room.Check(StandingOf(c.origin, c.author), before, b.Usage(c.author)); err != nil {
				b.Apply([]Op{RemoveOp(e.Key())})
			} else {
				n++
			}
		}
		if !errors.Is(err, ErrNoRoom) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s by %s: %v, want %q", c.origin, c.author, err, c.says)
		}
		if got := b.Size(Block, IPv4); got != c.until {
			t.Errorf("%s by %s: %d nodes, want %d", c.origin, c.author, got, c.until)
		}
	}
}

// Entries are bounded even if they have few prefixes: of one user, and of all.
func TestEntriesAreBounded(t *testing.T) {
	const nodes, each = 4096, 100
	room, b := RoomFor(nodes, nodes), NewBook(nodes+1)
	fill := func(author string) error {
		for list := 0; ; list++ {
			before := b.Usage(author)
			var ops, undo []Op
			for n := range each {
				ops = append(ops, PutOp(roomEntry(n, fmt.Sprintf("list-%s-%d", author[4:], list), author)))
			}
			_, undo = b.Apply(ops)
			if err := room.Check(Common, before, b.Usage(author)); err != nil {
				b.Apply(undo)
				return err
			}
		}
	}
	err := fill("uid:7")
	if !errors.Is(err, ErrNoRoom) || !strings.Contains(err.Error(), "uid:7") || b.slab.sources.units != 2000 {
		t.Errorf("one user has %d units (want 2000): %v", b.slab.sources.units, err)
	}
	err = fill("uid:0")
	if most := manyTries*nodes - 1024; !errors.Is(err, ErrNoRoom) || b.slab.sources.units > most ||
		b.slab.sources.units <= most-each {
		t.Errorf("%d units of all, want %d: %v", b.slab.sources.units, most, err)
	}
	if b.Size(Block, IPv4) != each {
		t.Errorf("%d nodes, want %d", b.Size(Block, IPv4), each)
	}
}

// Long reasons take more of a user's share, and what is removed or replaced gives it back.
func TestShareFollowsTheEntries(t *testing.T) {
	b := NewBook(100)
	units := func(author string) int { return b.Usage(author).share }
	e := roomEntry(1, "list", "uid:7")
	for _, c := range []struct {
		reason int
		want   int
	}{{0, 1}, {1, 1}, {128, 1}, {129, 2}, {1024, 8}, {0, 1}} {
		e.Reason = strings.Repeat("x", c.reason)
		b.Apply([]Op{PutOp(e)})
		if got := units("uid:7"); got != c.want || b.slab.sources.units != c.want {
			t.Errorf("a reason of %d bytes: %d units of the user, %d of all; want %d", c.reason, got,
				b.slab.sources.units, c.want)
		}
	}
	e.Author = "uid:8"
	b.Apply([]Op{PutOp(e)})
	if units("uid:7") != 0 || units("uid:8") != 1 {
		t.Errorf("another author: %d and %d units, want 0 and 1", units("uid:7"), units("uid:8"))
	}
	b.Apply([]Op{RemoveOp(e.Key())})
	if len(b.slab.sources.shares) != 0 || b.slab.sources.units != 0 {
		t.Errorf("left over: %v, %d units", b.slab.sources.shares, b.slab.sources.units)
	}
}

// A book that is larger than the room, because max_entries was lowered, still takes
// changes that do not need more.
func TestSmallerRoomAdmitsWhatDoesNotGrow(t *testing.T) {
	b := NewBook(100)
	for n := range 50 {
		b.Apply([]Op{PutOp(roomEntry(n, "list", "uid:7"))})
	}
	usage := b.Usage("uid:7")
	if err := RoomFor(10, 10).Check(Common, usage, usage); err != nil {
		t.Error(err)
	}
}

// Users other than root cannot make origins without end: each is a line of the metrics.
func TestOriginsAreBounded(t *testing.T) {
	room, b := RoomFor(1<<16, 1<<16), NewBook(1<<16)
	add := func(n int, author string) error {
		before := b.Usage(author)
		b.Apply([]Op{PutOp(roomEntry(1, fmt.Sprintf("o%d", n), author))})
		return room.Check(Common, before, b.Usage(author))
	}
	for n := range mostGroups {
		if err := add(n, "uid:7"); err != nil {
			t.Fatal(err)
		}
	}
	if err := add(mostGroups, "uid:7"); !errors.Is(err, ErrNoRoom) ||
		!strings.Contains(err.Error(), "too many origins") {
		t.Errorf("one origin too many: %v", err)
	}
	if err := add(mostGroups+1, "uid:0"); err != nil {
		t.Errorf("root: %v", err)
	}
}
