#!/bin/sh
# Runs before the files are removed. dpkg passes "remove", and rpm the number of
# remaining versions. On an upgrade the filter stays, and the daemon runs until the
# new one is installed.
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

# The daemon has left its filter in place. Remove it now, while the command for it
# is still installed.
if paraxiald detach; then
	exit 0
fi
# The pins hold the filter. detach may have failed because of the configuration.
pins=/sys/fs/bpf/paraxial
echo "paraxial: detach failed; removing the pins below $pins" >&2
if ! rm -rf "$pins"; then
	echo "paraxial: the filter may still be in force: run rm -r $pins as root, or reboot, and remove the package again" >&2
	exit 1
fi
