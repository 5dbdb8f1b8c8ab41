package index_test

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"runtime"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"

	"github.com/paraxial/paraxial/index"
	"github.com/paraxial/paraxial/policy"
	"github.com/paraxial/paraxial/tests/inner"
	"github.com/paraxial/paraxial/tests/testenv"
)

// v4Kernel is a loaded program to which generations can be published.
type v4Kernel struct {
	tb         testing.TB
	collection *ebpf.Collection
	alloc      index.Alloc
	publish    func()
}

func loadV4(tb testing.TB, object string) *v4Kernel {
	tb.Helper()
	testenv.Root(tb)
	if err := rlimit.RemoveMemlock(); err != nil {
		tb.Fatal(err)
	}
	spec, err := ebpf.LoadCollectionSpec(object)
	if err != nil {
		tb.Fatal(err)
	}
	for _, trie := range []string{"block_v4", "allow_v4"} {
		if m := spec.Maps[trie]; m != nil {
			m.MaxEntries = 1 << 17
		}
	}
	collection, err := ebpf.NewCollection(spec)
	if err != nil {
		tb.Fatalf("%+v", err)
	}
	k := &v4Kernel{tb: tb, collection: collection}
	tb.Cleanup(collection.Close)
	k.alloc, k.publish = inner.Lines(tb, spec, collection.Maps["index_v4"])
	return k
}

// v4Object is the shipped program.
func v4Object() string {
	arch := map[string]string{"amd64": "x86", "arm64": "arm64"}[runtime.GOARCH]
	return fmt.Sprintf("../loader/plain_%s_bpfel.o", arch)
}

// generation builds a generation in kernel memory and puts it in force.
func (k *v4Kernel) generation(b index.Book) *index.V4 {
	k.tb.Helper()
	x, err := index.BuildV4(b, k.alloc)
	if err != nil {
		k.tb.Fatal(err)
	}
	k.publish()
	return x
}

// apply makes the changes in the book and in the tries.
func (k *v4Kernel) apply(b *policy.Book, ops ...policy.Op) {
	k.tb.Helper()
	delta, _ := b.Apply(ops)
	for _, n := range delta.Put {
		var value any = uint32(n.Verdict.Allow)
		if n.Kind == policy.Block {
			v := n.Verdict
			value = [6]uint32{uint32(v.Drop), 0, uint32(v.Shadow), 0, v.HitID, uint32(v.Strict)}
		}
		if err := k.trie(n).Put(v4Key(n.Prefix), value); err != nil {
			k.tb.Fatalf("put %s: %v", n.Prefix, err)
		}
	}
	for _, n := range delta.Delete {
		if err := k.trie(n).Delete(v4Key(n.Prefix)); err != nil {
			k.tb.Fatalf("delete %s: %v", n.Prefix, err)
		}
	}
}

func (k *v4Kernel) trie(n policy.Node) *ebpf.Map {
	return k.collection.Maps[n.Kind.String()+"_v4"]
}

func v4Key(p netip.Prefix) []byte {
	return append(binary.NativeEndian.AppendUint32(nil, uint32(p.Bits())), p.Addr().AsSlice()...)
}

// v4Packet is an IPv4 packet from a.
func v4Packet(a netip.Addr) []byte {
	packet := make([]byte, 64)
	packet[12], packet[14] = 0x08, 0x45
	binary.BigEndian.PutUint16(packet[16:], 50)
	copy(packet[26:], a.AsSlice())
	return packet
}

// counted returns the number of packets by outcome.
func (k *v4Kernel) counted() (reasons [4]uint64) {
	k.tb.Helper()
	var perCPU []struct{ Packets, Bytes uint64 }
	for r := range reasons {
		if err := k.collection.Maps["counters"].Lookup(uint32(r), &perCPU); err != nil {
			k.tb.Fatal(err)
		}
		for _, c := range perCPU {
			reasons[r] += c.Packets
		}
	}
	return reasons
}

func v4Now(tb testing.TB) policy.Deadline {
	tb.Helper()
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		tb.Fatal(err)
	}
	return policy.Deadline(ts.Nano())
}

// TestV4Program compares action and reason of the shipped program, with index and tries, with
// policy.Decide.
func TestV4Program(t *testing.T) {
	k := loadV4(t, v4Object())
	w := newV4World(v4Rand(t), 100)
	w.wide = 40
	x := k.generation(w.book)
	// No deadline is near, so that the outcome does not depend on the time.
	w.now = policy.TickAt(v4Now(t))
	w.apply = func(op policy.Op) { k.apply(w.book, op) }
	w.coarse = true
	before := k.counted()
	var want [4]uint64
	answers := map[index.Answer]int{}
	for range 1500 {
		p := w.step(len(w.keys) < 250)
		if !x.Update(p) {
			x = k.generation(w.book)
		}
		all := w.all()
		for range 20 {
			a := w.addr()
			if w.IntN(2) == 0 {
				a = w.in(p)
			}
			outcome := policy.Decide(all, a, v4Now(t))
			action, err := k.collection.Programs["paraxial"].Run(&ebpf.RunOptions{Data: v4Packet(a)})
			if err != nil {
				t.Fatal(err)
			}
			if dropped := action == 1; dropped != (outcome == policy.Blocked) {
				t.Fatalf("%s: action %d, but it is %s; the index says %d", a, action, outcome, x.Lookup(a, w.now))
			}
			want[outcome]++
			answers[x.Lookup(a, w.now)]++
		}
	}
	got := k.counted()
	for reason := range want {
		if got[reason]-before[reason] != want[reason] {
			t.Errorf("%d packets counted for reason %d, want %d", got[reason]-before[reason], reason, want[reason])
		}
	}
	t.Logf("outcomes: %v, answers: %v", want, answers)
}
