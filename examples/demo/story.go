package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/paraxial/paraxial/tests/lab"
)

// nic is what the host's network card is called in the sandbox.
const nic = "eth0"

// tell goes through the demo from the first line to the last.
func tell(ctx context.Context) (err error) {
	s, err := chooseSample(listFile)
	if err != nil {
		return err
	}
	w, err := lab.NewWire(nic)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()

	fmt.Printf("A sandbox: a host with one network card, %s, and at the other end of the wire the Internet.\n", nic)
	fmt.Printf("%d addresses from %s (listed) and their %d nearest\n", len(s.listed), listFile, len(s.unlisted))
	fmt.Printf("neighbours (unlisted) send %d datagrams each to a UDP service on the host.\n", perAddress)
	heading("Without Paraxial")
	open, err := exchange(w, s)
	if err != nil {
		return err
	}
	open.print()
	if open.listed != open.sent || open.unlisted != open.sent {
		return errors.New("the sandbox itself loses packets; nothing can be shown here")
	}
	return withParaxial(ctx, w, s)
}

func withParaxial(ctx context.Context, w *lab.Wire, s sample) error {
	const stateDir = "/run/paraxial-state"
	if err := os.Mkdir(stateDir, 0o700); err != nil {
		return err
	}
	bin, err := filepath.Abs(binDir)
	if err != nil {
		return err
	}
	d := lab.NewDaemon(lab.InDir(bin), stateDir, w.Host)
	heading("Start the daemon, and give it the list")
	fmt.Printf("$ paraxiald --interface %s &\n", nic)
	p, err := d.Start(ctx)
	if err != nil {
		return err
	}
	defer p.Kill() // has ended unless something failed
	for _, args := range [][]string{{"status"}, {"import", listFile}} {
		if err := show(ctx, d, args...); err != nil {
			return err
		}
	}
	heading("The same traffic again")
	filtered, err := exchange(w, s)
	if err != nil {
		return err
	}
	filtered.print()
	heading("Ask what happened")
	for _, args := range [][]string{{"stats"}, {"why", s.listed[0].String()}} {
		if err := show(ctx, d, args...); err != nil {
			return err
		}
	}
	if err := takeOff(ctx, d, p); err != nil {
		return err
	}
	return conclude(filtered)
}

func heading(s string) { fmt.Printf("\n== %s\n", s) }

// show runs a command as a user would type it, and prints what it prints.
func show(ctx context.Context, d lab.Daemon, args ...string) error {
	fmt.Printf("$ paraxialctl %s\n", strings.Join(args, " "))
	start := time.Now()
	r, err := d.Run(ctx, args...)
	if err != nil {
		return err
	}
	for line := range strings.Lines(r.Stdout + r.Stderr) {
		fmt.Printf("  %s\n", strings.TrimRight(line, "\n"))
	}
	if args[0] == "import" {
		fmt.Printf("  (%v)\n", time.Since(start).Round(time.Millisecond))
	}
	if r.Code != 0 {
		return fmt.Errorf("paraxialctl %s exited with %d", strings.Join(args, " "), r.Code)
	}
	return nil
}

// takeOff detaches the filter, which ends the daemon, and looks whether the
// card and the BPF file system are clean.
func takeOff(ctx context.Context, d lab.Daemon, p *lab.Process) error {
	heading("Take it off")
	fmt.Println("$ paraxiald detach")
	out, err := exec.CommandContext(ctx, d.Daemon, append([]string{"detach"}, d.Args()...)...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("paraxiald detach: %w\n%s", err, out)
	}
	for line := range strings.Lines(string(out)) {
		fmt.Printf("  %s\n", strings.TrimRight(line, "\n"))
	}
	if err := p.Wait(ctx); err != nil {
		return err
	}
	card, err := netlink.LinkByName(nic)
	if err != nil {
		return fmt.Errorf("look at %s: %w", nic, err)
	}
	if xdp := card.Attrs().Xdp; xdp != nil && xdp.Attached {
		return fmt.Errorf("%s still has XDP program %d", nic, xdp.ProgId)
	}
	pins, err := filepath.Glob(filepath.Join(d.BPFFS, "*"))
	if err == nil && len(pins) > 0 {
		err = fmt.Errorf("detach left %v", pins)
	}
	return err
}

func conclude(t tally) error {
	heading("In short")
	switch {
	case t.listed > 0:
		return fmt.Errorf("%d packets of listed sources got through", t.listed)
	case t.unlisted != t.sent:
		return fmt.Errorf("%d packets of unlisted sources were lost", t.sent-t.unlisted)
	}
	fmt.Printf("All %d packets of listed sources were dropped; all %d others arrived.\n", t.sent, t.sent)
	return nil
}
