#!/usr/bin/env bash
# Makes a Debian system for a virtual machine: rootfs.sh DIR puts vmlinuz,
# initrd and disk (ext4, raw) into DIR. Needs root, mmdebstrap, e2fsprogs and an
# archive: the one that this machine's apt uses. It takes half a minute.
set -euo pipefail

suite=bookworm
packages=systemd-sysv,udev,dbus,iproute2,kmod,procps,linux-image-cloud-amd64
guest=$(cd "$(dirname "$0")/guest" && pwd)
dir=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

archive() { # archive RELEASE-PATTERN: the URI that apt has for it
	apt-get indextargets --format '$(REPO_URI) $(RELEASE)' 'Created-By: Packages' | awk -v want="$1" '$2 ~ want { print $1; exit }'
}
main=$(archive '^[a-z]+$')
security=$(archive 'security')
if [ -z "$main" ]; then
	echo "rootfs.sh: apt has no Debian archive here; its sources should name one" >&2
	exit 1
fi
sources=("deb $main $suite main")
[ -z "$security" ] || sources+=("deb $security $suite-security main")

mmdebstrap --quiet --variant=minbase --include="$packages" "$suite" "$work/root" "${sources[@]}"
root=$work/root
install -m 755 "$guest/agent.sh" "$root/usr/local/sbin/agent.sh"
install -m 644 "$guest/agent.service" "$root/etc/systemd/system/agent.service"
install -m 644 "$guest/eth0.network" "$root/etc/systemd/network/eth0.network"
echo server >"$root/etc/hostname"
echo /dev/vda / ext4 defaults 0 1 >"$root/etc/fstab"
mkdir -p "$root/var/log/journal" # the journal must survive the reboot
systemctl --root="$root" enable --quiet agent.service systemd-networkd.service
# Services that only cost time on two emulated CPUs.
systemctl --root="$root" mask --quiet apt-daily.timer apt-daily-upgrade.timer e2scrub_reap.service fstrim.timer

mkdir -p "$dir"
cp "$root"/boot/vmlinuz-* "$dir/vmlinuz"
cp "$root"/boot/initrd.img-* "$dir/initrd"
truncate -s 1G "$dir/disk"
mke2fs -q -t ext4 -d "$root" "$dir/disk"
