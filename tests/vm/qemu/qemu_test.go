package qemu

import (
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestStreamFramesAreDelimited(t *testing.T) {
	dir := t.TempDir()
	s, err := NewStream(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	path := filepath.Join(dir, "card")
	if want := "addr.path=" + path; !strings.HasSuffix(s.Netdev("n0"), want) {
		t.Errorf("QEMU is told %s, not %s", s.Netdev("n0"), want)
	}
	machine, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer machine.Close()
	if err := s.Connect(); err != nil {
		t.Fatal(err)
	}
	for _, frame := range []string{"first", "second one"} {
		if err := s.Send([]byte(frame)); err != nil {
			t.Fatal(err)
		}
	}
	const want = "\x00\x00\x00\x05first\x00\x00\x00\x0asecond one"
	got := make([]byte, len(want))
	if err := machine.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(machine, got); err != nil || string(got) != want {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestWithoutKVMProcessorsAreEmulated(t *testing.T) {
	for value, complains := range map[string]bool{"": false, "tcg": false, "kvm": true, "warp": true} {
		t.Setenv(AcceleratorVariable, value)
		// A kernel file that does not exist runs on no accelerator.
		got, err := Choose(t.Context(), filepath.Join(t.TempDir(), "vmlinuz"))
		if got != TCG || (err != nil) != complains {
			t.Errorf("%s=%s: got %s, %v", AcceleratorVariable, value, got, err)
		}
	}
}
