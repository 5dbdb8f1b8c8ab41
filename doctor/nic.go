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
			x.genericRule("it runs in generic mode")
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
	return x.predict()
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
		x.genericRule(x.whyNoNative())
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
	x.ok("mode", "native XDP is to be expected of %s", x.driverName())
	return native
}

func (x *examination) driverName() string { return orElse(x.nic.Driver, "the driver") }

func (x *examination) driver() driver { return drivers[x.nic.Driver] }

// hasNative asks the kernel, or failing that the table.
func (x *examination) hasNative() bool {
	if x.nic.XDP != nil {
		return x.nic.XDP.Native
	}
	d, known := drivers[x.nic.Driver]
	return known && !x.kernel().before(d.native)
}

func (x *examination) whyNoNative() string {
	switch d, known := drivers[x.nic.Driver]; {
	case x.nic.XDP == nil && known:
		return fmt.Sprintf("%s has native XDP only from Linux %s on", x.nic.Driver, d.native)
	case x.nic.XDP == nil:
		return x.driverName() + " is not known to have native XDP"
	case known:
		return x.nic.Driver + " offers no native XDP as it is set up now"
	}
	return x.driverName() + " has no native XDP"
}

func (x *examination) genericRule(what string) {
	x.say("generic", Warning, what,
		"Generic mode filters as well, but costs several times as much a packet, and sees packets after GRO has merged them: rates and limits count too few.")
}

// fallsBack tells whether the driver would answer as if it had no native XDP.
func (x *examination) fallsBack() bool {
	name := x.nic.Name
	if v := x.nic.Virtio; v != nil && v.GuestOffloads && !v.Switchable {
		x.genericRule("the hypervisor hands over merged packets or empty checksums, and does not let the guest turn that off")
		x.fix("Offer the queue control virtqueue and guest offload control (ctrl_guest_offloads), or turn guest_csum, guest_tso4, guest_tso6, guest_ecn and guest_ufo off, at the hypervisor.")
		return true
	}
	if x.driver().lro == lroFallsBack && x.nic.Offloads["rx-lro"].On {
		x.genericRule("receive offload (LRO) is on, with which " + x.nic.Driver + " refuses native XDP")
		x.fix("ethtool -K " + name + " lro off")
		return true
	}
	return false
}

// fix adds to the finding that was made last.
func (x *examination) fix(lines ...string) {
	last := &x.findings[len(x.findings)-1]
	last.Fix = append(last.Fix, lines...)
}

// largeFrameRule asks whether a frame of the MTU fits what the program is given.
func (x *examination) largeFrameRule() {
	mtu := x.nic.MTU
	most := x.driver().largest
	if most == 0 {
		most = singlePage
	}
	if mtu <= most || x.hasFrags() {
		return
	}
	cause := "the driver has no multi-buffer XDP"
	if x.kernel().before(multiBuffer) {
		cause = "multi-buffer XDP came with Linux " + multiBuffer.String()
	}
	x.say("mtu", Problem, fmt.Sprintf("native XDP is likely to be refused for its MTU of %d", mtu),
		fmt.Sprintf("A frame has to fit one buffer, about %d bytes here: %s.", most, cause),
		fmt.Sprintf("ip link set dev %s mtu %d", x.nic.Name, min(most, 1500)),
		"Or set mode: generic for it in /etc/paraxial/paraxiald.yaml.")
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
	// Before 6.3 nobody says; the daemon tries.
	return true
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
	x.fix(fmt.Sprintf("Give it %d queues at the hypervisor, or set mode: generic for it.", 2*cpus))
}

func (x *examination) refusedOffloadRule() {
	if x.driver().lro != lroRefused {
		return
	}
	for offload, flag := range map[string]string{"rx-lro": "lro", "rx-gro-hw": "rx-gro-hw"} {
		if x.nic.Offloads[offload].On {
			x.say("offload", Problem, fmt.Sprintf("%s is on, with which %s refuses native XDP", flag, x.nic.Driver), "The card merges packets before the program could see them.",
				fmt.Sprintf("ethtool -K %s %s off", x.nic.Name, flag))
		}
	}
}
