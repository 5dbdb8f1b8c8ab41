package doctor

import "fmt"

func (x *examination) driverName() string { return orElse(x.nic.Driver, "the driver") }

func (x *examination) driver() driver { return drivers[x.nic.Driver] }

// hasNative reports whether the interface has native XDP. The table answers if the
// kernel cannot.
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

// noNative adds the finding why there is no native XDP.
func (x *examination) noNative() {
	d, known := drivers[x.nic.Driver]
	switch {
	case x.nic.Kind == "bond" && known:
		x.genericRule("this bond offers no native XDP, because of its mode or its members",
			"ip -details link show "+x.nic.Name+"  # its mode",
			"ip link show master "+x.nic.Name+"  # its members; paraxialctl doctor shows which have native XDP")
	case x.nic.XDP == nil && known:
		x.genericRule(fmt.Sprintf("%s has native XDP only from Linux %s on", x.nic.Driver, d.native),
			"Install Linux "+d.native.String()+" or later.")
	case known:
		x.genericRule(x.nic.Driver+" offers no native XDP with its current settings",
			"dmesg | grep "+x.nic.Name+"  # the driver may say why")
	case x.nic.XDP == nil:
		x.genericRule(x.driverName()+" is not known to have native XDP", betterCard)
	default:
		x.genericRule(x.driverName()+" has no native XDP", betterCard)
	}
}

const betterCard = "Leave it if floods are small. Otherwise use a card whose driver has native XDP; " +
	"in virtual machines, virtio_net."

func (x *examination) genericRule(what string, fix ...string) {
	x.say("generic", Warning, what,
		"Generic mode also filters, but a packet costs several times as much. "+
			"It sees packets after GRO has merged them, so rates and limits count too few.", fix...)
}

// runsGeneric adds the finding why an interface is filtered in generic mode, and
// how to change that. An attached program keeps its mode, so native mode does not
// come by itself.
func (x *examination) runsGeneric() {
	would := examination{facts: x.facts, nic: x.nic}
	if would.predict() == native {
		x.genericRule("it runs in generic mode, although native XDP is expected of " + x.driverName())
	} else {
		x.genericRule("it runs in generic mode: " + would.findings[0].What)
		for _, f := range would.findings {
			x.fix(f.Fix...)
		}
	}
	if x.hasNative() {
		x.fix("Set mode: native for it in /etc/paraxial/paraxiald.yaml. "+
			"During the change packets pass unfiltered for a moment.", "systemctl restart paraxiald")
	}
}

// fallsBack reports whether the driver would act as if it had no native XDP, and
// adds the finding why.
func (x *examination) fallsBack() bool {
	d, name := x.driver(), x.nic.Name
	if v := x.nic.Virtio; v != nil && v.GuestOffloads && !v.Switchable {
		x.genericRule("the hypervisor delivers merged packets or empty checksums, and the guest cannot turn that off",
			"At the hypervisor, offer the control virtqueue and guest offload control (ctrl_guest_offloads), "+
				"or turn off guest_csum, guest_tso4, guest_tso6, guest_ecn and guest_ufo.")
		return true
	}
	if d.lro == lroFallsBack && x.nic.Offloads["rx-lro"].On {
		x.genericRule("receive offload (LRO) is on, and "+x.nic.Driver+" then refuses native XDP",
			x.turnOff("rx-lro", "lro"))
		return true
	}
	if most, yes := x.tooLarge(); yes && d.largeFallsBack {
		x.genericRule(fmt.Sprintf("its MTU is %d, and above %d %s refuses native XDP", x.nic.MTU, most, x.nic.Driver),
			x.smallerMTU(most), "Check first that "+name+" needs no larger frames.")
		return true
	}
	return false
}
