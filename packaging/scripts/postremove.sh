#!/bin/sh
# After a removal. What was blocked is kept for another installation, unless
# Debian calls this with "purge". RPM knows no purge.
set -e

if [ -d /run/systemd/system ]; then
	systemctl daemon-reload || true
fi
if [ "$1" = purge ]; then
	rm -rf /var/lib/paraxial /etc/paraxial
	if getent group paraxial >/dev/null && command -v groupdel >/dev/null; then
		groupdel paraxial || true
	fi
fi
