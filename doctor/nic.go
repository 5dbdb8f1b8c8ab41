package doctor

import "fmt"

// Refused is the mode of an interface that would accept no program.
const Refused = "refused"

// The modes of other interfaces.
const (
	native  = "native"
	generic = "generic"
)

// interfaceRules judges one interface and returns the expected mode.
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
	x.vethRule(mode)
	return mode
}

// modeRules judges the program that the daemon has attached, or would attach. It
// returns the mode.
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
		x.say("unprotected", Problem, "paraxiald is configured to filter it but does not",
			orElse(f.Note, "paraxiald does not say why."),
			"journalctl -u paraxiald -n 50")
	} else if x.facts.Daemon.Reachable {
		x.say("not-configured", Note, "paraxiald does not filter it", "It is not among its interfaces.",
			"Add it to /etc/paraxial/paraxiald.yaml under interfaces:", "systemctl restart paraxiald")
	}
	if x.programRules(x.nic.Pinned) {
		return Refused
	}
	if x.nic.Pinned != 0 && len(x.nic.Programs) > 0 {
		x.say("left-in-place", Note,
			fmt.Sprintf("the filter of the last run is in place, as program %d in %s mode",
				x.nic.Pinned, x.nic.Programs[0].Mode),
			"It drops packets until its blocks expire.", "paraxiald detach  # if it is no longer wanted")
	}
	mode := x.predict()
	if mode == Refused {
		x.fix("Or set mode: generic for it in /etc/paraxial/paraxiald.yaml, which costs more and undercounts.")
	}
	return mode
}

// hasEthernet reports whether frames begin with the header that the program reads.
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
	why := "The program finds an address only after an Ethernet header: every packet would pass, " +
		"even from blocked sources."
	if f, ours := x.facts.Daemon.filtered(x.nic.Name); ours && f.Protected {
		why = "The program is attached but finds no address: every packet passes, even from blocked sources. " +
			"It is not protected, although paraxiald reports that it is."
	}
	x.say("link-layer", Problem, what, why,
		"Filter the Ethernet interface below it instead. There PPPoE is looked into, and tunnels of GRE, "+
			"IP in IP, VXLAN and Geneve if tunnels in /etc/paraxial/paraxiald.yaml names them.",
		"Of other tunnels only the far end can be blocked there, and sources inside them with nft only.")
}

// programRules adds a finding for each program that is not ours, and reports
// whether there are any.
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

// xdpFlag returns the word of ip-link for a mode.
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

// predict returns the mode that an attachment in mode auto would have.
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
		x.say("mode", Warning, x.driverName()+" may accept a native program but never run it",
			"It reports success even if the backend at the hypervisor leaves no room for XDP. "+
				"Then nothing is filtered.",
			"paraxialctl stats  # once attached: packets must be counted",
			"If none are, set mode: generic for it in /etc/paraxial/paraxiald.yaml.")
		return native
	}
	x.ok("mode", "native XDP is expected of %s", x.driverName())
	return native
}

// fix adds lines to the latest finding.
func (x *examination) fix(lines ...string) {
	last := &x.findings[len(x.findings)-1]
	last.Fix = append(last.Fix, lines...)
}

// tooLarge reports whether the MTU is too large for the buffer of the program. It
// also returns the largest MTU that fits.
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
	x.say("mtu", Problem, fmt.Sprintf("native XDP is likely to be refused because of its MTU of %d", x.nic.MTU),
		fmt.Sprintf("A frame must fit into one buffer, about %d bytes here: %s.", most, cause),
		x.smallerMTU(most))
}

// smallerMTU returns the command that sets the usual MTU, or the largest that fits.
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
	// Before 6.3 no kernel announces it. Drivers in the table with a limit have no
	// multi-buffer XDP. With others the daemon tries.
	return x.driver().largest == 0
}

// sendQueueRule is about drivers that reserve queues for sending with XDP, although
// the filter never sends.
func (x *examination) sendQueueRule() {
	c, name := x.nic.Channels, x.nic.Name
	if c == nil {
		return
	}
	if x.driver().halved && c.Combined*2 > c.MaxCombined {
		half := max(c.MaxCombined/2, 1)
		x.say("queues", Problem,
			fmt.Sprintf("%d of %d queues are in use, and %s needs half of them free for XDP",
				c.Combined, c.MaxCombined, x.nic.Driver),
			"Native XDP is refused otherwise.", fmt.Sprintf("ethtool -L %s combined %d", name, half))
	}
	cpus := x.facts.Host.CPUs
	if x.nic.Driver != "virtio_net" || !x.kernel().before(virtioShares) || c.Combined+cpus <= c.MaxCombined {
		return
	}
	x.say("queues", Problem,
		fmt.Sprintf("%d of %d queues are in use, and virtio_net needs one more for each of %d CPUs",
			c.Combined, c.MaxCombined, cpus),
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
			x.say("offload", Problem, fmt.Sprintf("%s is on, and %s then refuses native XDP", o.flag, x.nic.Driver),
				"The card merges packets before the program can see them.",
				x.turnOff(o.feature, o.flag))
		}
	}
}
