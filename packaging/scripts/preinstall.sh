#!/bin/sh
# Runs before the files are installed. dpkg and rpm pass what they do, which is not
# needed here.
set -e

# An older version had no unit for the agent. The script after the installation
# enables it if paraxiald is enabled, as `systemctl enable paraxiald` does. It leaves
# alone a unit that was there and that somebody has disabled.
units=/usr/lib/systemd/system
for unit in paraxial-agent-feeds.service paraxial-agent-logs.service; do
	if [ -e "$units/paraxiald.service" ] && [ ! -e "$units/$unit" ]; then
		echo "$unit" >>/run/paraxial-new-unit
	fi
done
