package main

import (
	"os"

	"github.com/urfave/cli/v2"

	"github.com/paraxial/paraxial/control"
	"github.com/paraxial/paraxial/policy"
)

// The arguments are checked before anything is sent, so that a mistake is a usage
// error whether or not a daemon runs.

func forFlag() cli.Flag {
	return &cli.StringFlag{
		Name: "for", Usage: "let it expire after `DUR`: 90s, 10m, 1h30m, 7d, 2w or forever (default: forever)",
	}
}

func reasonFlag() cli.Flag {
	return &cli.StringFlag{Name: "reason", Usage: "keep `TEXT` with the entry, for people to read"}
}

func limitFlag() cli.Flag {
	return &cli.StringFlag{
		Name:  "limit",
		Usage: "drop only packets above `RATE`, counted for the whole prefix: 100/s, 10Mbit/s, 1MB/s",
	}
}

func repliesFlag() cli.Flag {
	return &cli.StringFlag{
		Name:  "replies",
		Usage: "`ACTION` for answers to connections that this host opened: pass, or drop (default)",
	}
}

// replies returns the value of --replies; empty if unset.
func (p *program) replies(c *cli.Context) (string, error) {
	switch s := c.String("replies"); s {
	case control.RepliesPass, control.RepliesDrop, "":
		return s, nil
	default:
		return "", misuse(c, "--replies: want %s or %s, got %q", control.RepliesPass, control.RepliesDrop, s)
	}
}

func forceFlag() cli.Flag {
	return boolFlag("force", "block even if it would lock you or this host out")
}

func replaceFlag() cli.Flag {
	return boolFlag("replace", "replace an entry of the same origin even if it is stronger or lasts longer")
}

func ownOriginFlag() cli.Flag {
	return &cli.StringFlag{
		Name: "origin", Usage: "put the entries under origin `NAME` (default: " + policy.OriginCLI + ")",
	}
}

func boolFlag(name, usage string) cli.Flag {
	return &cli.BoolFlag{Name: name, Usage: usage, DisableDefaultText: true}
}

func removeFlags() []cli.Flag {
	return []cli.Flag{
		originFlag("remove"),
		boolFlag("all", "remove the entries of every origin"),
	}
}

// originFlag is --origin of a command that does verb to entries of one origin.
func originFlag(verb string) cli.Flag {
	usage := verb + " the entries of origin `NAME` (default: " + policy.OriginCLI + ")"
	return &cli.StringFlag{Name: "origin", Usage: usage}
}

func listOriginFlag() cli.Flag {
	return &cli.StringFlag{Name: "origin", Usage: "only the entries of origin `NAME`"}
}

// prefixes returns the arguments, which must be prefixes.
func (p *program) prefixes(c *cli.Context) ([]string, error) {
	args := c.Args().Slice()
	if len(args) == 0 {
		return nil, misuse(c, "%s needs an address or prefix, such as 192.0.2.1 or 2001:db8::/32", c.Command.Name)
	}
	if len(args) > control.MaxPrefixes {
		return nil, misuse(c, "%d prefixes are too many for one command; put them in a file and import it", len(args))
	}
	for _, a := range args {
		if _, _, err := policy.ParsePrefix(a); err != nil {
			return nil, misuse(c, "%v", err)
		}
	}
	return args, nil
}

// duration returns the value of a flag that holds a duration; empty if unset.
func (p *program) duration(c *cli.Context, flag string) (string, error) {
	if !c.IsSet(flag) {
		return "", nil
	}
	s := c.String(flag)
	if _, err := policy.ParseTTL(s); err != nil {
		return "", misuse(c, "--%s: %v", flag, err)
	}
	return s, nil
}

// reason returns the value of --reason.
func (p *program) reason(c *cli.Context) (string, error) {
	s := c.String("reason")
	if err := policy.ValidReason(s); err != nil {
		return "", misuse(c, "--%v", err)
	}
	return s, nil
}

// origin returns the value of --origin; empty if unset.
func (p *program) origin(c *cli.Context) (string, error) {
	if !c.IsSet("origin") {
		return "", nil
	}
	s := c.String("origin")
	if err := policy.ValidOrigin(s); err != nil {
		return "", misuse(c, "--%v", err)
	}
	return s, nil
}

// ownOrigin returns the value of --origin, under which entries are put.
func (p *program) ownOrigin(c *cli.Context) (string, error) {
	if !c.IsSet("origin") {
		return policy.OriginCLI, nil
	}
	s := c.String("origin")
	if err := control.CheckOwnOrigin(s, control.Caller{UID: uint32(os.Getuid())}); err != nil {
		return "", misuse(c, "--%v", err)
	}
	return s, nil
}

// kinds are the words that kind reads.
func kinds() offer { return offer{Words: []string{"blocks", "allows"}} }

// kind returns the kind of entries that the argument names. Without an argument it
// returns otherwise.
func (p *program) kind(c *cli.Context, otherwise string) (string, error) {
	if c.NArg() > 1 {
		return "", misuse(c, "%s takes one argument, got %d", c.Command.Name, c.NArg())
	}
	switch c.Args().First() {
	case "":
		return otherwise, nil
	case "blocks":
		return policy.Block.String(), nil
	case "allows":
		return policy.Allow.String(), nil
	}
	return "", misuse(c, "%q: want blocks or allows", c.Args().First())
}

// removal reads the arguments of unblock and unallow.
func (p *program) removal(c *cli.Context) (prefixes []string, origin string, err error) {
	if prefixes, err = p.prefixes(c); err != nil {
		return nil, "", err
	}
	if origin, err = p.origin(c); err != nil {
		return nil, "", err
	}
	if c.Bool("all") {
		if origin != "" {
			return nil, "", misuse(c, "--origin and --all exclude each other")
		}
		return prefixes, "", nil
	}
	if origin == "" {
		origin = policy.OriginCLI
	}
	return prefixes, origin, nil
}
