package boltfile_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/paraxial/paraxial/store/internal/boltfile"
	"go.etcd.io/bbolt"
)

func verify(data []byte) (keys int, err error) {
	err = boltfile.Verify(bytes.NewReader(data), int64(len(data)), func(boltfile.Item) { keys++ })
	return keys, err
}

func openBolt(t testing.TB, pageSize int) *bbolt.DB {
	t.Helper()
	options := &bbolt.Options{PageSize: pageSize, NoSync: true, NoGrowSync: true}
	db, err := bbolt.Open(filepath.Join(t.TempDir(), "db"), 0o600, options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func contents(t testing.TB, db *bbolt.DB) []byte {
	t.Helper()
	data, err := os.ReadFile(db.Path())
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// Verify must accept every file that bbolt writes: to refuse a good file would be
// worse than the damage that it looks for.
func TestAcceptsWhatBoltWrites(t *testing.T) {
	for _, pageSize := range []int{1024, 4096, 16384} {
		t.Run(fmt.Sprint(pageSize), func(t *testing.T) {
			seed := rand.Uint64()
			t.Log("seed", seed)
			rng := rand.New(rand.NewPCG(seed, uint64(pageSize)))
			db := openBolt(t, pageSize)
			for i := range 100 {
				if err := db.Update(func(tx *bbolt.Tx) error { return change(tx, rng) }); err != nil {
					t.Fatal(err)
				}
				keys, err := verify(contents(t, db))
				if err != nil {
					t.Fatalf("after transaction %d: %v", i, err)
				}
				if want := countKeys(t, db); keys != want {
					t.Fatalf("after transaction %d: saw %d keys of %d", i, keys, want)
				}
			}
		})
	}
}

// change makes random changes that grow, split, merge and empty pages.
func change(tx *bbolt.Tx, rng *rand.Rand) error {
	name := []byte{byte('a' + rng.IntN(5))}
	if rng.IntN(12) == 0 {
		if tx.Bucket(name) != nil {
			return tx.DeleteBucket(name)
		}
		return nil
	}
	b, err := tx.CreateBucketIfNotExists(name)
	if err != nil {
		return err
	}
	if rng.IntN(3) == 0 {
		if b, err = b.CreateBucketIfNotExists([]byte{'~', byte('a' + rng.IntN(9))}); err != nil {
			return err
		}
	}
	b.FillPercent = 0.1 + 0.9*rng.Float64()
	from, n := rng.IntN(3000), rng.IntN(500)
	remove := rng.IntN(2) == 0
	for i := range n {
		key := fmt.Appendf(nil, "%05d", from+i)
		if remove {
			if err := b.Delete(key); err != nil {
				return err
			}
			continue
		}
		size := rng.IntN(40)
		if rng.IntN(400) == 0 {
			size = rng.IntN(40_000)
		}
		if err := b.Put(key, make([]byte, size)); err != nil {
			return err
		}
	}
	return nil
}

func countKeys(t *testing.T, db *bbolt.DB) (n int) {
	t.Helper()
	var count func(b *bbolt.Bucket)
	count = func(b *bbolt.Bucket) {
		b.ForEach(func(k, v []byte) error {
			n++
			if v == nil {
				count(b.Bucket(k))
			}
			return nil
		})
	}
	err := db.View(func(tx *bbolt.Tx) error {
		return tx.ForEach(func(_ []byte, b *bbolt.Bucket) error { n++; count(b); return nil })
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// sample returns a small file with all kinds of pages.
func sample(t testing.TB) []byte {
	t.Helper()
	db := openBolt(t, 1024)
	for i := range 3 {
		err := db.Update(func(tx *bbolt.Tx) error {
			b, err := tx.CreateBucketIfNotExists([]byte("large"))
			if err != nil {
				return err
			}
			for k := range 60 {
				if err := b.Put(fmt.Appendf(nil, "key%03d", k*(i+1)), []byte("0123456789")); err != nil {
					return err
				}
			}
			if err := b.Put([]byte("overflow"), make([]byte, 3000)); err != nil {
				return err
			}
			small, err := tx.CreateBucketIfNotExists([]byte("small"))
			if err != nil {
				return err
			}
			return small.Put([]byte("k"), []byte("v"))
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return contents(t, db)
}

// resum corrects the checksums of meta pages of 1024 bytes.
func resum(data []byte) {
	for page := range 2 {
		if at := page*1024 + 16; len(data) >= at+64 {
			sum := fnv.New64a()
			sum.Write(data[at : at+56])
			binary.NativeEndian.PutUint64(data[at+56:], sum.Sum64())
		}
	}
}

func TestRefuses(t *testing.T) {
	good := sample(t)
	ne := binary.NativeEndian
	txid := func(d []byte, page int) uint64 { return ne.Uint64(d[page*1024+16+48:]) }
	// young is the page of the younger meta.
	young := func(d []byte) int { return (int(txid(d, 1)-txid(d, 0)) + 1) / 2 }
	root := func(d []byte) int { return int(ne.Uint64(d[young(d)*1024+16+16:])) * 1024 }
	freelist := func(d []byte) int { return int(ne.Uint64(d[young(d)*1024+16+32:])) * 1024 }
	tests := []struct {
		name  string
		spoil func(d []byte) []byte
		want  string
	}{
		{"empty", func(d []byte) []byte { return nil }, "truncated"},
		{"one page", func(d []byte) []byte { return d[:1024] }, "truncated"},
		{"truncated", func(d []byte) []byte { return d[:6*1024] }, "truncated"},
		{"younger meta", func(d []byte) []byte { d[young(d)*1024+16+40]++; return d }, "checksum"},
		{"older meta", func(d []byte) []byte { d[(1-young(d))*1024+16+40]++; return d }, "checksum"},
		{"metas of distant transactions", func(d []byte) []byte {
			d[young(d)*1024+16+48] += 2
			resum(d)
			return d
		}, "consecutive"},
		{"file version", func(d []byte) []byte { d[20]++; resum(d); return d }, "version"},
		{"no free list", func(d []byte) []byte {
			ne.PutUint64(d[young(d)*1024+16+32:], ^uint64(0))
			resum(d)
			return d
		}, "no free list"},
		{"root beyond the end", func(d []byte) []byte { d[young(d)*1024+16+16+5]++; resum(d); return d },
			"points to page"},
		{"page id", func(d []byte) []byte { d[root(d)]++; return d }, "says it is page"},
		{"page type", func(d []byte) []byte { d[root(d)+8] = 0x10; return d }, "page type"},
		{"count", func(d []byte) []byte { d[root(d)+10]--; return d }, "lengths"},
		{"overflow", func(d []byte) []byte { d[root(d)+12]++; return d }, "used twice"},
		{"sequence", func(d []byte) []byte {
			d[bytes.Index(d[root(d):], []byte("large"))+root(d)+5+8]++
			return d
		}, "header of bucket"},
		{"leaked page", func(d []byte) []byte { d[freelist(d)+10]--; return d }, "neither in use nor free"},
		{"free page 0", func(d []byte) []byte { d[freelist(d)+10]++; return d }, "free list names page"},
	}
	if _, err := verify(good); err != nil {
		t.Fatal(err)
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := verify(tt.spoil(slices.Clone(good))); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want one with %q", err, tt.want)
			}
		})
	}
}

func FuzzVerify(f *testing.F) {
	good := sample(f)
	f.Add(good, uint32(0), byte(0))
	for _, at := range []uint32{8, 10, 12, 2048, 3072 + 10, 4096 + 8, 5120 + 20} {
		f.Add(good, at, byte(1))
	}
	f.Fuzz(func(t *testing.T, data []byte, at uint32, flip byte) {
		data = slices.Clone(data)
		if len(data) > 0 {
			data[int(at)%len(data)] ^= flip
		}
		resum(data)
		verify(data) // must return, and not panic
	})
}
