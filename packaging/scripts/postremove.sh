#!/bin/sh
# Runs after the files are removed. dpkg passes "remove", and on a purge later
# "purge". rpm passes the number of remaining versions, and has no purge.
set -e

case "$1" in
purge)
	# Group and user stay, because other files may belong to them.
	rm -rf /var/lib/paraxial /var/lib/paraxial-feeds /var/lib/paraxial-logs
	# The script before the removal has removed the pins.
	if [ -e /sys/fs/bpf/paraxial ]; then
		echo "paraxial: /sys/fs/bpf/paraxial stays, because it has files that are not Paraxial's" >&2
	fi
	;;
0) echo "Paraxial is removed. Its entries are kept in /var/lib/paraxial; delete it if you do not need them." ;;
remove) ;;
*) exit 0 ;;
esac

if [ -d /run/systemd/system ]; then
	systemctl daemon-reload || true
fi
