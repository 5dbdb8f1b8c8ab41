package match_test

import (
	"strings"
	"testing"

	"github.com/paraxial/paraxial/match"
)

// TestUsers: rules count and reset by the name, so it is without the words of the server around it.
func TestUsers(t *testing.T) {
	const longest = "maximum authentication attempts exceeded for invalid user bob from 198.51.100.9 port 4 ssh2"
	const pam = "authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost=198.51.100.9"
	f, err := match.New("sshd")
	if err != nil {
		t.Fatal(err)
	}
	for line, want := range map[string]string{
		"Invalid user bob from 198.51.100.9 port 4":                          "bob",
		"Failed password for bob from 198.51.100.9 port 4 ssh2":              "bob",
		"Failed password for invalid user bob from 198.51.100.9 port 4 ssh2": "bob",
		"Failed password for illegal user bob from 198.51.100.9 port 4 ssh2": "bob",
		longest: "bob",
		"Connection closed by invalid user bob 198.51.100.9 port 4 [preauth]":         "bob",
		"Disconnected from authenticating user bob 198.51.100.9 port 4 [preauth]":     "bob",
		"Accepted password for bob from 198.51.100.9 port 4 ssh2":                     "bob",
		"pam_unix(sshd:auth): " + pam + "  user=bob":                                  "bob",
		"pam_unix(sshd:auth): " + pam:                                                 "",
		"pam_unix(sshd:auth): " + pam + " ":                                           "",
		"PAM 2 more " + strings.Replace(pam, "failure", "failures", 1) + "  user=bob": "bob",
		// The name is that of a client.
		"pam_unix(sshd:auth): " + pam + "  user=x rhost=203.0.113.77  user=bob": "x rhost=203.0.113.77  user=bob",
		"pam_unix(sshd:auth): " + pam + "  user=203.0.113.77":                   "203.0.113.77",
	} {
		r := f.Match([]byte(line))
		if string(r.User) != want || r.Address.String() != "198.51.100.9" {
			t.Errorf("%s\nis of the user %q and the address %s", line, r.User, r.Address)
		}
	}
}
