#!/bin/sh
# Rotation of device certificates: a device is told that its certificate is due,
# gets the next one under the one that it has, and only when it has connected with
# the new one is the old one taken out of service.
set -eu
. "$(dirname "$0")/../lib.sh"

step "CA, simulated AWS IoT Core with four functions, server"
"$M" init --dir ca --server line-1 --organization "Demo Factory" --name localhost --name 127.0.0.1 >log/init 2>&1
"$M" ca create --dir ca --name claims --path-len 0 --validity 5y >>log/init 2>&1
set --
for handler in provision rotate presence monitor; do
	set -- "$@" --function "mintmark-$handler=$F" --function-env "mintmark-$handler/_HANDLER=$handler"
done
simulate "$@" --function-env MINTMARK_TABLE=mintmark-devices --function-env MINTMARK_ROTATION_TABLE=mintmark-rotation
serve
"$M" aws apply --yes --dir ca

step "Two devices, provisioned by claim"
"$M" order create WO-3 --label aws:rehearsal/press --quantity 2 --range SN-0001..SN-0002 --for 7d --claim-out line/claim.pem --dir ca
claim_known() { [ "$(cloud iot list-targets-for-policy --policy-name press-claim --query 'length(targets)' --output text)" = 1 ]; }
until_ok claim_known
for serial in SN-0001 SN-0002; do
	provision line/claim.pem press $serial devices/$serial
done
status() { # status FILE: what AWS says of the certificate in a file
	id=$(openssl x509 -in "$1" -outform DER | openssl dgst -sha256 -r | cut -d' ' -f1)
	cloud iot describe-certificate --certificate-id "$id" --query certificateDescription.status --output text
}
[ "$(status devices/SN-0001/device.pem)" = ACTIVE ] || fail "the first certificate is not active"

step "The device is told, once the certificate is past its period"
mqtt 'stdbuf -oL mosquitto_sub' devices/SN-0001/device.pem devices/SN-0001/device.key press-SN-0001 -q 1 -t cmd/press-SN-0001/alerts -C 1 -W 60 -d >log/alert 2>&1 &
listener=$!
pids="$pids $listener"
subscribed() { grep -q 'SUBACK' log/alert; }
until_ok subscribed
printf '%s' '{"version":"0","id":"1","detail-type":"Scheduled Event","source":"aws.events","account":"123456789012","time":"2026-01-01T00:00:00Z","region":"eu-central-1","resources":[],"detail":{}}' >event.json
monitor() { cloud lambda invoke --function-name mintmark-monitor --payload fileb://event.json log/monitor.json; }
told() { monitor >/dev/null && grep -q rotate_cert log/alert; }
until_ok told
wait "$listener" || fail "the device was not told"
grep rotate_cert log/alert
[ "$(status devices/SN-0001/device.pem)" = ACTIVE ] || fail "a certificate was taken out of service for its age"

step "It rotates with the certificate that it has; another device's it cannot"
mkdir devices/SN-0001/next
rotate() { # rotate DEVICE SERIAL DIR
	"$M" aws provision --endpoint "localhost:${broker##*:}" --ca sim/amazon-root.pem --claim "devices/$1/device.pem" --claim-key "devices/$1/device.key" --client-id "press-$1" \
		--template press-rotation --serial "$2" --new-key "$3/device.key" --out "$3/device.pem"
}
mkdir stolen
must_fail rotate SN-0002 SN-0001 stolen
rotate SN-0001 SN-0001 devices/SN-0001/next
echo "  old: $(status devices/SN-0001/device.pem), new: $(status devices/SN-0001/next/device.pem), until the new one has connected"
[ "$(status devices/SN-0001/device.pem)" = ACTIVE ] || fail "the old certificate died before the new one had connected"

step "It connects with the new one, and the old one goes out of service"
mqtt mosquitto_pub devices/SN-0001/next/device.pem devices/SN-0001/next/device.key press-SN-0001 -q 1 -t devices/press-SN-0001/hello -m rotated
out_of_service() { [ "$(status devices/SN-0001/device.pem)" = INACTIVE ]; }
until_ok out_of_service
[ "$(status devices/SN-0001/next/device.pem)" = ACTIVE ] || fail "the new certificate is not active"
must_fail mqtt mosquitto_pub devices/SN-0001/device.pem devices/SN-0001/device.key press-SN-0001 -q 1 -t devices/press-SN-0001/hello -m "from the old one"
echo "  old: $(status devices/SN-0001/device.pem), new: $(status devices/SN-0001/next/device.pem)"
cloud iot describe-thing --thing-name press-SN-0001 --query attributes --output json

step "The other device has not rotated: it is told, and stays in service"
monitor >/dev/null
[ "$(status devices/SN-0002/device.pem)" = ACTIVE ] || fail "a device that has not rotated was cut off"
mqtt mosquitto_pub devices/SN-0002/device.pem devices/SN-0002/device.key press-SN-0002 -q 1 -t devices/press-SN-0002/hello -m "here as ever"
cat log/monitor.json

ended
step "Done"
