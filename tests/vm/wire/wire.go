// Package wire defines the requests to a virtual machine and its answers, as JSON over a serial
// port.
package wire

// The requests.
const (
	Run       = "run"     // run a command with arguments, and wait for its end
	Start     = "start"   // start a command that keeps running
	Network   = "network" // set up a card with addresses
	Verify    = "verify"  // load a BPF object with these booleans set
	Read      = "read"    // read a file
	MountHost = "mount"   // make the file system of the host visible in HostRoot
	KernelLog = "log"
)

// The file system of the machine that runs the virtual machine. Nothing that is written into HostRoot
// gets to that machine.
const (
	HostTag  = "host"
	HostRoot = "/host"
)

// Request is one request.
type Request struct {
	Do          string   `json:"do"`
	Arguments   []string `json:"arguments,omitempty"`
	Environment []string `json:"environment,omitempty"`
	Directory   string   `json:"directory,omitempty"`
	Root        string   `json:"root,omitempty"` // of the command's file system
}

// Answer is the reply to a request. The first one is empty: it means that the machine is ready.
type Answer struct {
	Output string `json:"output,omitempty"`
	Error  string `json:"error,omitempty"`
}
