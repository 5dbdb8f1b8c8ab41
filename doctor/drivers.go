package doctor

// driver is what is known of a driver by its source, for what kernels do not
// announce.
type driver struct {
	native  version // first with native XDP
	largest int     // MTU without multi-buffer XDP, 0 if not known
	halved  bool    // XDP needs as many queues again for sending, out of the same maximum
	lro     lro
}

// lro is what a driver does when a program comes while receive offloads merge
// packets.
type lro int

const (
	lroUnknown   lro = iota
	lroRefused       // the attachment fails
	lroFallsBack     // it fails as if there were no native XDP, so that auto takes generic
)

// drivers with native XDP. What kernels before 6.3 cannot announce is taken
// from here; so is what none announces.
var drivers = map[string]driver{
	"bnxt_en":    {native: version{4, 11}},
	"bonding":    {native: bondNative},
	"dpaa2-eth":  {native: version{5, 0}},
	"ena":        {native: version{5, 6}, largest: 3498, halved: true},
	"gve":        {native: version{6, 4}, halved: true, lro: lroFallsBack},
	"hv_netvsc":  {native: version{5, 6}, lro: lroFallsBack},
	"i40e":       {native: version{4, 13}},
	"ice":        {native: version{5, 5}},
	"igb":        {native: version{5, 10}},
	"igc":        {native: version{5, 13}},
	"ixgbe":      {native: version{4, 12}},
	"ixgbevf":    {native: version{4, 17}},
	"mlx4_en":    {native: version{4, 8}},
	"mlx5_core":  {native: version{4, 9}, lro: lroRefused},
	"mvneta":     {native: version{5, 5}},
	"mvpp2":      {native: version{5, 9}},
	"nfp":        {native: version{4, 10}},
	"qede":       {native: version{4, 10}},
	"sfc":        {native: version{5, 5}},
	"tun":        {native: version{4, 14}},
	"veth":       {native: version{4, 19}},
	"virtio_net": {native: version{4, 10}, largest: 3506},
	"vmxnet3":    {native: version{6, 6}, lro: lroFallsBack},
}

// singlePage is an MTU that fits the one buffer of most drivers.
const singlePage = 3000
