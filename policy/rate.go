package policy

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// RateUnit is the unit that a Rate counts.
type RateUnit uint8

// The units. The numbers are stored on disk.
const (
	Packets RateUnit = 1
	Bytes   RateUnit = 2
)

func (u RateUnit) String() string {
	switch u {
	case Packets:
		return "packets"
	case Bytes:
		return "bytes"
	}
	return fmt.Sprintf("unit(%d)", uint8(u))
}

// Rate is the amount that a source may send in a second. The zero Rate means that
// there is no rate; it does not mean a rate of 0.
type Rate struct {
	PerSecond uint64
	Unit      RateUnit
}

// The highest rates accepted. A link of 100 Gbit/s carries 150 million packets
// a second.
const (
	MaxPacketRate = 1_000_000_000
	MaxByteRate   = 12_500_000_000 // 100 Gbit/s
)

// rateScale is a unit as it is written. scale is in packets or in bits.
type rateScale struct {
	name  string
	unit  RateUnit
	scale uint64
}

// rateScales returns all units that ParseRate reads. The units in bits come first,
// the largest before the others, as String needs it.
func rateScales() []rateScale {
	return []rateScale{
		{"Gbit", Bytes, 1_000_000_000},
		{"Mbit", Bytes, 1_000_000},
		{"kbit", Bytes, 1000},
		{"bit", Bytes, 1},
		{"", Packets, 1},
		{"k", Packets, 1000},
		{"M", Packets, 1_000_000},
		{"B", Bytes, 8},
		{"kB", Bytes, 8000},
		{"MB", Bytes, 8_000_000},
		{"GB", Bytes, 8_000_000_000},
	}
}

var errRateForm = errors.New("want packets a second, as in 200/s or 50k/s, " +
	"or bits or bytes a second, as in 10Mbit/s or 1MB/s")

// ParseRate reads a rate such as 200/s (packets), 50k/s, 10Mbit/s or 1MB/s.
// Numbers are whole and positive, and k, M and G are powers of 1000. A rate in
// bits must be a whole number of bytes.
func ParseRate(s string) (Rate, error) {
	fail := func(err error) (Rate, error) {
		return Rate{}, fmt.Errorf("rate %s: %w", quote(s), err)
	}
	written, perSecond := strings.CutSuffix(s, "/s")
	digits := len(written) - len(strings.TrimLeft(written, "0123456789"))
	if !perSecond || digits == 0 {
		return fail(errRateForm)
	}
	scale, known := findScale(written[digits:])
	if !known {
		return fail(errRateForm)
	}
	n, err := strconv.ParseUint(written[:digits], 10, 64)
	if err != nil || n > math.MaxUint64/scale.scale {
		return fail(tooFast(scale.unit))
	}
	r := Rate{PerSecond: n * scale.scale, Unit: scale.unit}
	if r.Unit == Bytes {
		if r.PerSecond%8 != 0 {
			return fail(errors.New("does not come to whole bytes a second; want a multiple of 8 bits"))
		}
		r.PerSecond /= 8
	}
	if err := r.Check(); err != nil {
		return fail(err)
	}
	return r, nil
}

func findScale(name string) (rateScale, bool) {
	// The prefix for a thousand is written as k or K.
	if strings.HasPrefix(name, "K") {
		name = "k" + name[1:]
	}
	for _, scale := range rateScales() {
		if scale.name == name {
			return scale, true
		}
	}
	return rateScale{}, false
}

// Check returns an error unless ParseRate can return r.
func (r Rate) Check() error {
	switch {
	case r.Unit != Packets && r.Unit != Bytes:
		return fmt.Errorf("%s: want packets or bytes", r.Unit)
	case r.PerSecond == 0:
		return errors.New("must be positive")
	case r.Unit == Packets && r.PerSecond > MaxPacketRate, r.Unit == Bytes && r.PerSecond > MaxByteRate:
		return tooFast(r.Unit)
	}
	return nil
}

func tooFast(u RateUnit) error {
	if u == Packets {
		return fmt.Errorf("more than %s", Rate{MaxPacketRate, Packets})
	}
	return fmt.Errorf("more than %s", Rate{MaxByteRate, Bytes})
}

// String returns r in the form that ParseRate reads. Packets are written as 200/s.
// Bytes are written in the largest unit of bits that needs no fraction, as is
// usual for networks.
func (r Rate) String() string {
	if r.Unit == Packets {
		return strconv.FormatUint(r.PerSecond, 10) + "/s"
	}
	for _, scale := range rateScales() {
		if scale.unit == Bytes && r.PerSecond*8%scale.scale == 0 {
			return strconv.FormatUint(r.PerSecond*8/scale.scale, 10) + scale.name + "/s"
		}
	}
	return strconv.FormatUint(r.PerSecond*8, 10) + "bit/s"
}
