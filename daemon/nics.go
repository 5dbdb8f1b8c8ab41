package daemon

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/paraxial/paraxial/config"
	"github.com/paraxial/paraxial/control"
	"github.com/paraxial/paraxial/loader"
	"github.com/paraxial/paraxial/store"
)

// nic is a configured interface.
type nic struct {
	name  string
	mode  loader.Mode // as configured
	slot  uint32      // interface slot: the program counts the interface's packets there
	state loader.Attestation
	note  string // of the last attachment
	frags bool   // the build for frames in several buffers is attached
}

func (n nic) status() control.InterfaceStatus {
	s := control.InterfaceStatus{Name: n.name, Protected: n.state.Protected, Note: n.note}
	if n.state.Protected {
		s.Mode, s.ProgramID = string(n.state.Mode), n.state.ProgramID
		s.Note = strings.Trim(s.Note+"; "+n.state.Warning, "; ")
	} else if n.state.Problem != "" {
		s.Note = n.state.Problem
	}
	return s
}

// nics keeps the filter on the configured interfaces: it attaches the filter, checks the
// attachment in the kernel, and repairs it.
type nics struct {
	log     *slog.Logger
	loader  *loader.Loader
	store   *store.Store
	repair  func() config.Repair // as configured now
	changed func(control.InterfaceStatus)

	slots    sync.Mutex           // serialises the choice of slots, which waits for the disk
	work     sync.Mutex           // serialises attach, detach and attest, and never waits for the disk
	replaced map[string]time.Time // when a foreign program was last removed, by interface
	mu       sync.Mutex           // guards all
	all      []nic
}

// interfaceSlot returns the slot in which the packets of an interface are counted. A
// name keeps its slot across restarts, and so its counters.
func (s *nics) interfaceSlot(name string) (uint32, error) {
	s.slots.Lock()
	defer s.slots.Unlock()
	slots, err := s.store.Slots()
	if err != nil {
		return 0, err
	}
	if slot, ok := slots[name]; ok {
		return slot, nil
	}
	slot, last, ok := freeInterfaceSlot(slots, loader.MaxSlots, s.forgotten)
	if !ok {
		return 0, fmt.Errorf("interface %s: all %d slots are used by interfaces that are configured or exist: "+
			"configure fewer interfaces", name, loader.MaxSlots)
	}
	if err := s.loader.ClearSlot(slot); err != nil {
		return 0, err
	}
	if last != "" {
		if err := s.store.DeleteSlot(last); err != nil {
			return 0, err
		}
		s.log.Info("the counters of an interface that no longer exists were deleted", "interface", last)
	}
	return slot, s.store.PutSlot(name, slot)
}

// forgotten reports whether an interface is not configured and does not exist.
func (s *nics) forgotten(name string) bool {
	if slices.ContainsFunc(s.list(), func(n nic) bool { return n.name == name }) {
		return false
	}
	_, err := net.InterfaceByName(name)
	return err != nil
}

// freeInterfaceSlot returns the lowest slot below limit that no name has. If all are
// taken, it returns the lowest slot of a forgotten interface, and its name.
func freeInterfaceSlot(
	slots map[string]uint32, limit uint32, forgotten func(name string) bool,
) (slot uint32, last string, ok bool) {
	names := make(map[uint32]string, len(slots))
	for name, slot := range slots {
		names[slot] = name
	}
	for slot := range limit {
		if _, taken := names[slot]; !taken {
			return slot, "", true
		}
	}
	for slot := range limit {
		if forgotten(names[slot]) {
			return slot, names[slot], true
		}
	}
	return 0, "", false
}

// add starts to filter an interface that exists.
func (s *nics) add(ctx context.Context, c config.Interface, mode loader.Mode) error {
	slot, err := s.interfaceSlot(c.Name)
	if err != nil {
		return err
	}
	s.work.Lock()
	defer s.work.Unlock()
	n := nic{name: c.Name, mode: mode, slot: slot}
	if err := s.attach(ctx, &n); err != nil {
		return err
	}
	n.state = s.loader.Attest(c.Name)
	if !n.state.Protected {
		return fmt.Errorf("attach XDP to %s: the kernel does not show it: %s", c.Name, n.state.Problem)
	}
	s.mu.Lock()
	s.all = append(s.all, n)
	s.mu.Unlock()
	s.log.Info("interface protected",
		"interface", n.name, "mode", n.state.Mode, "program", n.state.ProgramID, "note", n.note)
	s.changed(n.status())
	return nil
}

// expect records an interface that does not exist. It is filtered as soon as it exists.
func (s *nics) expect(c config.Interface, mode loader.Mode, missing error) error {
	slot, err := s.interfaceSlot(c.Name)
	if err != nil {
		return err
	}
	s.work.Lock()
	defer s.work.Unlock()
	state := loader.Attestation{Interface: c.Name, Problem: missing.Error()}
	n := nic{name: c.Name, mode: mode, slot: slot, state: state}
	s.mu.Lock()
	s.all = append(s.all, n)
	s.mu.Unlock()
	s.log.Error("INTERFACE MISSING: it will be protected when it appears", "interface", n.name, "problem", missing)
	s.changed(n.status())
	return nil
}

const unprotected = "INTERFACE UNPROTECTED: packets are not filtered"

// replaceInterval is the shortest time between two removals of foreign programs from one
// interface. It limits the load if other software attaches its program again each time.
const replaceInterval = 10 * time.Second

// attach attaches the filter to an interface. It removes a foreign program only if
// repair is always.
func (s *nics) attach(ctx context.Context, n *nic) error {
	attached, err := s.loader.Attach(ctx, n.name, n.mode, n.slot)
	_, foreign := errors.AsType[*loader.ForeignError](err)
	if foreign && s.repair() == config.RepairAlways && time.Since(s.replaced[n.name]) > replaceInterval {
		s.replaced[n.name] = time.Now()
		was, e := s.loader.RemoveForeign(n.name)
		if e != nil {
			return fmt.Errorf("%w; repair: always: %w", err, e)
		}
		if was != nil {
			s.log.Warn("a foreign XDP program was removed, because of repair: always",
				"interface", n.name, "program", was.ProgramID, "name", was.Name)
		}
		attached, err = s.loader.Attach(ctx, n.name, n.mode, n.slot)
	}
	if err == nil {
		n.note, n.frags = attached.Note, attached.Frags
	}
	return err
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

// list returns the interfaces, sorted by name.
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

// nameOf returns the name of the interface that has a slot.
func (s *nics) nameOf(slot uint32) string {
	for _, n := range s.list() {
		if n.slot == slot {
			return n.name
		}
	}
	return fmt.Sprintf("slot %d", slot)
}

// attest checks every interface in the kernel and repairs faults.
func (s *nics) attest(ctx context.Context) {
	s.work.Lock()
	defer s.work.Unlock()
	for _, n := range s.list() {
		state := s.loader.Attest(n.name)
		if n.state.Protected && !state.Protected {
			s.record(&n, state) // a repair takes a moment, or fails
		}
		if !state.Protected || state.Warning != "" {
			state = s.mend(ctx, &n, state)
		}
		if state != n.state {
			s.record(&n, state)
		}
	}
}

// glance checks the links, which is cheap. It calls attest if something has happened to
// one of them.
func (s *nics) glance(ctx context.Context) {
	for _, n := range s.list() {
		if n.state.Protected && !s.loader.Glance(n.name) {
			s.attest(ctx)
			return
		}
	}
}

// mend repairs an interface as far as repair allows, and returns its state afterwards.
func (s *nics) mend(ctx context.Context, n *nic, found loader.Attestation) loader.Attestation {
	if s.repair() == config.RepairNever {
		const hint = " (repair: never is configured; `systemctl restart paraxiald` repairs it)"
		if found.Protected {
			found.Warning += hint
		} else {
			found.Problem += hint
		}
		return found
	}
	err := s.attach(ctx, n)
	if err == nil {
		s.log.Warn("interface has been repaired",
			"interface", n.name, "was_protected", found.Protected, "frags", n.frags,
			"problem", cmp.Or(n.state.Problem, found.Problem, found.Warning))
		return s.loader.Attest(n.name)
	}
	_, foreign := errors.AsType[*loader.ForeignError](err)
	switch {
	case errors.Is(err, loader.ErrNoInterface), errors.Is(err, loader.ErrNoBPFFS) && found.Protected:
		// found names the cause already.
	case foreign:
		found.Problem = err.Error()
	case found.Protected:
		found.Warning += "; repair: " + err.Error()
	default:
		found.Problem += "; repair: " + err.Error()
	}
	return found
}

// record stores, logs and announces the state of an interface.
func (s *nics) record(n *nic, state loader.Attestation) {
	switch {
	case !state.Protected && (n.state.Protected || state.Problem != n.state.Problem):
		s.log.Error(unprotected, "interface", n.name, "problem", state.Problem)
	case state.Protected && state.Warning != "" && state.Warning != n.state.Warning:
		s.log.Error("interface is protected, but has a fault", "interface", n.name, "problem", state.Warning)
	case state.Protected:
		s.log.Info("interface protected", "interface", n.name, "mode", state.Mode, "program", state.ProgramID)
	}
	n.state = state
	s.mu.Lock()
	if i := slices.IndexFunc(s.all, func(other nic) bool { return other.name == n.name }); i >= 0 {
		s.all[i] = *n
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
