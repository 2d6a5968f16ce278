#!/bin/sh
# Shows whether a TLS connection works: sh check.sh [PORT]
# "Verify return code: 0 (ok)" means that the device knows the server. That the
# server knows the device shows only in an MQTT connection.
set -eu
cd "$(dirname "$0")"
port=${1:-@PORT@}
openssl x509 -in certificate.pem -noout -subject -enddate -checkend 0
exec openssl s_client -connect "@ENDPOINT@:$port" -servername @ENDPOINT@ -tls1_2 -alpn x-amzn-mqtt-ca \
	-CAfile AmazonRootCA.pem -verify_return_error \
	-cert certificate.pem -cert_chain certificate-and-chain.pem -key "${KEY:-@KEY@}" </dev/null
