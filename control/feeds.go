package control

import (
	"strconv"
	"strings"

	"github.com/paraxial/paraxial/policy"
)

// routeOf returns the key of a path in the table of routes: NAME stands for the name of a feed.
func routeOf(path string) string {
	if parts := strings.Split(path, "/"); len(parts) == 5 && parts[2] == "feeds" {
		parts[3] = "NAME"
		return strings.Join(parts, "/")
	}
	return path
}

// feedCommand gives a command to the reporter of a feed. It waits for longer than other
// requests, and takes no place of them: the reporter has few commands at a time.
func (c *call) feedCommand() error {
	if err := knownParameters(c.query, "generation"); err != nil {
		return err
	}
	if _, err := c.body(); err != nil {
		return err
	}
	parts := strings.Split(c.r.URL.Path, "/")
	r := FeedCommand{Name: parts[3], Command: parts[4]}
	if policy.ValidOrigin(policy.OriginFeed+r.Name) != nil {
		return invalid("%.128q is not the name of a feed", r.Name)
	}
	if s := c.query.Get("generation"); s != "" {
		var err error
		if r.Generation, err = strconv.ParseUint(s, 10, 64); err != nil {
			return invalid("generation: want a number")
		}
	}
	if err := c.begin(); err != nil {
		return err
	}
	answer, err := c.backend.FeedCommand(c.r.Context(), c.caller, r)
	if err != nil {
		return err
	}
	return c.send(answer)
}
