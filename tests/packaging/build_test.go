// Package packaging builds the packages and tests their life cycle: on a copy of this system, with
// the real dpkg, rpm and systemd, and the real filter on an interface of the sandbox.
package packaging

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/paraxial/paraxial/tests/lab"
	"github.com/paraxial/paraxial/tests/testenv"
)

func TestMain(m *testing.M) { lab.MainEach(m) }

const repository = "../.."

// A release is a version of the packages.
type release struct{ version, dir string }

// deb and rpm return the files for this machine.
func (r release) deb() string { return r.debFor(runtime.GOARCH) }

func (r release) rpm() string { return r.rpmFor(runtime.GOARCH) }

func (r release) debFor(arch string) string {
	return r.file("paraxial_" + r.version + "_" + arch + ".deb")
}

func (r release) rpmFor(arch string) string {
	machine := map[string]string{"amd64": "x86_64", "arm64": "aarch64"}[arch]
	return r.file("paraxial-" + r.version + "-1." + machine + ".rpm")
}

func (r release) file(name string) string { return filepath.Join(r.dir, name) }

func older(t *testing.T) release { return built(t, "1.0.0", strings.Join(arches(), " ")) }

func newer(t *testing.T) release { return built(t, "1.0.1~rc1", runtime.GOARCH) }

// arches are the architectures to build packages for: this machine's, or PARAXIAL_ARCHES. To
// compile everything for another architecture takes minutes.
func arches() []string {
	if all := strings.Fields(os.Getenv("PARAXIAL_ARCHES")); len(all) > 0 {
		return all
	}
	return []string{runtime.GOARCH}
}

// built builds a version once.
func built(t *testing.T, version, arches string) release {
	t.Helper()
	testenv.Root(t)
	dir, err := lab.Once("packages-"+version, func(dir string) error { return build(version, dir, arches) })
	if err != nil {
		t.Fatal(err)
	}
	return release{version, dir}
}

func build(version, dir, arches string) error {
	cmd := exec.Command(filepath.Join(repository, "packaging/build.sh"), dir)
	cmd.Env = append(os.Environ(), "VERSION="+version, "SOURCE_DATE_EPOCH=1767225600", "ARCHES="+arches)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", cmd, err, out)
	}
	return nil
}
