// Package store keeps the book of entries on disk. When a method has returned nil,
// its change survives kill -9 and a power cut.
//
// # Time
//
// An entry is stored with its deadline in the boot time (CLOCK_BOOTTIME) of the boot
// in which it was written, and with the number of that boot, its epoch. Every epoch
// has an offset to a timeline that all boots share, the ledger:
//
//	ledger = boot time + offset of the epoch
//
// So a deadline d of epoch e is d + offset(e) - offset(now) in the present boot.
// The ledger runs while the machine runs. Only the wall clock shows how long the
// machine was off, and a wall clock may be wrong, above all right after boot:
//
//   - In the boot that wrote an entry the wall clock is not used. Deadlines are read
//     back exactly.
//   - The first Open in a new boot creates an epoch that continues the ledger at the
//     last checkpoint, so that remaining times are kept. If the wall clock is
//     synchronised now and was at an earlier checkpoint, Open adds the time that
//     passed on the wall clock and not on the ledger. Otherwise Resync adds it once
//     the clock is synchronised.
//   - Missing time below zero or above policy.MaxTTL is ignored, because one of the
//     two clocks was reported as synchronised but was wrong (a GPS week rollover is
//     off by 19 years). Remaining times are kept, and the present reading is the
//     trusted one from then on.
//
// If there were several boots, it is unknown how the missing time is distributed
// between them. All of it is assigned to the time before the first of them. Entries
// from before that boot lose exactly the time that passed. Entries made in between
// keep their remaining time.
//
// A checkpoint is a Reading. Every transaction writes the last one, and also the
// last one with a trusted wall clock. Until Open or Resync has settled a new epoch,
// the trusted one is of an earlier boot.
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
// A Replacement fills a new set beside the old one. Then one small transaction
// points the origin to the new set. A set that no origin points to is a leftover,
// and Load removes it.
//
// Every value ends in a CRC32C over the key and the rest of the value. A reader
// skips optional fields of an entry that it does not know. A field that must not be
// skipped needs a new format number. Open refuses a newer format and does not touch
// the file.
//
// # Damage
//
// Open locks the file, reads all of it with plain reads and checks every checksum
// before bbolt maps it (see internal/boltfile). It refuses a damaged file as a whole
// with ErrDamaged: nothing is repaired or dropped silently. Open does not write to
// an existing file: the next transaction writes a new epoch.
package store
