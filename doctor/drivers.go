package doctor

// driver is what is known of a driver by its source, for what kernels do not
// announce.
type driver struct {
	native  version // first with native XDP
	largest int     // MTU without multi-buffer XDP, 0 if not known
	// largeFallsBack: above that it answers as if there were no native XDP, so
	// that auto takes generic.
	largeFallsBack bool
	halved         bool // XDP needs as many queues again for sending, out of the same maximum
	lro            lro
	silent         bool // it may report success and never run the program
}

// lro is what a driver does when a program comes while receive offloads merge
// packets.
type lro int

const (
	lroUnknown   lro = iota
	lroRefused       // the attachment fails
	lroFallsBack     // it fails as if there were no native XDP, so that auto takes generic
	lroTurnedOff     // the driver turns them off
)

// drivers with native XDP. What kernels before 6.3 cannot announce is taken
// from here; so is what none announces.
var drivers = map[string]driver{
	"bnxt_en":       {native: version{4, 11}},
	"bonding":       {native: bondNative},
	"ena":           {native: version{5, 6}, largest: 3498, halved: true},
	"fsl_dpaa2_eth": {native: version{5, 0}},
	"gve":           {native: version{6, 4}, largest: 2032, largeFallsBack: true, halved: true, lro: lroFallsBack},
	"hv_netvsc":     {native: version{5, 6}, largest: 3506, largeFallsBack: true, lro: lroFallsBack},
	"i40e":          {native: version{4, 13}},
	"ice":           {native: version{5, 5}},
	"igb":           {native: version{5, 10}},
	"igc":           {native: version{5, 13}},
	"ixgbe":         {native: version{4, 12}},
	"ixgbevf":       {native: version{4, 17}},
	"mana":          {native: version{5, 17}, largest: 3506, largeFallsBack: true},
	"mlx4_en":       {native: version{4, 8}},
	"mlx5_core":     {native: version{4, 9}, lro: lroRefused},
	"mvneta":        {native: version{5, 5}},
	"mvpp2":         {native: version{5, 9}},
	"nfp":           {native: version{4, 10}},
	"qede":          {native: version{4, 10}},
	"sfc":           {native: version{5, 5}},
	"tun":           {native: version{4, 14}},
	"veth":          {native: version{4, 19}},
	"virtio_net":    {native: version{4, 10}, largest: 3506},
	"vif":           {native: version{5, 9}, largest: 3840, silent: true}, // xen-netfront
	"vmxnet3":       {native: version{6, 6}, largest: 3506, largeFallsBack: true, lro: lroTurnedOff},
}

// singlePage is an MTU that fits the one buffer of most drivers.
const singlePage = 3000
