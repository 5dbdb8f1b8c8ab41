package conns

import (
	"fmt"
	"net"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// Caller is the process at the other end of a Unix socket, as it was when it connected.
type Caller struct {
	UID, GID uint32
	PID      int32
	// Accepted is the time since boot when the connection was accepted. A process that
	// started later is another one, which got the number of the caller.
	Accepted time.Duration
}

// Author returns the caller as entries record it: "uid:1000".
func (c Caller) Author() string { return fmt.Sprintf("uid:%d", c.UID) }

// Share counts the connections by user. One process does not close those of others.
func (c Caller) Share() Share {
	return Share{Key: fmt.Sprintf("uid %d", c.UID), Crowd: strconv.Itoa(int(c.PID)), Root: c.UID == 0}
}

// CallerOf asks the kernel who connected. The other end cannot lie about it.
func CallerOf(nc net.Conn) (Caller, error) {
	uc, ok := nc.(*net.UnixConn)
	if !ok {
		return Caller{}, fmt.Errorf("identify peer: %T is not a Unix socket connection", nc)
	}
	raw, err := uc.SyscallConn()
	if err != nil {
		return Caller{}, fmt.Errorf("identify peer: %w", err)
	}
	var cred *unix.Ucred
	var credErr error
	err = raw.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if err == nil {
		err = credErr
	}
	if err != nil {
		return Caller{}, fmt.Errorf("identify peer: %w", err)
	}
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now); err != nil {
		return Caller{}, fmt.Errorf("read the clock: %w", err)
	}
	return Caller{UID: cred.Uid, GID: cred.Gid, PID: cred.Pid, Accepted: time.Duration(now.Nano())}, nil
}
