package main

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// newLogsHost returns a host with a log, and an agent that reads it.
func newLogsHost(t *testing.T) *host {
	h := newHost(t)
	h.verb = "logs"
	h.configure()
	h.start()
	h.await("STATUS=no logs")
	h.extras = "logs: [{name: sshd, file: " + h.path("log") + ", format: sshd, rule: login}]\n"
	h.write("log", "")
	h.configure()
	h.agent.Process.Signal(syscall.SIGHUP)
	h.await("STATUS=1 logs, 0 lines, 0 matched")
	return h
}

func (h *host) log1(user string) {
	h.Helper()
	f, err := os.OpenFile(h.path("log"), os.O_APPEND|os.O_WRONLY, 0)
	if err == nil {
		_, err = fmt.Fprintf(f, "Nov 28 10:00:00 h sshd[1]: Failed password for %s from 198.51.100.9 port 4 ssh2\n",
			user)
		f.Close()
	}
	if err != nil {
		h.Fatal(err)
	}
}

func (h *host) users() (n int, twice []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for user, times := range h.events {
		n++
		if times != 1 {
			twice = append(twice, user)
		}
	}
	return n, twice
}

func TestLogs(t *testing.T) {
	h := newLogsHost(t)
	h.log1("a")
	h.eventually("the event comes", func() bool { n, _ := h.users(); return n == 1 })
	h.eventually("the state comes", func() bool { s, _, _, ok := h.board.Log("sshd"); return ok && s.Matched == 1 })
	h.write("paraxiald.yaml", "logs: [\n")
	h.agent.Process.Signal(syscall.SIGHUP)
	h.await("READY=1")
	h.log1("b")
	h.eventually("the event comes", func() bool { n, _ := h.users(); return n == 2 })
	h.stop()
	if !strings.Contains(h.log.String(), "the previous one stays in force") {
		t.Error("the log does not say that the configuration is invalid")
	}
}

// TestKilled kills the agent after the daemon has counted a batch, and before it has answered.
func TestKilled(t *testing.T) {
	h := newLogsHost(t)
	for n := range 3 {
		counted, release, once := make(chan struct{}), make(chan struct{}), sync.Once{}
		h.mu.Lock()
		h.counted = func() {
			once.Do(func() {
				close(counted)
				<-release
			})
		}
		h.mu.Unlock()
		h.log1(fmt.Sprintf("a%d", n))
		<-counted
		h.log1(fmt.Sprintf("b%d", n))
		h.agent.Process.Kill()
		<-h.ended
		os.Remove(h.path("notify.sock"))
		h.start()
		close(release)
		h.eventually("all events come", func() bool { all, _ := h.users(); return all == 2*(n+1) })
	}
	h.stop()
	if _, twice := h.users(); twice != nil {
		t.Errorf("events that count twice: %q", twice)
	}
}
