package main

import (
	"github.com/urfave/cli/v2"

	"github.com/paraxial/paraxial/control"
	"github.com/paraxial/paraxial/manpage"
)

// manCommand prints paraxialctl(1), for the build of packages.
func (p *program) manCommand() command {
	return command{
		Command: &cli.Command{Name: "man", Usage: "print the manual page", Hidden: true, Action: p.man},
	}
}

func (p *program) man(c *cli.Context) error {
	if err := noArguments(c); err != nil {
		return err
	}
	return manpage.Write(p.out, p.app, manpage.Page{
		Section: 1,
		Version: p.app.Version,
		Extra: []manpage.Section{
			{Title: "ENVIRONMENT", Items: []manpage.Item{
				{Term: "PARAXIAL_SOCKET", Text: "The socket to use if there is no --socket."},
			}},
			{Title: "FILES", Items: []manpage.Item{
				{Term: control.DefaultSocket,
					Text: "The socket of paraxiald. Root may use it, and the group paraxial."},
				{Term: control.RootSocket(control.DefaultSocket),
					Text: "The socket of paraxiald for root alone, which root's commands use if it exists."},
			}},
			{Title: "EXAMPLES", Items: examples()},
		},
		SeeAlso: []string{"paraxiald(8)"},
	})
}

func examples() []manpage.Item {
	return []manpage.Item{
		{Term: "paraxialctl allow 192.0.2.0/24",
			Text: "Never drop packets from this network. Do this first for the network you administer from."},
		{Term: `paraxialctl block 203.0.113.7 --for 1h --reason "scans ssh"`,
			Text: "Drop packets from an address for an hour."},
		{Term: "paraxialctl block 198.51.100.0/24 --confirm 60s",
			Text: "Drop packets from a network, and revert that unless it is confirmed."},
		{Term: "paraxialctl why 203.0.113.7",
			Text: "Show what happens to packets from an address, and which entries cause it."},
		{Term: "paraxialctl import list.txt",
			Text: "Block the prefixes in a list. Importing a new version of the list replaces the previous one."},
	}
}
