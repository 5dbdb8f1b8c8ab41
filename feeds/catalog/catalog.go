// Package catalog describes lists that are well known, as items of feeds in the
// configuration. Sizes are of the order that a list has had; licences are those that the
// publishers state.
package catalog

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// List is a list that somebody publishes.
type List struct {
	Name    string
	About   string // what is on it
	URL     string
	Select  string        // as in the configuration
	Use     string        // as in the configuration
	Every   time.Duration // a time that suits the list
	Entries string        // about how many
	Limit   string        // how often it may be asked, if the publisher says so
	Licence string
	Note    string // what to know before its use
}

// Find returns the list of that name.
func Find(name string) (List, bool) {
	all := Lists()
	at := slices.IndexFunc(all, func(l List) bool { return l.Name == name })
	if at < 0 {
		return List{}, false
	}
	return all[at], true
}

// Write writes lists as the key feeds of the configuration.
func Write(w io.Writer, all []List) error {
	var b strings.Builder
	b.WriteString("feeds:\n")
	for _, l := range all {
		l.write(&b)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (l List) write(b *strings.Builder) {
	comment := func(what, text string) {
		if text != "" {
			fmt.Fprintf(b, "  # %s%s\n", what, text)
		}
	}
	comment("", l.About)
	comment("Size: ", "about "+l.Entries+" entries")
	comment("May be asked: ", l.Limit)
	comment("Licence: ", l.Licence)
	comment("Note: ", l.Note)
	fmt.Fprintf(b, "  - name: %s\n    url: %s\n", l.Name, l.URL)
	if l.Select != "" {
		fmt.Fprintf(b, "    select: %s\n", l.Select)
	}
	fmt.Fprintf(b, "    every: %s\n    use: %s\n", hours(l.Every), l.Use)
	if ttl := l.ttl(); ttl > 0 {
		fmt.Fprintf(b, "    ttl: %s\n", hours(ttl))
	}
}

// ttl returns how long the set stays without a good answer, or 0 if the default is long
// enough for several attempts.
func (l List) ttl() time.Duration {
	if l.Every >= 24*time.Hour {
		return 7 * 24 * time.Hour
	}
	return 0
}

func hours(d time.Duration) string {
	if d < time.Hour {
		return fmt.Sprintf("%dm", d/time.Minute)
	}
	return fmt.Sprintf("%dh", d/time.Hour)
}
