package main

import (
	"github.com/urfave/cli/v2"

	"github.com/paraxial/paraxial/control"
	"github.com/paraxial/paraxial/manpage"
)

// manCommand prints paraxialctl(1), for whoever builds a package.
func (p *program) manCommand() command {
	return command{
		Command: &cli.Command{
			Name: "man", Usage: "print the manual page", Hidden: true,
			Action: func(c *cli.Context) error {
				if err := noArguments(c); err != nil {
					return err
				}
				return manpage.Write(p.out, p.app, manpage.Page{
					Section: 1,
					Version: p.app.Version,
					Extra: []manpage.Section{
						{Title: "ENVIRONMENT", Items: []manpage.Item{{Term: "PARAXIAL_SOCKET", Text: "The socket to use if there is no --socket."}}},
						{Title: "FILES", Items: []manpage.Item{{Term: control.DefaultSocket, Text: "The socket of paraxiald. Root may use it, and the group paraxial."}}},
						{Title: "EXAMPLES", Items: []manpage.Item{
							{Term: "paraxialctl allow 192.0.2.0/24", Text: "Never drop what comes from there. Do this first for the network you administer from."},
							{Term: `paraxialctl block 203.0.113.7 --for 1h --reason "scans ssh"`, Text: "Drop what an address sends, for an hour."},
							{Term: "paraxialctl block 198.51.100.0/24 --confirm 60s", Text: "Drop what a network sends, and take that back unless it is confirmed."},
							{Term: "paraxialctl why 203.0.113.7", Text: "Tell what becomes of packets from an address, and because of which entries."},
							{Term: "paraxialctl import list.txt", Text: "Block what a list names. The same list later replaces what it named before."},
						}},
					},
					SeeAlso: []string{"paraxiald(8)"},
				})
			},
		},
	}
}
