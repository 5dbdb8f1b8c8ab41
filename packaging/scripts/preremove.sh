#!/bin/sh
# Before the files go. dpkg says "remove", and rpm how many versions are left;
# with an upgrade the filter stays, and the daemon until the new one is there.
set -e

case "$1" in
remove | 0) ;;
*) exit 0 ;;
esac

if command -v systemctl >/dev/null; then
	if [ -d /run/systemd/system ]; then
		systemctl stop paraxiald.service || true
	fi
	systemctl --quiet disable paraxiald.service 2>/dev/null || true
fi

# The daemon has left its filter in place. Without the package nobody could take
# it off.
if paraxiald detach; then
	exit 0
fi
# The pins hold the filter, and the configuration may be what was wrong.
pins=/sys/fs/bpf/paraxial
echo "paraxial: detach failed; removing the pins below $pins" >&2
if ! rm -rf "$pins"; then
	echo "paraxial: the filter may still be in place: rm -r $pins as root, or reboot, and remove the package again" >&2
	exit 1
fi
