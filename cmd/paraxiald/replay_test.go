package main

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"github.com/paraxial/paraxial/tests/lab/frame"
)

// writeFlood writes a capture of a second of 1000 SYNs.
func writeFlood(t *testing.T, path string) {
	t.Helper()
	var b bytes.Buffer
	w := pcapgo.NewWriter(&b)
	if err := w.WriteFileHeader(65535, layers.LinkTypeEthernet); err != nil {
		t.Fatal(err)
	}
	f := frame.IP(netip.MustParseAddr("203.0.113.7"), netip.MustParseAddr("198.51.100.80")).TCP(1, 443, 2, nil)
	for n := range 1000 {
		at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC).Add(time.Duration(n) * time.Millisecond)
		if err := w.WritePacket(gopacket.CaptureInfo{Timestamp: at, CaptureLength: len(f), Length: len(f)},
			f); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestReplay(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	writeFlood(t, "flood.pcap")
	whole, err := os.ReadFile("flood.pcap")
	if err != nil {
		t.Fatal(err)
	}
	detectors := "detectors:\n- {name: syn, match: {proto: tcp, flags: syn}, limit: 100/s, window: 2s, action: block}\n"
	for name, text := range map[string]string{
		"cut.pcap":   string(whole[:len(whole)-10]),
		"text.pcap":  "not a capture",
		"c.yaml":     detectors,
		"none.yaml":  "interfaces: [eth0]\n",
		"proxy.yaml": detectors + "proxies: [203.0.113.0/24]\n",
		"never.yaml": detectors + "guard: {never_block: [203.0.113.7]}\n",
		"bad.yaml":   "detectors:\n- {name: syn}\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const row = "2026-03-01T12:00:00.250Z  block     203.0.113.7/32  syn       10m  1000/s, limit 100/s over 2s; to " +
		"port 443"
	for _, tc := range []struct {
		args           string
		code           int
		stdout, stderr string
	}{
		{"replay flood.pcap --config c.yaml", 0, row, ""},
		{"replay --config=c.yaml flood.pcap", 0, row, ""},
		{"--config c.yaml replay flood.pcap", 0, "1000 packets in 999ms, from 2026-03-01T12:00:00.000Z: ", ""},
		{"replay flood.pcap --config c.yaml -o json", 0, `"prefix": "203.0.113.7/32",`, ""},
		{"replay flood.pcap --config c.yaml --local 203.0.113.0/24", 0,
			"Nothing would have been decided.\n\n1000 packets", ""},
		{"replay flood.pcap --config proxy.yaml", 0,
			"left alone: 203.0.113.7/32, by syn, because 203.0.113.0/24 is listed in proxies: ", ""},
		{"replay flood.pcap --config never.yaml", 0, "listed in guard.never_block", ""},
		{"replay cut.pcap --config c.yaml", 1, row, "replay: cut.pcap: cut short at byte "},
		{"replay text.pcap --config c.yaml", 1, "",
			"replay: text.pcap: not a capture; want a file in pcap or pcapng format"},
		{"replay none.pcap --config c.yaml", 1, "", "none.pcap: no such file"},
		{"replay flood.pcap --config none.yaml", 1, "", "no detectors in none.yaml"},
		{"replay flood.pcap --config bad.yaml", 1, "", "bad.yaml:2:3: detectors: "},
		{"replay --config c.yaml", 2, "", "name a capture"},
		{"replay flood.pcap more.pcap --config c.yaml", 2, "", `"more.pcap"`},
		{"replay flood.pcap --config c.yaml -o xml", 2, "", `"xml"`},
		{"replay flood.pcap --local nowhere", 2, "", "nowhere"},
		{"replay flood.pcap --nonsense", 2, "", "nonsense"},
		{"replay --help", 0, "tcpdump -Q in", ""},
		{"--help", 0, "replay FILE.pcap", ""},
	} {
		var stdout, stderr bytes.Buffer
		code := run(t.Context(), append([]string{"paraxiald"}, strings.Fields(tc.args)...), &stdout, &stderr)
		if code != tc.code || !strings.Contains(stdout.String(), tc.stdout) ||
			!strings.Contains(stderr.String(), tc.stderr) {
			t.Errorf("paraxiald %s: exit code %d, want %d\nstdout: %s\nwant: %s\nstderr: %s\nwant: %s",
				tc.args, code, tc.code, &stdout, tc.stdout, &stderr, tc.stderr)
		}
		if strings.HasSuffix(tc.args, "-o json") && !json.Valid(stdout.Bytes()) {
			t.Errorf("paraxiald %s: not JSON:\n%s", tc.args, &stdout)
		}
	}
}
