// Package road sends any number of sources through a loaded packet filter: the kernel runs the
// filter on one frame repeatedly, and a program in front of it gives every packet the next source
// of a list. No packet is sent.
package road

import (
	"errors"
	"fmt"
	"slices"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"
)

// A Source is an address as in a packet. IPv4 uses the first four bytes.
type Source [16]byte

const (
	batch  = 1 << 18 // sources per run of the kernel
	passed = 2       // XDP_PASS
	filter = 0       // slot of the filter in the program array

	etherType = 12 // offsets in a frame without tags
	source4   = 14 + 12
	source6   = 14 + 8
)

// A Road leads to one filter. It is not safe for concurrent use.
type Road struct {
	calls, list *ebpf.Map
	memory      []byte
	position    *uint64
	sources     []Source
	setter4     *ebpf.Program
	setter6     *ebpf.Program
	packets     uint64
}

// New returns a road to the filter. It uses a tail call, so that the filter is the same program
// that an interface runs.
func New(to *ebpf.Program) (r *Road, err error) {
	r = &Road{}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("make a road: %w", err), r.Close())
			r = nil
		}
	}()
	r.calls, err = ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.ProgramArray, KeySize: 4, ValueSize: 4, MaxEntries: 1})
	if err != nil {
		return r, err
	}
	// The position, padded to the size of a source, and then the list.
	const size = int(unsafe.Sizeof(Source{})) * (1 + batch)
	r.list, err = ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: uint32(size), MaxEntries: 1,
		Flags: unix.BPF_F_MMAPABLE})
	if err != nil {
		return r, err
	}
	if r.memory, err = unix.Mmap(r.list.FD(), 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err != nil {
		return r, err
	}
	r.position = (*uint64)(unsafe.Pointer(&r.memory[0]))
	r.sources = unsafe.Slice((*Source)(unsafe.Pointer(&r.memory[unsafe.Sizeof(Source{})])), batch)
	if r.setter4, err = r.setter(source4, 4); err != nil {
		return r, err
	}
	if r.setter6, err = r.setter(source6, 16); err != nil {
		return r, err
	}
	return r, r.calls.Put(uint32(filter), to)
}

// setter loads the program that writes the next source into a packet.
func (r *Road) setter(at, size int16) (*ebpf.Program, error) {
	code := asm.Instructions{
		asm.Mov.Reg(asm.R6, asm.R1),
		asm.LoadMapValue(asm.R7, r.list.FD(), 0),
		asm.LoadMem(asm.R8, asm.R7, 0, asm.DWord),
		asm.Mov.Reg(asm.R0, asm.R8),
		asm.Add.Imm(asm.R0, 1),
		asm.StoreMem(asm.R7, 0, asm.R0, asm.DWord),
		asm.And.Imm(asm.R8, batch-1),
		asm.LSh.Imm(asm.R8, 4),
		asm.Add.Reg(asm.R7, asm.R8),
		asm.LoadMem(asm.R2, asm.R6, 0, asm.Word), // data
		asm.LoadMem(asm.R3, asm.R6, 4, asm.Word), // data_end
		asm.Mov.Reg(asm.R4, asm.R2),
		asm.Add.Imm(asm.R4, int32(at+size)),
		asm.JGT.Reg(asm.R4, asm.R3, "out"),
	}
	for n := int16(0); n < size; n += 4 {
		code = append(code,
			asm.LoadMem(asm.R5, asm.R7, 16+n, asm.Word),
			asm.StoreMem(asm.R2, at+n, asm.R5, asm.Word))
	}
	code = append(code,
		asm.Mov.Reg(asm.R1, asm.R6),
		asm.LoadMapPtr(asm.R2, r.calls.FD()),
		asm.Mov.Imm(asm.R3, filter),
		asm.FnTailCall.Call(),
		asm.Mov.Imm(asm.R0, 0).WithSymbol("out"),
		asm.Return())
	return ebpf.NewProgram(&ebpf.ProgramSpec{Name: "set_source", Type: ebpf.XDP, AttachType: ebpf.AttachXDP,
		License: "GPL", Instructions: code})
}

// Run runs the filter on the frame once for each source, in order. All must pass.
func (r *Road) Run(frame []byte, sources []Source) error {
	setter := r.setter4
	if frame[etherType] == 0x86 {
		setter = r.setter6
	}
	for part := range slices.Chunk(sources, batch) {
		copy(r.sources, part)
		*r.position = 0
		verdict, err := setter.Run(&ebpf.RunOptions{Data: frame, Repeat: uint32(len(part))})
		if err != nil {
			return fmt.Errorf("run the filter: %w", err)
		}
		if verdict != passed {
			return fmt.Errorf("run the filter: verdict %d, want %d", verdict, passed)
		}
		r.packets += uint64(len(part))
	}
	return nil
}

// Packets returns the number of packets run so far.
func (r *Road) Packets() uint64 { return r.packets }

// Close frees the objects that New made.
func (r *Road) Close() error {
	var errs []error
	if r.memory != nil {
		errs = append(errs, unix.Munmap(r.memory))
	}
	for _, p := range []*ebpf.Program{r.setter4, r.setter6} {
		errs = append(errs, p.Close())
	}
	for _, m := range []*ebpf.Map{r.calls, r.list} {
		errs = append(errs, m.Close())
	}
	return errors.Join(errs...)
}
