package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"

	"github.com/paraxial/paraxial/policy"
)

// Feed is a list that paraxial-agent fetches again and again. The daemon reads its name,
// its use and its bounds, and never fetches anything.
type Feed struct {
	// The name of the feed. Its entries have the origin `feed:NAME`. At most 64 feeds.
	Name string
	// Where the list is: `https://…`, `http://…` or the absolute path of a file. `http` needs
	// `minisign` or `sha256`.
	URL      string
	CrowdSec CrowdSec
	// The format of the list, as in `paraxialctl import --format`. `""` recognises it.
	Format string
	// The column of a table that has the prefixes, as in `paraxialctl import --column`.
	Column string
	// The part of the list to take, as in `paraxialctl import --select`.
	Select string
	// How often the list is asked for.
	Every time.Duration
	// The effect of the entries: `block`, `shadow`, `limit`, `allow`, `proxies` (detectors leave
	// the addresses alone) or `tag` (it only names them). See [feeds.md](feeds.md#uses).
	Use Use
	// Sets, and feeds with `use: tag`, `proxies` or `allow`, by name, whose addresses the feed
	// leaves out. For `block`, `shadow` and `limit`. See [feeds.md](feeds.md#exceptions).
	Except []string
	// The rate of `use: limit`, for each entry.
	Limit policy.Rate
	// Whether answers to connections that this host opened `pass`, or the entries `drop` them too.
	// For `block` and `limit`. See [feeds.md](feeds.md#answers).
	Replies Replies
	// How long the entries stay without a good answer. Then the set ends.
	TTL time.Duration
	// As `import.max_shrink`, for this set.
	MaxShrink Percent
	// As `import.max_grow`, for this set.
	MaxGrow int
	// As `import.max_share`, for this set.
	MaxShare Percent
	// The largest number of entries of the set.
	MaxEntries int
	// The public key of minisign that signs the list. The signature is at the address of the
	// list with `.minisig` added.
	Minisign string
	// The `https` address of a file with the SHA-256 of the list.
	SHA256 string
	// A file with the certificates that the server's must be signed by, instead of those of the
	// system. An absolute path.
	CA string
	// Whether the address may be a private or link-local one, or lead there.
	Private bool
}

// Use is what a set does.
type Use string

// The uses.
const (
	UseBlock  Use = "block"
	UseShadow Use = "shadow"
	UseLimit  Use = "limit"
	UseAllow  Use = "allow"

	UseProxies Use = "proxies" // detectors leave the addresses alone
	UseTag     Use = "tag"     // the name of the feed is shown with the addresses
)

// Replies is what entries do with answers to connections that this host opened.
type Replies string

// The values of Replies.
const (
	RepliesPass Replies = "pass"
	RepliesDrop Replies = "drop"
)

func parseReplies(s string) (Replies, error) { return oneOf(s, RepliesPass, RepliesDrop) }

// Limits of feeds.
const (
	MaxFeeds = 64
	minEvery = time.Second
	maxEvery = 30 * 24 * time.Hour
	minTTL   = time.Second
	maxTTL   = 52 * 7 * 24 * time.Hour
	maxURL   = 2048

	maxExcept = 16
)

// DefaultFeed returns the values of the keys that a feed leaves out.
func DefaultFeed() Feed {
	return Feed{
		CrowdSec: CrowdSec{Every: 10 * time.Second, Resync: 15 * time.Minute},
		Replies:  RepliesPass, Every: 6 * time.Hour, TTL: 48 * time.Hour,
		MaxShrink: 50, MaxGrow: 3, MaxShare: 10, MaxEntries: 1 << 20,
	}
}

// feedKeys returns the keys of an item of feeds.
func feedKeys(f *Feed) []key {
	return []key{
		textKey("feeds.name", true, &f.Name, parseFeedName),
		textKey("feeds.url", true, &f.URL, parseFeedURL),
		textKey("feeds.crowdsec.url", true, &f.CrowdSec.URL, parseCrowdSecURL),
		textKey("feeds.crowdsec.key_file", true, &f.CrowdSec.KeyFile, parseOptionalPath),
		durationKey("feeds.crowdsec.every", true, &f.CrowdSec.Every, minEvery, time.Hour),
		durationKey("feeds.crowdsec.resync", true, &f.CrowdSec.Resync, minEvery, 24*time.Hour),
		textKey("feeds.format", true, &f.Format, parsePlain),
		textKey("feeds.column", true, &f.Column, parsePlain),
		textKey("feeds.select", true, &f.Select, parsePlain),
		durationKey("feeds.every", true, &f.Every, minEvery, maxEvery),
		textKey("feeds.use", true, &f.Use, parseUse),
		listKey("feeds.except", true, &f.Except, text, parseFeedName, func(s string) string { return s }),
		rateKey("feeds.limit", true, &f.Limit),
		textKey("feeds.replies", true, &f.Replies, parseReplies),
		durationKey("feeds.ttl", true, &f.TTL, minTTL, maxTTL),
		percentKey("feeds.max_shrink", true, &f.MaxShrink),
		numberKey("feeds.max_grow", true, &f.MaxGrow, 0, MaxMaxGrow),
		percentKey("feeds.max_share", true, &f.MaxShare),
		numberKey("feeds.max_entries", true, &f.MaxEntries, 1, MaxMaxEntries),
		textKey("feeds.minisign", true, &f.Minisign, parsePlain),
		textKey("feeds.sha256", true, &f.SHA256, parseChecksumURL),
		textKey("feeds.ca", true, &f.CA, parseOptionalPath),
		boolKey("feeds.private", true, &f.Private),
	}
}

func parseFeedName(s string) (string, error) {
	if policy.ValidOrigin(policy.OriginFeed+s) != nil {
		return "", fmt.Errorf("%q cannot be a name; want letters, digits, '.', '_' and '-', at most 63, "+
			"a letter or digit first", shorten(s, 80))
	}
	return s, nil
}

func parseFeedURL(s string) (string, error) {
	web := strings.HasPrefix(s, "https://") || strings.HasPrefix(s, "http://")
	switch {
	case strings.HasPrefix(s, "/"):
		return parsePath(s)
	case !web:
		return "", fmt.Errorf("%q is not the address of a list; want https://… or the absolute path of a file", s)
	case len(s) > maxURL:
		return "", fmt.Errorf("%q has %d bytes; want at most %d", shorten(s, 80), len(s), maxURL)
	}
	return parsePlain(s)
}

func parseChecksumURL(s string) (string, error) {
	if s != "" && !strings.HasPrefix(s, "https://") {
		return "", fmt.Errorf("%q is not the address of a checksum; want https://…", s)
	}
	return parsePlain(s)
}

// parsePlain reads text that is passed on as it is.
func parsePlain(s string) (string, error) {
	if strings.ContainsFunc(s, policy.IsHidden) {
		return "", fmt.Errorf("%q has characters that cannot be seen; want plain text", shorten(s, 80))
	}
	return s, nil
}

func parseUse(s string) (Use, error) {
	return oneOf(s, UseBlock, UseShadow, UseLimit, UseAllow, UseProxies, UseTag)
}

func feedsKey(list *[]Feed) key {
	return itemList[Feed]{
		name: "feeds", example: "{name: drop, url: https://…, use: block}",
		decode: (*decoder).feed, complete: completeFeed, follow: nextFeed,
	}.key(list)
}

func (d *decoder) feed(m *ast.MappingNode) Feed {
	f := DefaultFeed()
	d.mapping(m, "feeds.", feedKeys(&f))
	d.feeds = append(d.feeds, m)
	return f
}

func completeFeed(f Feed) error {
	signed := f.Minisign != "" || f.SHA256 != ""
	switch {
	case f.Name == "":
		return errors.New("a feed has no name; give it one, as in name: spamhaus-drop")
	case f.URL == "" && f.CrowdSec.URL == "":
		return fmt.Errorf("%q has no url; give it one, as in url: https://www.spamhaus.org/drop/drop_v4.json", f.Name)
	case f.Use == "":
		return fmt.Errorf("%q has no use; want use: block, shadow (which only counts), limit, allow, proxies or tag",
			f.Name)
	case f.Use == UseLimit && f.Limit.PerSecond == 0:
		return fmt.Errorf("%q has no limit; give it one, as in limit: 100/s", f.Name)
	case f.Use != UseLimit && f.Limit.PerSecond != 0:
		return fmt.Errorf("%q has a limit, which needs use: limit", f.Name)
	case f.CrowdSec.URL != "":
		return checkCrowdSec(f)
	case f.TTL < f.Every:
		return fmt.Errorf("%q is asked for every %s, after its ttl of %s: raise ttl or lower every",
			f.Name, policy.FormatTTL(f.Every), policy.FormatTTL(f.TTL))
	case strings.HasPrefix(f.URL, "http://") && !signed:
		return fmt.Errorf("%q is fetched over http, which anyone on the way can change; want https, minisign or sha256",
			f.Name)
	}
	return checkExceptions(f)
}

// nextFeed returns an error if f cannot follow the feeds before it.
func nextFeed(before []Feed, f Feed) error {
	if slices.ContainsFunc(before, func(b Feed) bool { return b.Name == f.Name }) {
		return fmt.Errorf("%q is listed twice; leave one of them out", f.Name)
	}
	if len(before) == MaxFeeds {
		return fmt.Errorf("more than %d; %q is one too many", MaxFeeds, f.Name)
	}
	return nil
}

// InKernel reports whether the set of the feed becomes entries, and is not only for the daemon.
func (f Feed) InKernel() bool { return f.Use != UseTag && f.Use != UseProxies }

// Feed returns the feed of that name.
func (c Config) Feed(name string) (Feed, bool) {
	if at := slices.IndexFunc(c.Feeds, func(f Feed) bool { return f.Name == name }); at >= 0 {
		return c.Feeds[at], true
	}
	return Feed{}, false
}

// Bounds returns the bounds of a change of the set.
func (f Feed) Bounds() Import { return Import{f.MaxShrink, f.MaxGrow, f.MaxShare} }
