// Command paraxialctl drives paraxiald over its Unix socket.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/paraxial/paraxial/control"
	"github.com/paraxial/paraxial/doctor/probe"
)

func main() {
	// A second signal ends the program at once.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, os.Args[1:], environment{
		stdin:  os.Stdin,
		stdout: os.Stdout,
		stderr: os.Stderr,
		getenv: os.Getenv,
		now:    time.Now,
		probe:  probe.Gather,
		socket: control.DefaultSocket,
		root:   os.Geteuid() == 0,
	}))
}
