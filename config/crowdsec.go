package config

import (
	"fmt"
	"net/netip"
	"net/url"
	"strings"
	"time"
)

// CrowdSec is a local API of CrowdSec whose decisions are a feed, instead of a list.
type CrowdSec struct {
	// The address of a local API of CrowdSec, `http://127.0.0.1:8080`, instead of `url`. See
	// [feeds.md](feeds.md#crowdsec).
	URL string
	// The file with the key of the bouncer, from `cscli bouncers add paraxial`. An absolute path.
	KeyFile string
	// How often CrowdSec is asked for changes.
	Every time.Duration
	// How often CrowdSec is asked for all decisions.
	Resync time.Duration
}

func parseCrowdSecURL(s string) (string, error) {
	if s == "" {
		return "", nil
	}
	if !strings.HasPrefix(s, "https://") && !strings.HasPrefix(s, "http://") {
		return "", fmt.Errorf("%q is not the address of an API; want http://127.0.0.1:8080 or https://…",
			shorten(s, 80))
	}
	return parseFeedURL(s)
}

func isLoopback(address string) bool {
	u, err := url.Parse(address)
	if err != nil {
		return false
	}
	a, err := netip.ParseAddr(u.Hostname())
	return u.Hostname() == "localhost" || err == nil && a.IsLoopback()
}

// checkCrowdSec returns an error for keys that do not go with crowdsec.
func checkCrowdSec(f Feed) error {
	switch {
	case f.URL != "":
		return fmt.Errorf("%q has both url and crowdsec; want one of them", f.Name)
	case f.CrowdSec.KeyFile == "":
		return fmt.Errorf("%q has no crowdsec.key_file; put the key that `cscli bouncers add paraxial` prints "+
			"into a file", f.Name)
	case f.Use != UseBlock && f.Use != UseShadow && f.Use != UseLimit:
		return fmt.Errorf("%q has use: %s; want block, shadow or limit with crowdsec", f.Name, f.Use)
	case strings.HasPrefix(f.CrowdSec.URL, "http://") && !f.Private && !isLoopback(f.CrowdSec.URL):
		return fmt.Errorf("%q sends its key over http to another host; want https, or private: true if nobody else is "+
			"on the way", f.Name)
	case len(f.Except) > 0:
		return fmt.Errorf("%q has except, which crowdsec does not have; name the addresses in guard.never_block",
			f.Name)
	case f.Format != "" || f.Column != "" || f.Select != "" || f.Minisign != "" || f.SHA256 != "":
		return fmt.Errorf("%q has format, column, select, minisign or sha256, which crowdsec does not have", f.Name)
	case f.CrowdSec.Resync < f.CrowdSec.Every:
		return fmt.Errorf("%q has a crowdsec.resync shorter than crowdsec.every", f.Name)
	case f.TTL < 2*f.CrowdSec.Resync:
		return fmt.Errorf("%q has a ttl shorter than twice its crowdsec.resync: raise ttl or lower resync", f.Name)
	}
	return nil
}
