// Command demo shows Paraxial's main jobs in a sandbox: the real daemon and command line, a real
// block list, a flood, real packets. It leaves nothing behind. It exits with 1 if a listed packet
// got through, a flood was not caught, its ban does not end, or any other packet was lost.
//
// Run it with make demo, in the project's folder.
package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/paraxial/paraxial/tests/lab"
)

const (
	binDir   = "bin"
	listFile = "examples/ipsum-level3.txt"
	limit    = 2 * time.Minute
)

func main() { os.Exit(run()) }

func run() int {
	if missing := check(); len(missing) > 0 {
		fmt.Fprintln(os.Stderr, "The demo cannot run here:")
		for _, m := range missing {
			fmt.Fprintln(os.Stderr, "  -", m)
		}
		return 1
	}
	before, err := findTraces()
	if err != nil {
		return fail(err)
	}
	// Enter returns only in the outer process.
	status, err := lab.Enter(inside)
	if err != nil {
		return fail(err)
	}
	left, err := tracesSince(before)
	if err != nil {
		return fail(err)
	}
	if len(left) > 0 {
		fmt.Printf("\nLeft behind: %v\n", left)
		return 1
	}
	if status == 0 {
		fmt.Println("Nothing is left behind: no process, interface, BPF program, BPF link or pin.")
	}
	return status
}

func inside() int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if err := tell(ctx); err != nil {
		return fail(err)
	}
	return 0
}

func fail(err error) int {
	fmt.Fprintln(os.Stderr, "demo:", err)
	return 1
}

// check lists missing prerequisites, and how to get them.
func check() []string {
	var missing []string
	if os.Geteuid() != 0 {
		missing = append(missing, "not root, which loading an XDP program and making namespaces needs: "+
			"run sudo make demo")
	}
	b := lab.InDir(binDir)
	for _, file := range []string{b.Daemon, b.Ctl, listFile} {
		if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
			missing = append(missing, fmt.Sprintf("no %s here: run make demo in the project's folder", file))
		}
	}
	if _, err := os.Stat("/sys/kernel/btf/vmlinux"); err != nil {
		missing = append(missing,
			"no /sys/kernel/btf/vmlinux: the kernel needs BPF with type information "+
				"(CONFIG_DEBUG_INFO_BTF; Debian's kernels have it)")
	}
	if err := unix.Access("/sys/fs/bpf", unix.F_OK); err != nil {
		missing = append(missing, "no /sys/fs/bpf: the kernel needs BPF (CONFIG_BPF_SYSCALL)")
	}
	return missing
}
