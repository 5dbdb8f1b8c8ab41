package syslog

import (
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestText(t *testing.T) {
	const unfinished = `<165>1 2026-11-28T10:00:00Z h app - - [a b="]`
	for in, want := range map[string]string{
		`<190>Nov 28 10:00:00 web nginx: 198.51.100.9 - - [x]`:               `198.51.100.9 - - [x]`,
		`<190>Nov 28 10:00:00 nginx: 2001:db8::1 - - [x]`:                    `2001:db8::1 - - [x]`,
		`<134>Nov  8 10:00:00 haproxy[12]: 198.51.100.9:1 [x] f`:             `198.51.100.9:1 [x] f`,
		"<38>Nov 28 10:00:00 sshd[1]: Failed password for a from b: c\n\x00": `Failed password for a from b: c`,
		`<190>nginx: x`:                                    `x`,
		`<190>198.51.100.9 - x: y`:                         `198.51.100.9 - x: y`,
		`<190>2001:db8::1: y`:                              `2001:db8::1: y`,
		`<165>1 2026-11-28T10:00:00Z h app 1 ID - text: x`: `text: x`,
		`<165>1 2026-11-28T10:00:00Z h app - - [a b="\"] x"][c d="e"] ` + "\xef\xbb\xbft": `t`,
		unfinished: unfinished[len("<165>"):],
		`<165>1 2026-11-28T10:00:00Z h app - - -`:    ``,
		`<13>2026-11-28T10:00:00+00:00 host prog: x`: `x`,
		`<999999>x`:       `<999999>x`,
		`<a>x`:            `<a>x`,
		`no head: at all`: `no head: at all`,
		``:                ``,
		`<1>`:             ``,
	} {
		if got := string(Text([]byte(in))); got != want {
			t.Errorf("%s\ngot  %s\nwant %s", in, got, want)
		}
	}
}

func start(t *testing.T, uids ...int) *Socket {
	t.Helper()
	dir, err := os.MkdirTemp("", "log") // the name of t.TempDir may be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	os.Chmod(dir, 0o755)
	t.Cleanup(func() { os.RemoveAll(dir) })
	s := New(filepath.Join(dir, "s"), uids)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return s
}

func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !f(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within a minute: %s", what)
		}
	}
}

func dial(t *testing.T, s *Socket) (c net.Conn) {
	t.Helper()
	eventually(t, "the socket is there", func() (ok bool) {
		var err error
		c, err = net.Dial("unixgram", s.path)
		return err == nil
	})
	t.Cleanup(func() { c.Close() })
	return c
}

func next(t *testing.T, s *Socket) string {
	t.Helper()
	select {
	case m := <-s.Messages():
		s.Done(m)
		return string(m)
	case <-time.After(time.Minute):
		t.Fatalf("no message within a minute: %+v", s.Stats())
	}
	return ""
}

func TestSocket(t *testing.T) {
	s := start(t, os.Getuid())
	c := dial(t, s)
	c.Write([]byte("one"))
	c.Write([]byte(strings.Repeat("x", Longest+1)))
	c.Write([]byte("two"))
	for _, want := range []string{"one", "two"} {
		if got := next(t, s); got != want {
			t.Errorf("got %.20q, want %s", got, want)
		}
	}
	if st := s.Stats(); st.TooLong != 1 || st.Messages != 2 || st.Lost != 0 {
		t.Errorf("%+v", st)
	}
	if err := os.Remove(s.path); err != nil {
		t.Fatal(err)
	}
	dial(t, s).Write([]byte("three"))
	if got := next(t, s); got != "three" {
		t.Errorf("got %q from a socket that was made again", got)
	}
}

// TestStrangers: messages of other users do not count, and files that come with them are closed.
func TestStrangers(t *testing.T) {
	s := start(t, os.Getuid()+1)
	dial(t, s)
	own := &net.UnixAddr{Name: s.path + "c", Net: "unixgram"}
	c, err := net.ListenUnixgram("unixgram", own)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	files := func() int {
		names, _ := os.ReadDir("/proc/self/fd")
		return len(names)
	}
	before := files()
	for range 100 {
		if _, _, err := c.WriteMsgUnix([]byte("x"), syscall.UnixRights(0, 1, 2),
			&net.UnixAddr{Name: s.path, Net: "unixgram"}); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "100 strangers", func() bool { return s.Stats().Strangers == 100 })
	if after := files(); after > before+5 {
		t.Errorf("%d files are open, %d before", after, before)
	}
	if os.Getuid() != 0 {
		return
	}
	s = start(t, 0)
	dial(t, s)
	cmd := exec.Command("logger", "--socket", s.path, "--tag", "sshd",
		"Failed password for root from 203.0.113.5 port 1 ssh2")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	eventually(t, "the stranger is counted", func() bool { return s.Stats().Strangers == 1 })
	if st := s.Stats(); st.Messages != 0 {
		t.Errorf("%+v", st)
	}
}

// TestRoom: when nobody reads, messages are lost and counted, and no writer waits.
func TestRoom(t *testing.T) {
	s := start(t, os.Getuid())
	c := dial(t, s)
	const size = 60_000
	for range 200 {
		if _, err := c.Write(make([]byte, size)); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "200 messages", func() bool { return s.Stats().Messages == 200 })
	st := s.Stats()
	if want := 200 - maxBytes/size; st.Lost != want || st.LostBytes != int64(want*size) || s.queued > maxBytes {
		t.Errorf("%+v, want %d lost", st, want)
	}
	for range maxBytes / size {
		next(t, s)
	}
	if s.queued != 0 {
		t.Errorf("%d bytes are queued in the end", s.queued)
	}
}

func TestProgram(t *testing.T) {
	for message, want := range map[string]string{
		"<38>Nov 28 10:00:00 h sshd[7]: x: y": "sshd", "<38>Nov 28 10:00:00 sshd: x": "sshd", "<38>web[7]: x": "web",
		"<38>Nov 28 10:00:00 h postfix/smtpd[7]: x": "postfix/smtpd", "<38>Nov 28 10:00:00 h web[1]: sshd[7]: x": "web",
		"<38>1 2026-11-28T10:00:00Z h sshd 7 - - x":           "sshd",
		"<38>1 2026-11-28T10:00:00Z h sshd 7 - [a b=\"c\"] x": "sshd",
		"<38>x y": "", "sshd[7]: x": "", "": "", "<38>": "", "<38>1 x": "",
	} {
		if got := string(Program([]byte(message))); got != want {
			t.Errorf("%q is of %q, want %q", message, got, want)
		}
	}
}
