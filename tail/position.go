package tail

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"time"
)

// Position is how far a file was read, for the next run.
type Position struct {
	Path   string    `json:"path"` // the name by which the file was followed
	Device uint64    `json:"device"`
	Inode  uint64    `json:"inode"`
	Offset int64     `json:"offset"`
	Mark   string    `json:"mark"` // fingerprint of the bytes before Offset
	Inner  bool      `json:"inner,omitzero"`
	Old    bool      `json:"old,omitzero"`   // another file has the name
	Seen   time.Time `json:"seen"`           // when the file had the name last
	Size   int64     `json:"size"`           // of what was there
	Until  int64     `json:"until,omitzero"` // the end of lines that may have been handed in
}

// Positions returns the positions up to which everything was handed in, and the ends of what is
// being handed in.
func (f *Follower) Positions() []Position {
	list := make([]Position, 0, len(f.files))
	for _, x := range f.files {
		list = append(list, x.position())
	}
	return append(list, f.closed...)
}

// End names the place up to which a file was read, by its bytes before it. It is empty if the file
// is not followed.
func (f *Follower) End(id ID) string {
	x := f.byID(id)
	if x == nil {
		return ""
	}
	return fmt.Sprintf("%x:%x:%d:%s", id.Device, id.Inode, x.read, fingerprint(x.mark))
}

func (x *file) position() Position {
	p := Position{
		Path: x.path, Device: x.id.Device, Inode: x.id.Inode, Offset: x.taken, Mark: fingerprint(x.takenMark),
		Inner: x.takenInner, Old: x.old, Seen: x.seen, Size: x.read + max(x.rest, 0),
	}
	if x.read > x.taken || x.until > 0 {
		p.Until = max(x.read, x.until) // this run may end before it has read all of that again
	}
	return p
}

func fingerprint(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:12])
}

// restore finds the files of the last run.
func (f *Follower) restore() {
	for _, p := range f.opts.Positions {
		x := f.find(p)
		if x == nil {
			f.remember(p)
			if p.Old && p.Size <= p.Offset {
				continue // it was read to its end
			}
			f.stats.Gaps++
			f.stats.LostBytes += max(p.Size-p.Offset, 0)
			f.dirty = true
			if !p.Old {
				f.findNext(p.Path, p.Seen, nil)
			}
			continue
		}
		if f.byID(x.id) != nil {
			x.Close()
			continue
		}
		x.path, x.old, x.seen, x.until = p.Path, p.Old, p.Seen, p.Until
		f.rereads = f.rereads || p.Until > 0
		f.add(x)
	}
}

// find opens the file of a position: the one with the inode, wherever it is now, or a copy.
func (f *Follower) find(p Position) *file {
	for _, fits := range []func(*file) bool{
		func(x *file) bool { return x.fits(p) }, func(x *file) bool { return x.isCopy(p) },
	} {
		if x, _, err := openSafe(p.Path); err == nil {
			if fits(x) {
				return x
			}
			x.Close()
		}
		found := rotated(p.Path, func(x *file, _ os.FileInfo) bool { return fits(x) })
		for n, x := range found {
			if n > 0 {
				x.Close()
			}
		}
		if len(found) > 0 {
			return found[0]
		}
	}
	return nil
}

// fits reports whether x is the file of a position, and then sets the position.
func (x *file) fits(p Position) bool {
	return x.id == ID{p.Device, p.Inode} && x.isAt(p)
}

// isCopy reports whether x is a copy of the file of a position, and then sets the position.
// Before an empty beginning every file has the same bytes.
func (x *file) isCopy(p Position) bool {
	return p.Offset > 0 && x.isAt(p)
}

func (x *file) isAt(p Position) bool {
	mark, err := x.before(p.Offset)
	if err != nil || fingerprint(mark) != p.Mark {
		return false
	}
	x.inner = p.Inner
	x.at(p.Offset, mark)
	return true
}
