package main

import (
	"fmt"

	"github.com/urfave/cli/v2"
)

const manSection = 8

// man prints the manual page, for the packages. The command is hidden: users read
// the page that is installed.
func man(c *cli.Context) error {
	page, err := c.App.ToManWithSection(manSection)
	if err != nil {
		return fmt.Errorf("make the manual page: %w", err)
	}
	_, err = fmt.Fprintln(c.App.Writer, page)
	return err
}
