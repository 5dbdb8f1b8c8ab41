// Command systemd tests the package on a real system: in a virtual machine with Debian and systemd,
// the package is installed, enabled, upgraded and removed, and the machine rebooted, while blocked
// sources send continuously.
//
//	go run ./tests/vm/systemd -old dist/OLD.deb -new dist/NEW.deb
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"time"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "systemd:", err)
		os.Exit(1)
	}
}

type options struct {
	old, new string // packages
	cache    string
	rootfs   string // the script that makes a root file system
}

func run() error {
	var o options
	flag.StringVar(&o.old, "old", "", "the package to install first")
	flag.StringVar(&o.new, "new", "", "the package to upgrade to")
	flag.StringVar(&o.cache, "cache", os.Getenv("PARAXIAL_VM_CACHE"),
		"where root file systems are kept (PARAXIAL_VM_CACHE)")
	flag.StringVar(&o.rootfs, "rootfs", "tests/vm/systemd/rootfs.sh", "the script that makes them")
	flag.Parse()
	if o.old == "" || o.new == "" {
		return errors.New("name two packages: -old FILE -new FILE")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, storyTime)
	defer cancel()

	dir, err := os.MkdirTemp("", "paraxial-systemd-")
	if err != nil {
		return err
	}
	s, err := o.system(ctx, dir)
	if err != nil {
		return err
	}
	err = tell(ctx, s, dir)
	if err != nil {
		return fmt.Errorf("%w\nthe console's log is kept: %s", err, s.console)
	}
	return os.RemoveAll(dir)
}

// storyTime is several times what the story takes beside another machine on two CPUs.
const storyTime = 45 * time.Minute

// system returns what to boot. The root file system is made once and kept.
func (o options) system(ctx context.Context, dir string) (system, error) {
	cache := o.cache
	if cache == "" {
		user, err := os.UserCacheDir()
		if err != nil {
			return system{}, fmt.Errorf("find the cache folder for the root file system (use -cache to choose one): %w",
				err)
		}
		cache = filepath.Join(user, "paraxial-vm")
	}
	root := filepath.Join(cache, "systemd")
	if _, err := os.Stat(filepath.Join(root, "disk")); err != nil {
		fmt.Println("making a root file system in", root)
		if err := command(ctx, o.rootfs, root); err != nil {
			return system{}, err
		}
	}
	packages := filepath.Join(dir, "packages")
	if err := imageOf(ctx, packages, map[string]string{"old.deb": o.old, "new.deb": o.new}); err != nil {
		return system{}, err
	}
	disk := filepath.Join(dir, "disk") // temporary
	if err := command(ctx, "cp", "--sparse=always", filepath.Join(root, "disk"), disk); err != nil {
		return system{}, err
	}
	return system{
		kernel:   filepath.Join(root, "vmlinuz"),
		initrd:   filepath.Join(root, "initrd"),
		disk:     disk,
		packages: packages,
		console:  filepath.Join(dir, "console.log"),
	}, nil
}

// imageOf makes a file system with copies of files.
func imageOf(ctx context.Context, image string, files map[string]string) error {
	dir, err := os.MkdirTemp("", "paraxial-packages-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	for name, from := range files {
		b, err := os.ReadFile(from)
		if err != nil {
			return fmt.Errorf("read a package: %w", err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o644); err != nil {
			return err
		}
	}
	return command(ctx, "mke2fs", "-q", "-t", "ext4", "-d", dir, image, "128M")
}

func command(ctx context.Context, name string, arg ...string) error {
	c := exec.CommandContext(ctx, name, arg...)
	c.Stdout, c.Stderr = os.Stdout, os.Stderr
	if err := c.Run(); err != nil {
		return fmt.Errorf("run %s: %w", name, err)
	}
	return nil
}
