package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"net/netip"
	"slices"
	"time"

	"github.com/paraxial/paraxial/policy"
)

// entryFormat is the first byte of an entry's value.
const entryFormat = 1

// Flags of an entry. Earlier versions ignore those that they do not know.
const (
	flagForced   = 1 << 0
	flagReplaces = 1 << 1 // Pending.Replace
	flagReplies  = 1 << 2
)

// Tags of the optional fields of an entry. A field is tag, length, content.
const (
	tagReason  = 1
	tagAuthor  = 2
	tagPending = 3 // deadline after confirmation, i64
	tagRate    = 4 // of a limit: its unit, u8, and how many a second, u64

	// tagEvidence does not affect packets. So earlier versions may skip it, and it
	// needs no new format of the file.
	tagEvidence = 5
	// tagRuleEvidence is the evidence of a rule. Earlier versions skip it, too.
	tagRuleEvidence = 6
)

const (
	familyIPv4 = 4
	familyIPv6 = 6

	// maxText is the most bytes of a reason, an author or a pending id.
	maxText = 4096
)

var errShort = errors.New("value is cut short")

// stored is an entry as it is on disk: its deadlines are in the boot time of epoch.
type stored struct {
	policy.Entry
	epoch uint32
}

// appendKey appends the kind, the family, address and length of the prefix, and the
// pending id if there is one. Keys have the order of their prefixes.
func appendKey(dst []byte, k policy.Key) []byte {
	addr := k.Prefix.Addr()
	dst = append(dst, byte(k.Kind))
	if addr.Is4() {
		a := addr.As4()
		dst = append(append(dst, familyIPv4), a[:]...)
	} else {
		a := addr.As16()
		dst = append(append(dst, familyIPv6), a[:]...)
	}
	return append(append(dst, byte(k.Prefix.Bits())), k.Pending...)
}

// parseKey reads a key from appendKey. The key has no origin.
func parseKey(b []byte) (policy.Key, error) {
	if len(b) < 2 {
		return policy.Key{}, errors.New("key is cut short")
	}
	k, size := policy.Key{Kind: policy.Kind(b[0])}, 4
	if b[1] == familyIPv6 {
		size = 16
	}
	if len(b) < 2+size+1 {
		return policy.Key{}, errors.New("key is cut short")
	}
	addr, _ := netip.AddrFromSlice(b[2 : 2+size])
	k.Prefix = netip.PrefixFrom(addr, int(b[2+size]))
	k.Pending = string(b[2+size+1:])
	if b[1] != familyIPv4 && b[1] != familyIPv6 {
		return policy.Key{}, fmt.Errorf("unknown address family %d", b[1])
	}
	return k, checkKey(k)
}

// checkKey returns an error unless a key can be stored and read back.
func checkKey(k policy.Key) error {
	switch {
	case k.Kind != policy.Block && k.Kind != policy.Allow:
		return fmt.Errorf("unknown %s", k.Kind)
	case !k.Prefix.IsValid() || k.Prefix != k.Prefix.Masked() || k.Prefix.Addr().Is4In6():
		return fmt.Errorf("prefix %s is not in its normal form", k.Prefix)
	case len(k.Pending) > maxText:
		return fmt.Errorf("pending id of %d bytes", len(k.Pending))
	}
	return nil
}

// checkEntry returns an error unless e can be stored and read back. It does not
// check the origin.
func checkEntry(e policy.Entry) error {
	if err := checkKey(e.Key()); err != nil {
		return err
	}
	if len(e.Reason) > maxText || len(e.Author) > maxText {
		return fmt.Errorf("entry %s: reason or author longer than %d bytes", e.Prefix, maxText)
	}
	if e.Pending != nil && e.Pending.ID == "" {
		return fmt.Errorf("entry %s: pending without an id", e.Prefix)
	}
	if err := errors.Join(checkRate(e), checkEvidence(e.Evidence)); err != nil {
		return fmt.Errorf("entry %s: %w", e.Prefix, err)
	}
	return nil
}

// checkRate returns an error unless a limit has a rate and any other entry has none.
func checkRate(e policy.Entry) error {
	if e.Action == policy.Limit {
		return e.Rate.Check()
	}
	if e.Rate != (policy.Rate{}) {
		return errors.New("has a rate, but is not a limit")
	}
	return nil
}

// appendEntry appends the value of e, whose key on disk is key.
func appendEntry(dst, key []byte, e policy.Entry, epoch uint32) []byte {
	start := len(dst)
	var flags byte
	if e.Forced {
		flags |= flagForced
	}
	if e.Pending != nil && e.Pending.Replace {
		flags |= flagReplaces
	}
	if e.Replies {
		flags |= flagReplies
	}
	dst = append(dst, entryFormat, byte(e.Action), flags)
	dst = binary.AppendUvarint(dst, uint64(epoch))
	dst = binary.AppendVarint(dst, int64(e.Deadline))
	dst = binary.AppendVarint(dst, e.Created.Unix())
	if e.Reason != "" {
		dst = appendField(dst, tagReason, e.Reason)
	}
	if e.Author != "" {
		dst = appendField(dst, tagAuthor, e.Author)
	}
	if e.Pending != nil {
		dst = binary.AppendUvarint(dst, tagPending)
		dst = binary.AppendUvarint(dst, 8)
		dst = binary.LittleEndian.AppendUint64(dst, uint64(e.Pending.Deadline))
	}
	if e.Action == policy.Limit {
		dst = binary.AppendUvarint(dst, tagRate)
		dst = binary.AppendUvarint(dst, rateSize)
		dst = appendRate(dst, e.Rate)
	}
	switch {
	case e.Evidence == nil:
	case e.Evidence.Rule != nil:
		dst = appendField(dst, tagRuleEvidence, string(appendRuleEvidence(nil, e.Evidence)))
	default:
		dst = appendField(dst, tagEvidence, string(appendEvidence(nil, e.Evidence)))
	}
	return appendSum(dst, key, start)
}

func appendField(dst []byte, tag uint64, s string) []byte {
	dst = binary.AppendUvarint(dst, tag)
	dst = binary.AppendUvarint(dst, uint64(len(s)))
	return append(dst, s...)
}

// entryDecoder reads entries. It reuses the last strings, because the entries of a
// list mostly have the same ones.
type entryDecoder struct{ reason, author, detector, reporter string }

// entry reads a value that appendEntry wrote for key. entryKey is the part of key
// that appendKey wrote.
func (d *entryDecoder) entry(key, entryKey, value []byte) (stored, error) {
	k, err := parseKey(entryKey)
	if err != nil {
		return stored{}, err
	}
	body, err := checkSum(key, value)
	if err != nil {
		return stored{}, err
	}
	if len(body) < 3 || body[0] != entryFormat {
		return stored{}, errors.New("unknown format of an entry")
	}
	e := policy.Entry{
		Prefix: k.Prefix, Kind: k.Kind, Action: policy.Action(body[1]), Forced: body[2]&flagForced != 0,
		Replies: body[2]&flagReplies != 0,
	}
	f := fields{b: body[3:]}
	epoch := f.uvarint()
	e.Deadline = policy.Deadline(f.varint())
	e.Created = time.Unix(f.varint(), 0).UTC()
	if err := d.optional(&e, &f); err != nil {
		return stored{}, err
	}
	if (k.Pending != "") != (e.Pending != nil) {
		return stored{}, errors.New("pending id and deadline do not match")
	}
	if e.Pending != nil {
		e.Pending.ID, e.Pending.Replace = k.Pending, body[2]&flagReplaces != 0
	}
	if err := checkRate(e); err != nil {
		return stored{}, err
	}
	return stored{Entry: e, epoch: uint32(epoch)}, nil
}

func (d *entryDecoder) optional(e *policy.Entry, f *fields) error {
	for len(f.b) > 0 && !f.failed {
		tag := f.uvarint()
		content := f.take(f.uvarint())
		switch tag {
		case tagReason:
			e.Reason = reuse(&d.reason, content)
		case tagAuthor:
			e.Author = reuse(&d.author, content)
		case tagPending:
			p := fields{b: content}
			e.Pending = &policy.Pending{Deadline: policy.Deadline(p.u64())}
			f.failed = f.failed || p.failed
		case tagRate:
			p := fields{b: content}
			e.Rate = p.rate()
			f.failed = f.failed || p.done() != nil
		case tagEvidence:
			p := fields{b: content}
			e.Evidence = d.evidence(&p)
			f.failed = f.failed || p.failed
		case tagRuleEvidence:
			p := fields{b: content}
			e.Evidence = d.ruleEvidence(&p)
			f.failed = f.failed || p.failed
		}
	}
	if f.failed {
		return errShort
	}
	return nil
}

func reuse(last *string, b []byte) string {
	if *last != string(b) {
		*last = string(b)
	}
	return *last
}

// seal appends the checksum to body, which is stored under key.
func seal(key, body []byte) []byte { return appendSum(slices.Clip(body), key, 0) }

// appendSum appends CRC32C over key and dst[start:].
func appendSum(dst, key []byte, start int) []byte {
	return binary.LittleEndian.AppendUint32(dst, sum(key, dst[start:]))
}

// checkSum returns value without its checksum, or an error if the checksum is wrong.
func checkSum(key, value []byte) ([]byte, error) {
	if len(value) < crc32.Size {
		return nil, errShort
	}
	body := value[:len(value)-crc32.Size]
	if binary.LittleEndian.Uint32(value[len(body):]) != sum(key, body) {
		return nil, errors.New("checksum is wrong")
	}
	return body, nil
}

func sum(key, body []byte) uint32 {
	castagnoli := crc32.MakeTable(crc32.Castagnoli) // made once inside crc32
	return crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, body)
}

// fields reads numbers and bytes from b in sequence. The first read beyond the end
// sets failed, and all reads return zero from then on.
type fields struct {
	b      []byte
	failed bool
}

func (f *fields) take(n uint64) []byte {
	if f.failed || n > uint64(len(f.b)) {
		f.failed, f.b = true, nil
		return nil
	}
	b := f.b[:n]
	f.b = f.b[n:]
	return b
}

func (f *fields) uvarint() uint64 {
	v, n := binary.Uvarint(f.b)
	f.take(uint64(max(n, 0)))
	f.failed = f.failed || n <= 0
	return v
}

func (f *fields) varint() int64 {
	v, n := binary.Varint(f.b)
	f.take(uint64(max(n, 0)))
	f.failed = f.failed || n <= 0
	return v
}

func (f *fields) u64() uint64 {
	if b := f.take(8); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

func (f *fields) u32() uint32 {
	if b := f.take(4); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

func (f *fields) u8() uint8 {
	if b := f.take(1); b != nil {
		return b[0]
	}
	return 0
}

// done returns an error unless exactly all of b was read.
func (f *fields) done() error {
	if f.failed {
		return errShort
	}
	if len(f.b) > 0 {
		return errors.New("value is too long")
	}
	return nil
}

// otherKey is the key of an entry in the bucket of allows and pending entries.
func otherKey(dst []byte, k policy.Key) []byte {
	return appendKey(append(append(dst, k.Origin...), 0), k)
}

// splitOther separates the origin from the rest of such a key.
func splitOther(key []byte) (origin, entryKey []byte, err error) {
	origin, entryKey, ok := bytes.Cut(key, []byte{0})
	if !ok || len(origin) == 0 {
		return nil, nil, errors.New("key has no origin")
	}
	return origin, entryKey, nil
}
