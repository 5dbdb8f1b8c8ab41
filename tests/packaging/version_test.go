package packaging

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestVersion(t *testing.T) {
	// In ascending order.
	cases := []struct{ described, want string }{
		{"v1.2.3-rc1", "1.2.3~rc1"},
		{"v1.2.3-rc1-5-gabc1234", "1.2.3~rc1+5.gabc1234"},
		{"v1.2.3", "1.2.3"},
		{"v1.2.3-5-gabc1234", "1.2.3+5.gabc1234"},
		{"v1.2.3-12-g0bc1234", "1.2.3+12.g0bc1234"},
		{"v1.2.3-12-g0bc1234-dirty", "1.2.3+12.g0bc1234+dirty"},
		{"v1.2.4-beta-2", "1.2.4~beta.2"},
		{"v1.2.4", "1.2.4"},
		{"v1.10.0", "1.10.0"},
	}
	for i, tc := range cases {
		got := describe(t, tc.described)
		if got != tc.want {
			t.Errorf("%s is version %q, want %q", tc.described, got, tc.want)
		}
		if i > 0 {
			ascending(t, describe(t, cases[i-1].described), got)
		}
	}
	if got := describe(t, "abc1234-dirty"); !strings.HasPrefix(got, "0.0.0+") ||
		!strings.HasSuffix(got, ".gabc1234+dirty") {
		t.Errorf("version without a release: %s", got)
	}
	for _, nonsense := range []string{"", "dev", "release-1", "1.2.3"} {
		if out, err := exec.CommandContext(t.Context(), filepath.Join(repository, "packaging/version.sh"),
			nonsense).Output(); err == nil {
			t.Errorf("%q is version %s", nonsense, out)
		}
	}
}

func describe(t *testing.T, described string) string {
	t.Helper()
	return strings.TrimSpace(output(t, filepath.Join(repository, "packaging/version.sh"), described))
}

// ascending checks with dpkg and rpm that older sorts before newer.
func ascending(t *testing.T, older, newer string) {
	t.Helper()
	need(t, "dpkg")
	if err := exec.CommandContext(t.Context(), "dpkg", "--compare-versions", older, "lt", newer).Run(); err != nil {
		t.Errorf("dpkg does not sort %s before %s", older, newer)
	}
	need(t, "rpm")
	if got := output(t, "rpm", "--eval",
		`%{lua:print(rpm.vercmp("`+older+`","`+newer+`"))}`); strings.TrimSpace(got) != "-1" {
		t.Errorf("rpm does not sort %s before %s: %s", older, newer, got)
	}
}
