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
want gnutls-cli gnutls-bin # and certtool
want curl curl
want gcc gcc libc6-dev
want softhsm2-util softhsm2
want pkcs11-tool opensc
openssl engine pkcs11 >/dev/null 2>&1 || install libengine-pkcs11-openssl
openssl engine pkcs11 >/dev/null 2>&1 || missing="$missing libengine-pkcs11-openssl"
want swtpm swtpm
want ip iproute2
want tpm2_load tpm2-tools
want pki strongswan-pki libstrongswan-standard-plugins
# What pki asks an OCSP responder with.
curl_plugin() { ls /usr/lib/ipsec/plugins/libstrongswan-curl.so >/dev/null 2>&1; }
curl_plugin || install libstrongswan-extra-plugins
curl_plugin || missing="$missing libstrongswan-extra-plugins"
want mosquitto_pub mosquitto-clients
want strace strace
want python3 python3
want javac default-jdk-headless
want /usr/bin/aws awscli # another aws may stand earlier in the path
want node nodejs
want npm npm
for jar in bcpkix bctls; do
	[ -f /usr/share/java/$jar.jar ] || install lib$jar-java
	[ -f /usr/share/java/$jar.jar ] || missing="$missing $jar.jar"
done
# Debian keeps its programs out of the path.
ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || install postgresql
ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || want initdb postgresql
# Microsoft's clients for Node, once into a cache: tests and examples find them there,
# or in MINTMARK_NODE_MODULES.
npm_packages="azure-iot-provisioning-device@1.9.1 azure-iot-provisioning-device-http@1.9.1 azure-iot-provisioning-device-mqtt@1.8.1
azure-iot-security-x509@1.7.12 azure-iot-provisioning-service@1.11.2 azure-iothub@1.16.6"
npm_cache=${XDG_CACHE_HOME:-$HOME/.cache}/mintmark/npm
if [ -z "${MINTMARK_NODE_MODULES:-}" ] && [ "$npm_packages" != "$(cat "$npm_cache/installed" 2>/dev/null)" ]; then
	mkdir -p "$npm_cache"
	# Their install scripts are not run: the packages need none.
	# shellcheck disable=SC2086 # one argument each
	if npm install --prefix "$npm_cache" --ignore-scripts --no-audit --no-fund --loglevel error $npm_packages >/dev/null 2>"$npm_cache/log"; then
		echo "$npm_packages" >"$npm_cache/installed"
	else
		tail -n 5 "$npm_cache/log" >&2
		missing="$missing azure-iot-provisioning-device"
	fi
fi
[ -z "$missing" ] || {
	echo "not installed:$missing" >&2
	[ "${MINTMARK_TOOLS:-}" != required ] || exit 1
	echo "the tests that need them are skipped" >&2
}
