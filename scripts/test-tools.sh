#!/bin/sh
# Installs the independent clients and components that the tests run against.
# Without them the tests that need them are skipped, and say so.
set -eu
. "$(dirname "$0")/need.sh"
missing=
for pair in openssl:openssl curl:curl softhsm2-util:softhsm2 pkcs11-tool:opensc pki:strongswan-pki \
	mosquitto_pub:mosquitto-clients strace:strace gcc:gcc javac:default-jdk-headless; do
	need "${pair%%:*}" "${pair#*:}" || missing="$missing ${pair#*:}"
done
# Another aws may stand earlier in the path; the tests want Debian's.
[ -x /usr/bin/aws ] || { [ "$(id -u)" = 0 ] && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends awscli >/dev/null 2>&1; } || missing="$missing awscli"
[ -f /usr/share/java/bcpkix.jar ] || { [ "$(id -u)" = 0 ] && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends libbcpkix-java >/dev/null 2>&1; } || missing="$missing libbcpkix-java"
[ -z "$missing" ] || echo "not installed, their tests are skipped:$missing" >&2
