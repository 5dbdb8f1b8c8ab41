package fail2ban

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/paraxial/paraxial/tests/testenv"
)

// fail2ban itself reads the same values from its own files, with all jails enabled.
func TestAgainstFail2ban(t *testing.T) {
	client, err := exec.LookPath("fail2ban-client")
	if err != nil {
		testenv.Missing(t, "needs fail2ban-client: install fail2ban")
	}
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("/etc/fail2ban")); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "jail.conf"))
	if err != nil {
		t.Fatal(err)
	}
	local := "[DEFAULT]\nbantime = 1h 30m\nfindtime = 2h10m\n"
	for _, section := range regexp.MustCompile(`(?m)^\[([a-z0-9-]+)\]`).FindAllStringSubmatch(string(text), -1) {
		local += "[" + section[1] + "]\nenabled = true\nbackend = polling\n"
	}
	if err := os.WriteFile(filepath.Join(dir, "jail.local"), []byte(local), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(client, "-c", dir, "--str2sec", "1h 30m").Output()
	if err != nil || strings.TrimSpace(string(out)) != "5400" {
		t.Fatalf("fail2ban reads 1h 30m as %s, %v", out, err)
	}
	theirs := dump(t, client, dir)
	jails, problems, err := Read(os.DirFS(dir))
	if err != nil || len(problems) > 0 {
		t.Fatal(err, problems)
	}
	ours := map[string]string{}
	for _, j := range jails {
		ours[j.Name] = strings.Join([]string{strconv.Itoa(j.MaxRetry), Span(j.FindTime).String(),
			Span(j.BanTime).String()}, " ")
	}
	if len(ours) < 50 || !maps.Equal(ours, theirs) {
		t.Errorf("%d jails differ from %d of fail2ban:\n%v\n%v", len(ours), len(theirs), ours, theirs)
	}
}

// dump returns maxretry, findtime and bantime of the jails as fail2ban reads them.
func dump(t *testing.T, client, dir string) map[string]string {
	out, err := exec.Command(client, "-c", dir, "-d").CombinedOutput()
	if err != nil && !strings.Contains(string(out), "'set'") {
		t.Fatalf("fail2ban-client -d: %v\n%s", err, out)
	}
	values := map[string]map[string]string{}
	set := regexp.MustCompile(`\['set', '([^']+)', '(maxretry|findtime|bantime)', '?([^']+?)'?\]`)
	for _, m := range set.FindAllStringSubmatch(string(out), -1) {
		if values[m[1]] == nil {
			values[m[1]] = map[string]string{}
		}
		values[m[1]][m[2]] = m[3]
	}
	all := map[string]string{}
	for _, jail := range slices.Sorted(maps.Keys(values)) {
		v := values[jail]
		find, err := duration(v["findtime"])
		if err != nil {
			t.Fatalf("%s: findtime %q", jail, v["findtime"])
		}
		ban, err := duration(v["bantime"])
		if err != nil {
			t.Fatalf("%s: bantime %q", jail, v["bantime"])
		}
		all[jail] = strings.Join([]string{v["maxretry"], Span(find).String(), Span(ban).String()}, " ")
	}
	return all
}
