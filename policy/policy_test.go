package policy_test

import (
	"fmt"
	"math"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/paraxial/paraxial/policy"
)

func TestParsePrefix(t *testing.T) {
	for _, tc := range []struct {
		in, want string
		masked   bool
		err      string
	}{
		{in: "192.0.2.1", want: "192.0.2.1/32"},
		{in: "192.0.2.0/24", want: "192.0.2.0/24"},
		{in: "192.0.2.7/24", want: "192.0.2.0/24", masked: true},
		{in: "0.0.0.0/0", want: "0.0.0.0/0"},
		{in: "2001:db8::1", want: "2001:db8::1/128"},
		{in: "2001:DB8::/32", want: "2001:db8::/32"},
		{in: "2001:db8::1/64", want: "2001:db8::/64", masked: true},
		{in: "::ffff:192.0.2.1", want: "192.0.2.1/32"},
		{in: "::ffff:192.0.2.0/120", want: "192.0.2.0/24"},
		{in: "::ffff:c000:207/120", want: "192.0.2.0/24", masked: true},
		{in: "::ffff:0:0/96", want: "0.0.0.0/0"},
		{in: "::ffff:0:0/95", err: "covers more than the IPv4-mapped addresses"},
		{in: "192.0.2.1/33", err: "the length must be a number from 0 to 32"},
		{in: "2001:db8::/129", err: "the length must be a number from 0 to 128"},
		{in: "192.0.2.1/", err: "the length must be a number"},
		{in: "192.0.2.1/-1", err: "the length must be a number"},
		{in: "192.0.2.1/+8", err: "the length must be a number"},
		{in: "192.0.2.1/08", err: "the length must be a number"},
		{in: "192.0.2.1/8/8", err: "the length must be a number"},
		{in: "192.0.2.1/99999999999999999999", err: "the length must be a number"},
		{in: "fe80::1%eth0", err: `has a zone; leave out "%eth0"`},
		{in: "fe80::1%eth0/64", err: "has a zone"},
		{in: "", err: `"" is not an IPv4 or IPv6 address`},
		{in: "192.0.2", err: "is not an IPv4 or IPv6 address"},
		{in: "192.0.2.256", err: "is not an IPv4 or IPv6 address"},
		{in: "192.0.02.1", err: "is not an IPv4 or IPv6 address"},
		{in: "example.com", err: `"example.com" is not an IPv4 or IPv6 address`},
		{in: "\x00\x1b[31m", err: `"\x00\x1b[31m" is not`},
		{in: strings.Repeat("9", 4000), err: `"... is not`},
	} {
		got, masked, err := policy.ParsePrefix(tc.in)
		if tc.err != "" {
			if err == nil || !strings.Contains(err.Error(), tc.err) || len(err.Error()) > 200 {
				t.Errorf("%.50q: error %v, want one with %q", tc.in, err, tc.err)
			}
			continue
		}
		if err != nil || got.String() != tc.want || masked != tc.masked {
			t.Errorf("%q: %s, masked %t, %v; want %s, masked %t", tc.in, got, masked, err, tc.want, tc.masked)
		}
	}
}

func TestParseTTL(t *testing.T) {
	const day = 24 * time.Hour
	for _, tc := range []struct {
		in     string
		want   time.Duration
		format string
		err    string
	}{
		{in: "90s", want: 90 * time.Second, format: "1m30s"},
		{in: "1h30m", want: 90 * time.Minute, format: "1h30m"},
		{in: "7d", want: 7 * day, format: "1w"},
		{in: "2w", want: 14 * day, format: "2w"},
		{in: "1d1s", want: day + time.Second, format: "1d"},
		{in: "forever", want: policy.TTLForever, format: "forever"},
		{in: "3650d", want: 3650 * day, format: "521w3d"},
		{in: "0s", err: "must be positive"},
		{in: "-1h", err: "must be positive"},
		{in: "", err: "want a number with a unit"},
		{in: "10", err: "want a number with a unit"},
		{in: "10y", err: "want a number with a unit"},
		{in: "1.5h", err: "want a number with a unit"},
		{in: "h", err: "want a number with a unit"},
		{in: "3651d", err: "use forever"},
		{in: "99999999999999999999s", err: "use forever"},
		{in: "3650d3650d", err: "use forever"},
		{in: "1 h", err: "want a number with a unit"},
	} {
		got, err := policy.ParseTTL(tc.in)
		if tc.err != "" {
			if err == nil || !strings.Contains(err.Error(), tc.err) {
				t.Errorf("%q: error %v, want one with %q", tc.in, err, tc.err)
			}
			continue
		}
		if err != nil || got != tc.want || policy.FormatTTL(got) != tc.format {
			t.Errorf("%q: %d, %v, written %s; want %d, %s", tc.in, got, err, policy.FormatTTL(got), tc.want, tc.format)
		}
	}
}

func TestTicks(t *testing.T) {
	const quantum = policy.Deadline(1 << policy.TickShift)
	for _, tc := range []struct {
		deadline policy.Deadline
		want     policy.Tick
	}{
		{policy.Forever, policy.TickForever},
		{policy.Forever - 1, policy.TickForever},
		{-5, 1},
		{0, 1},
		{1, 1},
		{quantum, 1},
		{quantum + 1, 2},
		{10 * quantum, 10},
	} {
		if got := tc.deadline.Tick(); got != tc.want {
			t.Errorf("deadline %d: tick %d, want %d", tc.deadline, got, tc.want)
		}
	}
	// An entry never ends early, and ends less than a quantum late.
	for _, d := range []policy.Deadline{1, 5 * quantum / 2, 7*quantum - 1, 7 * quantum, 7*quantum + 1} {
		e := policy.Entry{Deadline: d}
		if !e.Live(d-1) || e.Live(d+quantum) {
			t.Errorf("deadline %d: live just before %t, live a quantum later %t", d, e.Live(d-1), e.Live(d+quantum))
		}
	}
	if got := policy.After(math.MaxInt64-10, time.Hour); got != policy.Forever {
		t.Errorf("a deadline beyond the end of time is %d, want Forever", got)
	}
}

func TestReadList(t *testing.T) {
	list := "\ufeff# comment\r\n\n192.0.2.1\t# 10\r\n 198.51.100.0/24 ; SBL1\nnonsense\n203.0.113.9/24,\n" +
		strings.Repeat("1", 5000) + "\n192.0.2.0 255.255.255.0\n192.0.2.1,192.0.2.2\n192.0.2.1 - 192.0.2.9\n" +
		"192.0.2.1\r192.0.2.2\r\n192.0.2.1\t10\n::1 # last line has no end"
	type line struct {
		Number int
		Prefix string
		Masked bool
		Bad    bool
	}
	var got []line
	err := policy.ReadList(strings.NewReader(list), func(l policy.ListLine) bool {
		got = append(got, line{l.Number, l.Prefix.String(), l.Masked, l.Err != nil})
		return true
	})
	invalid := netip.Prefix{}.String()
	want := []line{
		{3, "192.0.2.1/32", false, false},
		{4, "198.51.100.0/24", false, false},
		{5, invalid, false, true},
		{6, "203.0.113.0/24", true, false},
		{7, invalid, false, true},
		{8, invalid, false, true},
		{9, invalid, false, true},
		{10, invalid, false, true},
		{11, invalid, false, true},
		{12, invalid, false, true},
		{13, "::1/128", false, false},
	}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("error %v, lines (-want +got):\n%s", err, diff)
	}
}

// TestReadDetailedList: a line may tell its lifetime and reason; ReadList reads no such line.
func TestReadDetailedList(t *testing.T) {
	for _, tt := range []struct{ line, want string }{
		{"192.0.2.1", "192.0.2.1/32 0s \"\""},
		{"192.0.2.1 # for=1h reason=x", "192.0.2.1/32 0s \"\""},
		{"192.0.2.1 for=3600s", "192.0.2.1/32 1h0m0s \"\""},
		{"192.0.2.1 for=forever", "192.0.2.1/32 2562047h47m16.854775807s \"\""},
		{"2001:db8::/32 for=2w reason=a+%23+b%3B%2C%25+%C3%BC # c", "2001:db8::/32 336h0m0s \"a # b;,% ü\""},
		{"192.0.2.1 reason=x for=1s", "192.0.2.1/32 1s \"x\""},
		{"192.0.2.1 for=0s", "duration"}, {"192.0.2.1 for=60", "duration"}, {"192.0.2.1 for=11w for=1s", "follows"},
		{"192.0.2.1 for=11y", "duration"}, {"192.0.2.1 reason=%zz", "escape"}, {"192.0.2.1 reason=a%0Ab", "control"},
		{"192.0.2.1 reason=a reason=b", "follows"}, {"192.0.2.1 192.0.2.2", "follows"}, {"192.0.2.1 FOR=1s", "follows"},
		{"for=1s 192.0.2.1", "address"},
	} {
		read := 0
		err := policy.ReadDetailedList(strings.NewReader(tt.line), func(l policy.ListLine) bool {
			read++
			got := fmt.Sprintf("%s %s %q", l.Prefix, l.For, l.Reason)
			if l.Err != nil && !strings.Contains(l.Err.Error(), tt.want) || l.Err == nil && got != tt.want {
				t.Errorf("%s: got %s, error %v; want %s", tt.line, got, l.Err, tt.want)
			}
			return true
		})
		if err != nil || read != 1 {
			t.Errorf("%s: %d lines, error %v", tt.line, read, err)
		}
	}
	for _, line := range []string{"192.0.2.1 for=1h", "192.0.2.1 reason=x"} {
		err := policy.ReadList(strings.NewReader(line), func(l policy.ListLine) bool {
			if l.Err == nil {
				t.Errorf("ReadList reads %q as %+v", line, l)
			}
			return true
		})
		if err != nil {
			t.Error(err)
		}
	}
}

func FuzzReadList(f *testing.F) {
	f.Add([]byte("192.0.2.1\n# x\n2001:db8::/32 5\nfoo\n"))
	f.Add([]byte("\x00\xff\n/\n::ffff:1.2.3.4/96"))
	f.Add([]byte("192.0.2.1 for=90s reason=a+b%23\n::1 reason=x for=forever"))
	f.Fuzz(func(t *testing.T, data []byte) {
		last := 0
		err := policy.ReadDetailedList(strings.NewReader(string(data)), func(l policy.ListLine) bool {
			if l.Number <= last {
				t.Fatalf("line %d after line %d", l.Number, last)
			}
			last = l.Number
			if (l.Err == nil) == (l.Prefix == netip.Prefix{}) {
				t.Fatalf("line %d: prefix %v and error %v", l.Number, l.Prefix, l.Err)
			}
			if l.Err == nil && (l.Prefix != l.Prefix.Masked() || l.Prefix.Addr().Is4In6()) {
				t.Fatalf("line %d: %v is not masked and unmapped", l.Number, l.Prefix)
			}
			if l.Err == nil && (l.For < 0 || policy.ValidReason(l.Reason) != nil) {
				t.Fatalf("line %d: lifetime %s, reason %q", l.Number, l.For, l.Reason)
			}
			return true
		})
		if err != nil {
			t.Fatal(err)
		}
	})
}

func TestGuard(t *testing.T) {
	g := policy.NewGuard([]policy.Protected{
		{Prefix: netip.MustParsePrefix("203.0.113.5/32"), What: "an address of eth0"},
		{Prefix: netip.MustParsePrefix("203.0.113.1/32"), What: "the gateway of eth0"},
		{Prefix: netip.MustParsePrefix("198.51.100.0/24"), What: "in never_block"},
		{Prefix: netip.MustParsePrefix("::ffff:192.0.2.9/128"), What: "the peer of an SSH session"},
	})
	for _, tc := range []struct{ prefix, refusal string }{
		{"8.8.8.8/32", ""},
		{"203.0.113.6/32", ""},
		{"203.0.113.5/32", "203.0.113.5/32 covers 203.0.113.5, an address of eth0"},
		{"203.0.113.0/24", "203.0.113.0/24 covers 203.0.113.1, the gateway of eth0, and 1 more that must not be " +
			"blocked"},
		{"198.51.100.7/32", "198.51.100.7/32 is part of 198.51.100.0/24, in never_block"},
		{"192.0.2.8/31", "192.0.2.8/31 covers 192.0.2.9, the peer of an SSH session"},
		{"127.0.0.1/32", "127.0.0.1/32 is part of 127.0.0.0/8, loopback"},
		{"127.0.0.0/8", "127.0.0.0/8 covers 127.0.0.0/8, loopback"},
		{"10.0.0.0/8", ""},
		{"10.0.0.0/7", "10.0.0.0/7 is wider than /8"},
		{"0.0.0.0/0", "0.0.0.0/0 is wider than /8"},
		{"2001:db8::/16", ""},
		{"2000::/15", "2000::/15 is wider than /16"},
		{"fe80::1/128", "fe80::1/128 is part of fe80::/10, link-local, which IPv6 neighbour discovery needs"},
		{"::1/128", "::1/128 covers ::1, loopback"},
		{"169.254.169.254/32", "169.254.169.254/32 covers 169.254.169.254, the cloud metadata service"},
		{"0.0.0.0/8", "0.0.0.0/8 covers 0.0.0.0, the unspecified address, from which DHCP clients ask"},
		{"::/64", "::/64 covers ::, the unspecified address, which duplicate address detection needs, " +
			"and 1 more that must not be blocked"},
		{"240.0.0.0/8", ""},
		{"255.0.0.0/8", "255.0.0.0/8 covers 255.255.255.255, the broadcast address"},
		{"224.0.0.0/8", "224.0.0.0/8 is part of 224.0.0.0/4, multicast"},
		{"ff02::/16", "ff02::/16 is part of ff00::/8, multicast, which IPv6 neighbour discovery needs"},
		{"168.63.0.0/16", ""}, // the test's host is in no cloud
		{"168.63.129.16/32", "168.63.129.16/32 covers 168.63.129.16, the DHCP, DNS and health service of Azure"},
		{"100.64.0.0/10", ""},
		{"100.100.100.200/32", "100.100.100.200/32 covers 100.100.100.200, the metadata service of Alibaba Cloud"},
		{"fd20:ce::/32", ""},
		{"fd20:ce::254/128", "fd20:ce::254/128 covers fd20:ce::254, the metadata service of Google Cloud"},
		{"169.254.169.123/32", "169.254.169.123/32 covers 169.254.169.123, the time service of AWS"},
		{"169.254.169.253/32", "169.254.169.253/32 covers 169.254.169.253, the DNS resolver of AWS"},
		{"fd00:ec2::254/128", "fd00:ec2::254/128 covers fd00:ec2::254, the metadata service of AWS"},
	} {
		p := netip.MustParsePrefix(tc.prefix).Masked()
		got := ""
		if r := g.Check(p); r != nil {
			got = r.Error()
		}
		if want := strings.Replace(tc.refusal, tc.prefix, p.String(), 1); got != want {
			t.Errorf("%s: %q, want %q", tc.prefix, got, want)
		}
	}
}

func TestValidOriginAndReason(t *testing.T) {
	for origin, ok := range map[string]bool{
		"cli": true, "ipsum-level3": true, "feed:spamhaus": true, "detector:syn-flood": true, "api:1000": true,
		"rule:login": true, "app:shop": true, "rule:": false, "app:a b": false,
		"": false, "feed:": false, "a b": false, "../x": false, "-x": false, "x\n": false, "other:x": false,
		strings.Repeat("x", 64): false,
	} {
		if err := policy.ValidOrigin(origin); (err == nil) != ok {
			t.Errorf("origin %q: %v", origin, err)
		}
	}
	for reason, ok := range map[string]bool{
		"": true, "scans ssh — again": true, "a\nb": false, "\x1b[2J": false, "\xff": false,
		strings.Repeat("x", 1025): false,

		"\u0085": false, "\u009b2J": false, // C1: next line, control sequence
		"\u202egnp": false, "\u2066x": false, "\u200f": false, "\u061c": false, // bidirectional
		"\U000E0041": false, "\U000E0001": false, "\ufeff": false, "\u00ad": false, // tags, invisible
		"\u2028": false, "\u2029": false,
		"a\u00a0b": true, "می\u200cخواهم": true, "👩\u200d💻\ufe0f": true, "日本": true,
	} {
		if err := policy.ValidReason(reason); (err == nil) != ok {
			t.Errorf("reason %.20q: %v", reason, err)
		}
	}
}
