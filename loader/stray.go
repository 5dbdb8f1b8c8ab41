package loader

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/pin"
)

// A stray is a file or directory among the pins that no Paraxial has put there. It is named
// in a warning, and otherwise left alone.

// pinKind is the kind of object that a pin holds.
type pinKind int

const (
	otherKind pinKind = iota // also a directory or a symbolic link
	mapKind
	programKind
	xdpLinkKind
)

// kindOf returns the kind of the object at path, which is otherKind if it is gone.
func kindOf(path string, f fs.DirEntry) (pinKind, error) {
	if !f.Type().IsRegular() {
		return otherKind, nil
	}
	object, err := pin.Load(path, nil)
	if errors.Is(err, fs.ErrNotExist) {
		return otherKind, nil
	}
	if err != nil {
		return otherKind, fmt.Errorf("open pin: %w", err)
	}
	defer object.Close()
	switch o := object.(type) {
	case *ebpf.Map:
		return mapKind, nil
	case *ebpf.Program:
		return programKind, nil
	case link.Link:
		if info, err := o.Info(); err != nil {
			return otherKind, fmt.Errorf("open pin %s: %w", path, err)
		} else if info.XDP() != nil {
			return xdpLinkKind, nil
		}
	}
	return otherKind, nil
}

// linkOf returns the name of the interface if f, a file in links/, is a pin of a link.
func (p pinDir) linkOf(f fs.DirEntry) (iface string, ok bool, err error) {
	iface, ok = decodeName(f.Name())
	if !ok {
		return "", false, nil
	}
	kind, err := kindOf(p.link(iface), f)
	return iface, kind == xdpLinkKind, err
}

// owns tells whether f, a file in the directory of g, is a pin of ours. Other versions have
// other maps, so any map is.
func (g generation) owns(f fs.DirEntry) (bool, error) {
	kind, err := kindOf(filepath.Join(g.path, f.Name()), f)
	if isProgramName(f.Name()) {
		return kind == programKind, err
	}
	return kind == mapKind, err
}

func isProgramName(name string) bool {
	return strings.HasPrefix(name, programPrefix) || strings.HasPrefix(name, nextPrefix)
}

// strays returns the paths of the strays.
func (p pinDir) strays() ([]string, error) {
	var found []string
	search := func(dir string, ours func(fs.DirEntry) (bool, error)) error {
		files, err := readDir(dir)
		if err != nil {
			return err
		}
		for _, f := range files {
			ok, err := ours(f)
			if err != nil {
				return err
			}
			if !ok {
				found = append(found, filepath.Join(dir, f.Name()))
			}
		}
		return nil
	}
	err := search(p.path, func(f fs.DirEntry) (bool, error) {
		_, isGeneration := generationNumber(f)
		return isGeneration || f.Name() == linksDir && f.IsDir(), nil
	})
	err = errors.Join(err, search(filepath.Join(p.path, linksDir), func(f fs.DirEntry) (bool, error) {
		_, ok, err := p.linkOf(f)
		return ok, err
	}))
	gens, e := p.generations()
	err = errors.Join(err, e)
	for _, g := range gens {
		err = errors.Join(err, search(g.path, g.owns))
	}
	return found, err
}

// warnOfStrays names the strays in the log. An error is no reason to stop.
func (p pinDir) warnOfStrays(log *slog.Logger) {
	found, err := p.strays()
	if err != nil {
		log.Warn("the pins could not be searched for files that are not Paraxial's", "directory", p.path, "error", err)
	}
	for _, path := range found {
		log.Warn("this is not one of Paraxial's pins; it is left alone: remove it if you do not need it", "path", path)
	}
}

// readDir returns the files of a directory. It returns none if path is gone or is no
// directory.
func readDir(path string) ([]fs.DirEntry, error) {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !info.IsDir() {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	files, err := os.ReadDir(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return files, err
}
