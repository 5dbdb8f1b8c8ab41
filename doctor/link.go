package doctor

import "fmt"

// bondModes are the modes in which a bond accepts a program.
var bondModes = map[string]bool{"balance-rr": true, "active-backup": true, "balance-xor": true, "802.3ad": true}

// placeRules is about the interfaces above and below an interface.
func (x *examination) placeRules() {
	i := x.nic
	switch i.Kind {
	case "vlan", "macvlan", "macvtap", "ipvlan":
		x.say("stacked", Warning, fmt.Sprintf("it is a %s on %s", i.Kind, orElse(i.Lower, "another interface")),
			"It has generic XDP at best. A program on the interface below sees these frames too, even with "+
				"VLAN tags, and before the stack has spent time on them.",
			"Filter "+orElse(i.Lower, "the interface below")+" instead.")
	case "bridge", "team", "openvswitch":
		x.say("stacked", Warning, "it is a "+i.Kind,
			"It has no native XDP, and a program on it sees only packets that its ports pass up to this host.",
			"Filter its ports instead: ip link show master "+i.Name)
	case "bond":
		x.bondRule()
	}
	switch i.MasterKind {
	case "bond":
		x.say("member", Warning, "it is a member of "+i.Master,
			"A member and its bond cannot both have a program: the bond needs members without one.",
			"Filter "+i.Master+" instead, or filter every member and not the bond.")
	case "bridge", "team", "openvswitch":
		x.say("member", Note, fmt.Sprintf("it is a port of %s %s", i.MasterKind, i.Master),
			"The program sees every packet that arrives here, including those that are forwarded to others.")
	}
}

func (x *examination) bondRule() {
	switch {
	case x.kernel().before(bondNative):
		x.say("stacked", Warning, "it is a bond, and bonds have native XDP from Linux "+bondNative.String()+" on",
			"Generic mode costs more and counts merged packets.",
			"Filter every member instead: ip link show master "+x.nic.Name)
	case x.nic.BondMode != "" && !bondModes[x.nic.BondMode]:
		x.say("stacked", Warning, "it is a bond in mode "+x.nic.BondMode,
			"This mode refuses native XDP; balance-rr, active-backup, balance-xor and 802.3ad accept it.",
			"Filter every member instead: ip link show master "+x.nic.Name)
	default:
		x.ok("bond", "it is a bond: the kernel attaches the program to every member")
	}
}

func (x *examination) linkRules() {
	switch {
	case !x.nic.Up:
		x.say("link", Warning, "it is down", "Nothing arrives. Some drivers accept a program only when up.",
			"ip link set dev "+x.nic.Name+" up")
	case !x.nic.Carrier:
		x.say("link", Warning, "it has no carrier", "Nothing arrives: check cable, switch port or the other end.",
			"ip -s link show "+x.nic.Name)
	default:
		x.ok("link", "it is up, with an MTU of %d", x.nic.MTU)
	}
}

// queueRule is about the number of CPUs that filter.
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
	why := "Each queue is served by one CPU at a time, so a single CPU filters a flood."
	// Some drivers need a further queue for each.
	most := c.MaxCombined
	if x.driver().halved {
		most /= 2
	}
	if most > 1 && c.Combined > 0 {
		x.say("channels", Warning, fmt.Sprintf("it receives on one queue of %d, with %d CPUs", c.MaxCombined, cpus),
			why,
			fmt.Sprintf("ethtool -L %s combined %d", x.nic.Name, min(most, cpus)))
		return
	}
	x.say("channels", Note, fmt.Sprintf("it has one receive queue, with %d CPUs", cpus), why,
		"Give it more queues where it is created (hypervisor, ip link … numrxqueues), if that is possible.")
}

// merging are the offloads by which a card merges packets, with their names for
// ethtool -K.
var merging = []struct{ feature, flag string }{{"rx-lro", "lro"}, {"rx-gro-hw", "rx-gro-hw"}}

// turnOff returns the command that turns an offload off, or an advice if the
// driver has none.
func (x *examination) turnOff(feature, flag string) string {
	if x.nic.Offloads[feature].Fixed {
		return fmt.Sprintf("The driver does not allow turning %s off: see the settings of the card or the hypervisor.",
			flag)
	}
	return fmt.Sprintf("ethtool -K %s %s off", x.nic.Name, flag)
}

// offloadRules is about offloads that change packets before the program sees them.
func (x *examination) offloadRules(mode string) {
	on := func(name string) bool { return x.nic.Offloads[name].On }
	if mode == native && x.driver().lro == lroUnknown {
		for _, o := range merging {
			// A virtio device turns it off by itself if it can.
			if on(o.feature) && x.nic.Virtio == nil {
				x.say("offload", Warning, o.flag+" is on",
					"The card merges packets before the program can see them. "+
						"Some drivers then refuse XDP, others turn it off by themselves.",
					x.turnOff(o.feature, o.flag))
			}
		}
	}
	if mode == generic && on("rx-gro") {
		x.say("offload", Note, "GRO is on, in generic mode",
			"The program sees merged packets, so packet rates are too low. Byte rates are right. "+
				"Turning GRO off costs throughput.",
			fmt.Sprintf("ethtool -K %s gro off", x.nic.Name))
	}
	if on("rx-vlan-hw-parse") {
		x.say("vlan-offload", Note, "the card removes VLAN tags",
			"The program filters frames without their tag just the same. Only captures of its input lack the tag.")
	}
}

// vethRule is about transfers into this host over a veth.
func (x *examination) vethRule(mode string) {
	if mode != native || x.nic.Kind != "veth" {
		return
	}
	x.say("veth", Note, "TCP into this host is slower over a veth in native mode",
		"The kernel then turns segmentation offload (TSO) of the other end off: a transfer fell from 4 to 1.4 Gbit/s, "+
			"and reached 7 in generic mode. Native mode drops floods at less cost, and counts packets before they "+
			"are merged. So auto uses native mode.",
		"Set mode: generic for it in /etc/paraxial/paraxiald.yaml if transfers matter more to you than floods.",
		"systemctl restart paraxiald")
}
