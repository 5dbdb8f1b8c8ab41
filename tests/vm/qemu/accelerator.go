package qemu

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// An Accelerator is the way in which QEMU runs a machine's processors.
type Accelerator string

const (
	// TCG emulates them.
	TCG Accelerator = "tcg,thread=multi"
	// KVM runs them on the real processor, if it supports that and access is allowed.
	KVM Accelerator = "kvm"
)

// AcceleratorVariable is the environment variable that asks for KVM.
const AcceleratorVariable = "PARAXIAL_VM_ACCEL"

// probeTime is many times longer than a kernel takes to find that it has no root.
const probeTime = 15 * time.Second

// Choose returns TCG, or KVM if the environment asks for it and it can run a kernel: on some hosts
// KVM exists, but a machine does not make progress. The error is the reason why the requested one
// is not used; TCG works nevertheless.
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
