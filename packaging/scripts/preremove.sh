#!/bin/sh
# Before a removal, in which the filter is taken off, and before an upgrade, in
# which it is not. Debian calls it with "remove" or "upgrade"; RPM with how many
# will be left.
set -e

case "$1" in
remove | 0) ;;
*) exit 0 ;;
esac

if [ -d /run/systemd/system ]; then
	systemctl disable --now paraxiald.service || true
fi
# Also where there is no systemd, and after a crash: nothing may be left behind
# that drops packets and that nobody knows how to take off any more.
if ! /usr/sbin/paraxiald detach; then
	echo "paraxial: the filter could not be taken off; see above. Packets may still be dropped." >&2
	echo "paraxial: take it off with: ip link set dev INTERFACE xdp off" >&2
fi
