// Package wire is what a virtual machine is asked to do, and what it answers, as
// JSON over a serial port.
package wire

// The requests.
const (
	Run       = "run"     // a command with arguments, to its end
	Start     = "start"   // a command that goes on
	Network   = "network" // a card and its addresses: set it up
	Verify    = "verify"  // a BPF object: load it, with these booleans set
	Read      = "read"    // a file
	KernelLog = "log"
)

// Request is one.
type Request struct {
	Do          string   `json:"do"`
	Arguments   []string `json:"arguments,omitempty"`
	Environment []string `json:"environment,omitempty"`
	Directory   string   `json:"directory,omitempty"`
}

// Answer is what comes back: the first one, which is empty, when the machine is
// ready.
type Answer struct {
	Output string `json:"output,omitempty"`
	Error  string `json:"error,omitempty"`
}
