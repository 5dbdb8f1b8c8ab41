#!/bin/sh
# Process 1 of a machine: a temporary copy of this system. The mount, process and
# UTS namespaces exist already. It joins the control group and executes systemd,
# which starts only its journal.
set -eu
scratch=$1 group=$2 stage=${3:-join}
if [ "$stage" = join ]; then
	echo 0 >"$group/cgroup.procs"
	exec unshare --cgroup "$0" "$scratch" "$group" mounts
fi
root=$scratch/root
mount -t proc proc "$root/proc"
mount -t sysfs sysfs "$root/sys"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
mount --rbind /sys/fs/bpf "$root/sys/fs/bpf"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for node in null zero full random urandom tty; do
	: >"$root/dev/$node"
	mount --bind "/dev/$node" "$root/dev/$node"
done
mkdir "$root/dev/pts"
: >"$root/dev/console"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
cat >"$root/etc/systemd/system/lab.target" <<'END'
[Unit]
DefaultDependencies=no
Requires=systemd-journald.socket
After=systemd-journald.socket
END
cd "$root"
mkdir -p old
pivot_root . old
umount -l old
exec env -i container=lab PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --unit=lab.target --log-target=console
