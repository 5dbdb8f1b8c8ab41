package doctor

import "fmt"

// bondModes in which a bond takes a program.
var bondModes = map[string]bool{"balance-rr": true, "active-backup": true, "balance-xor": true, "802.3ad": true}

// placeRules is about where an interface stands among others.
func (x *examination) placeRules() {
	i := x.nic
	switch i.Kind {
	case "vlan", "macvlan", "macvtap", "ipvlan":
		x.say("stacked", Warning, fmt.Sprintf("it is a %s on %s", i.Kind, orElse(i.Lower, "another interface")),
			"It has generic XDP at best. A program on the interface below sees these frames too, also with VLAN tags, and before the stack spends anything on them.",
			"Filter "+orElse(i.Lower, "the interface below")+" instead.")
	case "bridge", "team", "openvswitch":
		x.say("stacked", Warning, "it is a "+i.Kind, "It has no native XDP, and a program on it sees only what its ports hand up to this host.",
			"Filter its ports instead: ip link show master "+i.Name)
	case "bond":
		x.bondRule()
	}
	switch i.MasterKind {
	case "bond":
		x.say("member", Warning, "it is a member of "+i.Master, "A program on a member and one on its bond exclude each other, and the bond needs the members to be free.",
			"Filter "+i.Master+" instead, or every member and never the bond.")
	case "bridge", "team", "openvswitch":
		x.say("member", Note, fmt.Sprintf("it is a port of %s %s", i.MasterKind, i.Master), "The program sees everything that arrives here, also what is forwarded to others.")
	}
}

func (x *examination) bondRule() {
	switch {
	case x.kernel().before(bondNative):
		x.say("stacked", Warning, "it is a bond, and those have native XDP from Linux "+bondNative.String()+" on", "Generic mode costs more and counts merged packets.",
			"Filter every member instead: ip link show master "+x.nic.Name)
	case x.nic.BondMode != "" && !bondModes[x.nic.BondMode]:
		x.say("stacked", Warning, "it is a bond in mode "+x.nic.BondMode, "Native XDP is refused in this mode; it runs in balance-rr, active-backup, balance-xor and 802.3ad.",
			"Filter every member instead: ip link show master "+x.nic.Name)
	default:
		x.ok("bond", "it is a bond: the program is put on every member by the kernel")
	}
}

func (x *examination) linkRules() {
	switch {
	case !x.nic.Up:
		x.say("link", Warning, "it is down", "Nothing arrives. Some drivers take a program only when up.", "ip link set dev "+x.nic.Name+" up")
	case !x.nic.Carrier:
		x.say("link", Warning, "it has no carrier", "Nothing arrives: check cable, switch port or the other end.", "ip -s link show "+x.nic.Name)
	default:
		x.ok("link", "it is up, with an MTU of %d", x.nic.MTU)
	}
}

// queueRule is about what one CPU can filter.
func (x *examination) queueRule() {
	c, cpus := x.nic.Channels, x.facts.Host.CPUs
	if c == nil || c.Receiving() == 0 {
		return
	}
	queues := c.Receiving()
	if queues > 1 || cpus == 1 {
		x.ok("channels", "it receives on %d queue(s), with %d CPU(s)", queues, cpus)
		return
	}
	why := "Each queue is served by one CPU at a time, so one CPU filters all of a flood."
	// Some drivers need as many queues again.
	most := c.MaxCombined
	if x.driver().halved {
		most /= 2
	}
	if most > 1 && c.Combined > 0 {
		x.say("channels", Warning, fmt.Sprintf("it receives on one queue of %d, with %d CPUs", c.MaxCombined, cpus), why,
			fmt.Sprintf("ethtool -L %s combined %d", x.nic.Name, min(most, cpus)))
		return
	}
	x.say("channels", Note, fmt.Sprintf("it has one receive queue, with %d CPUs", cpus), why, "Give it more queues where it comes from (hypervisor, ip link … numrxqueues), if it can have them.")
}

// merging are the offloads by which a card merges packets, and how ethtool -K
// calls them.
var merging = []struct{ feature, flag string }{{"rx-lro", "lro"}, {"rx-gro-hw", "rx-gro-hw"}}

// turnOff is the command that turns an offload off, if there is one.
func (x *examination) turnOff(feature, flag string) string {
	if x.nic.Offloads[feature].Fixed {
		return fmt.Sprintf("The driver does not let %s be turned off: see the settings of the card or the hypervisor.", flag)
	}
	return fmt.Sprintf("ethtool -K %s %s off", x.nic.Name, flag)
}

// offloadRules is about what happens to packets before the program sees them.
func (x *examination) offloadRules(mode string) {
	on := func(name string) bool { return x.nic.Offloads[name].On }
	if mode == native && x.driver().lro == lroUnknown {
		for _, o := range merging {
			// A virtio device that can turns it off by itself.
			if on(o.feature) && x.nic.Virtio == nil {
				x.say("offload", Warning, o.flag+" is on", "The card merges packets before the program could see them. Some drivers refuse XDP then, others turn it off by themselves.",
					x.turnOff(o.feature, o.flag))
			}
		}
	}
	if mode == generic && on("rx-gro") {
		x.say("offload", Note, "GRO is on, in generic mode", "The program sees merged packets, so that packet rates are too low. Bytes are right. Turning GRO off costs throughput.",
			fmt.Sprintf("ethtool -K %s gro off", x.nic.Name))
	}
	if on("rx-vlan-hw-parse") {
		x.say("vlan-offload", Note, "the card takes VLAN tags off", "The program sees the frames without tag and filters them all the same; only captures of what it sees lack the tag.")
	}
}
