package loader

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

func TestErrorTexts(t *testing.T) {
	tests := []struct {
		err  error
		want string
	}{
		{explain(fmt.Errorf("make map: %w", unix.EPERM)), "CAP_PERFMON"},
		{explain(fmt.Errorf("load program: %w", unix.EACCES)), "CAP_PERFMON"},
		{explain(fmt.Errorf("make map: %w", unix.ENOMEM)), "MemoryMax"},
		{explain(fmt.Errorf("make map: %w", ebpf.ErrNotSupported)), "Linux 5.10"},
		{&ForeignError{Interface: "eth0", ProgramID: 17, Mode: ModeNative}, "eth0 already runs XDP program 17, which"},
		{&ForeignError{Interface: "eth0", ProgramID: 17, Name: "xdp_pass"}, "`ip link set dev eth0 xdp off`"},
	}
	for _, tt := range tests {
		if !strings.Contains(tt.err.Error(), tt.want) {
			t.Errorf("error %q, want %q in it", tt.err, tt.want)
		}
	}
	if err := errors.New("other"); explain(err) != err {
		t.Error("an error of ours was changed")
	}
}
