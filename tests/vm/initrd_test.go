package main

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestModulesComeAfterWhatTheyNeed has names with a hyphen and an underscore for one module, two
// modules that need the same one, and one that is built in.
func TestModulesComeAfterWhatTheyNeed(t *testing.T) {
	dir := t.TempDir()
	for file, depends := range map[string]string{
		"virtio_net.ko":      "net-failover,virtio,built_in",
		"net_failover.ko":    "failover",
		"failover.ko":        "",
		"virtio.ko":          "virtio_ring",
		"virtio-ring.ko":     "",
		"virtio_pci.ko":      "virtio,virtio_ring",
		"of-nobody's-use.ko": "virtio",
	} {
		if err := os.WriteFile(filepath.Join(dir, file), module(t, "license=GPL\x00depends="+depends+"\x00name=x\x00"),
			0o644); err != nil {
			t.Fatal(err)
		}
	}
	var a archive
	got, err := a.addModules(dir, []string{"virtio_pci", "virtio_net"})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"virtio-ring.ko", "virtio.ko", "virtio_pci.ko", "failover.ko", "net_failover.ko", "virtio_net.ko"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestModuleWithoutInformation(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "broken.ko"), []byte("no ELF"), 0o644); err != nil {
		t.Fatal(err)
	}
	var a archive
	if _, err := a.addModules(dir, []string{"broken"}); err == nil {
		t.Error("a module that is no ELF file was accepted")
	}
}

// module returns the smallest ELF file with a section .modinfo.
func module(t *testing.T, info string) []byte {
	t.Helper()
	const names = "\x00.modinfo\x00.shstrtab\x00"
	const headerSize, sectionSize = 64, 64
	infoAt := uint64(headerSize)
	namesAt := infoAt + uint64(len(info))
	header := elf.Header64{
		Type: uint16(elf.ET_REL), Machine: uint16(elf.EM_X86_64), Version: 1,
		Shoff: namesAt + uint64(len(names)), Ehsize: headerSize, Shentsize: sectionSize, Shnum: 3, Shstrndx: 2,
	}
	copy(header.Ident[:], []byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), 1})
	var b bytes.Buffer
	for _, part := range []any{
		header, []byte(info), []byte(names), elf.Section64{},
		elf.Section64{Name: 1, Type: uint32(elf.SHT_PROGBITS), Off: infoAt, Size: uint64(len(info))},
		elf.Section64{Name: 10, Type: uint32(elf.SHT_STRTAB), Off: namesAt, Size: uint64(len(names))},
	} {
		if err := binary.Write(&b, binary.LittleEndian, part); err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

func TestArchiveReadsBack(t *testing.T) {
	var a archive
	a.add("bin", modeDir|0o755, nil)
	a.add("bin/a", modeFile|0o755, []byte("x"))
	a.add("bin/abc", modeFile|0o644, []byte("four"))
	a.add("TRAILER!!!", 0, nil)
	got := readArchive(t, a.Bytes())
	want := []member{{"bin", modeDir | 0o755, ""}, {"bin/a", modeFile | 0o755, "x"},
		{"bin/abc", modeFile | 0o644, "four"}, {"TRAILER!!!", 0, ""}}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(member{})); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

type member struct {
	name    string
	mode    int
	content string
}

// readArchive is written from the kernel's buffer-format.rst: 13 fields of eight hexadecimal digits
// after the magic, name and content padded to four bytes.
func readArchive(t *testing.T, b []byte) (all []member) {
	t.Helper()
	const headerSize = 6 + 13*8
	at := 0
	for at < len(b) {
		if at%4 != 0 || string(b[at:at+6]) != "070701" {
			t.Fatalf("no header at %d", at)
		}
		field := func(i int) int {
			n, err := strconv.ParseUint(string(b[at+6+8*i:at+14+8*i]), 16, 32)
			if err != nil {
				t.Fatal(err)
			}
			return int(n)
		}
		mode, size, nameSize := field(1), field(6), field(11)
		name := at + headerSize
		content := (name + nameSize + 3) &^ 3
		if b[name+nameSize-1] != 0 {
			t.Fatalf("the name at %d does not end with 0", name)
		}
		all = append(all, member{string(b[name : name+nameSize-1]), mode, string(b[content : content+size])})
		at = (content + size + 3) &^ 3
	}
	return all
}
