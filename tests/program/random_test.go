package program_test

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/paraxial/paraxial/tests/lab/frame"
)

// randomCases returns the number of frames for each build: few in a short run, which is for
// emulated machines.
func randomCases() int {
	if testing.Short() {
		return 3000
	}
	return 110_000
}

// seedVariable is the environment variable that repeats a run.
const seedVariable = "PARAXIAL_SEED"

// mutator makes frames: noise, and damaged frames of the corpus.
type mutator struct {
	*rand.Rand
	corpus [][]byte
}

func newMutator(seed uint64) *mutator {
	m := &mutator{Rand: rand.New(rand.NewPCG(seed, 0))}
	for _, corpus := range corpora {
		for _, p := range corpus.packets {
			// In a fixed order, so that the seed alone determines the run.
			for _, source := range []reason{notListed, allowed, blocked, shadowed, limited, underLimit} {
				m.corpus = append(m.corpus, p.build(start(corpus.sources[source])))
			}
		}
	}
	return m
}

// addTunnels adds the frames of the corpus in tunnels, and the other way round.
func (m *mutator) addTunnels() {
	all := []reason{notListed, allowed, blocked, shadowed, limited, underLimit}
	for _, c := range tunnelCases {
		m.corpus = append(m.corpus, c.build(start(sourcesV4[notListed]), start(sourcesV6[notListed])))
	}
	for _, outer := range outers {
		for _, in := range inners {
			for _, tunnel := range tunnelsOf(in.isIP) {
				for _, source := range all {
					m.corpus = append(m.corpus, tunnel.wrap(outer.of(all[m.IntN(len(all))]), in.of(source)),
						tunnel.wrap(outer.of(notListed), in.of(source)))
				}
			}
		}
	}
}

func (m *mutator) noise(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(m.Uint32())
	}
	return b
}

// frame returns the next frame, of at least the 14 bytes that the kernel requires.
func (m *mutator) frame() []byte {
	if m.IntN(10) == 0 {
		b := m.noise(14 + m.IntN(120))
		types := []uint16{frame.IPv4, frame.IPv6, frame.Dot1Q, frame.Dot1AD, frame.ARP, frame.PPPoE, frame.MPLS,
			frame.QinQ1, frame.QinQ2, 46}
		binary.BigEndian.PutUint16(b[12:], types[m.IntN(len(types))])
		return b
	}
	b := slices.Clone(m.corpus[m.IntN(len(m.corpus))])
	for range m.IntN(4) {
		b = m.damage(b)
	}
	return b
}

func (m *mutator) damage(b []byte) []byte {
	headers := min(len(b), 110)
	switch m.IntN(6) {
	case 0: // flip one bit
		b[m.IntN(headers)] ^= 1 << m.IntN(8)
	case 1: // set one byte, often to a boundary value or to a known protocol
		values := []byte{0, 1, 4, 6, 17, 33, 43, 44, 45, 51, 59, 60, 64, 127, 128, 132, 136, 255, byte(m.Uint32())}
		b[m.IntN(headers)] = values[m.IntN(len(values))]
	case 2: // truncate
		b = b[:14+m.IntN(len(b)-13)]
	case 3: // lengthen
		b = append(b, m.noise(m.IntN(64))...)
	case 4: // repeat or remove a part
		i, j := 12+m.IntN(headers-12), 12+m.IntN(headers-12)
		b = append(slices.Clone(b[:i]), b[j:]...)
	case 5: // set the source of another list
		if len(b) >= 14+40 {
			sources := []string{
				sourcesV4[blocked], sourcesV4[shadowed], sourcesV4[limited],
				sourcesV6[blocked], sourcesV6[shadowed], sourcesV6[underLimit],
			}
			a := netip.MustParseAddr(sources[m.IntN(len(sources))])
			copy(b[14+map[bool]int{true: 12, false: 8}[a.Is4()]:], a.AsSlice())
		}
	}
	for len(b) < 14 {
		b = append(b, 0)
	}
	return b
}

// listed returns the verdict of listSources on a source.
func listed(a netip.Addr) reason {
	for r, sources := range map[reason][2]netip.Prefix{
		allowed:    {netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8:a::/48")},
		blocked:    {netip.MustParsePrefix("198.51.100.0/24"), netip.MustParsePrefix("2001:db8:b::/48")},
		shadowed:   {netip.MustParsePrefix("203.0.113.0/24"), netip.MustParsePrefix("2001:db8:5::/48")},
		limited:    {netip.MustParsePrefix("192.88.99.0/24"), netip.MustParsePrefix("2001:db8:c::/48")},
		underLimit: {netip.MustParsePrefix("198.18.0.0/15"), netip.MustParsePrefix("2001:db8:d::/48")},
	} {
		if sources[0].Contains(a) || sources[1].Contains(a) {
			return r
		}
	}
	return notListed
}

// seedOf returns the seed of the run, for repetition.
func seedOf(t *testing.T) uint64 {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv(seedVariable); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatalf("%s: %v", seedVariable, err)
		}
	}
	t.Logf("%s=%d", seedVariable, seed)
	return seed
}

// For random packets the program and the reference agree on the action, the one counter that
// changes, and the event.
func TestAgreesWithReference(t *testing.T) {
	seed := seedOf(t)
	eachBuild(t, func(t *testing.T, f *filter) {
		f.checkAgreement(t, seed, newMutator(seed), func(b []byte) (reason, []byte) { return judge(b, listed), b },
			notListed, allowed, blocked, shadowed, notIP, malformed, limited, underLimit, vlanExcess, mplsExcess,
			essential)
	})
}

// The same for a program that looks into tunnels.
func TestAgreesWithReferenceInTunnels(t *testing.T) {
	seed := seedOf(t)
	eachTunnelBuild(t, func(t *testing.T, f *filter) {
		m := newMutator(seed)
		m.corpus = m.corpus[:0]
		m.addTunnels()
		f.checkAgreement(t, seed, m, func(b []byte) (reason, []byte) { return judgeTunnels(b, listed) },
			notListed, allowed, blocked, shadowed, malformed, limited, underLimit, tunnelHidden)
	})
}

// checkAgreement compares the program with a reference, which returns the reason for a frame and the
// frame that an event describes. Each of the given reasons must occur.
func (f *filter) checkAgreement(t *testing.T, seed uint64, m *mutator, reference func([]byte) (reason, []byte),
	reasons ...reason) {
	t.Helper()
	f.listSources()
	f.setCredit(1 << 40)
	f.setEssential(anyRate)
	var totals [reasonsRead]counter
	for i := range randomCases() {
		b := m.frame()
		want, seen := reference(b)
		if (want == blocked || want == limited) && needed(seen) {
			want = essential
		}
		totals[want].Packets++
		totals[want].Bytes += uint64(len(b))
		if got := f.run(b); got != want.action() {
			t.Fatalf("seed %d, case %d: action %d, want %d (%s) for %x", seed, i, got, want.action(), want, b)
		}
		if got := f.readCounter(testSlot<<reasonBits | uint32(want)); got != totals[want] {
			t.Fatalf("seed %d, case %d: counter of %s is %+v, want %+v, after %x", seed, i, want, got, totals[want], b)
		}
		var events []event
		if want.reported() {
			e := describe(seen, want)
			e.Length = uint32(len(b))
			events = []event{e}
		}
		if got := f.takeEvents(); !slices.Equal(got, events) {
			t.Fatalf("seed %d, case %d: events (-want +got):\n%sfor %x", seed, i, cmp.Diff(events, got, equateAddr), b)
		}
	}
	if got := f.slotCounters(); got != totals {
		t.Errorf("seed %d: counters at the end (-want +got):\n%s", seed, cmp.Diff(totals, got))
	}
	for _, r := range reasons {
		t.Logf("%s: %d", r, totals[r].Packets)
		if int(totals[r].Packets) < randomCases()/1000 {
			t.Errorf("only %d of %d frames were %s: the mutations test too little", totals[r].Packets, randomCases(), r)
		}
	}
}
