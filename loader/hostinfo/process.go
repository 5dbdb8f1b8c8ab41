package hostinfo

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// process is a process of an SSH server, or of another program of interest.
type process struct {
	pid, parent int
	start       uint64 // in clock ticks since boot
	uid         string // its user; empty if it has several, as the process of a setuid program has
	root        bool   // the user is root
	name        string // of the program, at most 15 bytes
	title       string // the first bytes of the command line
	children    bool   // whether it has any; known for dropbear only
}

const (
	openSSH        = "sshd"
	openSSHSession = "sshd-session" // from OpenSSH 9.8 on
	dropbear       = "dropbear"
)

const (
	// execWithin is the time after which a process is taken to have executed its program: an SSH
	// server that another process starts has the name of that process at first.
	execWithin = 10 * time.Second
	// namesFor is how long the names of other processes are kept.
	namesFor = time.Minute
)

// others are the processes that are of no interest, so that the name of a process is not read
// again and again. On a host with many processes the names take most of the time of a reading.
type others struct {
	since   time.Time
	known   map[int]other
	genuine func(proc string, pid int, name string) (bool, error) // another in tests; nil: genuine
}

// other identifies a process. The inode of its directory tells it from a later process with the
// same number.
type other struct {
	inode uint64
	seen  time.Time // first
}

// skip reports whether the name of a process need not be read.
func (o *others) skip(d directory, now time.Time) bool {
	known, ok := o.known[d.number]
	return ok && known.inode == d.inode && now.Sub(known.seen) > execWithin
}

// servers returns the processes of SSH servers, by number. It reads the names of all processes
// that it does not know yet, and more only of those that match.
func (l *logins) servers() (map[int]process, error) {
	pids, err := readNumbered(l.proc)
	if err != nil {
		return nil, err
	}
	if !slices.ContainsFunc(pids, func(d directory) bool { return d.number == 1 }) {
		return nil, fmt.Errorf("%s does not show the processes of other users (hidepid=, ProtectProc=): "+
			"give the daemon CAP_SYS_PTRACE", l.proc)
	}
	procs := make(map[int]process)
	err = l.others.search(l.proc, pids, []string{openSSH, openSSHSession, dropbear}, func(pid int, name string) error {
		p, err := readProcess(l.proc, pid, name)
		if err == nil {
			procs[pid] = p
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return procs, l.addChildren(procs, pids)
}

// search calls found for the processes with one of the names. It reads the names of those that it
// does not know yet.
func (o *others) search(
	proc string, pids []directory, names []string, found func(pid int, name string) error,
) error {
	dir, err := unix.Open(proc, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open %s: %w", proc, err)
	}
	defer unix.Close(dir)
	now := time.Now()
	if now.Sub(o.since) > namesFor {
		o.since, o.known = now, nil
	}
	rest := make(map[int]other, len(pids))
	for _, d := range pids {
		if o.skip(d, now) {
			rest[d.number] = o.known[d.number]
			continue
		}
		name, err := commandName(dir, d.number)
		switch {
		case err != nil:
		case slices.Contains(names, name):
			var ok bool
			if ok, err = o.isGenuine(proc, d.number, name); ok {
				err = found(d.number, name)
			} else if err == nil {
				rest[d.number] = o.first(d, now)
			}
		default:
			rest[d.number] = o.first(d, now)
		}
		if err != nil && !isGone(err) {
			return fmt.Errorf("read process %d: %w", d.number, err)
		}
	}
	o.known = rest
	return nil
}

func (o *others) isGenuine(proc string, pid int, name string) (bool, error) {
	if o.genuine != nil {
		return o.genuine(proc, pid, name)
	}
	return genuine(proc, pid, name)
}

// first returns what is known of a process, which may be that it was first seen now.
func (o *others) first(d directory, now time.Time) other {
	if known, ok := o.known[d.number]; ok && known.inode == d.inode {
		return known
	}
	return other{d.inode, now}
}

// commandName returns the name of a process. It is called for many processes, so it makes no
// more system calls than necessary.
func commandName(dir, pid int) (string, error) {
	fd, err := unix.Openat(dir, strconv.Itoa(pid)+"/comm", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	var b [32]byte
	n, err := unix.Read(fd, b[:])
	if err != nil {
		return "", err
	}
	return string(bytes.TrimSuffix(b[:n], []byte("\n"))), nil
}

func readProcess(proc string, pid int, name string) (process, error) {
	dir := fmt.Sprintf("%s/%d/", proc, pid)
	stat, err1 := readStat(proc, pid)
	status, err2 := readUpTo(dir+"status", mostStatus)
	title, err3 := readUpTo(dir+"cmdline", mostTitle)
	if err := errors.Join(err1, err2, err3); err != nil {
		return process{}, err
	}
	uid := userOf(string(status))
	return process{
		pid: pid, parent: stat.parent, start: stat.start, name: name, uid: uid, root: uid == "0",
		title: strings.TrimSpace(strings.ReplaceAll(string(title), "\x00", " ")),
	}, nil
}

// parseStat reads /proc/PID/stat. The second field is the name in brackets, which may contain
// spaces and brackets.
func parseStat(stat string) (processStat, error) {
	const parentField, terminalField, startField = 1, 4, 19 // after the name
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	if len(fields) <= startField {
		return processStat{}, fmt.Errorf("stat %q is too short", stat)
	}
	parent, err1 := strconv.Atoi(fields[parentField])
	start, err2 := strconv.ParseUint(fields[startField], 10, 64)
	return processStat{parent, start, fields[terminalField] != "0"}, errors.Join(err1, err2)
}

// userOf reads the line "Uid: REAL EFFECTIVE SAVED FILESYSTEM" of /proc/PID/status. It returns "" if
// these differ. Any user can start a setuid program under any name.
func userOf(status string) string {
	const ids = 4
	_, rest, _ := strings.Cut(status, "\nUid:")
	fields := strings.Fields(rest)
	if len(fields) < ids || slices.ContainsFunc(fields[:ids], func(id string) bool { return id != fields[0] }) {
		return ""
	}
	return fields[0]
}

// addChildren finds out which processes of dropbear have children.
func (l *logins) addChildren(procs map[int]process, pids []directory) error {
	isDropbear := func(p process) bool { return p.name == dropbear }
	if !slices.ContainsFunc(slices.Collect(maps.Values(procs)), isDropbear) {
		return nil
	}
	for _, d := range pids {
		stat, err := readStat(l.proc, d.number)
		if isGone(err) {
			continue
		}
		if err != nil {
			return err
		}
		if p, ok := procs[stat.parent]; ok {
			p.children = true
			procs[stat.parent] = p
		}
	}
	return nil
}

// loggedIn reports whether p is the process of an authenticated session. The server must be root's.
// The process of a session may run as the user that logged in. Its parent is then root's: the
// monitor of OpenSSH, or the listening dropbear. A dropbear below the dropbear of a session is a
// program that the user has started.
func (p process) loggedIn(procs map[int]process) bool {
	parent := procs[p.parent]
	if !p.root && !parent.root {
		return false
	}
	if p.name == dropbear {
		return p.children && (p.root || procs[parent.parent].name != dropbear)
	}
	return isSessionTitle(p.title)
}

// isSessionTitle tells the titles "sshd: USER@TTY" and "sshd: USER" of a session from
// "sshd: USER [priv]", "sshd: unknown [net]", "sshd: [accepted]" and
// "sshd: /usr/sbin/sshd -D [listener] 0 of 10-100 startups".
func isSessionTitle(title string) bool {
	program, user, ok := strings.Cut(title, ": ")
	return ok && (program == openSSH || program == openSSHSession) && user != "" &&
		!strings.HasSuffix(user, "]") && !strings.Contains(user, "[listener]")
}

// isMonitor reports whether p is the process of root that supervises an OpenSSH session.
func (p process) isMonitor() bool { return p.root && strings.HasSuffix(p.title, " [priv]") }

// directory is the directory of a process in /proc, or one of its descriptors.
type directory struct {
	number int
	inode  uint64
}

// readNumbered returns the names in a directory of /proc that are numbers.
func readNumbered(dir string) ([]directory, error) {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", dir, err)
	}
	defer unix.Close(fd)
	var all []directory
	buffer := make([]byte, 64<<10)
	for {
		n, err := unix.Getdents(fd, buffer)
		if err != nil {
			return nil, fmt.Errorf("list %s: %w", dir, err)
		}
		if n == 0 {
			return all, nil
		}
		all = appendNumbered(all, buffer[:n])
	}
}

// appendNumbered reads records of struct linux_dirent64: the inode, an offset, the length of the
// record in two bytes, a type, and the name.
func appendNumbered(all []directory, records []byte) []directory {
	const lengthAt, nameAt = 16, 19
	for len(records) > nameAt {
		length := int(binary.NativeEndian.Uint16(records[lengthAt:]))
		if length <= nameAt || length > len(records) {
			return all
		}
		name, _, _ := bytes.Cut(records[nameAt:length], []byte{0})
		if n, err := strconv.Atoi(string(name)); err == nil {
			all = append(all, directory{n, binary.NativeEndian.Uint64(records)})
		}
		records = records[length:]
	}
	return all
}

// isGone reports whether an error says that a process or descriptor has ended meanwhile.
func isGone(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH)
}
