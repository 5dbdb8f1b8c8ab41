package tunnels

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Numbers of linux/wireguard.h.
const (
	wireGuardFamily    = "wireguard"
	wireGuardVersion   = 1
	wireGuardGetDevice = 0
	deviceIndex        = 1 // WGDEVICE_A_IFINDEX
	devicePeers        = 8 // WGDEVICE_A_PEERS
	peerEndpoint       = 4 // WGPEER_A_ENDPOINT
)

const (
	genericHeader = 4         // struct genlmsghdr
	attributeType = 1<<14 - 1 // NLA_TYPE_MASK
	answerBuffer  = 64 << 10  // of one message; the kernel sends at most 32 KiB
)

// wireGuardPeers asks the kernel for the endpoints of the peers of an interface. The endpoint of a
// peer that roams is the one from which its last authenticated packet came.
func wireGuardPeers(index int) ([]netip.Addr, error) {
	family, err := netlink.GenlFamilyGet(wireGuardFamily)
	if err != nil {
		return nil, fmt.Errorf("look up the netlink family %s: %w", wireGuardFamily, err)
	}
	req := nl.NewNetlinkRequest(int(family.ID), unix.NLM_F_DUMP)
	req.AddData(&nl.Genlmsg{Command: wireGuardGetDevice, Version: wireGuardVersion})
	req.AddData(nl.NewRtAttr(deviceIndex, nl.Uint32Attr(uint32(index))))
	var peers []netip.Addr
	err = ask(req.Serialize(), func(message []byte) error {
		found, err := parseWireGuard(message)
		peers = append(peers, found...)
		return err
	})
	return peers, err
}

// ask sends a request for a dump to generic netlink and calls read for each answer. The answers of
// WireGuard have its keys. So they stay in one buffer, which is cleared at the end.
func ask(request []byte, read func(message []byte) error) error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_GENERIC)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.Sendto(fd, request, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	buffer := make([]byte, answerBuffer)
	defer clear(buffer)
	for {
		n, _, err := unix.Recvfrom(fd, buffer, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return err
		}
		if done, err := readAnswers(buffer[:n], read); done || err != nil {
			return err
		}
	}
}

// readAnswers reads the messages of one datagram. done means that it has the last one.
func readAnswers(datagram []byte, read func(message []byte) error) (done bool, err error) {
	messages, err := syscall.ParseNetlinkMessage(datagram)
	if err != nil {
		return false, err
	}
	for _, m := range messages {
		switch m.Header.Type {
		case unix.NLMSG_DONE, unix.NLMSG_ERROR:
			if len(m.Data) >= 4 {
				if code := int32(binary.NativeEndian.Uint32(m.Data)); code != 0 {
					return true, unix.Errno(-code)
				}
			}
			return true, nil
		}
		if err := read(m.Data); err != nil {
			return false, err
		}
	}
	return false, nil
}

// parseWireGuard returns the endpoints in an answer: a header, then attributes, of which one has
// the peers, each of which has attributes.
func parseWireGuard(message []byte) ([]netip.Addr, error) {
	if len(message) < genericHeader {
		return nil, fmt.Errorf("message of %d bytes, want at least %d", len(message), genericHeader)
	}
	var endpoints []netip.Addr
	err := eachAttribute(message[genericHeader:], devicePeers, func(peers []byte) error {
		return eachAttribute(peers, anyAttribute, func(peer []byte) error {
			return eachAttribute(peer, peerEndpoint, func(address []byte) error {
				a, err := socketAddress(address)
				if h, ok := host(net.IP(a.AsSlice())); ok {
					endpoints = append(endpoints, h)
				}
				return err
			})
		})
	})
	return endpoints, err
}

// anyAttribute stands for all types of attributes.
const anyAttribute = -1

// eachAttribute calls read for the values of the attributes of a type.
func eachAttribute(b []byte, wanted int, read func(value []byte) error) error {
	attrs, err := nl.ParseRouteAttr(b)
	if err != nil {
		return err
	}
	for _, a := range attrs {
		if wanted == anyAttribute || int(a.Attr.Type&attributeType) == wanted {
			if err := read(a.Value); err != nil {
				return err
			}
		}
	}
	return nil
}

// socketAddress reads the address in a struct sockaddr_in or sockaddr_in6.
func socketAddress(b []byte) (netip.Addr, error) {
	if len(b) >= unix.SizeofSockaddrInet4 && binary.NativeEndian.Uint16(b) == unix.AF_INET {
		return netip.AddrFrom4([4]byte(b[4:8])), nil
	}
	if len(b) >= unix.SizeofSockaddrInet6 && binary.NativeEndian.Uint16(b) == unix.AF_INET6 {
		return netip.AddrFrom16([16]byte(b[8:24])), nil
	}
	return netip.Addr{}, fmt.Errorf("endpoint of %d bytes is no address", len(b))
}
