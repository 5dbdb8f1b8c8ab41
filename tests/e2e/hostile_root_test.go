package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"path/filepath"
	"strings"
	"time"

	"github.com/cilium/ebpf/link"

	"github.com/paraxial/paraxial/control"
	"github.com/paraxial/paraxial/tests/lab"
)

// alarmName is the interface that loses its filter during the storm. Traffic comes by the other.
const alarmName = "alarm0"

// operate does the work of root for as long as the storm lasts, and some rounds at least.
func (s *storm) operate() {
	s.Helper()
	const least = 3
	rounds := 0
	for n := 0; (n < least || time.Since(s.begun) < s.period) && time.Now().Before(s.over); n++ {
		s.measureMachine(3)
		s.command("status", "status")
		s.command("list", "list", "--origin", "cli")
		if r, ok := s.command("why", "why", blockedSource, "-o", "json"); ok {
			s.expectDropped("root's why is right", blockedSource, r)
		}
		s.change(n)
		s.scrapeAsRoot()
		s.expectBanned()
		s.expectNobodyImmune(n)
		s.expectClean()
		if n%10 == 1 {
			s.expectAlarm()
		}
		pause(s.Context(), 100*time.Millisecond)
		rounds++
	}
	s.expect("root can work", rounds >= least, "root could do %d rounds of work in %s, want %d at least", rounds,
		time.Since(s.begun).Round(time.Second), least)
}

// measureMachine notes n times how long a command takes that asks no daemon. It competes with
// the attackers for the processors, as the commands of root and the daemon do.
func (s *storm) measureMachine(n int) {
	s.Helper()
	for range n {
		r, took, err := s.shell.run(s.Context(), quoted(s.daemon.Ctl, "--help"))
		if s.alone = append(s.alone, took); err != nil || r.Code != 0 {
			s.Fatalf("paraxialctl --help: %+v, %v", r, err)
		}
	}
}

// command runs paraxialctl as root. Each has to be answered, however long it takes.
func (s *storm) command(name string, args ...string) (stdout string, ok bool) {
	s.Helper()
	s.alive()
	if time.Now().After(s.over) {
		return "", false
	}
	ctx, cancel := context.WithTimeout(s.Context(), patience)
	defer cancel()
	r, took, err := s.rootRuns(ctx, quoted(append([]string{s.daemon.Ctl}, args...)...))
	ok = err == nil && r.Code == 0
	s.took["root's "+name] = append(s.took["root's "+name], took)
	s.expect("root's "+name+" is answered", ok, "paraxialctl %s: exit code %d after %s: %s %v", strings.Join(args, " "),
		r.Code, took.Round(time.Millisecond), strings.TrimSpace(r.Stderr), err)
	return r.Stdout, ok
}

// change blocks a prefix of each family for good, and one for a moment.
func (s *storm) change(n int) {
	s.Helper()
	prefix := fmt.Sprintf("100.127.%d.%d/32", n>>8&255, n&255)
	if _, ok := s.command("block", "block", prefix); ok {
		s.acknowledge(prefix)
	}
	prefix = fmt.Sprintf("2a0f:0:%x::/48", n)
	if _, ok := s.command("block, with a full list,", "block", prefix); ok {
		s.acknowledge(prefix)
	}
	prefix = fmt.Sprintf("100.124.%d.%d/32", n>>8&255, n&255)
	if _, ok := s.command("block", "block", prefix); ok {
		s.command("unblock", "unblock", prefix)
	}
}

func (s *storm) scrapeAsRoot() {
	s.Helper()
	s.alive()
	ctx, cancel := context.WithTimeout(s.Context(), patience)
	defer cancel()
	r, took, err := s.rootRuns(ctx, scrapeLine)
	s.took["root's scrape"] = append(s.took["root's scrape"], took)
	status, _, _ := strings.Cut(r.Stdout, "\r\n")
	s.expect("root's scrape is answered", err == nil && status == "HTTP/1.1 200 OK", "%q, exit code %d after %s: %s %v",
		status, r.Code, took.Round(time.Millisecond), r.Stderr, err)
}

// scrapeLine reads the metrics in a shell.
var scrapeLine = "exec 3<>/dev/tcp/" + strings.ReplaceAll(hostileMetrics, ":", "/") + " && printf '" +
	`GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n` + "' >&3 && cat <&3; exec 3<&-"

// rootRuns runs a line in root's shell. A shell that was killed because its command took too long is
// replaced.
func (s *storm) rootRuns(ctx context.Context, line string) (lab.Result, time.Duration, error) {
	s.Helper()
	r, took, err := s.shell.run(ctx, line)
	if err != nil {
		s.shell = newRootShell(s.T)
	}
	return r, took, err
}

func getMetrics(ctx context.Context) (status int, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+hostileMetrics+"/metrics", nil)
	if err != nil {
		return 0, err
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Do(r)
	if err != nil {
		return 0, err
	}
	defer answer.Body.Close()
	_, err = io.Copy(io.Discard, answer.Body)
	return answer.StatusCode, err
}

func (s *storm) expectDropped(name, source, answer string) {
	s.Helper()
	var why control.WhyResult
	check(s.T, json.Unmarshal([]byte(answer), &why))
	s.expect(name, why.Verdict == "drop", "the verdict on %s is %s", source, why.Verdict)
}

// expectBanned looks whether the source that goes on is still banned.
func (s *storm) expectBanned() {
	s.Helper()
	if r, ok := s.command("why", "why", floodSource, "-o", "json"); ok {
		s.expectDropped("forged sources free no banned one", floodSource, r)
	}
}

// expectNobodyImmune blocks the source with the silent connection, and imports a list with its network.
func (s *storm) expectNobodyImmune(n int) {
	s.Helper()
	const name = "a silent connection to port 22 protects nobody"
	s.alive()
	ctx, cancel := context.WithTimeout(s.Context(), patience)
	defer cancel()
	r, err := s.daemon.Run(ctx, "block", sshSource, "--for", "1m")
	s.expect(name, err == nil && r.Code == 0, "block %s: exit code %d: %s %v", sshSource, r.Code,
		strings.TrimSpace(r.Stderr), err)
	if n%10 != 0 {
		return
	}
	network := netip.MustParsePrefix(sshSource + "/26").Masked().String()
	begin := time.Now()
	r, err = s.daemon.RunInput(ctx, network+"\n", "import", "-", "--origin", "ssh")
	s.took["root's import"] = append(s.took["root's import"], time.Since(begin))
	if err != nil || r.Code != 0 {
		s.expect("root's import is answered", false, "exit code %d: %s %v", r.Code, strings.TrimSpace(r.Stderr), err)
		return
	}
	r, err = s.daemon.Run(ctx, "list", "--origin", "ssh")
	s.expect(name, err == nil && strings.Contains(r.Stdout, network), "%s is not listed after its import: %s %s %v",
		network, r.Stdout, r.Stderr, err)
}

// expectClean waits until another packet of the clean source has arrived.
func (s *storm) expectClean() {
	source := netip.MustParseAddr(calmSource)
	before := s.server.Sources()[source]
	arrived := func() bool { return s.server.Sources()[source] > before }
	for end := time.Now().Add(patience); !arrived() && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	s.expect("packets of clean sources pass", arrived(), "no packet of %s arrived in %s", calmSource, patience)
}

// expectAlarm takes the filter off an interface, which must be in the log, and repaired.
func (s *storm) expectAlarm() {
	s.Helper()
	s.alive()
	count := func(what string) (n int) {
		for line := range strings.Lines(s.log()) {
			if strings.Contains(line, what) && strings.Contains(line, "interface="+alarmName) {
				n++
			}
		}
		return n
	}
	lk, err := link.LoadPinnedLink(filepath.Join(s.daemon.BPFFS, "links", alarmName), nil)
	if err != nil {
		s.expect("the alarm is in the log", false, "%s has no filter to take off: %v", alarmName, err)
		return
	}
	alarms, repairs := count("INTERFACE UNPROTECTED"), count("interface has been repaired")
	check(s.T, lk.Detach())
	check(s.T, lk.Close())
	there := func() bool {
		return count("INTERFACE UNPROTECTED") > alarms && count("interface has been repaired") > repairs
	}
	for end := time.Now().Add(patience); !there() && time.Now().Before(end); {
		time.Sleep(100 * time.Millisecond)
	}
	s.expect("the alarm is in the log", there(),
		"%d alarms and %d repairs in the log, as before the filter was taken off",
		alarms, repairs)
}
