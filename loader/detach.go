package loader

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// Interfaces returns the interfaces that have a pinned link of ours, sorted. This Loader or
// an earlier one attached them.
func (l *Loader) Interfaces() ([]string, error) {
	names, err := l.pins.interfaces()
	if err != nil {
		return nil, fmt.Errorf("list pinned links: %w", err)
	}
	return names, nil
}

// Detach detaches the program from an interface. It is not an error if there is none.
func (l *Loader) Detach(iface string) error {
	l.asking.Lock()
	defer l.asking.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	if a := l.attached[iface]; a != nil {
		defer l.closeTwin(a.slot)
	}
	return l.detach(iface)
}

func (l *Loader) detach(iface string) error {
	// An open link may have lost its pin, or be on an interface that was renamed.
	if a := l.attached[iface]; a != nil {
		if err := a.link.Detach(); err != nil {
			return fmt.Errorf("detach XDP from %s: %w", iface, err)
		}
		l.release(iface)
	}
	if err := l.pins.detach(iface); err != nil {
		return err
	}
	return removePin(l.gen.program(iface))
}

func (p pinDir) detach(iface string) error {
	lk, _, err := p.openLink(iface)
	if err != nil || lk == nil {
		return err
	}
	return p.dropLink(lk, iface)
}

// DetachAll detaches the filter from all interfaces and removes the pin directory. If
// another Loader has it open, DetachAll waits for that long. It returns the names of the
// interfaces, sorted. It is no error if there is nothing to detach. Files that are not
// Paraxial's stay and are named in the log. An empty bpffs means DefaultBPFFS.
func DetachAll(bpffs string, wait time.Duration, log *slog.Logger) ([]string, error) {
	if bpffs == "" {
		bpffs = DefaultBPFFS
	}
	if _, err := os.Stat(bpffs); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	p := pinDir{path: filepath.Clean(bpffs)}
	if err := p.check(); err != nil {
		return nil, fmt.Errorf("detach: %w", err)
	}
	if err := p.take(wait); err != nil {
		return nil, fmt.Errorf("detach: %w", err)
	}
	names, err := p.detachAll(log)
	return names, errors.Join(err, p.unlock())
}

// DetachAll detaches the filter from all interfaces and removes the pin directory. After
// that only Close may be called.
func (l *Loader) DetachAll() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, name := range slices.Collect(maps.Keys(l.attached)) {
		if err := l.detach(name); err != nil {
			return err
		}
	}
	if _, err := os.Stat(l.pins.path); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	_, err := l.pins.detachAll(l.log)
	return err
}

func (p pinDir) detachAll(log *slog.Logger) ([]string, error) {
	names, err := p.interfaces()
	if err != nil {
		return nil, fmt.Errorf("detach: %w", explain(err))
	}
	for i, name := range names {
		if err := p.detach(name); err != nil {
			return names[:i], explain(err)
		}
	}
	return names, p.remove(log)
}

// remove removes our files from the directory, and then the directory, unless it has a stray.
func (p pinDir) remove(log *slog.Logger) error {
	gens, err := p.generations()
	if err != nil {
		return fmt.Errorf("remove pins: %w", err)
	}
	for _, g := range gens {
		if err := g.remove(); err != nil {
			return err
		}
	}
	p.warnOfStrays(log)
	links := filepath.Join(p.path, linksDir)
	if info, err := os.Lstat(links); err == nil && info.IsDir() {
		if err := removeEmpty(links); err != nil {
			return err
		}
	}
	return removeEmpty(p.path)
}
