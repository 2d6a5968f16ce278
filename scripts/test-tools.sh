#!/bin/sh
# Installs the independent clients and components that the tests run against.
# Without them the tests that need them are skipped, and say so; with
# MINTMARK_TOOLS=required it fails instead, so that nothing is skipped for the
# lack of a package.
set -eu
. "$(dirname "$0")/need.sh"
missing=
want() { need "$@" || missing="$missing $1"; }
want openssl openssl
want curl curl
want gcc gcc libc6-dev
want softhsm2-util softhsm2
want pkcs11-tool opensc
want pki strongswan-pki libstrongswan-standard-plugins
want mosquitto_pub mosquitto-clients
want strace strace
want python3 python3
want javac default-jdk-headless
want /usr/bin/aws awscli # another aws may stand earlier in the path
for jar in bcpkix bctls; do
	[ -f /usr/share/java/$jar.jar ] || install lib$jar-java
	[ -f /usr/share/java/$jar.jar ] || missing="$missing $jar.jar"
done
# Debian keeps its programs out of the path.
ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || install postgresql
ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || want initdb postgresql
[ -z "$missing" ] || {
	echo "not installed:$missing" >&2
	[ "${MINTMARK_TOOLS:-}" != required ] || exit 1
	echo "the tests that need them are skipped" >&2
}
