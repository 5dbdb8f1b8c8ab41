#!/usr/bin/env bash
# Fetches a kernel without installing it: kernel.sh DIR SUITE PACKAGE puts vmlinuz
# and modules/ into DIR. PACKAGE may also be a package that depends on the kernel,
# or the beginning of a name: the newest cloud kernel with that name is used. The
# archive is the one that this machine's apt uses; apt's own state is not changed.
set -euo pipefail

dir=$1 suite=$2 package=$3
keys=/usr/share/keyrings/debian-archive-keyring.gpg

archive() { # archive RELEASE-PATTERN: the URI that apt has for it
	apt-get indextargets --format '$(REPO_URI) $(RELEASE)' 'Created-By: Packages' | awk -v want="$1" '$2 ~ want { print $1; exit }'
}
case "$suite" in
*-security) uri=$(archive security) ;;
*) uri=$(archive '^[a-z]+$') ;;
esac
if [ -z "$uri" ] || [ ! -e "$keys" ]; then
	echo "kernel.sh: apt has no Debian archive for $suite here (or $keys is missing: install debian-archive-keyring)" >&2
	exit 1
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work"/{state/lists/partial,cache/archives/partial,root}
touch "$work/status"
echo "deb [signed-by=$keys] $uri $suite main" >"$work/sources"
options=(
	-o Dir::State="$work/state" -o Dir::State::status="$work/status"
	-o Dir::Cache="$work/cache" -o Dir::Cache::pkgcache=pkgcache.bin -o Dir::Cache::srcpkgcache=srcpkgcache.bin
	-o Dir::Etc::sourcelist="$work/sources" -o Dir::Etc::sourceparts=/dev/null -o APT::Sandbox::User=root
)
apt-get "${options[@]}" update -qq

case "$package" in
linux-image-[0-9]*) package=$(apt-cache "${options[@]}" pkgnames "$package" | grep -- '-cloud-amd64$' | sort -V | tail -1) ;;
*) package=$(apt-cache "${options[@]}" depends "$package" | awk '$1 == "Depends:" && $2 ~ /^linux-image-[0-9]/ { print $2; exit }') ;;
esac
if [ -z "$package" ]; then
	echo "kernel.sh: $suite has no such kernel as $3" >&2
	exit 1
fi
# Since Linux 7 the image is an empty package beside these two.
packages=("$package")
for other in "${package/image/binary}" "${package/image/modules}"; do
	if apt-cache "${options[@]}" show "$other" >/dev/null 2>&1; then packages+=("$other"); fi
done
cd "$work"
apt-get "${options[@]}" download -qq "${packages[@]}"
for deb in *.deb; do dpkg -x "$deb" root; done

kernel=$(find root -name 'vmlinuz*' -type f | head -1)
modules=$(find root -type d -path '*/modules/*' -name kernel | head -1)
rm -rf "$dir"
mkdir -p "$dir/modules"
# The drivers of network cards, and their dependencies. modules.dep is not in the package.
find "$modules" -name '*.ko*' \( -path '*/drivers/net/*' -o -path '*/drivers/virtio/*' -o -path '*/net/core/*' \
	-o -path '*/lib/*' -o -path '*/drivers/ptp/*' -o -path '*/drivers/pps/*' \) -exec cp {} "$dir/modules/" \;
cp "$kernel" "$dir/vmlinuz"
echo "${package#linux-image-}" >"$dir/version"
