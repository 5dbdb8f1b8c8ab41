package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/paraxial/paraxial/tests/testenv"
)

// fail2ban is a running fail2ban-server with the action of packaging/fail2ban.
type fail2ban struct {
	*host
	dir string
}

// startFail2ban starts a server with these jails, each with its bantime.
func startFail2ban(h *host, jails map[string]string) fail2ban {
	h.Helper()
	for _, tool := range []string{"fail2ban-server", "fail2ban-client"} {
		if _, err := exec.LookPath(tool); err != nil {
			testenv.Missing(h.T, "needs "+tool)
		}
	}
	f := fail2ban{h, h.TempDir()}
	write := func(name, text string) {
		check(h.T, os.MkdirAll(filepath.Dir(filepath.Join(f.dir, name)), 0o755))
		check(h.T, os.WriteFile(filepath.Join(f.dir, name), []byte(text), 0o644))
	}
	action, err := os.ReadFile("../../packaging/fail2ban/paraxial.conf")
	check(h.T, err)
	write("action.d/paraxial.conf", string(action))
	write("watched.log", "")
	write("fail2ban.conf", fmt.Sprintf("[Definition]\nloglevel = INFO\nlogtarget = %[1]s/log\nsyslogsocket = auto\n"+
		"socket = %[1]s/sock\npidfile = %[1]s/pid\ndbfile = None\ndbpurgeage = 1d\ndbmaxmatches = 10\n", f.dir))
	config := ""
	for name, bantime := range jails {
		config += fmt.Sprintf("[%s]\nenabled = true\nbackend = polling\nlogpath = %s/watched.log\n"+
			"failregex = ^failed <HOST>$\nbantime = %s\nfindtime = 1h\nmaxretry = 1\naction = paraxial\n", name,
			f.dir, bantime)
	}
	write("jail.conf", config)
	server := exec.Command("fail2ban-server", f.args("-xf", "start")...)
	server.Env = append(os.Environ(),
		"PARAXIAL_SOCKET="+h.daemon.Socket, "PATH="+filepath.Dir(h.daemon.Ctl)+":"+os.Getenv("PATH"))
	check(h.T, server.Start())
	h.Cleanup(func() {
		f.client("stop")
		server.Process.Kill() // if it did not stop
		server.Wait()
		if log, err := os.ReadFile(f.dir + "/log"); h.Failed() && err == nil {
			h.Logf("log of fail2ban:\n%s", log)
		}
	})
	h.within("fail2ban is ready", patience, func() bool {
		out, err := f.client("status")
		return err == nil && strings.Contains(out, fmt.Sprintf("Number of jail:\t%d", len(jails)))
	})
	return f
}

func (f fail2ban) args(args ...string) []string {
	return append([]string{"-c", f.dir, "-s", f.dir + "/sock", "-p", f.dir + "/pid"}, args...)
}

func (f fail2ban) client(args ...string) (string, error) {
	out, err := exec.CommandContext(f.Context(), "fail2ban-client", f.args(args...)...).CombinedOutput()
	return string(out), err
}

// bans reports whether a jail says that it bans an address.
func (f fail2ban) bans(jail, address string) bool {
	f.Helper()
	out, err := f.client("status", jail)
	check(f.T, err)
	return strings.Contains(out, address)
}

// Two jails of a real fail2ban ban the same address, and so does the operator. The end of the
// short ban leaves the others in force.
func TestFail2banJailsKeepTheirBans(t *testing.T) {
	h := newHost(t)
	h.start()
	s := h.serve()
	const both, byHand = "198.51.100.40", "198.51.100.41"
	h.ctl(0, "block", byHand, "--reason", "court order")
	f := startFail2ban(h, map[string]string{"long": "1h", "short": "1s", "ever": "-1"})
	for _, set := range [][]string{{"long", both}, {"short", both}, {"short", byHand}, {"ever", "198.51.100.42"}} {
		out, err := f.client("set", set[0], "banip", set[1])
		if err != nil {
			t.Fatalf("ban of %s: %v\n%s", set, err, out)
		}
	}
	h.within("the bans of the other jails", patience, func() bool {
		list := h.ctl(0, "list").Stdout
		return strings.Contains(list, "fail2ban-long") && strings.Contains(list, "fail2ban-ever")
	})
	if e := h.only("198.51.100.42/32", "fail2ban-ever"); e.Expires != nil {
		t.Errorf("a ban for ever: %+v", e)
	}
	h.within("the short bans end", patience, func() bool {
		return !f.bans("short", both) && !f.bans("short", byHand) &&
			!strings.Contains(h.ctl(0, "list").Stdout, "fail2ban-short")
	})
	if !f.bans("long", both) || !h.dropped(s, both) {
		t.Error("the end of the short ban lifted the ban of the other jail")
	}
	if e := h.only(byHand+"/32", "cli"); e.Expires != nil || e.Reason != "court order" || !h.dropped(s, byHand) {
		t.Errorf("the end of the short ban changed the block by hand: %+v", e)
	}
	if out, err := f.client("set", "long", "unbanip", both); err != nil {
		t.Fatalf("unban: %v\n%s", err, out)
	}
	h.within("the ban is lifted", patience, func() bool { return !h.dropped(s, both) })
	if out, err := f.client("stop"); err != nil {
		t.Fatalf("stop: %v\n%s", err, out)
	}
	h.within("the bans end with the server", patience, func() bool {
		return !strings.Contains(h.ctl(0, "list").Stdout, "fail2ban")
	})
	if !h.dropped(s, byHand) {
		t.Error("the end of fail2ban lifted the block by hand")
	}
}
