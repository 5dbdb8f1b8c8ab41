package doctor

import "fmt"

func (x *examination) driverName() string { return orElse(x.nic.Driver, "the driver") }

func (x *examination) driver() driver { return drivers[x.nic.Driver] }

// hasNative asks the kernel, or failing that the table.
func (x *examination) hasNative() bool {
	if x.nic.XDP != nil {
		return x.nic.XDP.Native
	}
	if x.nic.BondMode != "" && !bondModes[x.nic.BondMode] {
		return false
	}
	d, known := drivers[x.nic.Driver]
	return known && !x.kernel().before(d.native)
}

// noNative says why there is no native XDP.
func (x *examination) noNative() {
	d, known := drivers[x.nic.Driver]
	switch {
	case x.nic.Kind == "bond" && known:
		x.genericRule("this bond offers no native XDP, for its mode or its members",
			"ip -details link show "+x.nic.Name+"  # its mode", "ip link show master "+x.nic.Name+"  # its members: paraxialctl doctor says of each whether it has native XDP")
	case x.nic.XDP == nil && known:
		x.genericRule(fmt.Sprintf("%s has native XDP only from Linux %s on", x.nic.Driver, d.native), "Install Linux "+d.native.String()+" or later.")
	case known:
		x.genericRule(x.nic.Driver+" offers no native XDP as it is set up now", "dmesg | grep "+x.nic.Name+"  # the driver may say why")
	case x.nic.XDP == nil:
		x.genericRule(x.driverName()+" is not known to have native XDP", betterCard)
	default:
		x.genericRule(x.driverName()+" has no native XDP", betterCard)
	}
}

const betterCard = "Leave it if floods are small; otherwise use a card whose driver has native XDP, in virtual machines virtio_net."

func (x *examination) genericRule(what string, fix ...string) {
	x.say("generic", Warning, what,
		"Generic mode filters as well, but costs several times as much a packet, and sees packets after GRO has merged them: rates and limits count too few.", fix...)
}

// runsGeneric says why an interface is filtered in generic mode, and how it would
// come to native mode: by itself it does not, since what runs keeps its mode.
func (x *examination) runsGeneric() {
	would := examination{facts: x.facts, nic: x.nic}
	if would.predict() == native {
		x.genericRule("it runs in generic mode, though native XDP is to be expected of " + x.driverName())
	} else {
		x.genericRule("it runs in generic mode: " + would.findings[0].What)
		for _, f := range would.findings {
			x.fix(f.Fix...)
		}
	}
	if x.hasNative() {
		x.fix("Set mode: native for it in /etc/paraxial/paraxiald.yaml; packets pass unfiltered for a moment when it changes.", "systemctl restart paraxiald")
	}
}

// fallsBack tells whether the driver would answer as if it had no native XDP.
func (x *examination) fallsBack() bool {
	d, name := x.driver(), x.nic.Name
	if v := x.nic.Virtio; v != nil && v.GuestOffloads && !v.Switchable {
		x.genericRule("the hypervisor hands over merged packets or empty checksums, and does not let the guest turn that off",
			"Offer the queue control virtqueue and guest offload control (ctrl_guest_offloads), or turn guest_csum, guest_tso4, guest_tso6, guest_ecn and guest_ufo off, at the hypervisor.")
		return true
	}
	if d.lro == lroFallsBack && x.nic.Offloads["rx-lro"].On {
		x.genericRule("receive offload (LRO) is on, with which "+x.nic.Driver+" refuses native XDP", x.turnOff("rx-lro", "lro"))
		return true
	}
	if most, yes := x.tooLarge(); yes && d.largeFallsBack {
		x.genericRule(fmt.Sprintf("its MTU is %d, and above %d %s refuses native XDP", x.nic.MTU, most, x.nic.Driver), x.smallerMTU(most), "Check first that "+name+" needs no larger frames.")
		return true
	}
	return false
}
