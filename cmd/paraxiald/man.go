package main

import (
	"github.com/urfave/cli/v2"

	"github.com/paraxial/paraxial/config"
	"github.com/paraxial/paraxial/manpage"
	"github.com/paraxial/paraxial/service"
)

// manCommand prints paraxiald(8), for the build of packages.
func manCommand() *cli.Command {
	return &cli.Command{
		Name: "man", Usage: "print the manual page", Hidden: true,
		Action: service.NoArgs(func(c *cli.Context) error { return manpage.Write(c.App.Writer, c.App, manual()) }),
	}
}

func manual() manpage.Page {
	d := config.Default()
	return manpage.Page{
		Section: 8,
		Version: version,
		Extra: []manpage.Section{
			{Title: "SIGNALS", Items: []manpage.Item{
				{Term: "SIGTERM, SIGINT",
					Text: "Stop. The filter stays in place, and blocks still expire on time."},
				{Term: "SIGHUP",
					Text: "Reload the configuration. An invalid configuration changes nothing; the log reports it."},
			}},
			{Title: "FILES", Items: []manpage.Item{
				{Term: defaultConfig,
					Text: "The configuration. The example that the package installs explains every key."},
				{Term: d.Socket,
					Text: "The socket that paraxialctl talks to. Root may use it, and the group " + d.SocketGroup +
						"."},
				{Term: d.StateDir,
					Text: "The blocks and allows. The daemon reads them at start."},
				{Term: d.BPFFS,
					Text: "The running filter. It must be on a mounted BPF file system: " +
						"mount -t bpf -o mode=0700 bpf /sys/fs/bpf."},
			}},
			{Title: "EXIT STATUS", Items: []manpage.Item{{Text: "0 done, 1 failed, 2 usage."}}},
		},
		SeeAlso: []string{"paraxialctl(1)", "systemctl(1)", "bpf(2)"},
	}
}
