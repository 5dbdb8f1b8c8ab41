package main

import (
	"bytes"
	"context"
	"debug/elf"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// tools are the programs in every machine, by their path in it.
type tools map[string]string

// buildTools compiles them, statically linked.
func buildTools(ctx context.Context, dir string) (tools, error) {
	t := make(tools)
	for _, object := range []string{"loader/plain_x86_bpfel.o", "loader/frags_x86_bpfel.o"} {
		t[object] = object
	}
	for path, from := range map[string]string{
		"init": "./tests/vm/guest", "bin/paraxiald": "./cmd/paraxiald", "bin/paraxialctl": "./cmd/paraxialctl",
	} {
		t[path] = filepath.Join(dir, filepath.Base(path))
		if err := compile(ctx, "build", "-o", t[path], from); err != nil {
			return nil, err
		}
	}
	for _, name := range []string{"program", "differential"} {
		path := "bin/" + name + ".test"
		t[path] = filepath.Join(dir, name+".test")
		if err := compileTests(ctx, dir, name); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// compileTests makes DIR/NAME.test from the tests in a folder of tests, with those that need devices.
func compileTests(ctx context.Context, dir, name string) error {
	return compile(ctx, "test", "-c", "-tags", "devices", "-o", filepath.Join(dir, name+".test"), "./tests/"+name)
}

func compile(ctx context.Context, verb string, arguments ...string) error {
	c := exec.CommandContext(ctx, "go", append([]string{verb, "-trimpath"}, arguments...)...)
	c.Env = append(os.Environ(), "CGO_ENABLED=0", "GOARCH=amd64")
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("go %s %s: %w\n%s", verb, strings.Join(arguments, " "), err, out)
	}
	return nil
}

// makeInitrd writes a machine's file system: the tools, and the modules for its card and devices.
func makeInitrd(path, kernelDir string, k kernel, t tools) error {
	var a archive
	for _, d := range []string{"bin", "loader", "tests", "tests/program", "tests/differential", "modules", "proc",
		"sys", "dev", "run", "tmp", "var", "etc", "host"} {
		a.add(d, modeDir|0o755, nil)
	}
	for name, from := range t {
		b, err := os.ReadFile(from)
		if err != nil {
			return err
		}
		a.add(name, modeFile|0o755, b)
	}
	modules := []string{"virtio_pci", drivers[k.card]}
	if k.tries == triesDevices {
		modules = append(modules, deviceModules...)
	}
	list, err := a.addModules(filepath.Join(kernelDir, "modules"), modules)
	if err != nil {
		return err
	}
	a.add("modules/list", modeFile|0o644, []byte(strings.Join(list, "\n")))
	a.add("TRAILER!!!", 0, nil)
	return os.WriteFile(path, a.Bytes(), 0o644)
}

// drivers are the modules of cards.
var drivers = map[string]string{"virtio-net-pci": "virtio_net", "e1000e": "e1000e"}

// An archive is a cpio in the "newc" format, see the kernel's
// Documentation/driver-api/early-userspace/buffer-format.rst.
type archive struct{ bytes.Buffer }

const (
	modeDir  = 0o040000
	modeFile = 0o100000
)

func (a *archive) add(name string, mode int, content []byte) {
	fmt.Fprintf(a, "070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X",
		0, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name)+1, 0)
	a.WriteString(name + "\x00")
	a.pad()
	a.Write(content)
	a.pad()
}

func (a *archive) pad() {
	for a.Len()%4 != 0 {
		a.WriteByte(0)
	}
}

// addModules adds modules and all their dependencies, and returns their files in the order in which
// to load them. Modules built into the kernel have no file.
func (a *archive) addModules(dir string, names []string) ([]string, error) {
	var order []string
	seen := make(map[string]bool)
	var visit func(name string) error
	visit = func(name string) error {
		if seen[name] {
			return nil
		}
		seen[name] = true
		file, b, err := findModule(dir, name)
		if err != nil || b == nil {
			return err
		}
		needs, err := dependencies(b)
		if err != nil {
			return fmt.Errorf("module %s: %w", name, err)
		}
		for _, n := range needs {
			if err := visit(n); err != nil {
				return err
			}
		}
		a.add("modules/"+file, modeFile|0o644, b)
		order = append(order, file)
		return nil
	}
	for _, n := range names {
		if err := visit(n); err != nil {
			return nil, err
		}
	}
	return order, nil
}

// findModule reads a module, and returns nothing if there is no such file. Hyphens and underscores
// in the file name are equivalent. The module is unpacked here, because the machine has no program
// for it.
func findModule(dir, name string) (file string, content []byte, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", nil, err
	}
	for _, e := range entries {
		file, packed := strings.CutSuffix(e.Name(), ".xz")
		if strings.ReplaceAll(strings.TrimSuffix(file, ".ko"), "-", "_") != name {
			continue
		}
		path := filepath.Join(dir, e.Name())
		if !packed {
			content, err = os.ReadFile(path)
			return file, content, err
		}
		if content, err = exec.Command("xz", "-dc", path).Output(); err != nil {
			return "", nil, fmt.Errorf("unpack %s (apt-get install xz-utils): %w", path, err)
		}
		return file, content, nil
	}
	return "", nil, nil
}

// dependencies returns the modules that a module needs.
func dependencies(module []byte) ([]string, error) {
	f, err := elf.NewFile(bytes.NewReader(module))
	if err != nil {
		return nil, err
	}
	section := f.Section(".modinfo")
	if section == nil {
		return nil, fmt.Errorf("no .modinfo")
	}
	info, err := section.Data()
	if err != nil {
		return nil, err
	}
	for _, field := range strings.Split(string(info), "\x00") {
		if list, ok := strings.CutPrefix(field, "depends="); ok && list != "" {
			return strings.Split(strings.ReplaceAll(list, "-", "_"), ","), nil
		}
	}
	return nil, nil
}
