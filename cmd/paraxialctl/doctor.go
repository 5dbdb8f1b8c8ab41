package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/paraxial/paraxial/control"
	"github.com/paraxial/paraxial/doctor"
	"github.com/paraxial/paraxial/doctor/probe"
)

func (p *program) doctorCommand() command {
	return command{
		Command: &cli.Command{
			Name:      "doctor",
			Usage:     "find problems that keep this host from filtering, and how to fix them",
			ArgsUsage: "[IFACE...]",
			Description: "Without IFACE it examines the interfaces that paraxiald filters, those of the\n" +
				"default routes, and those with an XDP program. Needs no running paraxiald. Root sees more.\n" +
				"Exits with 1 if there is a problem; warnings and notes do not count.",
			Flags: []cli.Flag{
				boolFlag("strict", "exit with 1 on warnings too"),
				&offeringFlag{&cli.StringFlag{
					Name:  "state-dir",
					Usage: "paraxiald keeps its state in `DIR`, unless it runs and says another",
					Value: "/var/lib/paraxial",
				}, offer{Files: true}},
				&offeringFlag{&cli.StringFlag{
					Name:  "bpffs",
					Usage: "paraxiald pins its filter in `DIR`, unless it runs and says another",
					Value: "/sys/fs/bpf/paraxial",
				}, offer{Files: true}},
			},
			Action: p.doctor,
		},
		args: offer{Interfaces: true},
	}
}

// askDaemon is the longest wait for the daemon: a daemon that hangs must not keep
// doctor from reporting the rest.
const askDaemon = 5 * time.Second

func (p *program) doctor(c *cli.Context) error {
	daemon, running := p.daemonFacts(c.Context)
	o := probe.Options{
		Interfaces: c.Args().Slice(), PID: running.PID,
		StateDir: directory(c, "state-dir", running.StateDir), BPFFS: directory(c, "bpffs", running.BPFFS),
	}
	for _, f := range daemon.Interfaces {
		o.Filtered = append(o.Filtered, f.Name)
	}
	facts, err := p.probe(o)
	if err != nil {
		return err
	}
	daemon.Capabilities, daemon.Memlock = facts.Daemon.Capabilities, facts.Daemon.Memlock
	facts.Daemon = daemon
	report := doctor.Examine(facts)
	if p.json() {
		err = p.printJSON(report)
	} else {
		p.printReport(report)
	}
	bad := doctor.Problem
	if c.Bool("strict") {
		bad = doctor.Warning
	}
	if err == nil && report.Worst >= bad {
		err = errReported
	}
	return err
}

// directory returns the value of a flag. If it is not set, a running daemon knows better than
// its default.
func directory(c *cli.Context, flag, running string) string {
	if running != "" && !c.IsSet(flag) {
		return running
	}
	return c.String(flag)
}

// daemonFacts asks the daemon. The status is zero if it does not answer.
func (p *program) daemonFacts(ctx context.Context) (doctor.Daemon, control.Status) {
	ctx, cancel := context.WithTimeout(ctx, askDaemon)
	defer cancel()
	s, err := p.client.Status(ctx)
	if err != nil {
		return doctor.Daemon{Error: err.Error(), Forbidden: errors.Is(err, control.ErrPermission)}, control.Status{}
	}
	d := doctor.Daemon{Reachable: true, Version: s.Version, LooksInto: s.Tunnels}
	for _, t := range s.UnseenTunnels {
		d.UnseenTunnels = append(d.UnseenTunnels, t.Name)
	}
	for _, i := range s.Interfaces {
		d.Interfaces = append(d.Interfaces, doctor.Filtered{
			Name: i.Name, Protected: i.Protected, Mode: i.Mode, ProgramID: i.ProgramID, Note: i.Note,
		})
	}
	return d, s
}

// printReport prints the findings of each interface and of the host. Those with
// the worst finding come first; among equals the host comes last.
func (p *program) printReport(r doctor.Report) {
	groups := []section{}
	for _, i := range r.Interfaces {
		heading := printable(i.Interface)
		if i.Driver != "" {
			heading += " (" + printable(i.Driver) + ")"
		}
		expected := i.Mode + " mode"
		if i.Mode == doctor.Refused {
			expected = "cannot be filtered as it is"
		}
		groups = append(groups, newSection(heading+": "+expected, i.Interface, r.Findings))
	}
	groups = append(groups, newSection("host", "", r.Findings))
	slices.SortStableFunc(groups, func(a, b section) int { return cmp.Compare(b.worst, a.worst) })
	for _, g := range groups {
		p.printf("%s\n", g.heading)
		p.printFindings(g.findings)
		p.printf("\n")
	}
	p.printf("%s\n", tally(r.Findings))
}

// section holds the findings about one interface, or about the host.
type section struct {
	heading  string
	worst    doctor.Severity
	findings []doctor.Finding
}

func newSection(heading, iface string, all []doctor.Finding) section {
	s := section{heading: heading}
	for _, f := range all {
		if f.Interface == iface {
			s.findings = append(s.findings, f)
			s.worst = max(s.worst, f.Severity)
		}
	}
	return s
}

func (p *program) printFindings(findings []doctor.Finding) {
	for _, f := range findings {
		severity := f.Severity.String()
		if f.Severity == doctor.Problem {
			severity = strings.ToUpper(severity)
		}
		p.printf("  %-8s %s\n", severity, printable(f.What))
		if f.Why != "" {
			p.printf("           %s\n", printable(f.Why))
		}
		for _, line := range f.Fix {
			p.printf("             %s\n", printable(line))
		}
	}
}

func tally(all []doctor.Finding) string {
	var n [4]int
	for _, f := range all {
		n[f.Severity]++
	}
	return fmt.Sprintf("problems %d, warnings %d, notes %d", n[doctor.Problem], n[doctor.Warning], n[doctor.Note])
}
