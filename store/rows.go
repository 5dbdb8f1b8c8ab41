package store

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/paraxial/paraxial/policy"
	"go.etcd.io/bbolt"
)

// The formats of a file. A file gets a newer format with the first entry that
// earlier versions cannot read. Until then a downgrade is possible.
const (
	firstFormat  = 1
	limitsFormat = 2 // has entries that limit
)

// Names of buckets and of the keys in meta.
const (
	bucketMeta    = "meta"
	bucketEpochs  = "epochs"
	bucketOrigins = "origins"
	bucketSets    = "sets"
	bucketOthers  = "others"
	bucketSlots   = "slots"

	keyFormat     = "format"
	keyCheckpoint = "checkpoint"
	keySynced     = "synced"
)

func allBuckets() []string {
	return []string{bucketMeta, bucketEpochs, bucketOrigins, bucketSets, bucketOthers, bucketSlots}
}

// putSealed stores body with its checksum under key.
func putSealed(b *bbolt.Bucket, key, body []byte) error {
	return b.Put(key, seal(key, body))
}

// raiseFormat raises the format of the file if earlier versions cannot read e.
func raiseFormat(tx *bbolt.Tx, e policy.Entry) error {
	if e.Action != policy.Limit {
		return nil
	}
	meta, key := tx.Bucket([]byte(bucketMeta)), []byte(keyFormat)
	format, err := parseNumber(key, meta.Get(key))
	if err != nil || format >= limitsFormat {
		return err
	}
	return putSealed(meta, key, number(limitsFormat))
}

// number encodes a value that consists of one number.
func number(n uint64) []byte { return binary.LittleEndian.AppendUint64(nil, n) }

func parseNumber(key, value []byte) (uint64, error) {
	body, err := checkSum(key, value)
	if err != nil {
		return 0, err
	}
	f := fields{b: body}
	n := f.u64()
	return n, f.done()
}

// Numbers in keys are big endian, so that the keys sort by number.
func setKey(id uint64) []byte   { return binary.BigEndian.AppendUint64(nil, id) }
func epochKey(id uint32) []byte { return binary.BigEndian.AppendUint32(nil, id) }

func parseSetKey(key []byte) (uint64, error) {
	if len(key) != 8 {
		return 0, fmt.Errorf("set with a number of %d bytes", len(key))
	}
	return binary.BigEndian.Uint64(key), nil
}

func (p checkpoint) encode() []byte {
	b := binary.LittleEndian.AppendUint32(nil, p.epoch)
	b = binary.LittleEndian.AppendUint64(b, uint64(p.boot))
	b = binary.LittleEndian.AppendUint64(b, uint64(p.wall.Unix()))
	return binary.LittleEndian.AppendUint32(b, uint32(p.wall.Nanosecond()))
}

func parseCheckpoint(key, value []byte) (checkpoint, error) {
	body, err := checkSum(key, value)
	if err != nil {
		return checkpoint{}, err
	}
	f := fields{b: body}
	p := checkpoint{epoch: f.u32(), boot: policy.Deadline(f.u64())}
	p.wall = time.Unix(int64(f.u64()), int64(f.u32())).UTC()
	return p, f.done()
}

func (e epoch) encode() []byte {
	return append(binary.LittleEndian.AppendUint64(nil, uint64(e.offset)), e.bootID...)
}

func parseEpoch(key, value []byte) (uint32, epoch, error) {
	body, err := checkSum(key, value)
	if err != nil {
		return 0, epoch{}, err
	}
	if len(key) != 4 || len(body) < 8 {
		return 0, epoch{}, errShort
	}
	e := epoch{offset: int64(binary.LittleEndian.Uint64(body)), bootID: string(body[8:])}
	return binary.BigEndian.Uint32(key), e, nil
}

// save writes the checkpoints and the unsaved epochs of the clock.
func (c clock) save(tx *bbolt.Tx) error {
	meta, epochs := tx.Bucket([]byte(bucketMeta)), tx.Bucket([]byte(bucketEpochs))
	if err := putSealed(meta, []byte(keyCheckpoint), c.last.encode()); err != nil {
		return err
	}
	if c.synced.epoch != 0 {
		if err := putSealed(meta, []byte(keySynced), c.synced.encode()); err != nil {
			return err
		}
	}
	for _, id := range c.unsaved {
		if err := putSealed(epochs, epochKey(id), c.epochs[id].encode()); err != nil {
			return err
		}
	}
	return nil
}
