#!/bin/sh
# After the files are gone. dpkg says "remove" and, if everything shall go,
# later "purge"; rpm says how many versions are left, and knows no purge.
set -e

case "$1" in
purge)
	# The group stays: files of somebody else's may belong to it.
	rm -rf /var/lib/paraxial /sys/fs/bpf/paraxial
	;;
0) echo "Paraxial is removed. What it blocked and allowed is kept in /var/lib/paraxial; delete that if you do not want it back." ;;
remove) ;;
*) exit 0 ;;
esac

if [ -d /run/systemd/system ]; then
	systemctl daemon-reload || true
fi
