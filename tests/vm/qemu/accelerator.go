package qemu

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// An Accelerator is how QEMU runs a machine's processors.
type Accelerator string

const (
	// TCG emulates them.
	TCG Accelerator = "tcg,thread=multi"
	// KVM has the processor run them, if it can and we may.
	KVM Accelerator = "kvm"
)

// AcceleratorVariable is the environment variable that asks for KVM.
const AcceleratorVariable = "PARAXIAL_VM_ACCEL"

// probeTime is many times what a kernel takes to find that it has no root.
const probeTime = 15 * time.Second

// Choose returns TCG, or KVM if the environment asks for it and it really runs a
// kernel: there are hosts where it is there, and where a machine then stands still.
// The error says why it is not what was asked for; TCG will do all the same.
func Choose(ctx context.Context, vmlinuz string) (Accelerator, error) {
	switch want := os.Getenv(AcceleratorVariable); want {
	case "", "tcg":
		return TCG, nil
	case "kvm":
		if err := probe(ctx, vmlinuz); err != nil {
			return TCG, fmt.Errorf("no KVM, so processors are emulated: %w", err)
		}
		return KVM, nil
	default:
		return TCG, fmt.Errorf("%s=%s is neither kvm nor tcg: processors are emulated", AcceleratorVariable, want)
	}
}

// probe boots a kernel that has nothing to run, so that it ends at once.
func probe(ctx context.Context, vmlinuz string) error {
	dir, err := os.MkdirTemp("", "kvm-probe-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	const megabytes = 512
	m, err := Start(ctx, append(Base(KVM, megabytes, filepath.Join(dir, "console.log")),
		"-no-reboot", "-kernel", vmlinuz, "-append", "console=ttyS0 panic=-1"), nil)
	if err != nil {
		return err
	}
	err = m.Wait()
	if ctx.Err() != nil {
		return fmt.Errorf("a kernel does not run within %s", probeTime)
	}
	return err
}
