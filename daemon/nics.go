package daemon

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"

	"github.com/paraxial/paraxial/config"
	"github.com/paraxial/paraxial/control"
	"github.com/paraxial/paraxial/loader"
	"github.com/paraxial/paraxial/store"
)

// nic is an interface that is to be filtered.
type nic struct {
	name  string
	mode  loader.Mode // as configured
	slot  uint32
	state loader.Attestation
	note  string // what the last attachment had to say
}

func (n nic) status() control.InterfaceStatus {
	s := control.InterfaceStatus{Name: n.name, Protected: n.state.Protected, Note: n.note}
	if n.state.Protected {
		s.Mode, s.ProgramID = string(n.state.Mode), n.state.ProgramID
	} else if n.state.Problem != "" {
		s.Note = n.state.Problem
	}
	return s
}

// nics keeps the filter on the configured interfaces: it attaches, checks in the
// kernel that it is so, and repairs.
type nics struct {
	log     *slog.Logger
	loader  *loader.Loader
	store   *store.Store
	changed func(control.InterfaceStatus)

	work sync.Mutex // serialises attach, detach and attest
	mu   sync.Mutex // guards all
	all  []nic
}

// slotFor returns the slot in which the packets of an interface are counted. A
// name keeps its slot across restarts, and so its counters.
func (s *nics) slotFor(name string) (uint32, error) {
	slots, err := s.store.Slots()
	if err != nil {
		return 0, err
	}
	if slot, ok := slots[name]; ok {
		return slot, nil
	}
	taken := make(map[uint32]bool)
	for _, slot := range slots {
		taken[slot] = true
	}
	for slot := range uint32(loader.MaxSlots) {
		if taken[slot] {
			continue
		}
		if err := s.loader.ClearSlot(slot); err != nil {
			return 0, err
		}
		return slot, s.store.PutSlot(name, slot)
	}
	return 0, fmt.Errorf("interface %s: all %d counter slots are taken by interfaces that were filtered before", name, loader.MaxSlots)
}

// add starts to filter an interface.
func (s *nics) add(ctx context.Context, c config.Interface, mode loader.Mode) error {
	s.work.Lock()
	defer s.work.Unlock()
	slot, err := s.slotFor(c.Name)
	if err != nil {
		return err
	}
	attached, err := s.loader.Attach(ctx, c.Name, mode, slot)
	if err != nil {
		return err
	}
	n := nic{name: c.Name, mode: mode, slot: slot, note: attached.Note, state: s.loader.Attest(c.Name)}
	if !n.state.Protected {
		return fmt.Errorf("attach XDP to %s: the kernel does not show it: %s", c.Name, n.state.Problem)
	}
	s.mu.Lock()
	s.all = append(s.all, n)
	s.mu.Unlock()
	s.log.Info("interface protected", "interface", n.name, "mode", n.state.Mode, "program", n.state.ProgramID, "note", n.note)
	s.changed(n.status())
	return nil
}

// expect filters an interface as soon as it is there.
func (s *nics) expect(c config.Interface, mode loader.Mode, missing error) error {
	s.work.Lock()
	defer s.work.Unlock()
	slot, err := s.slotFor(c.Name)
	if err != nil {
		return err
	}
	n := nic{name: c.Name, mode: mode, slot: slot, state: loader.Attestation{Interface: c.Name, Problem: missing.Error()}}
	s.mu.Lock()
	s.all = append(s.all, n)
	s.mu.Unlock()
	s.log.Error("INTERFACE MISSING: it is protected when it comes", "interface", n.name, "problem", missing)
	s.changed(n.status())
	return nil
}

// drop stops filtering an interface.
func (s *nics) drop(name string) error {
	s.work.Lock()
	defer s.work.Unlock()
	if err := s.loader.Detach(name); err != nil {
		return err
	}
	s.mu.Lock()
	s.all = slices.DeleteFunc(s.all, func(n nic) bool { return n.name == name })
	s.mu.Unlock()
	s.log.Info("interface no longer filtered", "interface", name)
	s.changed(control.InterfaceStatus{Name: name, Note: "no longer configured"})
	return nil
}

// list returns the interfaces by name.
func (s *nics) list() []nic {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.SortedFunc(slices.Values(s.all), func(x, y nic) int { return cmp.Compare(x.name, y.name) })
}

func (s *nics) status() []control.InterfaceStatus {
	var list []control.InterfaceStatus
	for _, n := range s.list() {
		list = append(list, n.status())
	}
	return list
}

func (s *nics) nameOf(slot uint32) string {
	for _, n := range s.list() {
		if n.slot == slot {
			return n.name
		}
	}
	return fmt.Sprintf("slot %d", slot)
}

// attest looks at every interface in the kernel and repairs what is not as it
// should be.
func (s *nics) attest(ctx context.Context) {
	s.work.Lock()
	defer s.work.Unlock()
	for _, n := range s.list() {
		state := s.loader.Attest(n.name)
		if !state.Protected {
			state = s.repair(ctx, &n, state)
		}
		if state != n.state {
			s.record(n, state)
		}
	}
}

// repair attaches again, unless a foreign program is there: that is never
// replaced.
func (s *nics) repair(ctx context.Context, n *nic, state loader.Attestation) loader.Attestation {
	attached, err := s.loader.Attach(ctx, n.name, n.mode, n.slot)
	if err != nil {
		_, foreign := errors.AsType[*loader.ForeignError](err)
		if foreign || state.Problem == "" || errors.Is(err, loader.ErrNoInterface) {
			state.Problem = err.Error()
		}
		return state
	}
	n.note = attached.Note
	s.log.Warn("interface was unprotected and has been repaired", "interface", n.name, "problem", state.Problem)
	return s.loader.Attest(n.name)
}

func (s *nics) record(n nic, state loader.Attestation) {
	if n.state.Protected && !state.Protected {
		s.log.Error("INTERFACE UNPROTECTED: packets are not filtered", "interface", n.name, "problem", state.Problem)
	} else if !n.state.Protected && state.Protected {
		s.log.Info("interface protected", "interface", n.name, "mode", state.Mode, "program", state.ProgramID)
	}
	n.state = state
	s.mu.Lock()
	if i := slices.IndexFunc(s.all, func(other nic) bool { return other.name == n.name }); i >= 0 {
		s.all[i] = n
	}
	s.mu.Unlock()
	s.changed(n.status())
}

// ask runs the program in force on a packet from src. asked is false if no
// interface is protected.
func (s *nics) ask(l *loader.Loader, src netip.Addr) (answer loader.Answer, asked bool, err error) {
	for _, n := range s.list() {
		if n.state.Protected {
			answer, err = l.Ask(n.name, src)
			return answer, true, err
		}
	}
	return loader.Answer{}, false, nil
}
