package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/paraxial/paraxial/tests/testenv"
	"github.com/paraxial/paraxial/tests/vm/wire"
)

// verify loads all programs that the loader has: both builds, each in its filtering and in its
// asking form, without and with tunnels.
func (c *cell) verify(r *row) (err error) {
	if r.plain, err = c.verifyBuild("plain"); err != nil {
		return err
	}
	knows, err := since(r.version, 5, 18)
	if err != nil {
		return err
	}
	r.frags, err = c.verifyBuild("frags")
	if !knows {
		if err == nil {
			return fmt.Errorf("the build for several buffers loads on Linux %s, which should be too old", r.version)
		}
		r.frags = "-"
		return nil
	}
	return err
}

// verifyBuild returns the numbers of instructions that the verifier processed for the program that
// filters, without and with tunnels.
func (c *cell) verifyBuild(build string) (string, error) {
	object := "/loader/" + build + "_x86_bpfel.o"
	n, err := c.ask(wire.Request{Do: wire.Verify, Arguments: []string{object}})
	if err != nil {
		return "", err
	}
	tunnels, err := c.ask(wire.Request{Do: wire.Verify, Arguments: []string{object, "tunnels"}})
	if err != nil {
		return "", err
	}
	_, err = c.ask(wire.Request{Do: wire.Verify, Arguments: []string{object, "probe", "tunnels"}})
	return n + " / " + tunnels, err
}

// since reports whether a kernel's release, such as 5.10.0-43-cloud-amd64, is at least major.minor.
func since(release string, major, minor int) (bool, error) {
	var gotMajor, gotMinor int
	if _, err := fmt.Sscanf(release, "%d.%d", &gotMajor, &gotMinor); err != nil {
		return false, fmt.Errorf("read the kernel's release %q: %w", release, err)
	}
	return gotMajor > major || gotMajor == major && gotMinor >= minor, nil
}

// suites are the tests that run. Random cases are few, because everything is emulated: the purpose
// is to find a kernel that behaves differently, not a rare packet. The tests left out check the
// program's own arithmetic over millions of packets.
var suites = []struct{ name, cases, without, brief string }{
	{"program", "1000", "TestSamplingIsUnbiased",
		"^Test(Corpus|TruncatedAtEveryByte|ListsDecide|TunnelCases|AgreesWithReference.*)$"},
	{"differential", "6000", "-", "."},
}

// test runs the packet corpus, and the comparison of the program with the model.
func (c *cell) test(r *row) error {
	for _, s := range suites {
		only := "."
		if c.brief {
			only = s.brief
		}
		out, err := c.ask(wire.Request{
			Do: wire.Run,
			Arguments: []string{"/bin/" + s.name + ".test", "-test.v", "-test.short", "-test.failfast",
				"-test.run=" + only, "-test.skip=" + s.without},
			Directory:   "/tests/" + s.name, // as in the repository: the objects are two levels up
			Environment: []string{"PARAXIAL_CASES=" + s.cases, "PARAXIAL_LIMIT_SECONDS=1", testenv.RequireAll + "=1"},
		})
		if logErr := os.WriteFile(filepath.Join(c.dir, s.name+".log"), []byte(out), 0o644); logErr != nil {
			return errors.Join(err, logErr)
		}
		if err != nil {
			return fmt.Errorf("%w\n%s", err, failures(out))
		}
		reasons, err := skips(out)
		if err != nil {
			return fmt.Errorf("%s tests: %w", s.name, err)
		}
		for reason, n := range reasons {
			r.skipped += n
			fmt.Printf("%13s%s: %d skipped: %s\n", "", s.name, n, reason)
		}
	}
	return nil
}

var (
	skipped   = regexp.MustCompile(`(?m)^ *--- SKIP: `)
	kernelOld = regexp.MustCompile(`(?m)^ +\S+_test\.go:\d+: (needs Linux \d.*)$`)
)

// skips counts the skipped tests by the reason they gave. The only valid reason is that the kernel
// is too old, so the newest kernel has none.
func skips(out string) (map[string]int, error) {
	reasons := make(map[string]int)
	old := kernelOld.FindAllStringSubmatch(out, -1)
	for _, m := range old {
		reasons[m[1]]++
	}
	if n := len(skipped.FindAllString(out, -1)); n != len(old) {
		return nil, fmt.Errorf("%d were skipped, but only %d because of the kernel", n, len(old))
	}
	return reasons, nil
}

// failures returns the end of a test's output, without the tests that passed.
func failures(out string) string {
	var kept []string
	for _, line := range strings.Split(out, "\n") {
		if !strings.Contains(line, "--- PASS") && !strings.HasPrefix(line, "=== ") {
			kept = append(kept, line)
		}
	}
	const last = 40
	return strings.Join(kept[max(0, len(kept)-last):], "\n")
}

var trouble = regexp.MustCompile(`WARNING:|BUG:|Oops|INFO: task .* blocked|general protection`)

func (c *cell) kernelLog(*row) error {
	log, err := c.ask(wire.Request{Do: wire.KernelLog})
	if err != nil {
		return err
	}
	if trouble.MatchString(log) {
		return fmt.Errorf("the kernel complains:\n%s", log)
	}
	return nil
}
