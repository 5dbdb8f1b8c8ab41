package loader

import (
	"context"
	"net/netip"
	"testing"

	"github.com/paraxial/paraxial/policy"
)

func BenchmarkOpen(b *testing.B) {
	dir := bpffs(b)
	for b.Loop() {
		l, err := Open(Options{BPFFS: dir, MaxEntries: 1 << 20})
		check(b, err)
		check(b, l.Close())
	}
}

func BenchmarkAttach(b *testing.B) {
	l := open(b, bpffs(b), 1000)
	veth(b, "bat0")
	attach(b, l, "bat0", ModeNative, 0)
	for b.Loop() {
		attach(b, l, "bat0", ModeAuto, 0)
	}
}

func BenchmarkAttest(b *testing.B) {
	l := open(b, bpffs(b), 1000)
	veth(b, "bas0")
	attach(b, l, "bas0", ModeNative, 0)
	for b.Loop() {
		if at := l.Attest("bas0"); !at.Protected {
			b.Fatal(at.Problem)
		}
	}
}

func BenchmarkAsk(b *testing.B) {
	from := netip.MustParseAddr("192.0.2.1")
	l := open(b, bpffs(b), 1000)
	veth(b, "bak0")
	attach(b, l, "bak0", ModeNative, 0)
	b.Run("first", func(b *testing.B) {
		for b.Loop() {
			l.closeTwin(0)
			_, err := l.Ask("bak0", from)
			check(b, err)
		}
	})
	b.Run("again", func(b *testing.B) {
		for b.Loop() {
			_, err := l.Ask("bak0", from)
			check(b, err)
		}
	})
}

func BenchmarkCounters(b *testing.B) {
	l := open(b, bpffs(b), 1000)
	for b.Loop() {
		_, err := l.Counters()
		check(b, err)
	}
}

// Sixteen segments of drop counters are a million ids.
func BenchmarkGrowHits(b *testing.B) {
	for b.Loop() {
		b.StopTimer()
		l := open(b, bpffs(b), 1<<20)
		b.StartTimer()
		check(b, l.GrowHits(17*segmentIDs))
	}
}

func BenchmarkPublishIndex(b *testing.B) {
	const lines = 18 << 20 / 64
	l := open(b, bpffs(b), 1000)
	b.Run("make", func(b *testing.B) {
		for b.Loop() {
			m, err := l.NewIndex(policy.IPv4, lines)
			check(b, err)
			check(b, m.Close())
		}
	})
	b.Run("publish", func(b *testing.B) {
		for b.Loop() {
			b.StopTimer()
			m, err := l.NewIndex(policy.IPv4, lines)
			check(b, err)
			b.StartTimer()
			publishIndex(b, l, m)
		}
	})
}

// Puts a million addresses into the IPv4 trie and deletes them.
func BenchmarkMillion(b *testing.B) {
	const n = 1_000_000
	var d policy.Delta
	for _, node := range manyNodes(policy.Block, 2*n) {
		if node.Prefix.Addr().Is4() {
			d.Put = append(d.Put, node)
		}
	}
	b.Run("Apply", func(b *testing.B) {
		for b.Loop() {
			b.StopTimer()
			l := open(b, bpffs(b), n)
			b.StartTimer()
			check(b, l.Apply(context.Background(), d))
		}
	})
	b.Run("Nodes", func(b *testing.B) {
		l := open(b, bpffs(b), n)
		check(b, l.Apply(context.Background(), d))
		for b.Loop() {
			count := 0
			for _, err := range l.Nodes(policy.Block) {
				check(b, err)
				count++
			}
			if count != n {
				b.Fatalf("%d nodes, want %d", count, n)
			}
		}
	})
}
