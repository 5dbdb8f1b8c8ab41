package store

import (
	"encoding/binary"
	"errors"
	"time"

	"github.com/paraxial/paraxial/policy"
)

// rateSize is the number of bytes that appendRate appends.
const rateSize = 9

// The most ports and events of an evidence.
const (
	maxPorts = 256
	maxSeen  = 64
)

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
	return checkRuleEvidence(v)
}

func checkRuleEvidence(v *policy.Evidence) error {
	r := v.Rule
	switch {
	case r == nil:
		return nil
	case v.Detector != "" || len(v.Ports) > 0 || v.Rate != policy.Rate{} || v.Limit != policy.Rate{}:
		return errors.New("evidence: of a rule and of a detector at once")
	case len(r.Rule) > maxText || len(r.Reporter) > maxText:
		return errors.New("evidence: the name of the rule or of the reporter is too long")
	case r.Limit < 0:
		return errors.New("evidence: a negative number")
	case len(r.Seen) > maxSeen:
		return errors.New("evidence: too many events")
	}
	for _, s := range r.Seen {
		if s.Points < 0 || max(len(s.User), len(s.Path), len(s.Text), len(s.Where)) > maxText {
			return errors.New("evidence: an event has a negative number or a text that is too long")
		}
	}
	return nil
}

// appendEvidence appends the content of tagEvidence. Later versions must append new
// fields at the end, where earlier versions do not read.
func appendEvidence(dst []byte, v *policy.Evidence) []byte {
	dst = appendText(dst, v.Detector)
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

// appendRuleEvidence appends the content of tagRuleEvidence. Later versions must append new
// fields at the end, as in appendEvidence.
func appendRuleEvidence(dst []byte, v *policy.Evidence) []byte {
	dst = appendText(appendText(dst, v.Rule.Rule), v.Rule.Reporter)
	dst = binary.AppendUvarint(dst, uint64(v.Rule.Limit))
	dst = binary.AppendVarint(dst, int64(v.Window))
	dst = binary.AppendUvarint(dst, v.Count)
	dst = binary.AppendVarint(dst, v.First.Unix())
	dst = binary.AppendVarint(dst, v.Last.Unix())
	dst = binary.AppendUvarint(dst, uint64(v.Offence))
	dst = binary.AppendUvarint(dst, uint64(v.Sources))
	dst = binary.AppendUvarint(dst, uint64(len(v.Rule.Seen)))
	for _, s := range v.Rule.Seen {
		dst = binary.AppendVarint(dst, s.Time.Unix())
		dst = binary.AppendUvarint(dst, uint64(s.Points))
		for _, text := range []string{s.User, s.Path, s.Text, s.Where} {
			dst = appendText(dst, text)
		}
	}
	return dst
}

// ruleEvidence reads an evidence that appendRuleEvidence wrote.
func (d *entryDecoder) ruleEvidence(f *fields) *policy.Evidence {
	r := &policy.RuleEvidence{
		Rule: reuse(&d.detector, f.take(f.uvarint())), Reporter: reuse(&d.reporter, f.take(f.uvarint())),
		Limit: int(f.uvarint()),
	}
	v := &policy.Evidence{
		Window:  time.Duration(f.varint()),
		Count:   f.uvarint(),
		First:   time.Unix(f.varint(), 0).UTC(),
		Last:    time.Unix(f.varint(), 0).UTC(),
		Offence: int(f.uvarint()),
		Sources: int(f.uvarint()),
		Rule:    r,
	}
	for n := f.uvarint(); n > 0 && !f.failed; n-- {
		r.Seen = append(r.Seen, policy.Seen{
			Time: time.Unix(f.varint(), 0).UTC(), Points: int(f.uvarint()),
			User: f.text(), Path: f.text(), Text: f.text(), Where: f.text(),
		})
	}
	return v
}

func appendText(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

func (f *fields) text() string { return string(f.take(f.uvarint())) }

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
