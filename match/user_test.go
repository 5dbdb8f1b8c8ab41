package match_test

import (
	"testing"

	"github.com/paraxial/paraxial/match"
)

// TestUsers: rules count and reset by the name, so it is without the words of the server around it.
func TestUsers(t *testing.T) {
	f, err := match.New("sshd")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		"Invalid user bob from 198.51.100.9 port 4",
		"Failed password for bob from 198.51.100.9 port 4 ssh2",
		"Failed password for invalid user bob from 198.51.100.9 port 4 ssh2",
		"Failed password for illegal user bob from 198.51.100.9 port 4 ssh2",
		"maximum authentication attempts exceeded for invalid user bob from 198.51.100.9 port 4 ssh2 [preauth]",
		"Connection closed by invalid user bob 198.51.100.9 port 4 [preauth]",
		"Disconnected from authenticating user bob 198.51.100.9 port 4 [preauth]",
		"Accepted password for bob from 198.51.100.9 port 4 ssh2",
	} {
		if r := f.Match([]byte(line)); string(r.User) != "bob" {
			t.Errorf("%s\nis of the user %q", line, r.User)
		}
	}
}
