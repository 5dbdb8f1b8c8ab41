package policy

import (
	"fmt"
	"testing"
)

func TestParseRate(t *testing.T) {
	for _, tt := range []struct {
		in, out string
		want    Rate
	}{
		{"200/s", "200/s", Rate{200, Packets}},
		{"1/s", "1/s", Rate{1, Packets}},
		{"50k/s", "50000/s", Rate{50_000, Packets}},
		{"50K/s", "50000/s", Rate{50_000, Packets}},
		{"1000M/s", "1000000000/s", Rate{1_000_000_000, Packets}},
		{"10Mbit/s", "10Mbit/s", Rate{1_250_000, Bytes}},
		{"8bit/s", "8bit/s", Rate{1, Bytes}},
		{"64kbit/s", "64kbit/s", Rate{8000, Bytes}},
		{"64Kbit/s", "64kbit/s", Rate{8000, Bytes}},
		{"100Gbit/s", "100Gbit/s", Rate{12_500_000_000, Bytes}},
		{"1MB/s", "8Mbit/s", Rate{1_000_000, Bytes}},
		{"1kB/s", "8kbit/s", Rate{1000, Bytes}},
		{"3B/s", "24bit/s", Rate{3, Bytes}},
		{"1GB/s", "8Gbit/s", Rate{1_000_000_000, Bytes}},
	} {
		got, err := ParseRate(tt.in)
		if err != nil || got != tt.want || got.String() != tt.out {
			t.Errorf("ParseRate(%q) = %#v, %v, written %q; want %#v, written %q", tt.in, got, err, got, tt.want, tt.out)
		}
		if again, err := ParseRate(got.String()); err != nil || again != got {
			t.Errorf("ParseRate(%q) = %#v, %v; it was written by String of %#v", got.String(), again, err, got)
		}
	}
}

func TestParseRateErrors(t *testing.T) {
	const form = "want packets a second, as in 200/s or 50k/s, or bits or bytes a second, as in 10Mbit/s or 1MB/s"
	for in, want := range map[string]string{
		"":                         form,
		"200":                      form,
		"/s":                       form,
		"-1/s":                     form,
		"200/m":                    form,
		"200 /s":                   form,
		"1.5Mbit/s":                form,
		"10Mb/s":                   form, // bits or bytes?
		"10mbit/s":                 form,
		"G/s":                      form,
		"0/s":                      "must be positive",
		"0Mbit/s":                  "must be positive",
		"9bit/s":                   "does not come to whole bytes a second; want a multiple of 8 bits",
		"1000000001/s":             "more than 1000000000/s",
		"101Gbit/s":                "more than 100Gbit/s",
		"18446744073709551616/s":   "more than 1000000000/s",
		"18446744073709551615GB/s": "more than 100Gbit/s",
	} {
		_, err := ParseRate(in)
		if want := fmt.Sprintf("rate %q: %s", in, want); fmt.Sprint(err) != want {
			t.Errorf("ParseRate(%q): %v; want %s", in, err, want)
		}
	}
}

func TestRateCheck(t *testing.T) {
	for _, r := range []Rate{{}, {1, 0}, {1, 3}, {0, Packets}, {MaxPacketRate + 1, Packets}, {MaxByteRate + 1, Bytes}} {
		if r.Check() == nil {
			t.Errorf("Check accepts %#v", r)
		}
	}
}
