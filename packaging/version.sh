#!/bin/sh
# Prints the version of a package, from git describe or from the first argument.
# dpkg and rpm sort it in the order of versions:
#   v1.2.3             1.2.3
#   v1.2.3-rc1         1.2.3~rc1          before 1.2.3
#   v1.2.3-5-gabc1234  1.2.3+5.gabc1234   after 1.2.3, before 1.2.4
#   abc1234            0.0.0+N.gabc1234   no release yet; N commits
# Uncommitted changes append +dirty.
set -eu

described=${1-$(git describe --tags --match 'v[0-9]*' --always --dirty)}
release=${described%-dirty}
dirty=${described#"$release"}

commits=
commit=${release##*-g}
if [ "$commit" != "$release" ]; then
	commits=${release%-g"$commit"}
	release=${commits%-*}
	commits=+${commits##*-}.g$commit
fi
case $release in
v[0-9]*) version=${release#v} ;;
*[!0-9a-f]* | '')
	echo "version.sh: $described is not the output of git describe for a tag such as v1.2.3" >&2
	exit 1
	;;
*) version=0.0.0+$(git rev-list --count HEAD).g$release ;;
esac
version=$(printf %s "$version" | sed 's/-/~/; s/-/./g')
printf '%s%s%s\n' "$version" "$commits" "${dirty:++dirty}"
