package store

import (
	"encoding/binary"
	"errors"
	"time"

	"github.com/paraxial/paraxial/policy"
)

// rateSize is the number of bytes that appendRate appends.
const rateSize = 9

// maxPorts is the most ports of an evidence.
const maxPorts = 256

// checkEvidence returns an error unless v can be stored and read back. v may be nil.
func checkEvidence(v *policy.Evidence) error {
	switch {
	case v == nil:
		return nil
	case len(v.Detector) > maxText:
		return errors.New("evidence: the name of the detector is too long")
	case len(v.Ports) > maxPorts:
		return errors.New("evidence: too many ports")
	case v.Offence < 0 || v.Sources < 0:
		return errors.New("evidence: a negative number")
	}
	return nil
}

// appendEvidence appends the content of tagEvidence. Later versions must append new
// fields at the end, where earlier versions do not read.
func appendEvidence(dst []byte, v *policy.Evidence) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(v.Detector)))
	dst = append(dst, v.Detector...)
	dst = appendRate(appendRate(dst, v.Rate), v.Limit)
	dst = binary.AppendVarint(dst, int64(v.Window))
	dst = binary.AppendUvarint(dst, v.Count)
	dst = binary.AppendVarint(dst, v.First.Unix())
	dst = binary.AppendVarint(dst, v.Last.Unix())
	dst = binary.AppendUvarint(dst, uint64(v.Offence))
	dst = binary.AppendUvarint(dst, uint64(v.Sources))
	dst = binary.AppendUvarint(dst, uint64(len(v.Ports)))
	for _, p := range v.Ports {
		dst = binary.LittleEndian.AppendUint16(dst, p)
	}
	return dst
}

// evidence reads an evidence that appendEvidence wrote.
func (d *entryDecoder) evidence(f *fields) *policy.Evidence {
	v := &policy.Evidence{
		Detector: reuse(&d.detector, f.take(f.uvarint())),
		Rate:     f.rate(),
		Limit:    f.rate(),
		Window:   time.Duration(f.varint()),
		Count:    f.uvarint(),
		First:    time.Unix(f.varint(), 0).UTC(),
		Last:     time.Unix(f.varint(), 0).UTC(),
		Offence:  int(f.uvarint()),
		Sources:  int(f.uvarint()),
	}
	for n := f.uvarint(); n > 0 && !f.failed; n-- {
		v.Ports = append(v.Ports, f.u16())
	}
	return v
}

func appendRate(dst []byte, r policy.Rate) []byte {
	return binary.LittleEndian.AppendUint64(append(dst, byte(r.Unit)), r.PerSecond)
}

func (f *fields) rate() policy.Rate {
	return policy.Rate{Unit: policy.RateUnit(f.u8()), PerSecond: f.u64()}
}

func (f *fields) u16() uint16 {
	if b := f.take(2); b != nil {
		return binary.LittleEndian.Uint16(b)
	}
	return 0
}
