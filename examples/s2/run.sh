#!/bin/sh
# Fleet provisioning as code, with messages into S3.
#
# The devices' serial numbers begin with 297468. Three topic rules store what they
# send, under the topic and the time. Devices send by Basic Ingest, which passes no
# broker; the same topics work through the broker, where messaging is charged.
set -eu
. "$(dirname "$0")/../lib.sh"

step "The CA of the claim certificates, and the simulated AWS IoT Core"
"$M" init --dir ca --server line-1 --organization "Demo Factory" --name localhost --name 127.0.0.1 >log/init 2>&1
"$M" ca create --dir ca --name claims --path-len 0 --validity 5y >>log/init 2>&1
simulate --function "mintmark-provision=$F" --function-env _HANDLER=provision --function-env MINTMARK_TABLE=mintmark-devices
cp "$here/device-policy.json" ca/
serve

step "The provisioning stack: what CloudFormation needs is written from the configuration"
"$M" aws render --target rehearsal --bucket code.example --out stack --dir ca
ls stack stack/documents
"$M" aws doctor stack/*.yaml stack/documents/*.json
"$M" aws apply --yes --dir ca

step "The rule stack: what CloudFormation would make of ingest.yaml, with the aws command"
cloud s3 mb s3://messages.example
for n in 1 2 3; do
	cloud iot create-topic-rule --rule-name test_rule_rule$n --topic-rule-payload file://stack/documents/test_rule_rule$n.rule.json
done

step "A work order for serial numbers from 2974680001 to 2974680100"
"$M" order create WO-2 --label aws:rehearsal/test --quantity 2 --range 2974680001..2974680100 --for 7d --claim-out line/claim.pem --dir ca
claim_known() { [ "$(cloud iot list-targets-for-policy --policy-name test-claim --query 'length(targets)' --output text)" = 1 ]; }
until_ok claim_known
provision line/claim.pem test 2974680001 device
refused line/claim.pem test 1234567890 other

step "A message through each rule by Basic Ingest"
for n in 1 2 3; do
	mqtt mosquitto_pub device/device.pem device/device.key test-thing-2974680001 -q 1 \
		-t "\$aws/rules/test_rule_rule$n/test-rule/rule$n" -m "{\"temperature\": 2$n}"
done
stored() { [ "$(cloud s3 ls --recursive s3://messages.example | wc -l)" = "$1" ]; }
until_ok stored 3
cloud s3 ls --recursive s3://messages.example
key=$(cloud s3api list-objects-v2 --bucket messages.example --prefix test-rule/rule1/ --query 'Contents[0].Key' --output text)
cloud s3 cp "s3://messages.example/$key" message.json --quiet
grep -q '"temperature": *21' message.json || fail "the message is not what was sent: $(cat message.json)"
echo "  $key holds $(cat message.json)"

step "The same topic through the broker is a message that is charged"
mqtt mosquitto_pub device/device.pem device/device.key test-thing-2974680001 -q 1 -t test-rule/rule1 -m '{"temperature": 30}'
until_ok stored 4

ended
step "Done"
