// Package store keeps the book of entries on disk. What a method acknowledged
// by returning nil is there after kill -9 and after a power cut.
//
// # Time
//
// An entry is stored with its deadline in boot time (CLOCK_BOOTTIME) of the boot
// in which it was written, and with the number of that boot, its epoch. Every
// epoch has an offset that leads to one timeline of the service, the ledger:
//
//	ledger = boot time + offset of the epoch
//
// so a deadline d of epoch e is d + offset(e) - offset(now) in the present boot.
// The ledger runs while the machine runs. How long it was off is known from the
// wall clock alone, and a wall clock may be wrong, above all right after boot:
//
//   - In the boot that wrote an entry no wall clock is involved; deadlines come
//     back exactly.
//   - The first Open in a new boot makes a new epoch which goes on where the
//     ledger was at the last checkpoint: remaining times are kept. If the clock
//     is synchronised, and was at an earlier checkpoint, the time that the wall
//     clock shows and the ledger misses is added. Otherwise Resync adds it once
//     the clock is synchronised.
//   - Missing time below zero or above policy.MaxTTL is not believed: one of two
//     clocks said to be synchronised was wrong (a GPS week rollover is off by 19
//     years). Remaining times are kept, and the present reading is the one that
//     counts from then on.
//
// Time missing between several boots cannot be told apart. It is all taken to
// be before the first of them: entries from before lose exactly what passed, and
// entries made in between keep their remaining time.
//
// A checkpoint is a Reading. The last one is written with every transaction, and
// so is the last one that the wall clock can be trusted with: until a new epoch
// is settled by Open or Resync, that is one of an earlier boot.
//
// # Format
//
// The file is a bbolt database with these buckets:
//
//	meta     format, checkpoint, synced
//	epochs   number -> boot id, offset
//	origins  origin -> number of the set that holds its confirmed blocks
//	sets     number -> bucket of entries, key = kind family address bits
//	others   allows and pending entries, key = origin 0 kind family address bits pending-id
//	slots    name -> number
//
// A set is what Replacement swaps: a new one is filled beside the old one, and
// one small transaction points the origin to it. A set that no origin points to
// is a leftover, and Load removes it.
//
// Every value ends in a CRC32C over its key and itself. A reader skips optional
// fields of an entry that it does not know; whatever must not be skipped needs a
// new format number. Open refuses a newer format and does not touch the file.
//
// # Damage
//
// Open holds the lock of the file, walks all of it with plain reads and checks
// every checksum before bbolt maps it (see internal/boltfile). A damaged file is
// refused as a whole with ErrDamaged; nothing is repaired or dropped silently.
// Open does not write to an existing file: what it has to say about a new epoch
// goes to disk with the next transaction.
package store
