package control

import (
	"fmt"
	"strings"

	"github.com/paraxial/paraxial/policy"
)

// CheckImportOrigin returns an error unless an import may replace the set of the
// origin. "cli" belongs to single commands, whose entries an import would remove.
// Names with a colon belong to the daemon.
func CheckImportOrigin(origin string) error {
	switch {
	case origin == "":
		return invalid("origin: name the set that the list replaces")
	case origin == policy.OriginCLI:
		return invalid("origin: %q holds the entries of paraxialctl block, which an import would remove; "+
			"choose another name", origin)
	}
	if err := checkOrigin(origin); err != nil {
		return err
	}
	if isReserved(origin) {
		return invalid("origin: %q is reserved for the daemon; choose a name without a colon", origin)
	}
	return nil
}

func checkOrigin(origin string) error {
	if err := checkWord("origin", origin); err != nil {
		return err
	}
	if err := policy.ValidOrigin(origin); err != nil {
		return invalid("%v", err)
	}
	return nil
}

func isReserved(origin string) bool {
	return strings.HasPrefix(origin, policy.OriginDetector) || strings.HasPrefix(origin, policy.OriginRule) ||
		strings.HasPrefix(origin, policy.OriginApp) ||
		strings.HasPrefix(origin, policy.OriginFeed) || strings.HasPrefix(origin, policy.OriginAPI) ||
		strings.HasPrefix(origin, policy.OriginGuard)
}

// CheckFlushOrigin returns an error unless all entries of the origin may be removed. The
// entries of the guard spare open sessions, and end with them.
func CheckFlushOrigin(origin string) error {
	if origin == "" {
		return invalid("origin: name the origin whose entries are removed")
	}
	if err := checkOrigin(origin); err != nil {
		return err
	}
	if strings.HasPrefix(origin, policy.OriginGuard) {
		return invalid("origin: %q is reserved for the daemon: its allows spare open sessions, and end with them",
			origin)
	}
	return nil
}

// ownOrigin returns the origin to write. The default is the caller's own.
func ownOrigin(origin string, c Caller) (string, error) {
	if origin == "" {
		origin = apiOrigin(c)
	}
	return origin, CheckOwnOrigin(origin, c)
}

// CheckOwnOrigin returns an error if only the daemon or another caller may write the
// origin.
func CheckOwnOrigin(origin string, c Caller) error {
	if err := checkOrigin(origin); err != nil {
		return err
	}
	if origin != apiOrigin(c) && isReserved(origin) {
		return invalid("origin: %q is reserved for the daemon; leave it out or choose a name without a colon", origin)
	}
	return nil
}

// anyOrigin returns the origin of the entries to change. The default is the caller's
// own. Every caller may remove or arm the entries of others.
func anyOrigin(origin string, all bool, c Caller) (string, error) {
	if all {
		if origin != "" {
			return "", invalid("origin: not together with all")
		}
		return "", nil
	}
	if origin == "" {
		origin = apiOrigin(c)
	}
	return origin, checkOrigin(origin)
}

func apiOrigin(c Caller) string {
	return fmt.Sprintf("%s%d", policy.OriginAPI, c.UID)
}
