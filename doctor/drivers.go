package doctor

// driver holds facts about a driver that kernels do not announce. They were read
// from its source.
type driver struct {
	native  version // the first Linux with native XDP
	largest int     // MTU without multi-buffer XDP, 0 if not known
	// largeFallsBack: above that MTU it reports that it has no native XDP, so that
	// mode auto uses generic mode.
	largeFallsBack bool
	halved         bool // XDP needs the same number of further queues for sending, out of one maximum
	lro            lro
	silent         bool // it may report success but never run the program
}

// lro is how a driver reacts if a program is attached while receive offloads merge
// packets.
type lro int

const (
	lroUnknown   lro = iota
	lroRefused       // the attachment fails
	lroFallsBack     // it fails as if there were no native XDP, so that auto uses generic mode
	lroTurnedOff     // the driver turns the offloads off
)

// drivers holds the drivers with native XDP. Kernels before 6.3 do not announce
// native XDP, so the table answers for them. It also has facts that no kernel
// announces.
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

// singlePage is an MTU that fits into one buffer of most drivers.
const singlePage = 3000
