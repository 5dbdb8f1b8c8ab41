#!/bin/sh
# After the files are there. dpkg says "configure", and the version before if
# there was one; rpm says how many versions there are now.
set -e

case "$1" in
configure) upgrade=${2:-} ;;
1) upgrade= ;;
[2-9]*) upgrade=yes ;;
*) exit 0 ;; # dpkg undoes something that failed
esac

# Also in a chroot or an image that is being built, where no service manager runs.
booted() { [ -d /run/systemd/system ]; }

if ! getent group paraxial >/dev/null; then
	if command -v systemd-sysusers >/dev/null; then
		systemd-sysusers paraxial.conf
	else
		groupadd --system paraxial
	fi
fi

if booted; then
	systemctl daemon-reload || true
fi

# The daemon leaves its filter in the kernel when it ends, and the next one takes
# it over: nothing passes meanwhile. Nothing is started that did not run.
if [ -n "$upgrade" ] && booted && systemctl is-active --quiet paraxiald.service; then
	# Debian's helper heeds policy-rc.d.
	if command -v deb-systemd-invoke >/dev/null; then
		restart="deb-systemd-invoke restart"
	else
		restart="systemctl restart"
	fi
	$restart paraxiald.service || cat >&2 <<-'END'
		paraxial: the new paraxiald did not start. The filter goes on as it was; see
		why with: journalctl -u paraxiald
	END
fi

enabled() { command -v systemctl >/dev/null && systemctl --quiet is-enabled paraxiald.service 2>/dev/null; }
if [ -z "$upgrade" ] && ! enabled; then
	cat <<-'END'
		Paraxial is installed, and filters nothing yet. Next:
		  ip -br link                               which interface?
		  editor /etc/paraxial/paraxiald.yaml       put it there
		  systemctl enable --now paraxiald
		  paraxialctl status                        is it protected?
		  paraxialctl allow ADDRESS                 your own, before the first block
	END
fi
