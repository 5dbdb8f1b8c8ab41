#!/bin/bash
# Runs the commands that arrive at a port of the virtual machine, one base64 command
# per line, and answers each with its exit status and its output, also in base64.
exec 3<>/dev/virtio-ports/paraxial.test
echo ready >&3
while IFS= read -r command <&3; do
	output=$(base64 -d <<<"$command" | bash 2>&1 3>&-)
	echo "$? $(base64 -w0 <<<"$output")" >&3
done
