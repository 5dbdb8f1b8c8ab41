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

	"github.com/paraxial/paraxial/tests/lab"
)

const (
	nic      = "eth0"       // name of the host's network card in the sandbox
	stateDir = "/run/state" // inside the sandbox; the socket and pins are in their default places
)

// tell runs the demo from the first line to the last.
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
		return errors.New("the sandbox itself loses packets: the demo cannot run here")
	}
	return withParaxial(ctx, w, s)
}

func withParaxial(ctx context.Context, w *lab.Wire, s sample) (err error) {
	site, err := newLoginSite(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, site.close()) }()
	d, err := newDaemon(w)
	if err != nil {
		return err
	}
	if len(site.missing) == 0 {
		d.Interfaces = append(d.Interfaces, loginCard)
	}
	heading("Start the daemon, and give it the list")
	fmt.Printf("$ paraxiald --interface %s --state-dir %s --config %s --metrics '' &\n",
		strings.Join(d.Interfaces, " --interface "), stateDir, configFile)
	p, err := d.Start(ctx)
	if err != nil {
		return err
	}
	defer p.Kill() // a no-op unless something failed: the process has ended
	filtered, err := showList(ctx, d, w, s)
	if err != nil {
		return err
	}
	c, err := showFlood(ctx, d, w)
	if err != nil {
		return err
	}
	if err := showLogins(ctx, d, site); err != nil {
		return err
	}
	return errors.Join(takeOff(ctx, d, p), conclude(filtered, c))
}

func newDaemon(w *lab.Wire) (lab.Daemon, error) {
	if err := os.Mkdir(stateDir, 0o700); err != nil {
		return lab.Daemon{}, err
	}
	if err := os.WriteFile(configFile, []byte(detectors+logins()), 0o644); err != nil {
		return lab.Daemon{}, err
	}
	bin, err := filepath.Abs(binDir)
	if err != nil {
		return lab.Daemon{}, err
	}
	d := lab.NewDaemon(lab.InDir(bin), stateDir, w.Host)
	d.Flags = []string{"--config", configFile}
	return d, nil
}

func showList(ctx context.Context, d lab.Daemon, w *lab.Wire, s sample) (tally, error) {
	for _, args := range [][]string{{"status"}, {"import", listFile}} {
		if err := show(ctx, d, args...); err != nil {
			return tally{}, err
		}
	}
	heading("The same traffic again")
	filtered, err := exchange(w, s)
	if err != nil {
		return tally{}, err
	}
	filtered.print()
	heading("Ask what happened")
	for _, args := range [][]string{{"stats"}, {"why", s.listed[0].String()}} {
		if err := show(ctx, d, args...); err != nil {
			return tally{}, err
		}
	}
	return filtered, nil
}

func heading(s string) { fmt.Printf("\n== %s\n", s) }

// show runs a command as a user would type it, and prints its output.
func show(ctx context.Context, d lab.Daemon, args ...string) error {
	fmt.Printf("$ paraxialctl %s\n", strings.Join(args, " "))
	start := time.Now()
	r, err := d.Run(ctx, args...)
	if err != nil {
		return err
	}
	printIndented(r.Stdout + r.Stderr)
	if args[0] == "import" {
		fmt.Printf("  (took %v)\n", time.Since(start).Round(time.Millisecond))
	}
	if r.Code != 0 {
		return fmt.Errorf("paraxialctl %s exited with %d", strings.Join(args, " "), r.Code)
	}
	return nil
}

// printIndented leaves out blank lines, to keep the story short.
func printIndented(text string) {
	for line := range strings.Lines(text) {
		if line = strings.TrimRight(line, "\n "); line != "" {
			fmt.Println("  " + line)
		}
	}
}

// takeOff detaches the filter, which ends the daemon, and checks that the kernel has freed all of
// it.
func takeOff(ctx context.Context, d lab.Daemon, p *lab.Process) error {
	f, err := findFilter()
	if err != nil {
		return err
	}
	heading("Take it off")
	fmt.Printf("$ paraxiald detach --state-dir %s\n", stateDir)
	out, err := exec.CommandContext(ctx, d.Daemon, "detach", "--state-dir", stateDir).CombinedOutput()
	if err != nil {
		return fmt.Errorf("paraxiald detach: %w\n%s", err, out)
	}
	printIndented(string(out))
	if err := p.Wait(ctx); err != nil {
		return err
	}
	return f.checkGone(d.BPFFS)
}

func conclude(t tally, c crowd) error {
	heading("In short")
	switch {
	case t.listed > 0:
		return fmt.Errorf("%d packets of listed sources got through", t.listed)
	case t.unlisted != t.sent:
		return fmt.Errorf("%d packets of unlisted sources were lost", t.sent-t.unlisted)
	}
	fmt.Printf("All %d packets of listed sources were dropped; all %d others arrived.\n", t.sent, t.sent)
	fmt.Printf("The flood was cut off after %d of %d packets, its ban is over, "+
		"and all %d packets of its neighbours arrived.\n",
		c[0].arrived, c[0].sent, c.neighbours().sent)
	return nil
}
