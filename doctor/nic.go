package doctor

import "fmt"

// Refused is the mode of an interface that would take no program.
const Refused = "refused"

// The modes to expect of others.
const (
	native  = "native"
	generic = "generic"
)

// interfaceRules judges one interface and returns the mode to expect of it.
func (x *examination) interfaceRules() string {
	if !x.hasEthernet() {
		x.linkLayerRule()
		x.linkRules()
		return Refused
	}
	mode := x.modeRules()
	x.placeRules()
	x.linkRules()
	x.queueRule()
	x.offloadRules(mode)
	return mode
}

// modeRules tells what the daemon has attached, or what would come of it.
func (x *examination) modeRules() string {
	f, ours := x.facts.Daemon.filtered(x.nic.Name)
	if ours && f.Protected {
		x.ok("protected", "filtered by program %d in %s mode", f.ProgramID, f.Mode)
		x.programRules(f.ProgramID)
		if f.Mode == generic {
			x.runsGeneric()
		}
		return f.Mode
	}
	if ours {
		x.say("unprotected", Problem, "paraxiald is to filter it and does not", orElse(f.Note, "paraxiald does not say why."),
			"journalctl -u paraxiald -n 50")
	} else if x.facts.Daemon.Reachable {
		x.say("not-configured", Note, "paraxiald does not filter it", "It is not among its interfaces.",
			"Add it to /etc/paraxial/paraxiald.yaml under interfaces:", "systemctl restart paraxiald")
	}
	if x.programRules(x.nic.Pinned) {
		return Refused
	}
	if x.nic.Pinned != 0 && len(x.nic.Programs) > 0 {
		x.say("left-in-place", Note, fmt.Sprintf("the filter of the last run is in place, as program %d in %s mode", x.nic.Pinned, x.nic.Programs[0].Mode),
			"It goes on dropping what was blocked, until that expires.", "paraxiald detach  # if it is not wanted any more")
	}
	mode := x.predict()
	if mode == Refused {
		x.fix("Or set mode: generic for it in /etc/paraxial/paraxiald.yaml, which costs more and undercounts.")
	}
	return mode
}

// hasEthernet tells whether frames begin with the header that the program reads.
func (x *examination) hasEthernet() bool {
	switch x.nic.LinkLayer {
	case "ether", "loopback", "":
		return true
	}
	return false
}

func (x *examination) linkLayerRule() {
	what := "its packets have no Ethernet header"
	if x.nic.LinkLayer != "none" {
		what += " (" + x.nic.LinkLayer + ")"
	}
	why := "The program reads an address only behind an Ethernet header: every packet would pass, also from blocked sources."
	if f, ours := x.facts.Daemon.filtered(x.nic.Name); ours && f.Protected {
		why = "The program is attached and reads no address: every packet passes, also from blocked sources. What paraxiald says of it as protected is not so."
	}
	x.say("link-layer", Problem, what, why,
		"Filter the Ethernet interface that carries it instead: there the far end of a tunnel can be blocked.",
		"Sources inside a tunnel or PPPoE can be blocked with nft only.")
}

// programRules finds programs that are not ours, and tells whether there are any.
func (x *examination) programRules(our uint32) (foreign bool) {
	for _, p := range x.nic.Programs {
		if p.ID == our && our != 0 {
			continue
		}
		foreign = true
		name := fmt.Sprintf("program %d", p.ID)
		if p.Name != "" {
			name += " (" + p.Name + ")"
		}
		x.say("foreign-program", Problem, fmt.Sprintf("XDP %s is attached in %s mode", name, p.Mode),
			"Paraxial never replaces a program that is not its own, so it cannot filter here.",
			fmt.Sprintf("bpftool prog show id %d  # what it is; stop the service it belongs to", p.ID),
			fmt.Sprintf("ip link set dev %s %s off  # if it was left behind", x.nic.Name, xdpFlag(p.Mode)))
	}
	return foreign
}

// xdpFlag is the word of ip-link for a mode.
func xdpFlag(mode string) string {
	switch mode {
	case native:
		return "xdpdrv"
	case generic:
		return "xdpgeneric"
	case "hardware":
		return "xdpoffload"
	}
	return "xdp"
}

// predict tells what an attachment in mode auto would come to.
func (x *examination) predict() string {
	if !x.hasNative() {
		x.noNative()
		return generic
	}
	if x.fallsBack() {
		return generic
	}
	before := len(x.findings)
	x.largeFrameRule()
	x.sendQueueRule()
	x.refusedOffloadRule()
	if len(x.findings) > before {
		return Refused
	}
	if x.driver().silent {
		x.say("mode", Warning, x.driverName()+" may take a native program and never run it", "It reports success also if the backend at the hypervisor leaves no room for XDP. Then nothing is filtered.",
			"paraxialctl stats  # once attached: packets must be counted", "If none are, set mode: generic for it in /etc/paraxial/paraxiald.yaml.")
		return native
	}
	x.ok("mode", "native XDP is to be expected of %s", x.driverName())
	return native
}

// fix adds to the finding that was made last.
func (x *examination) fix(lines ...string) {
	last := &x.findings[len(x.findings)-1]
	last.Fix = append(last.Fix, lines...)
}

// tooLarge tells whether a frame of the MTU does not fit what the program is
// given, and how much would.
func (x *examination) tooLarge() (most int, yes bool) {
	most = x.driver().largest
	if most == 0 {
		most = singlePage
	}
	return most, x.nic.MTU > most && !x.hasFrags()
}

func (x *examination) largeFrameRule() {
	most, yes := x.tooLarge()
	if !yes {
		return
	}
	cause := "the driver has no multi-buffer XDP"
	if x.kernel().before(multiBuffer) {
		cause = "multi-buffer XDP came with Linux " + multiBuffer.String()
	}
	x.say("mtu", Problem, fmt.Sprintf("native XDP is likely to be refused for its MTU of %d", x.nic.MTU),
		fmt.Sprintf("A frame has to fit one buffer, about %d bytes here: %s.", most, cause),
		x.smallerMTU(most))
}

// smallerMTU is the command for the usual MTU, or the largest that does.
func (x *examination) smallerMTU(most int) string {
	return fmt.Sprintf("ip link set dev %s mtu %d", x.nic.Name, min(most, 1500))
}

func (x *examination) hasFrags() bool {
	switch {
	case x.kernel().before(multiBuffer):
		return false
	case x.nic.XDP != nil:
		return x.nic.XDP.Frags
	case x.nic.Driver == "virtio_net":
		return !x.kernel().before(virtioBuffers)
	}
	// Before 6.3 nobody says. Drivers whose limit is known had one; with others
	// the daemon tries.
	return x.driver().largest == 0
}

// sendQueueRule is about drivers that set queues aside for sending, which the
// filter never does.
func (x *examination) sendQueueRule() {
	c, name := x.nic.Channels, x.nic.Name
	if c == nil {
		return
	}
	if x.driver().halved && c.Combined*2 > c.MaxCombined {
		half := max(c.MaxCombined/2, 1)
		x.say("queues", Problem, fmt.Sprintf("%d of %d queues are in use, and %s needs half of them free for XDP", c.Combined, c.MaxCombined, x.nic.Driver),
			"Native XDP is refused otherwise.", fmt.Sprintf("ethtool -L %s combined %d", name, half))
	}
	cpus := x.facts.Host.CPUs
	if x.nic.Driver != "virtio_net" || !x.kernel().before(virtioShares) || c.Combined+cpus <= c.MaxCombined {
		return
	}
	x.say("queues", Problem, fmt.Sprintf("%d of %d queues are in use, and virtio_net needs one more for each of %d CPUs", c.Combined, c.MaxCombined, cpus),
		"Before Linux "+virtioShares.String()+" native XDP is refused otherwise.")
	if free := c.MaxCombined - cpus; free > 0 {
		x.fix(fmt.Sprintf("ethtool -L %s combined %d", name, free))
		return
	}
	x.fix(fmt.Sprintf("Give it %d queues at the hypervisor.", 2*cpus))
}

func (x *examination) refusedOffloadRule() {
	if x.driver().lro != lroRefused {
		return
	}
	for _, o := range merging {
		if x.nic.Offloads[o.feature].On {
			x.say("offload", Problem, fmt.Sprintf("%s is on, with which %s refuses native XDP", o.flag, x.nic.Driver), "The card merges packets before the program could see them.",
				x.turnOff(o.feature, o.flag))
		}
	}
}
