package packaging

import (
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// wanted lists the contents of the packages without docs and folders. ZSH stands for zsh's
// completion folder, which differs between systems.
func wanted() []string {
	return []string{
		"-rw-r--r-- /etc/paraxial/paraxiald.yaml",
		"-rw-r--r-- /usr/lib/systemd/system/paraxial-agent-feeds.service",
		"-rw-r--r-- /usr/lib/systemd/system/paraxial-agent-logs.service",
		"-rw-r--r-- /usr/lib/systemd/system/paraxiald.service",
		"-rw-r--r-- /usr/lib/sysusers.d/paraxial.conf",
		"-rw-r--r-- /usr/share/bash-completion/completions/paraxialctl",
		"-rw-r--r-- /usr/share/fish/vendor_completions.d/paraxialctl.fish",
		"-rw-r--r-- /usr/share/man/man1/paraxialctl.1.gz",
		"-rw-r--r-- /usr/share/man/man8/paraxial-agent.8.gz",
		"-rw-r--r-- /usr/share/man/man8/paraxiald.8.gz",
		"-rw-r--r-- /usr/share/paraxial/fail2ban/paraxial.conf",
		"-rw-r--r-- /usr/share/paraxial/grafana/paraxial.json",
		"-rw-r--r-- /usr/share/paraxial/paraxiald.yaml",
		"-rw-r--r-- /usr/share/paraxial/prometheus/paraxial.rules.yml",
		"-rw-r--r-- /usr/share/zsh/ZSH/_paraxialctl",
		"-rwxr-xr-x /usr/bin/paraxialctl",
		"-rwxr-xr-x /usr/sbin/paraxial-agent",
		"-rwxr-xr-x /usr/sbin/paraxiald",
	}
}

func TestContents(t *testing.T) {
	r := older(t)
	for _, arch := range arches() {
		t.Run("deb for "+arch, func(t *testing.T) { expectContents(t, debFiles(t, r.debFor(arch))) })
		t.Run("rpm for "+arch, func(t *testing.T) { expectContents(t, rpmFiles(t, r.rpmFor(arch))) })
	}
}

func expectContents(t *testing.T, list []string) {
	t.Helper()
	sameShells := strings.NewReplacer("/vendor-completions/", "/ZSH/", "/site-functions/", "/ZSH/")
	var got []string
	docs := map[string]bool{}
	for _, line := range list {
		_, path, _ := strings.Cut(line, " ")
		switch dir, file := filepath.Split(path); {
		case dir == "/usr/share/doc/paraxial/" && strings.HasPrefix(line, "-rw-r--r-- "):
			docs[file] = true
		case !strings.HasPrefix(line, "d") && !strings.Contains(path, "/lintian/"):
			got = append(got, sameShells.Replace(line))
		}
	}
	slices.Sort(got)
	if diff := cmp.Diff(wanted(), got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	for _, doc := range []string{"copyright", "changelog.gz", "cli.md", "config.md"} {
		if !docs[doc] {
			t.Errorf("%s is missing", doc)
		}
	}
}

// debFiles lists mode and path of each file.
func debFiles(t *testing.T, deb string) []string {
	need(t, "dpkg-deb")
	if conf := output(t, "dpkg-deb", "--info", deb, "conffiles"); conf != "/etc/paraxial/paraxiald.yaml\n" {
		t.Errorf("configuration files are %q", conf)
	}
	var list []string
	for line := range strings.Lines(output(t, "dpkg-deb", "--contents", deb)) {
		f := strings.Fields(line)
		if f[1] != "root/root" {
			t.Errorf("not root's: %s", line)
		}
		list = append(list, f[0]+" "+strings.TrimPrefix(f[5], "."))
	}
	return list
}

func rpmFiles(t *testing.T, rpm string) []string {
	need(t, "rpm")
	const format = `[%{FILEMODES:perms} %{FILENAMES} %{FILEUSERNAME}:%{FILEGROUPNAME} %{FILEFLAGS:fflags}\n]`
	var list, conf []string
	for line := range strings.Lines(output(t, "rpm", "--query", "--package", "--queryformat", format, rpm)) {
		f := strings.Fields(line)
		if f[2] != "root:root" {
			t.Errorf("not root's: %s", line)
		}
		if len(f) > 3 && strings.Contains(f[3], "c") {
			conf = append(conf, f[1]+" "+f[3])
		}
		list = append(list, f[0]+" "+f[1])
	}
	if want := []string{"/etc/paraxial/paraxiald.yaml cn"}; !slices.Equal(conf, want) {
		t.Errorf("configuration files are %q, want %q (n: not replaced)", conf, want)
	}
	return list
}

// TestReproducible builds again: later, in another folder and with another umask.
func TestReproducible(t *testing.T) {
	first := older(t)
	again := release{first.version, filepath.Join(t.TempDir(), "packages")}
	old := syscall.Umask(0o077)
	defer syscall.Umask(old)
	if err := os.Mkdir(again.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := build(again.version, again.dir, runtime.GOARCH); err != nil {
		t.Fatal(err)
	}
	for _, pair := range [][2]string{{first.deb(), again.deb()}, {first.rpm(), again.rpm()}} {
		if sum(t, pair[0]) != sum(t, pair[1]) {
			t.Errorf("%s differs from the first build", filepath.Base(pair[0]))
		}
	}
}

func TestLint(t *testing.T) {
	r := newer(t)
	need(t, "lintian")
	if out, err := exec.CommandContext(t.Context(), "lintian", "--allow-root", "--fail-on", "error",
		r.deb()).CombinedOutput(); err != nil {
		t.Errorf("lintian: %v\n%s", err, out)
	}
}

// TestManualPages: roff accepts the manual pages without warnings.
func TestManualPages(t *testing.T) {
	r := older(t)
	need(t, "mandoc")
	for name, want := range map[string]string{
		"paraxial-agent.8": "feeds\n       Keep the lists",
		"paraxiald.8":      "detach\n       Remove the filter from",
		"paraxialctl.1":    "block PREFIX...\n       Drop packets from addresses.",
	} {
		zipped := r.file("build/" + name + ".gz")
		page := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(page, []byte(output(t, "gzip", "-dc", zipped)), 0o600); err != nil {
			t.Fatal(err)
		}
		if text := output(t, "mandoc", "-T", "ascii", "-O", "width=80", page); !strings.Contains(plain(text), want) {
			t.Errorf("%s lacks %q:\n%s", name, want, plain(text))
		}
		out, err := exec.CommandContext(t.Context(), "mandoc", "-T", "lint", "-W", "warning", page).CombinedOutput()
		for line := range strings.Lines(string(out)) {
			// A date would be the build date, not the date of writing.
			if !strings.Contains(line, "missing date") {
				t.Errorf("%s (%v)", line, err)
			}
		}
	}
}

// plain removes bold and underline from terminal output.
func plain(s string) string {
	var b []rune
	for _, r := range s {
		if r == '\b' {
			b = b[:len(b)-1]
		} else {
			b = append(b, r)
		}
	}
	return string(b)
}

func sum(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", sha256.Sum256(b))
}

func output(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), args[0], args[1:]...).Output()
	if err != nil {
		t.Fatalf("%s: %v", strings.Join(args, " "), err)
	}
	return string(out)
}
