#!/bin/sh
# Fleet provisioning by claim, from nothing to devices that publish.
#
# A test PC on the line holds a claim certificate. For each device that has passed
# its test it gets a certificate whose key stays on the device, has the device
# provisioned, hands the certificate over and keeps nothing. What the console needs
# clicks for is in mintmark.yaml, and AWS IoT Core is mintmark's simulator. Needs
# the aws command, mosquitto's clients, openssl and python3.
set -eu
. "$(dirname "$0")/../lib.sh"

step "A CA for claim certificates, which is registered with no cloud"
"$M" init --dir ca --server line-1 --organization "Demo Factory" --name localhost --name 127.0.0.1 >log/init 2>&1
"$M" ca create --dir ca --name claims --path-len 0 --validity 5y >>log/init 2>&1

step "AWS IoT Core, simulated, with the pre-provisioning hook"
simulate --function "mintmark-provision=$F" --function-env _HANDLER=provision --function-env MINTMARK_TABLE=mintmark-devices

step "The server; what AWS is to have"
serve
"$M" aws plan --dir ca
"$M" aws apply --yes --dir ca
cloud iot describe-provisioning-template --template-name press --query '[type,enabled,preProvisioningHook.payloadVersion]' --output text

step "A work order for three devices, and its claim certificate for the line"
printf 'device\nSN-0001\nSN-0002\nSN-0003\n' >devices.csv
"$M" order create WO-1 --label aws:rehearsal/press --quantity 3 --devices devices.csv --for 7d --claim-out line/claim.pem --dir ca
claim_known() { [ "$(cloud iot list-targets-for-policy --policy-name press-claim --query 'length(targets)' --output text)" = 1 ]; }
until_ok claim_known
"$M" aws claim list WO-1 --target rehearsal --dir ca

step "The line: each device gets its certificate, the test PC keeps nothing"
mkdir devices
for serial in SN-0001 SN-0002; do
	provision line/claim.pem press $serial line/bench
	mkdir devices/$serial
	mv line/bench/device.key line/bench/device.pem devices/$serial/ # into the device
	rm -r line/bench
	echo "  $serial provisioned as $(cloud iot describe-thing --thing-name press-$serial --query 'thingName' --output text)"
done
[ "$(ls line)" = claim.pem ] || fail "the test PC kept something: $(ls line)"

step "The same by mintmark's own client"
mkdir devices/SN-0003
"$M" aws provision --endpoint "localhost:${broker##*:}" --ca sim/amazon-root.pem --claim line/claim.pem --template press --serial SN-0003 \
	--new-key devices/SN-0003/device.key --out devices/SN-0003/device.pem

step "The devices publish"
for serial in SN-0001 SN-0002 SN-0003; do
	mqtt mosquitto_pub devices/$serial/device.pem devices/$serial/device.key press-$serial -q 1 -t devices/press-$serial/hello -m "hello from $serial"
	echo "  press-$serial: $(cloud iot describe-thing --thing-name press-$serial --query attributes --output json | tr -d '\n')"
done

step "What the hook refuses"
echo "  a device that is not on the list"
refused line/claim.pem press SN-9999 line/bench
echo "  a device that has its certificate"
refused line/claim.pem press SN-0001 line/bench
echo "  another topic than its own"
must_fail mqtt mosquitto_pub devices/SN-0001/device.pem devices/SN-0001/device.key press-SN-0001 -V mqttv5 -q 1 -t devices/press-SN-0002/hello -m stolen

step "The kill switch: the claim is worth nothing, the devices go on"
"$M" aws claim kill WO-1 --target rehearsal --dir ca
must_fail mqtt mosquitto_pub line/claim.pem line/claim.pem line-pc-1 -q 1 -t "\$aws/certificates/create-from-csr/json" -m "{}"
mqtt mosquitto_pub devices/SN-0001/device.pem devices/SN-0001/device.key press-SN-0001 -q 1 -t devices/press-SN-0001/hello -m "still here"
"$M" aws status --dir ca

ended
step "Done: devices in $D/devices"
