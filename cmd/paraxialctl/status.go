package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/paraxial/paraxial/control"
)

func (p *program) statusCommand() command {
	return command{
		Command: &cli.Command{
			Name:  "status",
			Usage: "show whether the interfaces are protected",
			Flags: []cli.Flag{
				boolFlag("check", "show only what needs attention, and fail if there is something"),
			},
			Action: p.status,
		},
	}
}

func (p *program) status(c *cli.Context) error {
	if err := noArguments(c); err != nil {
		return err
	}
	s, err := p.client.Status(c.Context)
	if err != nil {
		return err
	}
	if c.Bool("check") {
		return p.checkStatus(s)
	}
	if p.json() {
		return p.printJSON(s)
	}
	p.printf("paraxiald %s, pid %d, up %s\n", printable(s.Version), s.PID, p.since(s.Started))
	p.printf("%s, %s\n\n", blocksText(s.Blocks), allowsText(s.Allows))
	if len(s.Interfaces) == 0 {
		p.printf("No interface is protected: paraxiald was started without one.\n")
	} else if err := p.interfaces(s.Interfaces); err != nil {
		return err
	}
	if len(s.Tunnels) > 0 {
		p.printf("The filter looks into tunnels of %s.\n", printable(strings.Join(s.Tunnels, ", ")))
	}
	if len(s.UnseenTunnels) > 0 {
		p.printf("The filter does not look into these tunnels: %s.\n", tunnelNames(s.UnseenTunnels))
	}
	for _, w := range s.Warnings {
		p.printf("warning: %s\n", printable(w))
	}
	return nil
}

// checkStatus shows the problems. With some, the exit code is that of a failure.
func (p *program) checkStatus(s control.Status) error {
	problems := slices.Clone(s.Warnings)
	if len(s.Interfaces) == 0 {
		problems = append(problems, "no interface is protected")
	}
	for _, i := range s.Interfaces {
		if !i.Protected {
			problems = append(problems, fmt.Sprintf("%s is not protected: %s", i.Name, i.Note))
		}
	}
	if p.json() {
		if err := p.printJSON(s); err != nil {
			return err
		}
	} else {
		for _, problem := range problems {
			p.printf("%s\n", printable(problem))
		}
	}
	if len(problems) > 0 {
		return errReported
	}
	return nil
}

// tunnelNames returns the first tunnels with their kinds.
func tunnelNames(all []control.Tunnel) string {
	const most = 10
	var names []string
	for _, t := range all[:min(len(all), most)] {
		names = append(names, printable(t.Name)+" ("+printable(t.Kind)+")")
	}
	list := strings.Join(names, ", ")
	if more := len(all) - most; more > 0 {
		list += " and " + strconv.Itoa(more) + " more"
	}
	return list
}

func (p *program) interfaces(all []control.InterfaceStatus) error {
	w := newTable(p.out)
	row(w, "INTERFACE", "PROTECTED", "MODE", "PROGRAM", "NOTE")
	for _, i := range all {
		protected, mode, program := "NO", "-", "-"
		if i.Protected {
			protected = "yes"
		}
		if i.Mode != "" {
			mode = i.Mode
		}
		if i.ProgramID != 0 {
			program = strconv.FormatUint(uint64(i.ProgramID), 10)
		}
		row(w, printable(i.Name), protected, mode, program, printable(i.Note))
	}
	return w.Flush()
}
