#!/bin/sh
# Azure DPS with X.509, from nothing to devices that are assigned: a sensor with an
# individual enrollment, and an IoT Edge gateway in an enrollment group.
#
# The device is Microsoft's own client for Node (register.js). Azure is mintmark's
# simulator: names, TLS and signatures are Azure's, only connections go elsewhere. Needs
# node with Microsoft's packages (scripts/test-tools.sh), curl, openssl and python3.
set -eu
. "$(dirname "$0")/../lib.sh"
wants node
export NODE_PATH="${MINTMARK_NODE_MODULES:-${XDG_CACHE_HOME:-$HOME/.cache}/mintmark/npm/node_modules}"
[ -d "$NODE_PATH/azure-iot-provisioning-device-http" ] || fail "Microsoft's packages for node are not in $NODE_PATH: run scripts/test-tools.sh"

step "The CAs: one for gateways below the root of the devices, one for what gateways sign elsewhere"
"$M" init --dir ca --server line-1 --organization "Demo Factory" --name localhost --name 127.0.0.1 >log/init 2>&1
"$M" ca create --dir ca --name edge --issuer root --path-len 0 --validity 5y >>log/init 2>&1
"$M" ca create --dir ca --name gateway-root --common-name "Gateway Root" --validity 20y --path-len 2 >>log/init 2>&1
"$M" ca create --dir ca --name gateways --issuer gateway-root --common-name Gateways --validity 10y --path-len 1 >>log/init 2>&1

step "Azure, simulated: resource manager, DPS, a hub"
simulate_azure --assigning -1 # the device need not ask twice
scope=$(json idScope <sim/azure.json)

step "The server; what DPS is to have"
serve_with_secret() { # the password of the line stands in the configuration as its hash
	hash=$(tr -d '\n' <ca/secrets/enroll | sed 's/^factory://' | openssl dgst -sha256 -r | cut -d' ' -f1)
	sed "s/\"0\{64\}\"/\"$hash\"/" "$here/mintmark.yaml" >mintmark.yaml
	example=$here here=$PWD
	serve
	here=$example
}
serve_with_secret
"$M" azure plan --dir ca
"$M" azure apply --yes --dir ca

# register DEVICE: what the device does when it starts. It sends its chain up to the root,
# which is what DPS has verified.
register() {
	AZURE=$azure NODE_EXTRA_CA_CERTS=sim/root.pem node "$here/register.js" "$scope" "$1" "$1/chain.pem" "$1/device.key"
}

step "A work order for sensors, and the first of them"
printf 'device,hall\nsensor-0001,7\nsensor-0002,7\n' >devices.csv
"$M" order create WO-1 --label sensors --quantity 2 --devices devices.csv --for 7d --secret-out line/WO-1.credential --dir ca
mkdir sensor-0001
"$M" est enroll --url "https://localhost:${est##*:}" --label sensors --ca ca/root.pem --password-file line/WO-1.credential \
	--name sensor-0001 --new-key sensor-0001/device.key --out sensor-0001/chain.pem --chain-root
until_ok register sensor-0001

step "A gateway: listed, with the line's password"
printf 'device\ngateway-01\n' >gateways.csv
"$M" device import gateways.csv --dir ca
mkdir gateway-01
"$M" est enroll --url "https://localhost:${est##*:}" --label edge --ca ca/root.pem --password-file ca/secrets/enroll \
	--name gateway-01 --new-key gateway-01/device.key --out gateway-01/chain.pem --chain-root
until_ok register gateway-01

step "What DPS and the hub say of them"
token() { # token HOST POLICY: the right to ask, for five minutes
	python3 -c 'import base64, hashlib, hmac, sys, time, urllib.parse
host, policy = sys.argv[1:]
key, end = base64.b64decode(open("sim/keys/" + policy).read()), str(int(time.time()) + 300)
sig = base64.b64encode(hmac.new(key, (host + "\n" + end).encode(), hashlib.sha256).digest()).decode()
print("SharedAccessSignature " + urllib.parse.urlencode({"sr": host, "sig": sig, "se": end, "skn": policy}))' "$@"
}
ask() { # ask HOST POLICY PATH
	token "$1" "$2" | sed 's/.*/header = "Authorization: &"/' >curlrc
	curl -sS --fail-with-body --config curlrc --connect-to "::$azure" --cacert sim/root.pem "https://$1$3"
	rm curlrc
}
dps() { ask mintmark-dps.azure-devices-provisioning.net provisioningserviceowner "$1?api-version=2021-10-01"; }
hub() { ask mintmark-hub.azure-devices.net iothubowner "$1?api-version=2021-04-12"; }
says() { # says EXPRESSION TEXT: shows that part of the answer v, which must have the text in it
	python3 -c 'import json,sys; v=json.load(sys.stdin); print("  " + json.dumps(eval(sys.argv[1])))' "$1" | tee log/said
	grep -qF "$2" log/said || fail "this is not $2"
}
for device in sensor-0001 gateway-01; do
	dps "/registrations/$device" | says 'v["registrationId"], v["status"], v["deviceId"]' '"assigned"'
done
hub /devices/sensor-0001 | says '"iotEdge", v["capabilities"]["iotEdge"]' false
hub /devices/gateway-01 | says '"iotEdge", v["capabilities"]["iotEdge"]' true
hub /twins/sensor-0001 | says 'v["tags"], v["properties"]["desired"]["interval"]' '"order": "WO-1"'
hub /twins/gateway-01 | says 'v["tags"], v["properties"]["desired"]["interval"]' '60'
"$M" azure status --dir ca

step "Both are held: DPS refuses them, and the hub too"
for device in sensor-0001 gateway-01; do
	"$M" device hold $device --note "ticket 4711" --dir ca
	stopped() { ! register $device >log/register 2>&1; }
	until_ok stopped
	must_fail register $device
	grep -q Unauthorized log/refused || fail "this is not the refusal of a disabled enrollment"
	blocked() { [ "$(hub /devices/$device | json status)" = disabled ]; }
	until_ok blocked
done

step "Released, they are as they were"
for device in sensor-0001 gateway-01; do
	"$M" device release $device --note "ticket 4711, found innocent" --dir ca
	until_ok register $device
	enabled() { [ "$(hub /devices/$device | json status)" = enabled ]; }
	until_ok enabled
done

step "The sensor renews: DPS knows the new certificate before the sensor has it"
"$M" est reenroll --url "https://localhost:${est##*:}" --label sensors --ca ca/root.pem --cert sensor-0001/chain.pem --key sensor-0001/device.key \
	--new-key sensor-0001/new.key --out sensor-0001/new.pem --chain-root
mv sensor-0001/new.key sensor-0001/device.key
mv sensor-0001/new.pem sensor-0001/chain.pem
register sensor-0001

step "What DPS will say, known before: the gateway, and a stranger whose CA nobody verified"
"$M" ca export edge --out edge.pem --dir ca
doctor() { "$M" azure doctor "$1/chain.pem" --verified ca/root.pem --group gateways=edge.pem; }
doctor gateway-01
mkdir sensor-0002
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout sensor-0002/device.key -out sensor-0002/chain.pem -days 1 -subj /CN=sensor-0002 2>/dev/null
for ask in doctor register; do
	must_fail $ask sensor-0002
	grep -q "CA certificate not found." log/refused || fail "this is not what DPS says"
done

step "The configuration of the gateway's IoT Edge: it gets its certificates by itself from now on"
"$M" ca export gateway-root --out gateway-root.pem --dir ca
"$M" azure edge-config --registration-id gateway-01 --id-scope "$scope" --identity est \
	--est-url "https://localhost:${est##*:}/.well-known/est/edge" --edge-ca-url "https://localhost:${est##*:}/.well-known/est/edge-ca" \
	--est-ca ca/root.pem --est-user factory --trust-bundle gateway-root.pem --out edge-config
sed 's/^/  /' edge-config/config.toml

ended
step "Done"
