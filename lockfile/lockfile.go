// Package lockfile takes the advisory lock of a file or directory (flock), and
// finds the process that holds it.
package lockfile

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const retry = 20 * time.Millisecond

// HeldError means that another process holds the lock.
type HeldError struct {
	PID int // 0 if unknown
}

func (e *HeldError) Error() string {
	if e.PID == 0 {
		return "locked by another process"
	}
	return fmt.Sprintf("locked by process %d", e.PID)
}

// Holder names the process that holds the lock, for a message: "another paraxiald,
// pid 1234,".
func (e *HeldError) Holder() string {
	if e.PID == 0 {
		return "another paraxiald"
	}
	return fmt.Sprintf("another paraxiald, pid %d,", e.PID)
}

// Take takes the lock of an open file, and retries until wait has passed. The lock
// belongs to the open file; closing the file releases it. The error is a *HeldError
// if another process holds the lock.
func Take(f *os.File, wait time.Duration) error {
	for deadline := time.Now().Add(wait); ; time.Sleep(retry) {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, syscall.EINTR):
		case !errors.Is(err, syscall.EWOULDBLOCK):
			return fmt.Errorf("lock %s: %w", f.Name(), err)
		case time.Now().After(deadline):
			return &HeldError{PID: holder(f)}
		}
	}
}

// holder searches the kernel's list of locks. A sandbox may hide that list.
func holder(f *os.File) int {
	info, err := f.Stat()
	if err != nil {
		return 0
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0
	}
	locks, err := os.Open("/proc/locks")
	if err != nil {
		return 0
	}
	defer locks.Close()
	return findHolder(locks, st.Ino)
}

// findHolder reads lines such as "1: FLOCK  ADVISORY  WRITE 4711 fe:00:1234 0
// EOF". It compares only the inode, because some file systems show programs
// another device number. If several files have that inode number, it returns 0.
func findHolder(locks io.Reader, inode uint64) (pid int) {
	lines := bufio.NewScanner(locks)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 6 || fields[1] != "FLOCK" || fields[3] != "WRITE" {
			continue
		}
		if !strings.HasSuffix(fields[5], ":"+strconv.FormatUint(inode, 10)) {
			continue
		}
		n, err := strconv.Atoi(fields[4])
		if err != nil || pid != 0 {
			return 0
		}
		pid = n
	}
	return max(pid, 0)
}
