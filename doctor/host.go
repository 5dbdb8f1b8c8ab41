package doctor

import (
	"fmt"
	"slices"
	"strings"
)

func (x *examination) hostRules() {
	x.daemonRules()
	x.kernelRules()
	x.sysctlRules()
	x.fileSystemRules()
	x.clockRule()
	x.tunnelRule()
	for _, u := range x.facts.Unseen {
		x.say("unseen", Note, "could not see "+u.What+": "+u.Cause, "The report does not cover it.")
	}
}

func (x *examination) daemonRules() {
	d := x.facts.Daemon
	switch {
	case d.Forbidden:
		x.say("daemon", Note, "paraxiald could not be asked: "+d.Error, "It is not known whether it filters.",
			"Run this as root.")
		return
	case !d.Reachable:
		x.say("daemon", Warning, d.Error,
			"Current blocks stay and expire on time, but nothing can be changed or repaired.",
			"systemctl start paraxiald", "journalctl -u paraxiald -n 50")
		x.rootRule()
		return
	}
	x.ok("daemon", "paraxiald %s answers", d.Version)
	if len(d.Interfaces) == 0 {
		x.say("no-interface", Problem, "paraxiald runs without an interface", "Nothing is filtered.",
			"Add the interface to /etc/paraxial/paraxiald.yaml under interfaces:", "systemctl restart paraxiald")
	}
	for _, f := range d.Interfaces {
		if !x.facts.examined(f.Name) && !f.Protected {
			x.say("unprotected", Problem, f.Name+" is not filtered", orElse(f.Note, "paraxiald does not say why."),
				"journalctl -u paraxiald -n 50")
		}
	}
	x.capabilityRule()
	x.memlockRule()
}

func (f Facts) examined(name string) bool {
	for _, i := range f.Interfaces {
		if i.Name == name {
			return true
		}
	}
	return false
}

// capabilities are those that the daemon needs, by number.
var capabilities = []struct {
	bit  uint
	name string
}{{12, "CAP_NET_ADMIN"}, {38, "CAP_PERFMON"}, {39, "CAP_BPF"}}

// sysAdmin is CAP_SYS_ADMIN, which includes CAP_BPF and CAP_PERFMON.
const sysAdmin = 21

func (x *examination) capabilityRule() {
	have := x.facts.Daemon.Capabilities
	if have == nil {
		return
	}
	missing := missingCapabilities(*have)
	if len(missing) == 0 {
		x.ok("capabilities", "paraxiald has the capabilities it needs")
		return
	}
	x.say("capabilities", Problem, "paraxiald runs without "+strings.Join(missing, ", "),
		"It cannot load or attach its program.",
		"Add them to CapabilityBoundingSet= and AmbientCapabilities= of the unit.", restartUnit)
}

// missingCapabilities returns those that the daemon needs and that are not in have.
func missingCapabilities(have uint64) (missing []string) {
	for _, c := range capabilities {
		replaced := c.bit != 12 && have&(1<<sysAdmin) != 0
		if have&(1<<c.bit) == 0 && !replaced {
			missing = append(missing, c.name)
		}
	}
	return missing
}

// rootRule is about root in a container, which may lack capabilities.
func (x *examination) rootRule() {
	if x.facts.Root == nil {
		return
	}
	if missing := missingCapabilities(*x.facts.Root); len(missing) > 0 {
		x.say("root", Warning, "root has no "+strings.Join(missing, ", ")+" here",
			"A paraxiald that is started from here cannot load or attach its program. "+
				"One that systemd starts has capabilities of its own.",
			"In a container, add to its start: --cap-add=BPF --cap-add=PERFMON --cap-add=NET_ADMIN")
	}
}

// memlockEnough is more than the maps with a million entries need.
const memlockEnough = 1 << 30

func (x *examination) memlockRule() {
	limit := x.facts.Daemon.Memlock
	if limit == nil || !x.kernel().before(memoryCgroup) || *limit >= memlockEnough {
		return
	}
	x.say("memlock", Problem, fmt.Sprintf("paraxiald may lock only %s of memory", size(*limit)),
		"Before Linux "+memoryCgroup.String()+" BPF maps count as locked memory: they cannot be created or grow.",
		"Set LimitMEMLOCK=infinity in the unit.", restartUnit)
}

const restartUnit = "systemctl daemon-reload && systemctl restart paraxiald"

// The space on disk that an import of a million prefixes needs, and that any change
// needs.
const (
	roomy    = 512 << 20
	tooSmall = 16 << 20
)

func (x *examination) fileSystemRules() {
	if b := x.facts.Host.BPFFS; b.BPF {
		x.ok("bpffs", "a bpffs is at %s", b.Path)
	} else {
		x.say("bpffs", Problem, "no bpffs is mounted for "+b.Asked,
			"The filter is pinned there, so that it outlives the daemon: paraxiald will not start.",
			"mount -t bpf -o mode=0700 bpf /sys/fs/bpf")
	}
	x.pinRule()
	d := x.facts.Host.StateDir
	left := fmt.Sprintf("%s has %s left on its disk", d.Asked, size(d.Free))
	switch {
	case d.Path == "":
	case d.ReadOnly:
		x.say("state-dir", Problem, d.Asked+" is on a read-only file system",
			"Changes cannot be saved, so none is accepted. Current blocks stay in force.",
			"mount -o remount,rw "+d.Path, "dmesg | tail  # says why it is read-only")
	case d.Free < tooSmall:
		x.say("state-dir", Problem, left, "Changes that cannot be saved are refused.", "df -h "+d.Path)
	case d.Free < roomy:
		x.say("state-dir", Warning, left, "An import of a million prefixes takes about 300 MB.", "df -h "+d.Path)
	default:
		x.ok("state-dir", "%s has %s free", d.Asked, size(d.Free))
	}
}

// pinRule is about directories in which other users could remove the pins.
func (x *examination) pinRule() {
	for _, d := range x.facts.Host.BPFFS.Dirs {
		why := "Other users could remove the filter's pins: paraxiald will not start."
		switch {
		case d.UID != 0:
			x.say("bpffs-access", Problem, fmt.Sprintf("%s belongs to uid %d, not to root", d.Path, d.UID), why,
				fmt.Sprintf("chown root: %[1]s && chmod go-rwx %[1]s", d.Path))
		case d.Mode&0o022 != 0:
			x.say("bpffs-access", Problem, fmt.Sprintf("other users may write to %s (mode %04o)", d.Path, d.Mode), why,
				"chmod go-rwx "+d.Path, "At boot, mount it with: mount -t bpf -o mode=0700 bpf /sys/fs/bpf")
		}
	}
}

func (x *examination) clockRule() {
	synced := x.facts.Host.ClockSynced
	switch {
	case synced == nil:
	case *synced:
		x.ok("clock", "the clock is synchronised")
	default:
		x.say("clock", Warning, "the clock is not synchronised",
			"Blocks expire by the boot clock and are not affected. "+
				"Displayed times may be wrong, and so may the time that is left after a reboot.",
			"timedatectl set-ntp true")
	}
}

func orElse(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

func size(n uint64) string {
	switch {
	case n >= 1<<30:
		return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
	case n >= 1<<20:
		return fmt.Sprintf("%d MiB", n>>20)
	}
	return fmt.Sprintf("%d KiB", n>>10)
}

// tunnelRule names the tunnels that the program does not look into.
func (x *examination) tunnelRule() {
	const most = 10
	all := slices.DeleteFunc(slices.Clone(x.facts.Host.Tunnels), func(t Tunnel) bool {
		d := x.facts.Daemon
		return len(d.LooksInto) > 0 && !slices.Contains(d.UnseenTunnels, t.Name)
	})
	if len(all) == 0 {
		return
	}
	var names []string
	for _, t := range all[:min(len(all), most)] {
		names = append(names, fmt.Sprintf("%s (%s)", t.Name, t.Kind))
	}
	list := strings.Join(names, ", ")
	if more := len(all) - most; more > 0 {
		list += fmt.Sprintf(" and %d more", more)
	}
	x.say("tunnel", Note, "tunnels end on this host: "+list,
		"The filter on the interface below sees their outer packets only. A source inside a tunnel is "+
			"neither blocked nor counted there, whatever list it is on.",
		"Add tunnels of GRE, IP in IP, VXLAN and Geneve to tunnels in /etc/paraxial/paraxiald.yaml: gre, ipip, sit, "+
			"vxlan:PORT, geneve:PORT.",
		"For others, block the other end, which cuts off all of the tunnel, or block sources inside it with nft.",
		"systemctl restart paraxiald")
}
