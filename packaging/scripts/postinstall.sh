#!/bin/sh
# Runs after the files are installed. dpkg passes "configure", and the previous
# version if there was one. rpm passes the number of installed versions.
set -e

case "$1" in
configure) upgrade=${2:-} ;;
1) upgrade= ;;
[2-9]*) upgrade=yes ;;
*) exit 0 ;; # dpkg reverts a failed operation
esac

# In a chroot, or while an image is built, no service manager runs.
booted() { [ -d /run/systemd/system ]; }

if command -v systemd-sysusers >/dev/null; then
	systemd-sysusers paraxial.conf
else
	getent group paraxial >/dev/null || groupadd --system paraxial
	getent passwd paraxial-feeds >/dev/null ||
		useradd --system --user-group --no-create-home --home-dir /var/lib/paraxial-feeds \
			--shell /usr/sbin/nologin --comment "Paraxial feeds" paraxial-feeds
	getent passwd paraxial-logs >/dev/null ||
		useradd --system --user-group --no-create-home --home-dir /var/lib/paraxial-logs \
			--shell /usr/sbin/nologin --comment "Paraxial logs" paraxial-logs
	for group in adm systemd-journal; do
		getent group "$group" >/dev/null && usermod --append --groups "$group" paraxial-logs
	done
fi

if booted; then
	systemctl daemon-reload || true
fi

enabled() { command -v systemctl >/dev/null && systemctl --quiet is-enabled paraxiald.service 2>/dev/null; }

# Before the restart, which starts the unit as well. See the script before the installation.
if [ -e /run/paraxial-new-unit ]; then
	if enabled; then
		while read -r unit; do
			systemctl --quiet enable "$unit" || true
		done </run/paraxial-new-unit
	fi
	rm -f /run/paraxial-new-unit
fi

# The daemon leaves its filter in the kernel when it ends, and the next one takes
# it over, so no blocked packet passes. A daemon that did not run is not started.
if [ -n "$upgrade" ] && booted && systemctl is-active --quiet paraxiald.service; then
	# Debian's helper obeys policy-rc.d.
	if command -v deb-systemd-invoke >/dev/null; then
		restart="deb-systemd-invoke restart"
	else
		restart="systemctl restart"
	fi
	$restart paraxiald.service || cat >&2 <<-'END'
		paraxial: the new paraxiald did not start. The filter stays in force as it
		was. To see the cause, run: journalctl -u paraxiald
	END
fi

if [ -z "$upgrade" ] && ! enabled; then
	cat <<-'END'
		Paraxial is installed, and filters nothing yet. Next:
		  ip -br link                               find your interface
		  paraxialctl doctor INTERFACE              check it
		  editor /etc/paraxial/paraxiald.yaml       configure it
		  systemctl enable --now paraxiald
		  paraxialctl status                        it must say PROTECTED yes
		  paraxialctl allow ADDRESS                 your own, before the first block
	END
fi
