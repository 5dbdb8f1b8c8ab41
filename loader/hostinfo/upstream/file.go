package upstream

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/user"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// mostBytes is the size of a file that is read. dhclient keeps about 20 leases in its file.
	mostBytes = 256 << 10
	// mostServers is the number of servers that one file may name.
	mostServers = 256
	// mostNames is the number of names in a directory that is searched.
	mostNames = 4096
	// tick is longer than the steps of the kernel's time stamps. A file that changes twice
	// within a step keeps its time stamp.
	tick = 50 * time.Millisecond
)

// stamp tells one version of a file or directory from another.
type stamp struct {
	dev, ino uint64
	size     int64
	mtime    unix.Timespec
	ctime    unix.Timespec
}

// seen is the stamp of the version that was read.
type seen struct {
	stamp stamp
	at    time.Time
}

// current reports whether now is the version that was read.
func (s seen) current(now stamp) bool {
	return s.stamp == now && s.at.After(time.Unix(now.ctime.Unix()).Add(tick))
}

func stampOf(path string) (stamp, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return stamp{}, err
	}
	return statStamp(&st), nil
}

func statStamp(st *unix.Stat_t) stamp {
	return stamp{uint64(st.Dev), st.Ino, st.Size, st.Mtim, st.Ctim}
}

// folder is a directory as it was read last.
type folder struct {
	seen
	names []string
	err   error
}

// refreshed returns the folder as it is now.
func (f folder) refreshed(path string) folder {
	now, err := stampOf(path)
	if err != nil {
		return folder{err: err}
	}
	if f.current(now) {
		return f
	}
	f = folder{seen: seen{now, time.Now()}}
	f.names, f.err = list(path)
	return f
}

func list(path string) ([]string, error) {
	d, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	names, err := d.Readdirnames(mostNames + 1)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if len(names) > mostNames {
		return nil, fmt.Errorf("it has more than %d names", mostNames)
	}
	slices.Sort(names)
	return names, nil
}

// file is a file as it was read last.
type file struct {
	seen
	found found
	err   error
}

// refreshed returns the file as it is now.
func (f file) refreshed(path string, k kind) file {
	now, err := stampOf(path)
	if err != nil {
		return file{err: err}
	}
	if f.current(now) {
		return f
	}
	f = file{seen: seen{at: time.Now()}}
	var text []byte
	text, f.stamp, f.err = readFile(path, k.users)
	if f.err == nil {
		f.found, f.err = k.parse(text)
	}
	if f.err == nil && len(f.found.addrs)+len(f.found.refs) > mostServers {
		f.err = fmt.Errorf("it names more than %d servers", mostServers)
	}
	if f.err != nil {
		f.found = found{}
	}
	return f
}

// readFile reads a regular file of root or one of the users.
func readFile(path string, users []string) ([]byte, stamp, error) {
	// O_NONBLOCK: a FIFO does not make the daemon wait.
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, stamp{}, err
	}
	f := os.NewFile(uintptr(fd), path)
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, stamp{}, err
	}
	if err := trusted(&st, users); err != nil {
		return nil, statStamp(&st), err
	}
	text, err := io.ReadAll(io.LimitReader(f, mostBytes+1))
	if err == nil && len(text) > mostBytes {
		err = fmt.Errorf("it has more than %d KiB", mostBytes>>10)
	}
	return text, statStamp(&st), err
}

// untrusted tells why another user may have written a file.
type untrusted string

func (u untrusted) Error() string { return string(u) }

// trusted returns an error unless only root, or the program whose file it is, can have written it.
func trusted(st *unix.Stat_t, users []string) error {
	switch {
	case st.Mode&unix.S_IFMT != unix.S_IFREG:
		return errors.New("it is no regular file")
	case st.Mode&unix.S_IWOTH != 0:
		return untrusted("every user may write to it: chmod o-w")
	case st.Uid != 0 && !slices.ContainsFunc(users, func(name string) bool { return hasUID(name, st.Uid) }):
		return untrusted(fmt.Sprintf("it belongs to user %d: chown root", st.Uid))
	}
	return nil
}

func hasUID(name string, uid uint32) bool {
	u, err := user.Lookup(name)
	return err == nil && u.Uid == strconv.FormatUint(uint64(uid), 10)
}
