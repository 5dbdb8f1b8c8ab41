package main

import (
	"os"

	"github.com/urfave/cli/v2"

	"github.com/paraxial/paraxial/fail2ban"
	"github.com/paraxial/paraxial/match"
)

// defaultFail2ban is where packages put the configuration of fail2ban.
const defaultFail2ban = "/etc/fail2ban"

// The actions that converted rules can have.
const (
	shadowAction = "shadow"
	blockAction  = "block"
)

func (p *program) convertCommand() command {
	return p.group("convert", "turn the configuration of another program into one of paraxiald", command{
		Command: &cli.Command{
			Name:      "fail2ban",
			Usage:     "print rules and logs that do what the enabled jails of fail2ban do",
			ArgsUsage: "[DIR]",
			Description: "Reads the jails in DIR (default: " + defaultFail2ban +
				"), and prints YAML for paraxiald.yaml.\n" +
				"Changes nothing. Comments at the end tell what could not be converted.\n" +
				"Needs no running paraxiald.",
			Flags: []cli.Flag{offeringFlag{
				&cli.StringFlag{Name: "action", Value: shadowAction,
					Usage: "the rules have `ACTION`: shadow, which only counts, or block"},
				offer{Words: []string{shadowAction, blockAction}},
			}},
			Action: p.convertFail2ban,
		},
		args: offer{Files: true},
	})
}

func (p *program) convertFail2ban(c *cli.Context) error {
	folder, action := defaultFail2ban, c.String("action")
	switch {
	case c.NArg() > 1:
		return misuse(c, "convert fail2ban takes one folder, got %d", c.NArg())
	case c.NArg() == 1:
		folder = c.Args().First()
	}
	if action != shadowAction && action != blockAction {
		return misuse(c, "--action: %q is no action; want %s or %s", action, shadowAction, blockAction)
	}
	jails, problems, err := fail2ban.Read(os.DirFS(folder))
	if err != nil {
		return err
	}
	converted := fail2ban.Convert(jails, match.Names())
	converted.Problems = append(converted.Problems, problems...)
	if p.json() {
		return p.printJSON(converted)
	}
	p.printf("# From %s. Add these keys to paraxiald.yaml, then run: paraxiald check\n", printable(folder))
	return converted.WriteYAML(p.out, action)
}
