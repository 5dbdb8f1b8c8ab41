package tail

import (
	"bytes"
	"errors"
	"slices"
	"time"
)

// Next returns the next whole lines of a file. Data is valid until the next call. ok is false
// if there are none at present.
func (f *Follower) Next() (b Batch, ok bool) {
	if f.buffer == nil {
		f.buffer = make([]byte, Longest+markSize)
	}
	if f.Again() {
		// First what may have been handed in: the daemon knows only the last batch.
		f.turn = slices.IndexFunc(f.files, func(x *file) bool { return x.until > 0 })
	}
	for range len(f.files) + 1 {
		if f.turn >= len(f.files) {
			f.turn = 0
		}
		if len(f.files) == 0 {
			break
		}
		if x := f.files[f.turn]; f.quota > 0 || x.until > 0 {
			f.quota--
			if b, ok = f.nextOf(x); ok {
				f.last = f.byID(b.File)
				return b, true
			}
		}
		f.turn++
		f.quota = chunksInTurn
	}
	f.turn, f.quota = 0, chunksInTurn // earlier files first
	return Batch{}, false
}

// nextOf returns the next whole lines of x.
func (f *Follower) nextOf(x *file) (b Batch, ok bool) {
	for {
		data, err := x.chunk(f.buffer)
		switch {
		case errors.Is(err, errChanged):
			f.truncated(x)
			return f.nextOf(f.files[f.turn]) // x, or its copy before it
		case err != nil:
			f.problems[x.path] = err.Error()
			return b, false
		case len(data) == 0:
			return b, false
		}
		x.grown = time.Now()
		if x.until > 0 {
			data = data[:min(int64(len(data)), max(x.until-x.read, 0))]
		}
		if x.inner && !f.skip(x, &data) {
			continue
		}
		end := bytes.LastIndexByte(data, '\n') + 1
		if end > 0 {
			b = Batch{Path: x.path, Offset: x.read, Data: data[:end], File: x.id}
			b.Last = x.until > 0 && x.read+int64(end) >= x.until
			return b, true
		}
		switch {
		case x.until > 0:
			x.until = 0 // the rest of what was handed in is not there
			continue
		case len(data) < Longest:
			x.atEnd = true // half a line
			return b, false
		}
		x.inner = true
		f.stats.Skipped++
	}
}

// skip moves the position behind the end of the line that is skipped. It returns false if there
// is nothing behind it.
func (f *Follower) skip(x *file, data *[]byte) bool {
	end := bytes.IndexByte(*data, '\n') + 1
	if end == 0 {
		x.advance(*data)
		if x.until > 0 && x.read >= x.until {
			x.until = 0
		}
		return false
	}
	x.advance((*data)[:end])
	x.inner = false
	*data = (*data)[end:]
	return len(*data) > 0
}

// Again reports whether lines are read again that may have been handed in.
func (f *Follower) Again() bool {
	f.rereads = f.rereads && slices.ContainsFunc(f.files, func(x *file) bool { return x.until > 0 })
	return f.rereads
}

// Take moves the position past the first n bytes of b, which is the last batch.
func (f *Follower) Take(b Batch, n int) {
	f.last.advance(b.Data[:n])
	if f.last.read >= f.last.until {
		f.last.until = 0
	}
}

// Commit says that everything up to the positions was handed in.
func (f *Follower) Commit() {
	for _, x := range f.files {
		if x.read != x.taken || x.inner != x.takenInner {
			x.commit()
			f.dirty = true
		}
	}
}

// Dirty reports whether the positions have changed since it was called last.
func (f *Follower) Dirty() bool {
	dirty := f.dirty
	f.dirty = false
	return dirty
}

// truncated begins a file anew that was truncated, or whose inode was used again. If a copy of
// it was made before, the rest of the lines is in the copy.
func (f *Follower) truncated(x *file) {
	f.dirty = true
	if rest := f.copyOf(x); rest != nil && len(f.files) < maxOpen {
		f.files = slices.Insert(f.files, f.turn, rest)
	} else {
		f.stats.Gaps++
		f.stats.LostBytes += max(x.rest, 0)
	}
	x.restart()
}
