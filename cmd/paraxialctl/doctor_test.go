package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/paraxial/paraxial/doctor"
	"github.com/paraxial/paraxial/doctor/probe"
)

// diagnose runs doctor on a host with the facts f.
func diagnose(t *testing.T, socket string, f doctor.Facts, args ...string) (outcome, probe.Options) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	var asked probe.Options
	code := run(t.Context(), append([]string{"doctor", "--socket", socket}, args...), environment{
		stdin: strings.NewReader(""), stdout: &stdout, stderr: &stderr,
		now: func() time.Time { return noon }, getenv: func(string) string { return "" },
		probe: func(o probe.Options) (doctor.Facts, error) {
			asked = o
			return f, nil
		},
	})
	return outcome{code, stdout.String(), stderr.String()}, asked
}

// healthy returns the facts of a host without problems. The fake daemon filters its
// eth0.
func healthy() doctor.Facts {
	return doctor.Facts{
		Host: doctor.Host{Release: "6.12.9", CPUs: 1, BTF: true,
			BPFFS: doctor.FileSystem{Asked: "/sys/fs/bpf/paraxial", Path: "/sys/fs/bpf", BPF: true}},
		Interfaces: []doctor.Interface{{
			Name: "eth0", Driver: "ice", MTU: 1500, Up: true, Carrier: true,
			Programs: []doctor.Program{{ID: 7, Mode: "native"}, {ID: 9, Mode: "generic", Name: "o\x1b[2Jther"}},
		}},
	}
}

func TestDoctor(t *testing.T) {
	got, asked := diagnose(t, serve(t, &fake{}), healthy())
	// The fake daemon cannot filter eth1.
	want := outcome{1, lines(
		"eth0 (ice): native mode",
		`  PROBLEM  XDP program 9 (o\x1b[2Jther) is attached in generic mode`,
		"           Paraxial never replaces a program that is not its own, so it cannot filter here.",
		"             bpftool prog show id 9  # what it is; stop the service it belongs to",
		"             ip link set dev eth0 xdpgeneric off  # if it was left behind",
		"  ok       filtered by program 7 in native mode",
		"  ok       it is up, with an MTU of 1500",
		"",
		"host",
		"  PROBLEM  eth1 is not filtered",
		"           occupied by program 9 (cilium)",
		"             journalctl -u paraxiald -n 50",
		"  ok       paraxiald 1.0.0 answers",
		"  ok       Linux 6.12.9 has XDP links and ring buffers",
		"  ok       a bpffs is at /sys/fs/bpf",
		"",
		"problems 2, warnings 0, notes 0",
	), ""}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if diff := cmp.Diff(probe.Options{Interfaces: []string{}, Filtered: []string{"eth0", "eth1"}, PID: 42,
		StateDir: "/var/lib/paraxial", BPFFS: "/sys/fs/bpf/paraxial"}, asked); diff != "" {
		t.Errorf("asked for (-want +got):\n%s", diff)
	}
}

// TestDoctorDirectory: doctor looks at the directory of the running daemon, unless another is named.
func TestDoctorDirectory(t *testing.T) {
	for _, tt := range []struct {
		daemon, want string
		args         []string
	}{
		{"", "/var/lib/paraxial", nil},
		{"/srv/state", "/srv/state", nil},
		{"/srv/state", "/other", []string{"--state-dir", "/other"}},
	} {
		_, asked := diagnose(t, serve(t, &fake{stateDir: tt.daemon}), healthy(), tt.args...)
		if asked.StateDir != tt.want {
			t.Errorf("daemon %q, %v: looked at %s, want %s", tt.daemon, tt.args, asked.StateDir, tt.want)
		}
	}
}

// TestDoctorOrder: the interface or host with the worst finding comes first.
func TestDoctorOrder(t *testing.T) {
	f := healthy()
	f.Interfaces = []doctor.Interface{
		{Name: "fit0", Driver: "ice", MTU: 1500, Up: true, Carrier: true},
		{Name: "down0", Driver: "ice", MTU: 1500},
		{Name: "tun0", Driver: "tun", LinkLayer: "none", MTU: 1500, Up: true, Carrier: true},
	}
	f.Host.BPFFS.BPF = false
	got, _ := diagnose(t, "/nonexistent", f)
	var order []string
	for line := range strings.Lines(got.Stdout) {
		if name, _, _ := strings.Cut(strings.TrimSpace(line), " "); !strings.HasPrefix(line, " ") && name != "" {
			order = append(order, name)
		}
	}
	if diff := cmp.Diff([]string{"tun0", "host", "down0", "fit0", "problems"}, order); diff != "" {
		t.Errorf("-want +got:\n%s\nin\n%s", diff, got.Stdout)
	}
}

// TestDoctorExit: doctor fails on a problem, and on a warning with --strict. A
// missing daemon is a warning.
func TestDoctorExit(t *testing.T) {
	const none = "/nonexistent"
	fit := healthy()
	fit.Interfaces = nil
	broken := fit
	broken.Host.BPFFS.BPF = false
	for _, tt := range []struct {
		name  string
		facts doctor.Facts
		args  []string
		code  int
		worst doctor.Severity
	}{
		{"warning", fit, nil, exitDone, doctor.Warning},
		{"strict", fit, []string{"--strict"}, exitFailed, doctor.Warning},
		{"problem", broken, nil, exitFailed, doctor.Problem},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, _ := diagnose(t, none, tt.facts, append(tt.args, "-o", "json")...)
			var report doctor.Report
			if err := json.Unmarshal([]byte(got.Stdout), &report); err != nil {
				t.Fatalf("%v in %s", err, got.Stdout)
			}
			if got.Code != tt.code || got.Stderr != "" || report.Worst != tt.worst {
				t.Errorf("got %+v", got)
			}
			if strings.Contains(got.Stdout, "null") {
				t.Errorf("null in %s", got.Stdout)
			}
		})
	}
}
