package loader

import (
	"fmt"
	"log/slog"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
)

// linked returns the programs that the pinned links point at.
func (p pinDir) linked() (map[ebpf.ProgramID]bool, error) {
	names, err := p.interfaces()
	if err != nil {
		return nil, err
	}
	ids := map[ebpf.ProgramID]bool{}
	for _, name := range names {
		info, err := pinnedLinkInfo(p.link(name))
		if err != nil {
			return nil, fmt.Errorf("pinned link of %s: %w", name, err)
		}
		ids[info.Program] = true
	}
	return ids, nil
}

func pinnedLinkInfo(path string) (*link.Info, error) {
	lk, err := link.LoadPinnedLink(path, nil)
	if err != nil {
		return nil, err
	}
	defer lk.Close()
	return lk.Info()
}

// found describes the generations at the start.
type found struct {
	inForce *generation // nil if nothing filters
	highest int         // number of the newest generation, 0 if none
}

// tidy finds the generation in force and removes those that no link points into. If links
// point into several, a crash has interrupted the switch. The newest of them is in force,
// because no link is switched before the maps are filled.
func (p pinDir) tidy(log *slog.Logger) (found, error) {
	var f found
	p.warnOfStrays(log)
	linked, err := p.linked()
	if err != nil {
		return f, err
	}
	gens, err := p.generations()
	if err != nil {
		return f, err
	}
	for _, g := range gens {
		f.highest = g.n
		holds, err := g.holdsAny(linked)
		if err != nil {
			return f, err
		}
		if holds {
			f.inForce = &g
			continue
		}
		log.Info("removing a generation that no interface uses", "generation", g.String())
		if err := g.remove(); err != nil {
			return f, err
		}
	}
	return f, nil
}

// removeOldGenerations removes the generations that no link points into, except keep.
func (p pinDir) removeOldGenerations(keep generation) error {
	linked, err := p.linked()
	if err != nil {
		return err
	}
	gens, err := p.generations()
	if err != nil {
		return err
	}
	for _, g := range gens {
		if g == keep {
			continue
		}
		holds, err := g.holdsAny(linked)
		if err != nil {
			return err
		}
		if !holds {
			if err := g.remove(); err != nil {
				return err
			}
		}
	}
	return nil
}
