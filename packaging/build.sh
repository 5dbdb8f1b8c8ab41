#!/bin/sh
# Builds the .deb and .rpm of both architectures into dist/. The same commit
# gives the same bytes.
set -eu
cd "$(dirname "$0")/.."

VERSION=${VERSION:-$(packaging/version.sh)}
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
export VERSION SOURCE_DATE_EPOCH CGO_ENABLED=0
# Neither the machine that builds nor the user's settings may show.
umask 022
export LC_ALL=C TZ=UTC

build=dist/build
rm -rf "$build"
mkdir -p "$build"
for arch in amd64 arm64; do
	GOARCH=$arch go build -trimpath -ldflags "-s -w -X main.version=$VERSION" -o "$build/$arch/" ./cmd/paraxiald ./cmd/paraxialctl
done

# What the programs say of themselves, asked of a build for this machine.
go build -trimpath -ldflags "-X main.version=$VERSION" -o "$build/here/" ./cmd/paraxiald ./cmd/paraxialctl
"$build/here/paraxiald" man | gzip -9n >"$build/paraxiald.8.gz"
"$build/here/paraxialctl" man | gzip -9n >"$build/paraxialctl.1.gz"
for shell in bash zsh fish; do
	"$build/here/paraxialctl" completion "$shell" >"$build/paraxialctl.$shell"
done
gzip -9nc CHANGELOG.md >"$build/changelog.gz"

# nfpm takes over the times of the files.
cp -R packaging docs "$build/"
find "$build" -exec touch -d "@$SOURCE_DATE_EPOCH" {} +

for ARCH in amd64 arm64; do
	export ARCH
	for format in deb rpm; do
		go tool -modfile=tools/go.mod nfpm package --config packaging/nfpm.yaml --packager "$format" --target dist/
	done
done
