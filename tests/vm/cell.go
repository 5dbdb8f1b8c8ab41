package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/paraxial/paraxial/tests/vm/qemu"
	"github.com/paraxial/paraxial/tests/vm/wire"
)

// A row is the result for one kernel.
type row struct {
	kernel       kernel
	version      string
	plain, frags string // instructions that the verifier processed; "-" if the kernel is too old for the build
	mode         string
	queues       int // number of queues that received frames
	skipped      int // skipped tests; each gives its reason
}

func (r row) String() string {
	if r.kernel.tries == triesDevices {
		return "Linux " + r.version
	}
	return fmt.Sprintf("Linux %s: verifier %s and %s, %s mode on %s, frames on %d queues, %d tests skipped",
		r.version, r.plain, r.frags, r.mode, r.kernel.card, r.queues, r.skipped)
}

// card sends frames into a machine.
type card interface {
	Netdev(id string) string
	Files() []*os.File
	Connect() error
	Send(frame []byte) error
	Close() error
}

func newCard(k kernel, dir string) (card, error) {
	if k.queues > 1 {
		return qemu.NewTap(k.queues)
	}
	return qemu.NewStream(dir)
}

// cellTime is the time limit of a machine: several times what it takes beside another one on two CPUs.
const cellTime = 45 * time.Minute

// A cell is one kernel in a machine.
type cell struct {
	kernel kernel
	dir    string // for logs
	bin    string // has the tools
	card   card
	brief  bool // see the flag

	machine *qemu.Machine
	port    net.Conn
	answer  *json.Decoder
}

// A laboratory holds what all cells share.
type laboratory struct {
	cache, work string // directories of kernels, and of this run
	tools       tools
	brief       bool
	accelerator qemu.Accelerator // chosen with the first kernel
}

func (l *laboratory) try(ctx context.Context, k kernel) (row, error) {
	ctx, cancel := context.WithTimeout(ctx, cellTime)
	defer cancel()
	r := row{kernel: k}
	c := &cell{kernel: k, dir: filepath.Join(l.work, k.name), bin: l.work, brief: l.brief}
	if err := os.MkdirAll(c.dir, 0o755); err != nil {
		return r, err
	}
	kernelDir, err := l.fetch(ctx, k)
	if err != nil {
		return r, err
	}
	version, err := os.ReadFile(filepath.Join(kernelDir, "version"))
	if err != nil {
		return r, err
	}
	r.version = strings.TrimSpace(string(version))
	initrd := filepath.Join(c.dir, "initrd")
	if err := makeInitrd(initrd, kernelDir, k, l.tools); err != nil {
		return r, fmt.Errorf("make an initrd: %w", err)
	}
	if k.tries == triesDevices {
		if err := compileTests(ctx, c.dir, "e2e"); err != nil {
			return r, err
		}
	}
	if c.card, err = newCard(k, c.dir); err != nil {
		return r, err
	}
	defer c.card.Close()
	stop, err := c.boot(ctx, l.accelerator, filepath.Join(kernelDir, "vmlinuz"), initrd)
	if err != nil {
		return r, err
	}
	defer stop()
	return r, c.try(&r)
}

// fetch returns the directory of a kernel. It is stored by origin, so that another list of kernels
// does not find a different kernel under the same name.
func (l *laboratory) fetch(ctx context.Context, k kernel) (string, error) {
	dir := filepath.Join(l.cache, k.suite+"_"+k.pkg)
	if _, err := os.Stat(filepath.Join(dir, "version")); err != nil {
		if out, err := exec.CommandContext(ctx, "tests/vm/kernel.sh",
			dir, k.suite, k.pkg).CombinedOutput(); err != nil {
			return "", fmt.Errorf("fetch %s of %s: %w\n%s", k.pkg, k.suite, err, out)
		}
	}
	if l.accelerator == "" {
		var err error
		if l.accelerator, err = qemu.Choose(ctx, filepath.Join(dir, "vmlinuz")); err != nil {
			fmt.Println(err)
		}
	}
	return dir, nil
}

// consoleLog is the file in a cell's directory with the machine's whole console output.
const consoleLog = "console.log"

// cardAddress is the address of the machine's network card.
const cardAddress = "52:54:00:00:00:01"

func (c *cell) boot(ctx context.Context, a qemu.Accelerator, vmlinuz, initrd string) (stop func(), err error) {
	port, err := qemu.Listen(filepath.Join(c.dir, "port"))
	if err != nil {
		return nil, err
	}
	device := c.kernel.card + ",netdev=n0,mac=" + cardAddress
	if c.kernel.queues > 1 {
		device += fmt.Sprintf(",mq=on,vectors=%d", 2*c.kernel.queues+2)
	}
	const megabytes = 1024
	arguments := append(qemu.Base(a, megabytes, filepath.Join(c.dir, consoleLog)),
		"-no-reboot", "-kernel", vmlinuz, "-initrd", initrd,
		"-append", "console=ttyS0 quiet panic=-1 oops=panic mitigations=off net.ifnames=0",
		"-chardev", "socket,id=port,path="+port.Path(), "-serial", "chardev:port",
		"-netdev", c.card.Netdev("n0"), "-device", device,
	)
	if c.kernel.tries == triesDevices {
		arguments = append(arguments, "-virtfs",
			"local,path=/,mount_tag="+wire.HostTag+",security_model=none,readonly=on,multidevs=remap")
	}
	m, err := qemu.Start(ctx, arguments, c.card.Files())
	if err != nil {
		return nil, err
	}
	if c.port, err = port.Accept(); err == nil {
		err = c.card.Connect()
	}
	if err != nil {
		m.Stop()
		return nil, err
	}
	c.machine = m
	// A machine that ends closes the port, so that the reader does not block.
	c.answer = json.NewDecoder(bufio.NewReader(c.port))
	return func() { m.Stop(); c.port.Close() }, c.read(&wire.Answer{})
}

var errGone = errors.New("the machine is gone")

func (c *cell) read(a *wire.Answer) error {
	if err := c.port.SetReadDeadline(time.Now().Add(cellTime)); err != nil {
		return err
	}
	if err := c.answer.Decode(a); err != nil {
		return fmt.Errorf("%w: %w; %s", errGone, err, c.machine.Exit())
	}
	return nil
}

// ask makes the machine do something. It returns the output even with an error.
func (c *cell) ask(r wire.Request) (string, error) {
	if err := json.NewEncoder(c.port).Encode(r); err != nil {
		return "", fmt.Errorf("ask the machine: %w", err)
	}
	var a wire.Answer
	if err := c.read(&a); err != nil {
		return "", err
	}
	if a.Error != "" {
		return a.Output, fmt.Errorf("%s %s: %s", r.Do, strings.Join(r.Arguments, " "), a.Error)
	}
	return a.Output, nil
}

func (c *cell) run(arguments ...string) (string, error) {
	out, err := c.ask(wire.Request{Do: wire.Run, Arguments: arguments})
	if err != nil {
		err = fmt.Errorf("%w: %s", err, strings.TrimSpace(out))
	}
	return out, err
}

// A step is one of what is tried on a kernel.
type step struct {
	name string
	do   func(*row) error
}

func (c *cell) steps() []step {
	log := step{"kernel log", c.kernelLog}
	if c.kernel.tries == triesDevices {
		return []step{{"devices", c.devices}, log}
	}
	return []step{{"verifier", c.verify}, {"tests", c.test}, {"filter", c.filter}, log}
}

// try runs all steps on a kernel, for as long as the machine lives.
func (c *cell) try(r *row) error {
	var errs []error
	for _, step := range c.steps() {
		start := time.Now()
		err := step.do(r)
		fmt.Printf("%13s%-10s %5.1fs\n", "", step.name, time.Since(start).Seconds())
		errs = append(errs, err)
		if errors.Is(err, errGone) {
			break
		}
	}
	return errors.Join(errs...)
}
