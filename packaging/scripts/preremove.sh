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
		systemctl stop paraxial-agent-feeds.service paraxial-agent-logs.service paraxiald.service || true
	fi
	systemctl --quiet disable paraxiald.service paraxial-agent-feeds.service \
		paraxial-agent-logs.service 2>/dev/null || true
fi

# The daemon has left its filter in place. Remove it now, while the command for it
# is still installed. --all finds the pins without the configuration, which may be
# invalid, or not know of the flags that the daemon was started with.
if paraxiald detach --all; then
	exit 0
fi
cat >&2 <<-'END'
	paraxial: the filter could not be removed, and the package is not removed. The
	message above says why. Stop paraxiald if it runs, and remove the package again.
	If that fails as well, the filter is held by its pins: find them with
	  find $(findmnt -rnt bpf -o TARGET) -path '*/gen-*/prog_*'
	remove the directories above gen-* with rm -r, or reboot.
END
exit 1
