package replay

import (
	"bufio"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
)

// packet is a packet of a capture. Its data is valid until the next one is read.
type packet struct {
	time time.Time
	link layers.LinkType
	data []byte
	wire int // length on the wire
}

// capture reads packets from a file in pcap or pcapng format.
type capture struct {
	read   func() (packet, error)
	source *counter
	number uint64    // number of packets read
	last   time.Time // time of the last packet read
}

// counter counts the bytes read from a file.
type counter struct {
	io.Reader
	n int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n += int64(n)
	return n, err
}

// magicNg is the first word of a pcapng file, in both byte orders.
const magicNg = 0x0a0d0d0a

var errNoCapture = errors.New("not a capture; want a file in pcap or pcapng format, as tcpdump -w writes it")

// openCapture detects the format of a capture. Both formats may be compressed with gzip.
func openCapture(r io.Reader) (*capture, error) {
	c := &capture{source: &counter{Reader: r}}
	br := bufio.NewReaderSize(c.source, 1<<20)
	if magic, _ := br.Peek(2); len(magic) == 2 && magic[0] == 0x1f && magic[1] == 0x8b {
		z, err := gzip.NewReader(br)
		if err != nil {
			return nil, fmt.Errorf("read gzip: %w", err)
		}
		br = bufio.NewReaderSize(z, 1<<20)
	}
	magic, err := br.Peek(4)
	if err != nil {
		return nil, errNoCapture
	}
	if binary.BigEndian.Uint32(magic) == magicNg {
		err = c.openNg(br)
	} else {
		err = c.openPlain(br)
	}
	if err != nil {
		return nil, fmt.Errorf("%w (%v)", errNoCapture, err)
	}
	return c, nil
}

func (c *capture) openPlain(r io.Reader) error {
	reader, err := pcapgo.NewReader(r)
	if err != nil {
		return err
	}
	c.read = func() (packet, error) {
		data, ci, err := reader.ZeroCopyReadPacketData()
		if errors.Is(err, io.EOF) && ci.CaptureLength > 0 {
			err = io.ErrUnexpectedEOF // between the header of a packet and its data
		}
		return packet{ci.Timestamp, reader.LinkType(), data, ci.Length}, err
	}
	return nil
}

func (c *capture) openNg(r io.Reader) error {
	reader, err := pcapgo.NewNgReader(r, pcapgo.NgReaderOptions{WantMixedLinkType: true, SkipUnknownVersion: true})
	if err != nil {
		return err
	}
	c.read = func() (packet, error) {
		data, ci, err := reader.ZeroCopyReadPacketData()
		return packet{ci.Timestamp, linkOf(reader, ci), data, ci.Length}, err
	}
	return nil
}

// linkOf returns the link type of the interface of a packet. Interfaces in a file may
// have different ones.
func linkOf(r *pcapgo.NgReader, ci gopacket.CaptureInfo) layers.LinkType {
	for _, a := range ci.AncillaryData {
		if link, ok := a.(layers.LinkType); ok {
			return link
		}
	}
	return r.LinkType()
}

// next returns the next packet. The error is io.EOF at the end of the capture; any other
// error has the place in the file.
func (c *capture) next() (packet, error) {
	p, err := c.read()
	switch {
	case err == nil:
		c.number++
		c.last = p.time
		return p, nil
	case errors.Is(err, io.ErrUnexpectedEOF):
		return p, fmt.Errorf("cut short at byte %d, after %s; the packets before it were replayed",
			c.source.n, c.place())
	case errors.Is(err, io.EOF):
		return p, io.EOF
	}
	return p, fmt.Errorf("damaged after %s: %w; the packets before it were replayed", c.place(), err)
}

func (c *capture) place() string {
	if c.number == 0 {
		return "the file header, before the first packet"
	}
	return fmt.Sprintf("packet %d, of %s", c.number, c.last.UTC().Format(time.RFC3339Nano))
}
