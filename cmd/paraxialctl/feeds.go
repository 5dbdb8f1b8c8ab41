package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/paraxial/paraxial/control"
	"github.com/paraxial/paraxial/feeds/catalog"
)

// feedVerbs are the commands for a feed. The reporter that fetches it carries them out.
func feedVerbs() []string {
	return []string{"refresh", "accept", "rollback", "pause", "resume", "diff"}
}

func (p *program) feedsCommand() command {
	return command{
		Command: &cli.Command{
			Name:      "feeds",
			Usage:     "show the subscribed lists, or give a command for one",
			ArgsUsage: "[NAME | refresh|accept|rollback|pause|resume|diff NAME [GENERATION] | catalog [LIST]]",
			Action:    p.feeds,
		},
		args: offer{Words: append(feedVerbs(), catalogVerb)},
	}
}

func (p *program) feeds(c *cli.Context) error {
	args := c.Args().Slice()
	if len(args) > 0 && args[0] == catalogVerb {
		return p.catalog(c, args[1:])
	}
	if len(args) >= 2 || len(args) == 1 && slices.Contains(feedVerbs(), args[0]) {
		return p.feedCommand(c, args)
	}
	s, err := p.client.Feeds(c.Context)
	if err != nil {
		return err
	}
	if len(args) == 1 {
		s.Feeds = slices.DeleteFunc(s.Feeds, func(f control.FeedStatus) bool { return f.Name != args[0] })
		if len(s.Feeds) == 0 {
			return fmt.Errorf("the configuration has no feed %s; paraxialctl feeds shows all", args[0])
		}
	}
	switch {
	case p.json():
		return p.printJSON(s)
	case len(args) == 1:
		return p.oneFeed(s.Feeds[0])
	case len(s.Feeds) == 0:
		p.printf("The configuration has no feeds.\n")
		return nil
	}
	return p.allFeeds(s)
}

const catalogVerb = "catalog"

// catalog prints lists that are well known, for the configuration. It needs no daemon.
func (p *program) catalog(c *cli.Context, args []string) error {
	all := catalog.Lists()
	if len(args) > 1 {
		return misuse(c, "feeds catalog takes one list, got %d", len(args))
	}
	if len(args) == 1 {
		l, ok := catalog.Find(args[0])
		if !ok {
			return fmt.Errorf("the catalogue has no list %s; paraxialctl feeds catalog shows all", args[0])
		}
		all = []catalog.List{l}
	}
	return catalog.Write(p.out, all)
}

// feedCommand passes a command for a feed on.
func (p *program) feedCommand(c *cli.Context, args []string) error {
	r := control.FeedCommand{Command: args[0]}
	switch {
	case !slices.Contains(feedVerbs(), args[0]):
		return misuse(c, "%s is no command for a feed; want %s", args[0], strings.Join(feedVerbs(), ", "))
	case len(args) < 2:
		return misuse(c, "feeds %s needs the name of a feed; paraxialctl feeds shows them", args[0])
	case len(args) > 3 || len(args) == 3 && r.Command != "rollback" && r.Command != "diff":
		return misuse(c, "feeds %s takes no further argument: %s", args[0], args[len(args)-1])
	case len(args) == 3:
		var err error
		if r.Generation, err = strconv.ParseUint(args[2], 10, 64); err != nil || r.Generation == 0 {
			return misuse(c, "%s is no generation; paraxialctl feeds %s shows them", args[2], args[1])
		}
	}
	r.Name = args[1]
	answer, err := p.client.FeedCommand(c.Context, r)
	if err != nil {
		return err
	}
	if p.json() {
		return p.printJSON(answer)
	}
	for line := range strings.Lines(answer.Text) {
		p.printf("%s\n", printable(strings.TrimSuffix(line, "\n")))
	}
	return nil
}

func (p *program) allFeeds(s control.FeedsStatus) error {
	w := newTable(p.out)
	row(w, "FEED", "STATE", "USE", "IN FORCE", "GENERATION", "CHECKED", "CHANGED", "NOTE")
	for _, f := range s.Feeds {
		row(w, printable(f.Name), string(f.Condition), printable(f.Use), count(f.InForce), generation(f.Generation),
			p.ago(f.CheckedAt), p.ago(f.ChangedAt), printable(feedNote(f)))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, r := range s.Reporters {
		if !r.Present {
			p.printf("warning: the reporter %s (user %s) is not there\n", printable(r.Name), printable(r.User))
		}
	}
	return nil
}

// feedNote returns the most important thing to know of a feed.
func feedNote(f control.FeedStatus) string {
	switch {
	case f.Held != nil:
		return f.Held.Reason
	case f.Error != "":
		return f.Error
	case len(f.Notes) > 0:
		return f.Notes[0]
	}
	return ""
}

func generation(n uint64) string {
	if n == 0 {
		return "-"
	}
	return strconv.FormatUint(n, 10)
}

func (p *program) oneFeed(f control.FeedStatus) error {
	w := newTable(p.out)
	row(w, "feed", printable(f.Name)+", "+string(f.Condition))
	row(w, "list", printable(f.URL)+" "+printable(f.Format))
	row(w, "use", fmt.Sprintf("%s, every %s, ttl %s", printable(f.Use), printable(f.Every), printable(f.TTL)))
	row(w, "in force", fmt.Sprintf("%s, generation %s", entriesText(f.InForce), generation(f.Generation)))
	row(w, "checked", p.ago(f.CheckedAt))
	row(w, "changed", p.ago(f.ChangedAt))
	if !f.NextAt.IsZero() {
		row(w, "next", p.expiry(&f.NextAt))
	}
	if !f.EndsAt.IsZero() {
		row(w, "ends", p.expiry(&f.EndsAt))
	}
	if f.Error != "" {
		row(w, "error", fmt.Sprintf("%s (%s in a row)", printable(f.Error), count(uint64(f.Failures))))
	}
	if f.Held != nil {
		row(w, "held", fmt.Sprintf("generation %d with %s (%s added, %s removed): %s", f.Held.Generation,
			entriesText(f.Held.Entries), count(f.Held.Added), count(f.Held.Removed), printable(f.Held.Reason)))
	}
	for _, n := range f.Notes {
		row(w, "note", printable(n))
	}
	for _, k := range f.Kept {
		row(w, "kept", fmt.Sprintf("generation %d, %s, %s", k.Generation, entriesText(k.Entries), p.ago(k.At)))
	}
	return w.Flush()
}
