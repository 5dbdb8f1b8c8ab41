#!/usr/bin/env bash
# Builds the .deb and the .rpm of both architectures into dist/: package.sh VERSION.
# The same commit gives the same bytes.
set -euo pipefail
cd "$(dirname "$0")/.."

version=$1
dist=dist

# What package managers can order: they want a number first and no hyphen.
case "$version" in
v[0-9]* | [0-9]*.[0-9]*) PACKAGE_VERSION=${version#v} ;;
*) PACKAGE_VERSION=0.0.0+git$(git rev-list --count HEAD).$version ;;
esac
PACKAGE_VERSION=${PACKAGE_VERSION//-/+}
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
export PACKAGE_VERSION SOURCE_DATE_EPOCH

build() { # build ARCHITECTURE DIRECTORY
	GOARCH=$1 CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=$PACKAGE_VERSION" -o "$2/" ./cmd/paraxiald ./cmd/paraxialctl
}

mkdir -p "$dist"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
go build -modfile=tools/go.mod -o "$work/nfpm" github.com/goreleaser/nfpm/v2/cmd/nfpm
mkdir "$work/here"
build "$(go env GOARCH)" "$work/here"
for GOARCH in amd64 arm64; do
	BUILD=$work/$GOARCH
	export GOARCH BUILD
	mkdir "$BUILD"
	build "$GOARCH" "$BUILD"
	"$work/here/paraxiald" man | gzip -9n >"$BUILD/paraxiald.8.gz"
	"$work/here/paraxialctl" man | gzip -9n >"$BUILD/paraxialctl.1.gz"
	for shell in bash zsh fish; do
		"$work/here/paraxialctl" completion "$shell" >"$BUILD/completion.$shell"
	done
	for packager in deb rpm; do
		"$work/nfpm" package --config packaging/nfpm.yaml --packager "$packager" --target "$dist/"
	done
done
