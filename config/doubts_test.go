package config

import (
	"slices"
	"testing"
)

func TestDoubts(t *testing.T) {
	c, err := Parse("test", []byte(`
rules:
  - {name: login, limit: 3, window: 1m, action: shadow, for: 1h}
logs:
  - {name: good, file: /x, format: sshd, rule: login}
  - {name: typo, file: /x, format: sshd, rule: logn}
  - {name: own, file: /x, patterns: [{text: 'bad <addr>', rule: scan}]}
reports:
  reporters:
    - {name: all, user: a, rules: ["*"]}
    - {name: shop, user: b, rules: [login, honeypot]}
`))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"the events of the log typo do not count: there is no rule logn; did you mean login?",
		"the events of the log own do not count: there is no rule scan; add it under rules",
		"events of the reporter shop do not count: there is no rule honeypot; add it under rules",
	}
	if got := c.Doubts(); !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
	if got := Default().Doubts(); len(got) > 0 {
		t.Errorf("the default has doubts: %q", got)
	}
}
