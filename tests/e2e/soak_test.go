package e2e

import (
	"bufio"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"

	"github.com/paraxial/paraxial/control"
)

// soakTime is how long each of the two parts lasts: PARAXIAL_SOAK, such as 15m, or
// what is enough for a test that runs with all others.
func soakTime(t *testing.T) time.Duration {
	t.Helper()
	text := os.Getenv("PARAXIAL_SOAK")
	if text == "" {
		return 6 * time.Second
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatalf("PARAXIAL_SOAK: %v", err)
	}
	return d
}

// Everything happens to a daemon, in no order: changes, imports, entries that
// expire, reloads, an interface that goes down and up, and, in the first part, ends
// and kills. A blocked source sends all along. In the second part the daemon lives
// on, so that what it does not give back would show.
func TestSoak(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	h := newHost(t)
	s := h.serve()
	h.start()
	const blocked = "203.0.113.99"
	h.ctl(0, "block", blocked)
	random := rand.New(rand.NewPCG(seed, 0))
	k := &soak{host: h, rand: random, ledger: &ledger{rand: random, blocks: map[string]bool{blocked + "/32": true}}}

	stop := h.sendAllAlong(blocked)
	events := k.run(soakTime(t), k.change, k.change, k.reload, k.flap, k.expire, k.killed, k.restarted)
	k.sameEverywhere()
	k.warmUp()
	before := k.holds()
	events += k.run(soakTime(t), k.change, k.reload, k.flap, k.expire)
	k.warmUp()
	after := k.holds()
	k.sameEverywhere()
	sent := stop()
	s.Settle(1<<62, 200*time.Millisecond)
	if n := s.Sources()[netip.MustParseAddr(blocked)]; n > 0 {
		t.Errorf("%d of %d packets of the blocked source got through", n, sent)
	}
	t.Logf("%d events; %d packets of the blocked source, 0 through; before %+v, after %+v", events, sent, before, after)
	const slack = 24 << 10 // KiB; the runtime gives memory back when it sees fit
	if after.resident > before.resident+slack {
		t.Errorf("%d KiB are resident, and %d were before", after.resident, before.resident)
	}
	// Drop counters come in segments, and freed ones rest a while: of the two lists
	// that an import has for a moment, and as many at rest, there are no more.
	const segments = 4
	grown := after.pins - before.pins
	if grown < -segments || grown > segments {
		t.Errorf("%d pins, and %d were before", after.pins, before.pins)
	}
	after.pins -= grown
	after.descriptors["anon_inode:bpf-map"] -= grown
	before.resident, after.resident = 0, 0
	if diff := cmp.Diff(before, after, cmp.AllowUnexported(holding{})); diff != "" {
		t.Errorf("what the daemon holds (-before +after):\n%s", diff)
	}
}

type soak struct {
	*host
	rand   *rand.Rand
	ledger *ledger
}

// run has things happen until the time is over, and returns how many did.
func (k *soak) run(d time.Duration, things ...func()) (n int) {
	k.Helper()
	for end := time.Now().Add(d); time.Now().Before(end) && !k.Failed(); n++ {
		things[k.rand.IntN(len(things))]()
	}
	return n
}

func (k *soak) killed() {
	k.ledger.changeUntilKilled(k.host)
	k.start()
	k.ledger.check(k.host)
}

func (k *soak) restarted() {
	if err := k.host.run.Stop(k.Context()); err != nil {
		k.Fatal(err)
	}
	k.start()
	k.ledger.check(k.host)
}

// change blocks, unblocks or imports, and waits for the answer.
func (k *soak) change() {
	k.Helper()
	if k.rand.IntN(4) == 0 {
		list := k.ledger.newList()
		_, err := k.client().Import(k.Context(), control.ImportRequest{Origin: listOrigin}, strings.NewReader(strings.Join(list, "\n")), func(control.ImportProgress) {})
		if err != nil {
			k.Fatal(err)
		}
		k.ledger.list = list
		return
	}
	for range 1 + k.rand.IntN(20) {
		p := fmt.Sprintf("198.18.0.%d/32", k.rand.IntN(256))
		put := k.rand.IntN(3) > 0
		var err error
		if put {
			_, err = k.client().Block(k.Context(), control.BlockRequest{Prefixes: []string{p}, Origin: "cli"})
		} else {
			_, err = k.client().Unblock(k.Context(), control.UnblockRequest{Prefixes: []string{p}, Origin: "cli"})
		}
		if err != nil {
			k.Fatal(err)
		}
		k.ledger.blocks[p] = put
	}
}

// expire allows what ends soon.
func (k *soak) expire() {
	k.Helper()
	for range 5 {
		k.ctl(0, "allow", fmt.Sprintf("198.19.%d.0/24", k.rand.IntN(256)), "--for", fmt.Sprintf("%ds", 1+k.rand.IntN(2)))
	}
}

func (k *soak) reload() {
	if err := k.host.run.Signal(syscall.SIGHUP); err != nil {
		k.Fatal(err)
	}
}

func (k *soak) flap() {
	link, err := netlink.LinkByName(interfaceName)
	if err != nil {
		k.Fatal(err)
	}
	if err := netlink.LinkSetDown(link); err != nil {
		k.Fatal(err)
	}
	time.Sleep(time.Duration(k.rand.IntN(100)) * time.Millisecond)
	if err := netlink.LinkSetUp(link); err != nil {
		k.Fatal(err)
	}
}

// warmUp brings the daemon to the same state each time: one list, and nothing that
// expires.
func (k *soak) warmUp() {
	k.Helper()
	list := make([]string, 40_000)
	for i := range list {
		list[i] = fmt.Sprintf("100.64.%d.%d/32", i>>8, i&255)
	}
	slices.Sort(list)
	if _, err := k.client().Import(k.Context(), control.ImportRequest{Origin: listOrigin}, strings.NewReader(strings.Join(list, "\n")), func(control.ImportProgress) {}); err != nil {
		k.Fatal(err)
	}
	k.ledger.list = list
	const expired = 4 * time.Second
	time.Sleep(expired)
	k.ledger.check(k.host)
}

// holding is what a daemon has of the machine.
type holding struct {
	resident    int            // KiB, its own
	descriptors map[string]int // by what they are of
	pins        int
}

func (k *soak) holds() (h holding) {
	k.Helper()
	h.descriptors = make(map[string]int)
	dir := fmt.Sprintf("/proc/%d", k.host.run.PID())
	fds, err := os.ReadDir(dir + "/fd")
	if err != nil {
		k.Fatal(err)
	}
	for _, fd := range fds {
		if to, err := os.Readlink(dir + "/fd/" + fd.Name()); err == nil {
			kind, _, _ := strings.Cut(to, ":[") // sockets and pipes have numbers
			if !strings.HasPrefix(kind, "socket") {
				h.descriptors[kind]++ // connections come and go
			}
		}
	}
	status, err := os.Open(dir + "/status")
	if err != nil {
		k.Fatal(err)
	}
	defer status.Close()
	for lines := bufio.NewScanner(status); lines.Scan(); {
		if f := strings.Fields(lines.Text()); len(f) > 1 && f[0] == "RssAnon:" {
			h.resident, _ = strconv.Atoi(f[1])
		}
	}
	err = filepath.WalkDir(k.daemon.BPFFS, func(_ string, _ fs.DirEntry, err error) error {
		h.pins++
		return err
	})
	if err != nil {
		k.Fatal(err)
	}
	return h
}

// sameEverywhere compares what the daemon says it blocks, what the tries have, and
// what the program decides, with what was acknowledged.
func (k *soak) sameEverywhere() {
	k.Helper()
	k.ledger.check(k.host)
	want := make(map[netip.Prefix]bool)
	err := k.client().Entries(k.Context(), "block", "", func(e control.Entry) error {
		want[netip.MustParsePrefix(e.Prefix)] = true
		return nil
	})
	if err != nil {
		k.Fatal(err)
	}
	got := k.trie("block_v4")
	for p := range got {
		if !want[p] {
			k.Errorf("the trie has %s, which is not on the list", p)
		}
	}
	if len(got) != len(want) {
		k.Errorf("the trie has %d prefixes, and the list %d", len(got), len(want))
	}
}

// trie reads a pinned one.
func (k *soak) trie(name string) map[netip.Prefix]bool {
	k.Helper()
	dirs, err := filepath.Glob(filepath.Join(k.daemon.BPFFS, "gen-*", name))
	if err != nil || len(dirs) != 1 {
		k.Fatalf("there are the tries %v, and one should be: %v", dirs, err)
	}
	m, err := ebpf.LoadPinnedMap(dirs[0], nil)
	if err != nil {
		k.Fatal(err)
	}
	defer m.Close()
	all := make(map[netip.Prefix]bool)
	var key struct {
		Bits uint32
		Addr [4]byte
	}
	value := make([]byte, m.ValueSize())
	entries := m.Iterate()
	for entries.Next(&key, &value) {
		all[netip.PrefixFrom(netip.AddrFrom4(key.Addr), int(key.Bits))] = true
	}
	if err := entries.Err(); err != nil {
		k.Fatal(err)
	}
	return all
}
