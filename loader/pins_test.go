package loader

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/paraxial/paraxial/policy"
)

func TestEncodeName(t *testing.T) {
	tests := []struct{ iface, want string }{
		{"eth0", "eth0"},
		{"eth0.100", "eth0_2e100"},
		{"a_b", "a_5fb"},
		{"br-lan", "br-lan"},
		{"\xffé@", "_ff_c3_a9_40"},
		{"..............x", strings.Repeat("_2e", 14) + "x"},
	}
	for _, tt := range tests {
		got := encodeName(tt.iface)
		if got != tt.want {
			t.Errorf("encodeName(%q) = %q, want %q", tt.iface, got, tt.want)
		}
		if back, ok := decodeName(got); !ok || back != tt.iface {
			t.Errorf("decodeName(%q) = %q, %v, want %q", got, back, ok, tt.iface)
		}
	}
	for _, s := range []string{"_", "_2", "_zz", "_2E", "_61"} {
		if got, ok := decodeName(s); ok {
			t.Errorf("decodeName(%q) = %q, want refusal", s, got)
		}
	}
}

func TestOpenRefusals(t *testing.T) {
	dir := bpffs(t)
	plainDir := t.TempDir()
	tests := []struct {
		name string
		o    Options
		want string
	}{
		{"no bpffs", Options{BPFFS: plainDir, MaxEntries: 1}, "mount -t bpf -o mode=0700 bpf /sys/fs/bpf"},
		{"below no bpffs", Options{BPFFS: filepath.Join(plainDir, "p"), MaxEntries: 1},
			"mount -t bpf -o mode=0700 bpf /sys/fs/bpf"},
		{"missing parent", Options{BPFFS: filepath.Join(dir, "a", "b"), MaxEntries: 1}, "no such file"},
		{"dots", Options{BPFFS: filepath.Join(filepath.Dir(dir), "a.b"), MaxEntries: 1}, "no dots"},
		{"no capacity", Options{BPFFS: dir}, "max_entries"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l, err := Open(tt.o)
			if err == nil {
				l.Close()
				t.Fatal("no error")
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %q, want %q in it", err, tt.want)
			}
		})
	}
}

// A start after a crash finds the generation in force and removes the others.
func TestCrashLeftovers(t *testing.T) {
	dir := bpffs(t)
	veth(t, "cra0")
	veth(t, "gone0")
	first := open(t, dir, 100)
	a := attach(t, first, "cra0", ModeNative, 0)
	attach(t, first, "gone0", ModeNative, 1)
	check(t, first.Commit())
	apply(t, first, block("192.0.2.1/32", policy.TickForever, 0, 0))

	// The link was switched, but the pin of the program was not renamed.
	check(t, os.Rename(first.gen.program("cra0"), first.gen.next("cra0")))
	check(t, os.Remove(first.gen.program("gone0")))
	// Generation 2 was complete, with a program pinned and no link switched.
	orphan := first.pins.generation(2)
	maps := mapSet{}
	for name, ms := range shared(first.specs[plain]) {
		m, err := ebpf.NewMap(ms)
		check(t, err)
		maps[name] = m
	}
	check(t, orphan.ensure(maps))
	p, err := first.loadBuild(plain, 0)
	check(t, err)
	check(t, p.Pin(orphan.next("cra0")))
	check(t, p.Close())
	check(t, maps.close())
	// Generation 9 is incomplete, and the interface of a link was removed.
	check(t, os.Mkdir(filepath.Join(dir, "gen-9"), 0o700))
	check(t, pinCopy(first.maps[plainMapHits], filepath.Join(dir, "gen-9", plainMapHits)))
	check(t, first.Close())
	delLink(t, "gone0")

	l := open(t, dir, 100)
	if !l.Reused() {
		t.Error("the generation in force was not found")
	}
	expectNodes(t, l, policy.Block, block("192.0.2.1/32", policy.TickForever, 0, 0))
	for _, gen := range []string{"gen-2", "gen-9"} {
		if _, err := os.Stat(filepath.Join(dir, gen)); !os.IsNotExist(err) {
			t.Errorf("%s is still there: %v", gen, err)
		}
	}
	if b := attach(t, l, "cra0", ModeAuto, 0); b.LinkID != a.LinkID {
		t.Error("a new link was made instead of switching the old one")
	}
	veth(t, "gone0")
	attach(t, l, "gone0", ModeAuto, 1)
	for _, iface := range []string{"cra0", "gone0"} {
		if at := l.Attest(iface); !at.Protected {
			t.Errorf("attestation: %+v", at)
		}
	}
	check(t, l.Commit())
	if _, err := os.Stat(filepath.Join(dir, "gen-1")); !os.IsNotExist(err) {
		t.Errorf("gen-1 is still there: %v", err)
	}
}

// After a crash between the switches of two interfaces the newer generation is in force. The
// older one is removed when its interface is switched.
func TestCrashBetweenSwitches(t *testing.T) {
	dir := bpffs(t)
	veth(t, "two0")
	veth(t, "two1")
	first := open(t, dir, 100)
	attach(t, first, "two0", ModeNative, 0)
	attach(t, first, "two1", ModeNative, 1)
	check(t, first.Close())
	second := open(t, dir, 200)
	apply(t, second, block("192.0.2.2/32", policy.TickForever, 0, 0))
	attach(t, second, "two0", ModeNative, 0)
	check(t, second.Close())

	l := open(t, dir, 200)
	if !l.Reused() {
		t.Fatal("the newer generation was not taken over")
	}
	expectNodes(t, l, policy.Block, block("192.0.2.2/32", policy.TickForever, 0, 0))
	attach(t, l, "two0", ModeNative, 0)
	check(t, l.Commit())
	if _, err := os.Stat(filepath.Join(dir, "gen-1")); err != nil {
		t.Errorf("the generation of two1 is gone: %v", err)
	}
	attach(t, l, "two1", ModeNative, 1)
	check(t, l.Commit())
	if _, err := os.Stat(filepath.Join(dir, "gen-1")); !os.IsNotExist(err) {
		t.Errorf("gen-1 is still there: %v", err)
	}
}
