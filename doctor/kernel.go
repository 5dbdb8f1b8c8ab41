package doctor

import (
	"fmt"
	"strconv"
	"strings"
)

// version is a version of Linux.
type version struct{ major, minor int }

// The versions of Linux that brought a feature.
var (
	oldest        = version{5, 10} // XDP links (5.9), ring buffers and CAP_BPF (5.8)
	memoryCgroup  = version{5, 11} // maps no longer count as locked memory
	trieBatches   = version{5, 13}
	virtioShares  = version{5, 13} // virtio_net no longer needs a queue for each CPU
	bondNative    = version{5, 15}
	multiBuffer   = version{5, 18}
	virtioBuffers = version{6, 3}
)

// parseRelease reads major and minor version from the output of uname -r.
func parseRelease(s string) (version, bool) {
	head, rest, _ := strings.Cut(s, ".")
	major, err := strconv.Atoi(head)
	if err != nil {
		return version{}, false
	}
	end := strings.IndexFunc(rest, func(r rune) bool { return r < '0' || r > '9' })
	if end >= 0 {
		rest = rest[:end]
	}
	minor, err := strconv.Atoi(rest)
	return version{major, minor}, err == nil
}

func (v version) before(w version) bool {
	return v.major < w.major || v.major == w.major && v.minor < w.minor
}

func (v version) String() string { return fmt.Sprintf("%d.%d", v.major, v.minor) }

// kernel returns the version of the host's kernel. An unknown one counts as newer
// than every feature, so that no finding blames it.
func (x *examination) kernel() version {
	if v, ok := parseRelease(x.facts.Host.Release); ok {
		return v
	}
	return version{major: 1 << 10}
}

func (x *examination) kernelRules() {
	release, v := x.facts.Host.Release, x.kernel()
	if v.before(oldest) {
		x.say("kernel", Problem, "Linux "+release+" is too old",
			"XDP links and ring buffers are missing: paraxiald will not start.",
			"Install Linux "+oldest.String()+" or later.")
		return
	}
	x.ok("kernel", "Linux %s has XDP links and ring buffers", release)
	if v.before(multiBuffer) {
		x.say("kernel-frags", Note, "the kernel has no multi-buffer XDP",
			"Native XDP needs an MTU that fits into one buffer, mostly below 3500. "+
				"Linux "+multiBuffer.String()+" has no such limit.")
	}
	if v.before(trieBatches) {
		x.say("kernel-batch", Note, "the kernel accepts entries of its tries one at a time",
			"Long imports take longer. Linux "+trieBatches.String()+" accepts them in batches.")
	}
	if !x.facts.Host.BTF {
		x.say("btf", Note, "the kernel has no BTF (/sys/kernel/btf/vmlinux)",
			"Paraxial does without it. bpftool and tracing tools show less.")
	}
}

func (x *examination) sysctlRules() {
	if jit := x.facts.Host.JIT; jit != nil && *jit == 0 {
		x.say("jit", Warning, "the BPF JIT is off",
			"Programs are interpreted, so each packet costs several times as much.",
			"sysctl -w net.core.bpf_jit_enable=1")
	} else if jit != nil {
		x.ok("jit", "the BPF JIT is on")
	}
	if off := x.facts.Host.UnprivilegedBPF; off != nil && *off == 0 {
		x.say("unprivileged-bpf", Note, "every user may load BPF programs",
			"Paraxial does not need that. It gives an attacker with a shell more ways to attack the kernel.",
			"sysctl -w kernel.unprivileged_bpf_disabled=1")
	}
}
