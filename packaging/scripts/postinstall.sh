#!/bin/sh
# After an installation or an upgrade. Debian calls it with "configure" and the
# version that was there before, if any; RPM with how many are there now.
set -e

upgraded=
case "$1" in
configure) [ -z "$2" ] || upgraded=yes ;;
abort-*) exit 0 ;;
*) [ "$1" = 1 ] || upgraded=yes ;;
esac

if command -v systemd-sysusers >/dev/null; then
	systemd-sysusers paraxial.conf
elif ! getent group paraxial >/dev/null; then
	groupadd --system paraxial
fi

if [ -d /run/systemd/system ]; then
	systemctl daemon-reload
	# The filter stays in place between the old daemon and the new one.
	[ -z "$upgraded" ] || systemctl try-restart paraxiald.service
fi

[ -n "$upgraded" ] || cat <<'EOF'

Paraxial is installed, and does nothing yet. To begin:
  1. Name your network interface in /etc/paraxial/paraxiald.yaml (ip -br link lists them),
     and see what is to be expected of it: paraxialctl doctor
  2. Start it, now and at every boot:    systemctl enable --now paraxiald
  3. See that it is at work:             paraxialctl status
  4. Keep yourself from being locked out: paraxialctl allow YOUR-ADDRESS
  5. Block somebody:                     paraxialctl block 192.0.2.1 --for 1h
Members of the group paraxial may use paraxialctl without being root.

EOF
