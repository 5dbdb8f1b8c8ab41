#!/bin/sh
# Builds the .deb and .rpm (or $FORMATS) of both architectures (or of $ARCHES)
# into dist/ (or the folder in the first argument). The same commit gives the
# same bytes.
set -eu
cd "$(dirname "$0")/.."
out=${1:-dist}
: "${ARCHES:=amd64 arm64}"
: "${FORMATS:=deb rpm}"
: "${VERSION:=$(packaging/version.sh)}"
: "${SOURCE_DATE_EPOCH:=$(git log -1 --format=%ct)}"
export VERSION SOURCE_DATE_EPOCH CGO_ENABLED=0
# The result must not depend on the builder's settings.
umask 022
export LC_ALL=C TZ=UTC

build=$out/build
rm -rf "$build"
mkdir -p "$build"
programs="./cmd/paraxiald ./cmd/paraxialctl ./cmd/paraxial-agent"
for arch in $ARCHES; do
	GOARCH=$arch go build -trimpath -ldflags "-s -w -X main.version=$VERSION" -o "$build/$arch/" $programs
done

# Manual pages and completions come from the programs built for this machine.
here=$build/$(go env GOHOSTARCH)
[ -d "$here" ] || go build -trimpath -ldflags "-s -w -X main.version=$VERSION" -o "$here/" $programs
"$here/paraxiald" man | gzip -9n >"$build/paraxiald.8.gz"
"$here/paraxial-agent" man | gzip -9n >"$build/paraxial-agent.8.gz"
"$here/paraxialctl" man | gzip -9n >"$build/paraxialctl.1.gz"
for shell in bash zsh fish; do
	"$here/paraxialctl" completion "$shell" >"$build/paraxialctl.$shell"
done
gzip -9nc CHANGELOG.md >"$build/changelog.gz"
cp -R packaging docs "$build/"

# nfpm copies the modes and times of the files.
find "$build" -type d -exec chmod 755 {} +
find "$build" -exec touch -d "@$SOURCE_DATE_EPOCH" {} +
nfpm=$(go tool -modfile=tools/go.mod -n nfpm)
target=$(cd "$out" && pwd)
cd "$build"
for ARCH in $ARCHES; do
	export ARCH
	for format in $FORMATS; do
		"$nfpm" package --config packaging/nfpm.yaml --packager "$format" --target "$target/"
	done
done
