#!/bin/sh
# Publishes one message: sh mosquitto-pub.sh [PORT]
set -eu
cd "$(dirname "$0")"
port=${1:-@PORT@}
alpn=
if [ "$port" = 443 ] || [ "${ALPN:-}" != "" ]; then
	alpn="--tls-alpn x-amzn-mqtt-ca"
fi
# shellcheck disable=SC2086 # no word, or two
exec mosquitto_pub -h @ENDPOINT@ -p "$port" $alpn --tls-version tlsv1.2 \
	--cafile AmazonRootCA.pem --cert certificate-and-chain.pem --key "${KEY:-@KEY@}" \
	-i @THING@ -V mqttv311 -q 1 -t @TOPIC@ -m '{"hello":"@THING@"}'
