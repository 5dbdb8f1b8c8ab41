package main

import (
	"fmt"

	"github.com/urfave/cli/v2"
)

const manSection = 1

// manCommand prints the manual page, for the packages. It is hidden: users read
// the page that is installed.
func (p *program) manCommand() *cli.Command {
	return &cli.Command{
		Name:   "man",
		Usage:  "print the manual page",
		Hidden: true,
		Action: func(c *cli.Context) error {
			if err := p.noArguments(c); err != nil {
				return err
			}
			page, err := c.App.ToManWithSection(manSection)
			if err != nil {
				return fmt.Errorf("make the manual page: %w", err)
			}
			_, err = fmt.Fprintln(p.out, page)
			return err
		},
	}
}
