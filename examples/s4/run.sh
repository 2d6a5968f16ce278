#!/bin/sh
# Just-in-time registration, twice: by hand, with openssl and the aws command as
# the tutorials show it, and with mintmark's own commands.
set -eu
. "$(dirname "$0")/../lib.sh"

step "AWS IoT Core, simulated, with the tutorial's function and mintmark's"
simulate --function "activate=$here/activate" --function "mintmark-jitr=$F" --function-env mintmark-jitr/_HANDLER=jitr \
	--function-env mintmark-jitr/MINTMARK_TABLE=mintmark-devices --function-env mintmark-jitr/MINTMARK_POLICY=JustInTime

step "By hand: a CA, and the proof that its key is ours"
mkdir byhand
(
	cd byhand
	openssl req -x509 -newkey rsa:2048 -nodes -keyout CAroot.key -out CAroot.pem -days 365 -subj "/O=Demo Factory/CN=By Hand CA" \
		-addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign 2>/dev/null
	code=$(cloud iot get-registration-code --query registrationCode --output text)
	openssl req -new -newkey rsa:2048 -nodes -keyout verification.key -out verification.csr -subj "/CN=$code" 2>/dev/null
	openssl x509 -req -in verification.csr -CA CAroot.pem -CAkey CAroot.key -CAcreateserial -days 1 -sha256 -out verification.pem 2>/dev/null
)
ca=$(cloud iot register-ca-certificate --ca-certificate file://byhand/CAroot.pem --verification-cert file://byhand/verification.pem --query certificateId --output text)
cloud iot update-ca-certificate --certificate-id "$ca" --new-status ACTIVE
cloud iot update-ca-certificate --certificate-id "$ca" --new-auto-registration-status ENABLE

step "By hand: policy, function, topic rule"
cat >policy.json <<'END'
{"Version": "2012-10-17", "Statement": [
  {"Effect": "Allow", "Action": "iot:Connect", "Resource": "arn:aws:iot:eu-central-1:123456789012:client/JustInTime"},
  {"Effect": "Allow", "Action": "iot:Publish", "Resource": "arn:aws:iot:eu-central-1:123456789012:topic/jitr/test"}]}
END
cloud iot create-policy --policy-name ByHand --policy-document file://policy.json --query policyArn --output text
cat >rule.json <<END
{"sql": "SELECT * FROM '\$aws/events/certificates/registered/$ca'", "awsIotSqlVersion": "2016-03-23",
 "actions": [{"lambda": {"functionArn": "arn:aws:lambda:eu-central-1:123456789012:function:activate"}}]}
END
cloud iot create-topic-rule --rule-name by_hand --topic-rule-payload file://rule.json

step "By hand: a device, with its certificate and the CA's in one file"
(
	cd byhand
	openssl req -new -newkey rsa:2048 -nodes -keyout deviceCert.key -out deviceCert.csr -subj "/CN=JustInTime" 2>/dev/null
	openssl x509 -req -in deviceCert.csr -CA CAroot.pem -CAkey CAroot.key -CAcreateserial -days 365 -sha256 -out deviceCert.crt 2>/dev/null
	cat deviceCert.crt CAroot.pem >deviceCertAndCA.crt
)
hello() { # hello CERTIFICATE KEY CLIENT TOPIC
	mqtt mosquitto_pub "$1" "$2" "$3" --tls-version tlsv1.2 -q 1 -t "$4" -m '{"hello": "world"}'
}
echo "  the first connection fails, and fails until the certificate is active:"
must_fail hello byhand/deviceCertAndCA.crt byhand/deviceCert.key JustInTime jitr/test
until_ok hello byhand/deviceCertAndCA.crt byhand/deviceCert.key JustInTime jitr/test
echo "  delivered"

step "With mintmark: the same, from the CA to the rule"
"$M" init --dir ca --server line-1 --organization "Demo Factory" --name localhost --name 127.0.0.1 >log/init 2>&1
"$M" ca create --dir ca --name jitr --issuer root --path-len 0 --validity 5y >>log/init 2>&1
serve_with_secret() {
	hash=$(tr -d '\n' <ca/secrets/enroll | sed 's/^factory://' | openssl dgst -sha256 -r | cut -d' ' -f1)
	sed "s/\"0\{64\}\"/\"$hash\"/" "$here/mintmark.yaml" >mintmark.yaml
	here=$PWD serve
}
serve_with_secret
"$M" aws doctor --dir ca
"$M" aws apply --yes --dir ca

step "With mintmark: a device enrolls with openssl and curl, and connects"
mkdir device
openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout device/device.key -subj /CN=press-1 -outform DER 2>/dev/null | openssl base64 >device/request.b64
tr -d '\n' <ca/secrets/enroll | sed 's/.*/user = "&"/' >curlrc
curl -sS --fail-with-body --config curlrc --cacert ca/root.pem -H 'Content-Type: application/pkcs10' --data-binary @device/request.b64 \
	"https://localhost:${est##*:}/.well-known/est/line/simpleenroll" | openssl base64 -d -A | openssl pkcs7 -inform DER -print_certs | sed -n '/BEGIN/,/END/p' >device/device.pem
rm curlrc device/request.b64
"$M" device kit press-1 --target rehearsal --out device/kit --dir ca
ls device/kit
publish() { mqtt mosquitto_pub device/kit/certificate-and-chain.pem device/device.key press-1 --tls-version tlsv1.2 -q 1 -t devices/press-1/hello -m '{"hello": "world"}'; }
must_fail publish
until_ok publish
echo "  delivered"

step "Somebody has the CA's key: what mintmark did not issue stays out, and the alarm rings"
"$M" ca export jitr --out jitr.pem --dir ca
openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout device/stranger.key -subj /CN=press-2 -out device/stranger.csr 2>/dev/null
openssl x509 -req -in device/stranger.csr -CA jitr.pem -CAkey ca/keys/jitr.pem -passin file:ca/secrets/passphrase -CAcreateserial -days 30 -sha256 2>/dev/null |
	cat - jitr.pem >device/stranger.pem
stranger() { mqtt mosquitto_pub device/stranger.pem device/stranger.key press-2 -q 1 -t devices/press-2/hello -m '{"hello": "world"}'; }
must_fail stranger
alarmed() { curl -sS "$control/_sim/events?kind=lambda.log" >log/events && grep -q not-in-manifest log/events; }
until_ok alarmed
must_fail stranger
echo "  the function's log says not-in-manifest"
"$M" aws status --dir ca

ended
step "Done"
