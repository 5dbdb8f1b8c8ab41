package probe

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io/fs"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/paraxial/paraxial/doctor"
)

// featureStrings is ETH_SS_FEATURES of linux/ethtool.h, and stringLen
// ETH_GSTRING_LEN.
const (
	featureStrings = 4
	stringLen      = 32
)

// ethtool adds the facts from the ethtool ioctl. It skips those that a driver does
// not support.
func (g *gatherer) ethtool(i *doctor.Interface) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		g.unseen("what ethtool shows", err)
		return
	}
	defer unix.Close(fd)
	if info, err := unix.IoctlGetEthtoolDrvinfo(fd, i.Name); err == nil {
		i.Driver = unix.ByteSliceToString(info.Driver[:])
	} else {
		g.ethtoolError(i.Name, err)
	}
	if i.Channels, err = channels(fd, i.Name); err != nil {
		g.ethtoolError(i.Name, err)
	}
	if i.Offloads, err = offloads(fd, i.Name); err != nil {
		g.ethtoolError(i.Name, err)
	}
}

func (g *gatherer) ethtoolError(iface string, err error) {
	if errors.Is(err, unix.EOPNOTSUPP) {
		return
	}
	if errors.Is(err, unix.EPERM) {
		err = fs.ErrPermission
	}
	g.unseen("what ethtool shows of "+iface, err)
}

// ethtoolIoctl passes buf to the kernel. buf begins with a command, and receives
// the answer.
func ethtoolIoctl(fd int, iface string, buf []byte) error {
	name, err := unix.NewIfreq(iface)
	if err != nil {
		return err
	}
	// struct ifreq with a pointer in its union.
	var req struct {
		name [unix.IFNAMSIZ]byte
		data unsafe.Pointer
		_    [16]byte
	}
	copy(req.name[:], name.Name())
	req.data = unsafe.Pointer(&buf[0])
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&req)))
	runtime.KeepAlive(buf)
	if errno != 0 {
		return errno
	}
	return nil
}

// channels reads struct ethtool_channels: the command, then the maxima of rx, tx,
// other and combined, and then their current values.
func channels(fd int, iface string) (*doctor.Channels, error) {
	buf := make([]byte, 9*4)
	word := func(i int) int { return int(binary.NativeEndian.Uint32(buf[i*4:])) }
	binary.NativeEndian.PutUint32(buf, unix.ETHTOOL_GCHANNELS)
	if err := ethtoolIoctl(fd, iface, buf); err != nil {
		return nil, err
	}
	return &doctor.Channels{MaxRX: word(1), MaxCombined: word(4), RX: word(5), Combined: word(8)}, nil
}

// offloads reads the names of all features, and their state.
func offloads(fd int, iface string) (map[string]doctor.Offload, error) {
	n, err := featureCount(fd, iface)
	if err != nil || n == 0 {
		return nil, err
	}
	names := make([]byte, 12+n*stringLen)
	binary.NativeEndian.PutUint32(names, unix.ETHTOOL_GSTRINGS)
	binary.NativeEndian.PutUint32(names[4:], featureStrings)
	binary.NativeEndian.PutUint32(names[8:], uint32(n))
	if err := ethtoolIoctl(fd, iface, names); err != nil {
		return nil, err
	}
	// struct ethtool_gfeatures: blocks of 32 features. Each block has the words
	// available, requested, active and never changed.
	blocks := (n + 31) / 32
	state := make([]byte, 8+blocks*16)
	binary.NativeEndian.PutUint32(state, unix.ETHTOOL_GFEATURES)
	binary.NativeEndian.PutUint32(state[4:], uint32(blocks))
	if err := ethtoolIoctl(fd, iface, state); err != nil {
		return nil, err
	}
	all := make(map[string]doctor.Offload, n)
	for i := range n {
		bit := func(word int) bool {
			return binary.NativeEndian.Uint32(state[8+i/32*16+word*4:])&(1<<(i%32)) != 0
		}
		name, _, _ := bytes.Cut(names[12+i*stringLen:12+(i+1)*stringLen], []byte{0})
		if len(name) > 0 {
			all[string(name)] = doctor.Offload{On: bit(2), Fixed: !bit(0) || bit(3)}
		}
	}
	return all, nil
}

// featureCount reads struct ethtool_sset_info for one set of strings.
func featureCount(fd int, iface string) (int, error) {
	buf := make([]byte, 20)
	binary.NativeEndian.PutUint32(buf, unix.ETHTOOL_GSSET_INFO)
	binary.NativeEndian.PutUint64(buf[8:], 1<<featureStrings)
	if err := ethtoolIoctl(fd, iface, buf); err != nil {
		return 0, err
	}
	if binary.NativeEndian.Uint64(buf[8:]) == 0 {
		return 0, nil
	}
	return int(binary.NativeEndian.Uint32(buf[16:])), nil
}
