package journal

import (
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"testing"
)

func field(name, value string) string {
	var size [8]byte
	binary.LittleEndian.PutUint64(size[:], uint64(len(value)))
	return name + "\n" + string(size[:]) + value + "\n"
}

func TestEntries(t *testing.T) {
	const head = "__CURSOR=c\n__REALTIME_TIMESTAMP=1700000000000001\n_UID=0\n_SYSTEMD_UNIT=ssh.service\n"
	long := strings.Repeat("x", 3*Longest)
	for _, tt := range []struct {
		name, in string
		message  string
		unit     string
		uid      int
		tooLong  bool
	}{
		{"text", head + "MESSAGE=a=b\n\n", "a=b", "ssh.service", 0, false},
		{"blank lines before it", "\n\n" + head + "MESSAGE=a\n\n", "a", "ssh.service", 0, false},
		{"binary", head + field("MESSAGE", "a\nMESSAGE=b\n\n_UID=7\x00") + "\n", "a\nMESSAGE=b\n\n_UID=7\x00",
			"ssh.service", 0, false},
		{"long text", head + "MESSAGE=" + long + "\nX=y\n\n", long[:Longest], "ssh.service", 0, true},
		{"long binary", head + field("MESSAGE", long) + "X=y\n\n", long[:Longest], "ssh.service", 0, true},
		{"a message twice", head + "MESSAGE=a\nMESSAGE=b\n\n", "a", "ssh.service", 0, false},
		{"two users", head + "_UID=0\nMESSAGE=a\n\n", "a", "ssh.service", -1, false},
		{"two units", head + "_SYSTEMD_UNIT=x\nMESSAGE=a\n\n", "a", "", 0, false},
		{"no user", "__CURSOR=c\n_SYSTEMD_UNIT=u\n\n", "", "u", -1, false},
	} {
		r := newReader(strings.NewReader(tt.in + head + "MESSAGE=next\n\n"))
		e, err := r.next()
		if err != nil || string(e.Message) != tt.message || e.Unit != tt.unit || e.UID != tt.uid ||
			e.TooLong != tt.tooLong || e.Cursor != "c" {
			t.Errorf("%s: %.100v, %v", tt.name, e, err)
		}
		if e, err := r.next(); err != nil || string(e.Message) != "next" {
			t.Errorf("%s: then %.100v, %v", tt.name, e, err)
		}
		if _, err := r.next(); !errors.Is(err, io.EOF) {
			t.Errorf("%s: at the end %v", tt.name, err)
		}
	}
	for _, bad := range []string{
		"MESSAGE\n\xff\xff\xff\xff\xff\xff\xff\xff", "MESSAGE\n\x01\x00\x00\x00\x00\x00\x00\x00ab", "no fields\n",
		strings.Repeat("x", 5000) + "\n", "MESSAGE=a",
	} {
		if _, err := newReader(strings.NewReader(bad)).next(); err == nil {
			t.Errorf("%.20q is read", bad)
		}
	}
}
