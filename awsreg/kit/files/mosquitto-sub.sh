#!/bin/sh
# Shows what arrives, until it is interrupted: sh mosquitto-sub.sh [PORT] [OPTION...]
# It connects as the device, so that the device itself must not be connected.
set -eu
cd "$(dirname "$0")"
port=${1:-@PORT@}
[ $# -eq 0 ] || shift
alpn=
if [ "$port" = 443 ] || [ "${ALPN:-}" != "" ]; then
	alpn="--tls-alpn x-amzn-mqtt-ca"
fi
# shellcheck disable=SC2086 # no word, or two
exec mosquitto_sub -h @ENDPOINT@ -p "$port" $alpn --tls-version tlsv1.2 \
	--cafile AmazonRootCA.pem --cert certificate-and-chain.pem --key "${KEY:-@KEY@}" \
	-i @THING@ -V mqttv311 -q 1 -t @TOPIC@ "$@"
