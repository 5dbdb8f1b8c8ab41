package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/paraxial/paraxial/tests/lab"
	"github.com/paraxial/paraxial/tests/testenv"
	"github.com/paraxial/paraxial/tests/vm/wire"
)

// deviceModules are the modules of the devices, and those that show the file system of this machine.
var deviceModules = []string{
	"9pnet_virtio", "9p", "overlay", "xfrm_user", "nfnetlink",
	"veth", "8021q", "ip_gre", "ipip", "sit", "vxlan", "geneve", "wireguard", "ppp_async", "pppoe",
}

// deviceTests are the tests of tests/e2e that need these devices.
var deviceTests = []string{"TestTunnelsThatEndHere", "TestPPPoE", "TestWireGuard"}

// devices runs them, with the programs that this machine has. So the machine's whole file system is
// visible in the virtual one, and cannot be changed by it.
func (c *cell) devices(*row) error {
	repository, err := os.Getwd()
	if err != nil {
		return err
	}
	if _, err := c.ask(wire.Request{Do: wire.MountHost}); err != nil {
		return err
	}
	out, err := c.ask(wire.Request{
		Do: wire.Run,
		Arguments: []string{filepath.Join(c.dir, "e2e.test"), "-test.v", "-test.parallel=2",
			"-test.run=^(" + strings.Join(deviceTests, "|") + ")$"},
		Root: wire.HostRoot, Directory: filepath.Join(repository, "tests", "e2e"),
		Environment: []string{
			"PATH=" + os.Getenv("PATH") + ":/usr/sbin:/sbin", "HOME=/root",
			lab.BinariesVariable + "=" + c.bin, testenv.RequireAll + "=1", testenv.AllDevices + "=1",
		},
	})
	if logErr := os.WriteFile(filepath.Join(c.dir, "devices.log"), []byte(out), 0o644); logErr != nil {
		return errors.Join(err, logErr)
	}
	if err != nil {
		return fmt.Errorf("%w\n%s", err, failures(out))
	}
	for _, name := range deviceTests {
		if !strings.Contains(out, "--- PASS: "+name+" (") {
			return fmt.Errorf("%s did not pass:\n%s", name, failures(out))
		}
	}
	return nil
}
