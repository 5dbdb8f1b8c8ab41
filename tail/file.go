package tail

import (
	"bytes"
	"errors"
	"io"
	"os"
	"syscall"
	"time"
)

// markSize is the number of bytes before the position, and at the start, that are compared.
const markSize = 256

// ID is what the kernel knows a file by.
type ID struct{ Device, Inode uint64 }

func idOf(info os.FileInfo) ID {
	s := info.Sys().(*syscall.Stat_t)
	return ID{uint64(s.Dev), s.Ino}
}

// file is an open file.
type file struct {
	*os.File
	path  string // the name by which it was found
	id    ID
	old   bool      // it has lost that name
	seen  time.Time // when it had the name last
	grown time.Time // when something was read last

	read  int64  // the position
	mark  []byte // the bytes before read, at most markSize
	inner bool   // read is inside a line that is skipped

	taken      int64  // the position up to which everything was handed in
	takenMark  []byte // as mark, of taken
	takenInner bool
	until      int64 // the end of the last batch of the last run, or 0

	atEnd bool  // there was nothing more at the last look
	rest  int64 // bytes of a line without an end
}

// open opens a file that check accepts.
func open(path string) (*file, error) {
	// If the path is a FIFO now, opening it must not wait.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil {
		err = checkInfo(path, info)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return &file{File: f, path: path, id: idOf(info), grown: time.Now()}, nil
}

// toEnd sets the position to the end of the file. If a line is unfinished there, the rest of it
// is skipped: the part of a line may look like another line.
func (x *file) toEnd() error {
	info, err := x.Stat()
	if err != nil {
		return err
	}
	mark, err := x.before(info.Size())
	if err != nil {
		return err
	}
	x.inner = len(mark) > 0 && mark[len(mark)-1] != '\n'
	x.at(info.Size(), mark)
	return nil
}

// before returns the bytes before an offset, at most markSize.
func (x *file) before(offset int64) ([]byte, error) {
	b := make([]byte, min(offset, markSize))
	_, err := x.ReadAt(b, offset-int64(len(b)))
	return b, err
}

// at sets the position, before which the bytes of mark are.
func (x *file) at(offset int64, mark []byte) {
	x.read, x.mark = offset, mark
	x.commit()
}

// restart begins at the start of the file, which was truncated.
func (x *file) restart() {
	x.read, x.mark, x.inner, x.until, x.rest = 0, nil, false, 0, 0
	x.commit()
}

func (x *file) commit() {
	x.taken, x.takenInner = x.read, x.inner
	x.takenMark = append(x.takenMark[:0], x.mark...)
}

// errChanged says that the bytes before the position are not those that were read there.
var errChanged = errors.New("the file was truncated or replaced")

// chunk reads what follows the position into buffer. The bytes before the position are read
// with it, in one call, so that nothing can come between the two.
func (x *file) chunk(buffer []byte) ([]byte, error) {
	n, err := x.ReadAt(buffer, x.read-int64(len(x.mark)))
	if err != nil && err != io.EOF {
		return nil, err
	}
	if n < len(x.mark) || !bytes.Equal(buffer[:len(x.mark)], x.mark) {
		return nil, errChanged
	}
	data := buffer[len(x.mark):n]
	x.atEnd = len(data) == 0
	x.rest = int64(len(data))
	return data, nil
}

// advance moves the position past data, which was read there.
func (x *file) advance(data []byte) {
	if len(data) == 0 {
		return
	}
	x.read += int64(len(data))
	if len(data) >= markSize {
		x.mark = append(x.mark[:0], data[len(data)-markSize:]...)
	} else {
		x.mark = append(x.mark, data...)
		x.mark = append(x.mark[:0], x.mark[max(0, len(x.mark)-markSize):]...)
	}
	x.rest -= int64(len(data))
}

// behind returns the number of bytes that are not read yet, apart from half a line.
func (x *file) behind() int64 {
	info, err := x.Stat()
	if err != nil {
		return 0
	}
	n := info.Size() - x.read
	if x.atEnd {
		n -= x.rest
	}
	return max(0, n)
}

// hasName reports whether the file has a name in some folder.
func (x *file) hasName() bool {
	info, err := x.Stat()
	return err == nil && info.Sys().(*syscall.Stat_t).Nlink > 0
}
