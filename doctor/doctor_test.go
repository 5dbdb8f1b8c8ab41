package doctor

import (
	"reflect"
	"slices"
	"strings"
	"testing"
)

func at[T any](v T) *T { return &v }

// fit returns the facts of a host without problems.
func fit() Facts {
	return Facts{
		Host: Host{
			Release: "6.12.9-amd64", CPUs: 4, BTF: true, JIT: at(1), UnprivilegedBPF: at(2), ClockSynced: at(true),
			BPFFS: FileSystem{Asked: "/sys/fs/bpf/paraxial", Path: "/sys/fs/bpf", BPF: true,
				Dirs: []Dir{{Path: "/sys/fs/bpf", Mode: 0o755}}},
			StateDir: FileSystem{Asked: "/var/lib/paraxial", Path: "/var/lib", Free: 10 << 30},
		},
		Daemon: Daemon{
			Reachable: true, Version: "1", Capabilities: at[uint64](1<<12 | 1<<38 | 1<<39),
			Memlock:    at[uint64](8 << 20),
			Interfaces: []Filtered{{Name: "eth9", Protected: true, Mode: "native", ProgramID: 7}},
		},
		Interfaces: []Interface{{
			Name: "eth0", Driver: "ice", MTU: 1500, Up: true, Carrier: true, XDP: &XDP{Native: true, Frags: true},
			Channels: &Channels{Combined: 4, MaxCombined: 8}, Offloads: map[string]Offload{},
		}},
	}
}

func TestNoProblem(t *testing.T) {
	f := fit()
	f.Daemon.Interfaces[0].Name = "eth0"
	f.Interfaces[0].Programs = []Program{{ID: 7, Mode: "native"}}
	r := Examine(f)
	if r.Worst != OK || r.Interfaces[0].Mode != "native" {
		t.Errorf("got %+v", r)
	}
	for _, f := range r.Findings {
		if f.Why != "" || f.Fix == nil {
			t.Errorf("finding that is ok: %+v", f)
		}
	}
}

// TestFindings: each change to a host without problems leads to its finding.
func TestFindings(t *testing.T) {
	for _, tt := range findingCases() {
		t.Run(tt.name, func(t *testing.T) {
			f := fit()
			tt.change(&f)
			r := Examine(f)
			i := slices.IndexFunc(r.Findings,
				func(f Finding) bool { return f.Code == tt.code && f.Severity == tt.severity })
			if i < 0 {
				t.Fatalf("no %s %s in %+v", tt.severity, tt.code, r.Findings)
			}
			got := r.Findings[i]
			if text := got.What + "\n" + got.Why + "\n" +
				strings.Join(got.Fix, "\n"); !strings.Contains(text, tt.says) {
				t.Errorf("got %q, want %q in it", text, tt.says)
			}
			if (got.Severity == OK) != (got.Why == "") {
				t.Errorf("%s because %q", got.Severity, got.Why)
			}
			for _, f := range r.Findings {
				if f.Severity >= Warning && len(f.Fix) == 0 {
					t.Errorf("no fix for %+v", f)
				}
			}
			if tt.mode != "" && r.Interfaces[0].Mode != tt.mode {
				t.Errorf("mode %s, want %s", r.Interfaces[0].Mode, tt.mode)
			}
			if r.Worst < tt.severity {
				t.Errorf("worst is %s", r.Worst)
			}
		})
	}
}

// findingCase is a change to a host without problems, and its finding.
type findingCase struct {
	name     string
	change   func(*Facts)
	code     string
	severity Severity
	mode     string // expected of eth0
	says     string // in what, why or fix
}

func findingCases() []findingCase {
	nic := func(f func(*Interface)) func(*Facts) { return func(all *Facts) { f(&all.Interfaces[0]) } }
	old := func(release string, f func(*Interface)) func(*Facts) {
		return func(all *Facts) {
			all.Host.Release, all.Interfaces[0].XDP = release, nil
			f(&all.Interfaces[0])
		}
	}
	same := func(*Interface) {}
	inGeneric := func(f func(*Interface)) func(*Facts) {
		return func(all *Facts) {
			all.Daemon.Interfaces = []Filtered{{Name: "eth0", Protected: true, Mode: "generic", ProgramID: 7}}
			f(&all.Interfaces[0])
		}
	}
	on := map[string]Offload{"rx-lro": {On: true}, "rx-gro-hw": {On: true}, "rx-gro": {On: true},
		"rx-vlan-hw-parse": {On: true}}
	return []findingCase{
		{"tunnels", func(f *Facts) {
			f.Host.Tunnels = []Tunnel{{"office", "vxlan"}, {"wg0", "wireguard"}}
		}, "tunnel", Note, "", "tunnels end on this host: office (vxlan), wg0 (wireguard)"},
		{"a tunnel that is not looked into", func(f *Facts) {
			f.Host.Tunnels = []Tunnel{{"office", "vxlan"}, {"wg0", "wireguard"}}
			f.Daemon.LooksInto, f.Daemon.UnseenTunnels = []string{"vxlan:4789"}, []string{"wg0"}
		}, "tunnel", Note, "", "tunnels end on this host: wg0 (wireguard)"},
		{"many tunnels", func(f *Facts) {
			f.Host.Tunnels = slices.Repeat([]Tunnel{{"t", "gre"}}, 12)
		}, "tunnel", Note, "", "t (gre) and 2 more"},
		{"veth", nic(func(i *Interface) { i.Kind, i.Driver = "veth", "veth" }), "veth", Note, "native",
			"Set mode: generic"},
		{"kernel too old", old("5.4.0-generic", same), "kernel", Problem, "", "Linux 5.10"},
		{"no frags", old("5.10.0", same), "kernel-frags", Note, "native", "5.18"},
		{"no batches", old("5.10.0", same), "kernel-batch", Note, "native", "5.13"},
		{"no BTF", func(f *Facts) { f.Host.BTF = false }, "btf", Note, "", "does without"},
		{"no JIT", func(f *Facts) { f.Host.JIT = at(0) }, "jit", Warning, "", "sysctl -w net.core.bpf_jit_enable=1"},
		{"anybody loads BPF", func(f *Facts) { f.Host.UnprivilegedBPF = at(0) }, "unprivileged-bpf", Note, "",
			"kernel.unprivileged_bpf_disabled=1"},
		{"no bpffs", func(f *Facts) { f.Host.BPFFS.BPF = false }, "bpffs", Problem, "",
			"mount -t bpf -o mode=0700 bpf /sys/fs/bpf"},
		{"bpffs for all", func(f *Facts) { f.Host.BPFFS.Dirs[0].Mode = 0o1777 }, "bpffs-access", Problem, "",
			"chmod go-rwx /sys/fs/bpf"},
		{"bpffs for a group", func(f *Facts) { f.Host.BPFFS.Dirs[0].Mode = 0o770 }, "bpffs-access", Problem, "",
			"(mode 0770)"},
		{"pins of a stranger", func(f *Facts) {
			f.Host.BPFFS.Dirs = append([]Dir{{Path: "/sys/fs/bpf/paraxial", UID: 1000, Mode: 0o755}},
				f.Host.BPFFS.Dirs...)
		}, "bpffs-access", Problem, "", "chown root: /sys/fs/bpf/paraxial && chmod go-rwx /sys/fs/bpf/paraxial"},
		{"state read-only", func(f *Facts) { f.Host.StateDir.ReadOnly = true }, "state-dir", Problem, "",
			"remount,rw /var/lib"},
		{"disk full", func(f *Facts) { f.Host.StateDir.Free = 4096 }, "state-dir", Problem, "", "4 KiB"},
		{"disk nearly full", func(f *Facts) { f.Host.StateDir.Free = 100 << 20 }, "state-dir", Warning, "", "100 MiB"},
		{"clock", func(f *Facts) { f.Host.ClockSynced = at(false) }, "clock", Warning, "", "timedatectl"},
		{"something unseen", func(f *Facts) { f.Unseen = []Unseen{{"the JIT", "only root may"}} }, "unseen", Note, "",
			"only root may"},
		{"no daemon", func(f *Facts) { f.Daemon = Daemon{Error: "no socket"} }, "daemon", Warning, "",
			"systemctl start paraxiald"},
		{"may not ask", func(f *Facts) { f.Daemon = Daemon{Error: "permission denied", Forbidden: true} }, "daemon",
			Note, "", "as root"},
		{"daemon without interface", func(f *Facts) { f.Daemon.Interfaces = nil }, "no-interface", Problem, "",
			"interfaces:"},
		{"capability missing", func(f *Facts) { *f.Daemon.Capabilities = 1<<12 | 1<<39 }, "capabilities", Problem, "",
			"without CAP_PERFMON"},
		{"admin has them", func(f *Facts) { *f.Daemon.Capabilities = 1<<12 | 1<<21 }, "capabilities", OK, "",
			"has the capabilities"},
		{"memlock", func(f *Facts) { f.Host.Release = "5.10.1" }, "memlock", Problem, "", "only 8 MiB"},
		{"unprotected elsewhere", func(f *Facts) { f.Daemon.Interfaces[0] = Filtered{Name: "ppp0", Note: "gone"} },
			"unprotected", Problem, "", "gone"},

		{"not configured", func(*Facts) {}, "not-configured", Note, "native", "interfaces:"},
		{"unprotected", func(f *Facts) { f.Daemon.Interfaces = []Filtered{{Name: "eth0", Note: "ENOMEM"}} },
			"unprotected", Problem, "native", "ENOMEM"},
		{"protected, generic for nothing", inGeneric(same), "generic", Warning, "generic", "Set mode: native"},
		{"protected, generic for good", inGeneric(func(i *Interface) { i.XDP, i.Driver = &XDP{}, "e1000e" }), "generic",
			Warning, "generic", "generic mode: e1000e has no native XDP"},
		{"protected, generic for LRO", inGeneric(func(i *Interface) {
			i.Driver, i.Offloads = "hv_netvsc", map[string]Offload{"rx-lro": {On: true}}
		}), "generic", Warning, "generic", "ethtool -K eth0 lro off\nSet mode: native"},
		{"protected, generic for the MTU", inGeneric(func(i *Interface) { i.MTU, i.XDP.Frags = 9000, false }),
			"generic", Warning, "generic", "ip link set dev eth0 mtu 1500\nSet mode: native"},
		{"tunnel", nic(func(i *Interface) { i.LinkLayer, i.Driver, i.XDP = "none", "tun", &XDP{Native: true} }),
			"link-layer", Problem, "refused", "every packet would pass"},
		{"PPPoE", nic(func(i *Interface) { i.LinkLayer, i.Kind = "ppp", "ppp" }), "link-layer", Problem, "refused",
			"header (ppp)"},
		{"tunnel that is said to be protected", inGeneric(func(i *Interface) { i.LinkLayer, i.Driver = "none", "tun" }),
			"link-layer", Problem, "refused", "It is not protected"},
		{"loopback", nic(func(i *Interface) { i.LinkLayer, i.XDP = "loopback", &XDP{} }), "generic", Warning, "generic",
			"no native XDP"},
		{"root of a container", func(f *Facts) {
			f.Daemon, f.Root = Daemon{Error: "no socket"},
				at[uint64](1<<12|1<<38)
		}, "root", Warning, "", "no CAP_BPF here"},
		{"foreign", nic(func(i *Interface) { i.Programs = []Program{{ID: 9, Mode: "generic", Name: "cil_xdp"}} }),
			"foreign-program", Problem, "refused", "ip link set dev eth0 xdpgeneric off"},
		{"left in place", func(f *Facts) {
			f.Daemon = Daemon{Error: "no socket"}
			f.Interfaces[0].Pinned, f.Interfaces[0].Programs = 5, []Program{{ID: 5, Mode: "native"}}
		}, "left-in-place", Note, "native", "program 5 in native mode"},
		{"foreign instead of ours",
			nic(func(i *Interface) { i.Pinned, i.Programs = 5, []Program{{ID: 9, Mode: "native"}} }), "foreign-program",
			Problem, "refused", "xdpdrv off"},
		{"foreign beside ours", func(f *Facts) {
			f.Daemon.Interfaces = []Filtered{{Name: "eth0", Protected: true, Mode: "native", ProgramID: 7}}
			f.Interfaces[0].Programs = []Program{{ID: 7, Mode: "native"}, {ID: 9, Mode: "hardware"}}
		}, "foreign-program", Problem, "native", "xdpoffload"},
		{"no native", nic(func(i *Interface) { i.XDP, i.Driver = &XDP{}, "e1000e" }), "generic", Warning, "generic",
			"e1000e has no native XDP"},
		{"native later", old("5.15.0", func(i *Interface) { i.Driver = "vmxnet3" }), "generic", Warning, "generic",
			"only from Linux 6.6"},
		{"unknown driver", old("5.15.0", func(i *Interface) { i.Driver = "tg3" }), "generic", Warning, "generic",
			"not known"},
		{"native by table", old("5.15.0", same), "mode", OK, "native", "ice"},
		{"virtio, fixed offloads",
			nic(func(i *Interface) { i.Driver, i.Virtio = "virtio_net", &Virtio{GuestOffloads: true} }), "generic",
			Warning, "generic", "ctrl_guest_offloads"},
		{"virtio, switchable offloads", nic(func(i *Interface) {
			i.Driver, i.Virtio, i.Offloads = "virtio_net", &Virtio{GuestOffloads: true, Switchable: true},
				map[string]Offload{"rx-gro-hw": {On: true}}
		}), "mode", OK, "native", "virtio_net"},
		{"virtio, few queues, old", old("5.10.0",
			func(i *Interface) { i.Driver, i.Channels = "virtio_net", &Channels{Combined: 4, MaxCombined: 6} }),
			"queues", Problem, "refused", "ethtool -L eth0 combined 2"},
		{"virtio, no queue to spare, old", old("5.10.0",
			func(i *Interface) { i.Driver, i.Channels = "virtio_net", &Channels{Combined: 4, MaxCombined: 4} }),
			"queues", Problem, "refused", "Give it 8 queues"},
		{"virtio, few queues, new", old("5.15.0",
			func(i *Interface) { i.Driver, i.Channels = "virtio_net", &Channels{Combined: 4, MaxCombined: 4} }), "mode",
			OK, "native", "virtio_net"},
		{"ena, all queues",
			nic(func(i *Interface) { i.Driver, i.Channels = "ena", &Channels{Combined: 8, MaxCombined: 8} }), "queues",
			Problem, "refused", "ethtool -L eth0 combined 4"},
		{"jumbo without frags", nic(func(i *Interface) { i.MTU, i.XDP.Frags = 9000, false }), "mtu", Problem, "refused",
			"ip link set dev eth0 mtu 1500"},
		{"jumbo on an old kernel", old("5.15.0", func(i *Interface) { i.MTU = 9000 }), "mtu", Problem, "refused",
			"came with Linux 5.18"},
		{"jumbo with frags", nic(func(i *Interface) { i.MTU = 9000 }), "mode", OK, "native", "ice"},
		{"jumbo, virtio before 6.3", old("6.1.0", func(i *Interface) { i.Driver, i.MTU = "virtio_net", 9000 }), "mtu",
			Problem, "refused", "3506"},
		{"LRO, refuses",
			nic(func(i *Interface) { i.Driver, i.Offloads = "mlx5_core", map[string]Offload{"rx-lro": {On: true}} }),
			"offload", Problem, "refused", "ethtool -K eth0 lro off"},
		{"LRO, falls back", nic(func(i *Interface) { i.Driver, i.Offloads = "hv_netvsc", on }), "generic", Warning,
			"generic", "ethtool -K eth0 lro off"},
		{"LRO, unknown", nic(func(i *Interface) { i.Offloads = on }), "offload", Warning, "native", "Some drivers"},
		{"GRO, generic",
			nic(func(i *Interface) { i.XDP, i.Offloads = &XDP{}, map[string]Offload{"rx-gro": {On: true}} }), "offload",
			Note, "generic", "ethtool -K eth0 gro off"},
		{"LRO, unknown and fixed",
			nic(func(i *Interface) { i.Offloads = map[string]Offload{"rx-lro": {On: true, Fixed: true}} }), "offload",
			Warning, "native", "does not allow turning lro off"},
		{"LRO, turned off by the driver", nic(func(i *Interface) { i.Driver, i.Offloads = "vmxnet3", on }), "mode", OK,
			"native", "vmxnet3"},
		{"jumbo, falls back", nic(func(i *Interface) { i.Driver, i.MTU, i.XDP.Frags = "hv_netvsc", 9000, false }),
			"generic", Warning, "generic", "above 3506 hv_netvsc refuses"},
		{"jumbo, falls back, by table", old("6.1.0", func(i *Interface) { i.Driver, i.MTU = "mana", 4000 }), "generic",
			Warning, "generic", "ip link set dev eth0 mtu 1500"},
		{"jumbo, ena before 6.3", old("6.1.0", func(i *Interface) { i.Driver, i.MTU = "ena", 9001 }), "mtu", Problem,
			"refused", "3498"},
		{"Xen", nic(func(i *Interface) { i.Driver = "vif" }), "mode", Warning, "native", "paraxialctl stats"},
		{"VLAN tags", nic(func(i *Interface) { i.Offloads = map[string]Offload{"rx-vlan-hw-parse": {On: true}} }),
			"vlan-offload", Note, "native", "just the same"},
		{"VLAN", nic(func(i *Interface) { i.Kind, i.Lower, i.XDP = "vlan", "eth7", &XDP{} }), "stacked", Warning,
			"generic", "Filter eth7 instead"},
		{"bridge", nic(func(i *Interface) { i.Kind = "bridge" }), "stacked", Warning, "", "its ports"},
		{"bond, old", old("5.10.0", func(i *Interface) { i.Kind, i.Driver = "bond", "bonding" }), "stacked", Warning,
			"generic", "from Linux 5.15"},
		{"bond, mode, by table", old("6.1.0",
			func(i *Interface) { i.Kind, i.Driver, i.BondMode = "bond", "bonding", "balance-alb" }), "generic", Warning,
			"generic", "this bond offers no native XDP"},
		{"bond, mode", nic(func(i *Interface) { i.Kind, i.BondMode = "bond", "balance-alb" }), "stacked", Warning, "",
			"balance-alb"},
		{"bond", nic(func(i *Interface) { i.Kind, i.BondMode = "bond", "802.3ad" }), "bond", OK, "native",
			"every member"},
		{"bond member", nic(func(i *Interface) { i.Master, i.MasterKind = "bond0", "bond" }), "member", Warning,
			"native", "Filter bond0"},
		{"bridge port", nic(func(i *Interface) { i.Master, i.MasterKind = "br0", "bridge" }), "member", Note, "native",
			"forwarded"},
		{"down", nic(func(i *Interface) { i.Up = false }), "link", Warning, "native", "ip link set dev eth0 up"},
		{"no carrier", nic(func(i *Interface) { i.Carrier = false }), "link", Warning, "native", "cable"},
		{"one queue of many", nic(func(i *Interface) { i.Channels.Combined = 1 }), "channels", Warning, "native",
			"ethtool -L eth0 combined 4"},
		{"one queue", nic(func(i *Interface) { i.Channels = &Channels{RX: 1, MaxRX: 1} }), "channels", Note, "native",
			"a single CPU filters a flood"},
	}
}

// TestOrder: interfaces come before the host, and the worst first.
func TestOrder(t *testing.T) {
	f := fit()
	f.Interfaces[0].Up = false
	f.Host.JIT, f.Host.BPFFS.BPF = at(0), false
	r := Examine(f)
	if r.Worst != Problem {
		t.Errorf("worst %s", r.Worst)
	}
	for i, a := range r.Findings[1:] {
		b := r.Findings[i]
		if b.Interface == "" && a.Interface != "" || a.Interface == b.Interface && a.Severity > b.Severity {
			t.Errorf("%+v before %+v", b, a)
		}
	}
}

// TestSame: the same facts make the same report, so that scripts can compare.
func TestSame(t *testing.T) {
	f := fit()
	f.Interfaces[0].Driver = "mlx5_core"
	f.Interfaces[0].Offloads = map[string]Offload{"rx-lro": {On: true}, "rx-gro-hw": {On: true},
		"rx-vlan-hw-parse": {On: true}}
	first := Examine(f)
	for range 50 {
		if again := Examine(f); !reflect.DeepEqual(first, again) {
			t.Fatalf("first %+v, then %+v", first, again)
		}
	}
}

// TestNoCapabilityNeeded: there is no finding if root has the capabilities, or if a
// daemon runs.
func TestNoCapabilityNeeded(t *testing.T) {
	dead := Daemon{Error: "no socket"}
	for name, f := range map[string]Facts{
		"root":      {Daemon: dead, Root: at[uint64](1<<12 | 1<<38 | 1<<39)},
		"no root":   {Daemon: dead},
		"a daemon":  {Daemon: Daemon{Reachable: true}, Root: at[uint64](0)},
		"forbidden": {Daemon: Daemon{Forbidden: true}, Root: at[uint64](0)},
	} {
		if slices.ContainsFunc(Examine(f).Findings, func(f Finding) bool { return f.Code == "root" }) {
			t.Errorf("%s: spoke of it", name)
		}
	}
}

func TestParseRelease(t *testing.T) {
	for s, want := range map[string]version{"5.10.0-28-amd64": {5, 10}, "6.18.44-fc": {6, 18}, "7.0": {7, 0},
		"6.1-rc3": {6, 1}} {
		if got, ok := parseRelease(s); !ok || got != want {
			t.Errorf("%s: got %v, %v", s, got, ok)
		}
	}
	for _, s := range []string{"", "next", "6", "6.x"} {
		if got, ok := parseRelease(s); ok {
			t.Errorf("%q: got %v", s, got)
		}
	}
}
