package soak

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
)

// footprint is the resource use of a daemon and its filter.
type footprint struct {
	Files, Goroutines, Maps, Programs, Links, Pins int
	memory                                         int // anonymous, KiB
}

// objects are BPF objects by the kernel's ids, which are not reused soon.
type objects struct {
	maps     map[ebpf.MapID]bool
	programs map[ebpf.ProgramID]bool
	links    map[link.ID]bool
}

func newObjects() objects {
	return objects{map[ebpf.MapID]bool{}, map[ebpf.ProgramID]bool{}, map[link.ID]bool{}}
}

func (o objects) add(more objects) {
	maps.Copy(o.maps, more.maps)
	maps.Copy(o.programs, more.programs)
	maps.Copy(o.links, more.links)
}

// measure measures the current use, and records the objects for the check at the end.
func (h *host) measure(seen objects) (footprint, error) {
	ours, pins, err := h.objects()
	if err != nil {
		return footprint{}, err
	}
	seen.add(ours)
	f := footprint{Maps: len(ours.maps), Programs: len(ours.programs), Links: len(ours.links), Pins: pins}
	fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", h.run.PID()))
	if err != nil {
		return f, err
	}
	f.Files = len(fds)
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", h.run.PID()))
	if err != nil {
		return f, err
	}
	for line := range strings.Lines(string(status)) {
		if value, ok := strings.CutPrefix(line, "RssAnon:"); ok {
			if f.memory, err = strconv.Atoi(strings.Fields(value)[0]); err != nil {
				return f, err
			}
		}
	}
	f.Goroutines, err = goroutines()
	return f, err
}

// goroutines reads the number from the metrics, whose handlers use some themselves.
func goroutines() (int, error) {
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: settled}
	r, err := client.Get("http://" + metricsAt + "/metrics")
	if err != nil {
		return 0, err
	}
	defer r.Body.Close()
	for lines := bufio.NewScanner(r.Body); lines.Scan(); {
		if value, ok := strings.CutPrefix(lines.Text(), "go_goroutines "); ok {
			return strconv.Atoi(value)
		}
	}
	return 0, errors.New("no go_goroutines in the metrics")
}

// objects finds the BPF objects that the daemon has open or has pinned, and the objects that these
// refer to.
func (h *host) objects() (o objects, pins int, err error) {
	o = newObjects()
	if h.run != nil {
		if err := o.addOpen(h.run.PID()); err != nil {
			return o, 0, err
		}
	}
	err = filepath.WalkDir(h.daemon.BPFFS, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		pins++
		return o.addPin(path, d.Name())
	})
	if err != nil {
		return o, pins, err
	}
	for id := range o.programs {
		if err := o.addMapsOf(id); err != nil {
			return o, pins, err
		}
	}
	return o, pins, o.addInner()
}

// addOpen adds the objects that a process has open, from fdinfo.
func (o objects) addOpen(pid int) error {
	infos, err := filepath.Glob(fmt.Sprintf("/proc/%d/fdinfo/*", pid))
	if err != nil {
		return err
	}
	for _, path := range infos {
		text, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue // closed in the meantime
		}
		if err != nil {
			return err
		}
		for line := range strings.Lines(string(text)) {
			name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
			id, err := strconv.ParseUint(strings.TrimSpace(value), 10, 32)
			if err != nil {
				continue
			}
			switch name {
			case "map_id":
				o.maps[ebpf.MapID(id)] = true
			case "prog_id":
				o.programs[ebpf.ProgramID(id)] = true
			case "link_id":
				o.links[link.ID(id)] = true
			}
		}
	}
	return nil
}

func (o objects) addPin(path, name string) error {
	switch {
	case filepath.Base(filepath.Dir(path)) == "links":
		lk, err := link.LoadPinnedLink(path, nil)
		if err != nil {
			return err
		}
		defer lk.Close()
		info, err := lk.Info()
		if err != nil {
			return err
		}
		o.links[info.ID], o.programs[info.Program] = true, true
	case strings.HasPrefix(name, "prog_") || strings.HasPrefix(name, "next_"):
		p, err := ebpf.LoadPinnedProgram(path, nil)
		if err != nil {
			return err
		}
		defer p.Close()
		info, err := p.Info()
		if err != nil {
			return err
		}
		id, _ := info.ID()
		o.programs[id] = true
	default:
		m, err := ebpf.LoadPinnedMap(path, nil)
		if err != nil {
			return err
		}
		defer m.Close()
		info, err := m.Info()
		if err != nil {
			return err
		}
		id, _ := info.ID()
		o.maps[id] = true
	}
	return nil
}

func (o objects) addMapsOf(id ebpf.ProgramID) error {
	p, err := ebpf.NewProgramFromID(id)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // gone in the meantime
	}
	if err != nil {
		return err
	}
	defer p.Close()
	info, err := p.Info()
	if err != nil {
		return err
	}
	used, _ := info.MapIDs()
	for _, id := range used {
		o.maps[id] = true
	}
	return nil
}

// addInner adds the inner maps of maps of maps.
func (o objects) addInner() error {
	inner := map[ebpf.MapID]bool{}
	for id := range o.maps {
		m, err := ebpf.NewMapFromID(id)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		for slot := uint32(0); m.Type() == ebpf.ArrayOfMaps && slot < m.MaxEntries(); slot++ {
			var id ebpf.MapID
			if err := m.Lookup(slot, &id); err != nil {
				break // filled from the first slot on
			}
			inner[id] = true
		}
		if err := m.Close(); err != nil {
			return err
		}
	}
	maps.Copy(o.maps, inner)
	return nil
}

// left returns an error that names the objects that still exist. The kernel frees some in a worker,
// so they get time.
func (o objects) left() error {
	return within(settled, func() error {
		var errs []error
		for id := range o.maps {
			if m, err := ebpf.NewMapFromID(id); err == nil {
				errs = append(errs, fmt.Errorf("map %d: %s is still there", id, m), m.Close())
			}
		}
		for id := range o.programs {
			if p, err := ebpf.NewProgramFromID(id); err == nil {
				errs = append(errs, fmt.Errorf("program %d is still there", id), p.Close())
			}
		}
		for id := range o.links {
			if lk, err := link.NewFromID(id); err == nil {
				errs = append(errs, fmt.Errorf("link %d is still there", id), lk.Close())
			}
		}
		return errors.Join(errs...)
	})
}

// grown compares two footprints of the same state. Go keeps a varying amount of memory that it does
// not need.
func (f footprint) grown(now footprint) error {
	const spare = 24 << 10 // KiB
	same := now
	same.memory = f.memory
	if f != same {
		return fmt.Errorf("%+v at the start, %+v now", f, now)
	}
	if now.memory > f.memory+f.memory/4+spare {
		return fmt.Errorf("memory grew from %d KiB to %d KiB", f.memory, now.memory)
	}
	return nil
}

func linkedProgram(pin string) (ebpf.ProgramID, error) {
	lk, err := link.LoadPinnedLink(pin, nil)
	if err != nil {
		return 0, err
	}
	defer lk.Close()
	info, err := lk.Info()
	if err != nil {
		return 0, err
	}
	return info.Program, nil
}
