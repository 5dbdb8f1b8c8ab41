package main

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A report is the result of one run. Its JSON is for tools.
type report struct {
	Machine machine      `json:"machine"`
	Quick   bool         `json:"quick"`
	Seconds float64      `json:"seconds"` // duration of the run
	Memory  []latencyRow `json:"memory"`
	Packets []packetRow  `json:"packets"`
	Account []accountRow `json:"account"`
	Veth    []vethRow    `json:"veth"`
	Changes []changesRow `json:"changes"`
	Load    []loadRow    `json:"load"`
	Maps    []mapCost    `json:"maps"`
	Block   *blockRow    `json:"block"`
}

// A machine describes where and when the figures were measured.
type machine struct {
	CPU    string `json:"cpu"`
	CPUs   int    `json:"cpus"`
	Kernel string `json:"kernel"`
	Date   string `json:"date"`
}

func thisMachine() (machine, error) {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return machine{}, fmt.Errorf("read the kernel's version: %w", err)
	}
	b, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return machine{}, fmt.Errorf("read the processor's name: %w", err)
	}
	m := machine{
		CPU: runtime.GOARCH, CPUs: runtime.NumCPU(),
		Kernel: unix.ByteSliceToString(u.Release[:]), Date: time.Now().UTC().Format(time.DateOnly),
	}
	// Keep only the part before the first dash: the rest names the build.
	m.Kernel, _, _ = strings.Cut(m.Kernel, "-")
	for line := range strings.Lines(string(b)) {
		if name, ok := strings.CutPrefix(line, "model name"); ok {
			m.CPU = strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(name), ":"))
			break
		}
	}
	return m, nil
}

// find returns the row of one list and traffic.
func (r *report) find(m mix, entries int, traffic string) (packetRow, bool) {
	for _, row := range r.Packets {
		if row.Mix == m && row.Entries == entries && row.Traffic == traffic && !row.TTL {
			return row, true
		}
	}
	return packetRow{}, false
}
