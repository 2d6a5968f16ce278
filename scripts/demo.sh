#!/bin/sh
# The main job, end to end, under ./demo: a CA that (simulated) AWS IoT Core
# accepts, devices that enroll over EST, and devices that connect just in time.
# HSM=1 keeps all CA keys in a SoftHSM2 token.
set -eu
cd "$(dirname "$0")/.."
. scripts/need.sh
umask 077
D=demo
M=bin/mintmark
HSM=${HSM:-}

rm -rf "$D"
mkdir -p "$D/devices" "$D/log"

step() { printf '\n\033[1m%s\033[0m\n' "$*"; }
run() { printf '  $ %s\n' "$*"; "$@"; }
row() { printf '%s\t%s\t%s\n' "$1" "$2" "$3" >>"$D/results"; }
fail() {
	echo "demo: $*" >&2
	echo "demo: see $D/log/server.log and $D/log/sim.log" >&2
	exit 1
}

pids=
stop() {
	for pid in $pids; do kill "$pid" 2>/dev/null || true; done
	for pid in $pids; do wait "$pid" 2>/dev/null || true; done
	pids=
}
trap stop EXIT INT TERM

# waitfor FILE TEXT: prints what follows TEXT in FILE, once it is there.
waitfor() {
	n=0
	until grep -q "^$2" "$1" 2>/dev/null; do
		n=$((n + 1))
		[ "$n" -lt 300 ] || fail "nothing says \"$2\" in $1"
		sleep 0.1
	done
	sed -n "s|^$2||p" "$1" | head -n 1
}

step "Third-party clients"
have() { if need "$@"; then echo "  $1: $(command -v "$1")"; return 0; fi; echo "  $1: missing and not installable, mintmark's own client takes its place"; return 1; }
command -v openssl >/dev/null || need openssl openssl || fail "openssl is needed"
have curl curl && curl=1 || curl=
have pki strongswan-pki libstrongswan-standard-plugins && pki=1 || pki=
have mosquitto_pub mosquitto-clients && mosquitto=1 || mosquitto=
aws=
for candidate in /usr/bin/aws aws; do
	if [ -z "$aws" ] && "$candidate" --version >/dev/null 2>&1; then aws=$candidate; fi
done
if [ -z "$aws" ]; then
	need aws awscli >/dev/null || true
	/usr/bin/aws --version >/dev/null 2>&1 && aws=/usr/bin/aws
fi
[ -n "$aws" ] && echo "  aws: $aws" || echo "  aws: missing and not installable, mintmark aws status takes its place"

began=$(date +%s) # installing is not the main job
step "The CA hierarchy"
key_uri() { :; }
if [ -n "$HSM" ]; then
	need softhsm2-util softhsm2 || fail "HSM=1 needs SoftHSM2 (Debian package softhsm2)"
	module=
	for candidate in /usr/lib/softhsm/libsofthsm2.so /usr/lib/*/softhsm/libsofthsm2.so /usr/lib64/pkcs11/libsofthsm2.so; do
		[ -f "$candidate" ] && module=$candidate && break
	done
	[ -n "$module" ] || fail "SoftHSM2 is installed, but libsofthsm2.so is not where it is expected"
	mkdir -p "$D/tokens"
	printf 'directories.tokendir = %s\nobjectstore.backend = file\n' "$PWD/$D/tokens" >"$D/softhsm2.conf"
	export SOFTHSM2_CONF="$PWD/$D/softhsm2.conf"
	head -c 16 /dev/urandom | od -An -tx1 | tr -d ' \n' >"$D/pin"
	chmod 400 "$D/pin"
	softhsm2-util --init-token --free --label demo --so-pin "$(cat "$D/pin")" --pin "$(cat "$D/pin")" >/dev/null
	token="pkcs11:module-path=$module;token=demo?pin-source=$PWD/$D/pin"
	key_uri() { echo "--key-uri pkcs11:token=demo;object=$1"; }
	run $M hsm check "${token%%\?*}" --pin-file "$D/pin" --make-key --seconds 0.5
	run $M init --dir $D/state --server line-1 --organization "Demo Factory" --name localhost --name 127.0.0.1 --public-url http://localhost:8080 --pkcs11 "$token" >"$D/log/init.log"
	row "CA keys" "SoftHSM2" "four keys in token demo, none in a file"
else
	run $M init --dir $D/state --server line-1 --organization "Demo Factory" --name localhost --name 127.0.0.1 --public-url http://localhost:8080 >"$D/log/init.log"
	row "CA keys" "files" "encrypted, under $D/state/keys"
fi
cp $D/state/root.pem $D/root.pem
for ca in jitr jitp; do
	# shellcheck disable=SC2046 # a key URI holds no spaces
	run $M ca create --dir $D/state --name $ca --issuer root --organization "Demo Factory" --common-name "Demo $ca CA" --validity 8y --path-len 0 $(key_uri $ca) >>"$D/log/init.log"
done
$M ca list --dir $D/state

step "A simulated AWS IoT Core"
$M sim aws --state $D/sim --function mintmark-jitr=bin/bootstrap --function-env _HANDLER=jitr \
	--function-env MINTMARK_TABLE=mintmark-devices --function-env MINTMARK_POLICY=mintmark-device >"$D/log/sim.out" 2>"$D/log/sim.log" &
pids="$pids $!"
control=$(waitfor "$D/log/sim.out" "control plane listening on ")
broker=$(waitfor "$D/log/sim.out" "broker listening on ")
echo "  control plane $control, broker $broker"
export AWS_SHARED_CREDENTIALS_FILE="$PWD/$D/sim/credentials" AWS_REGION=eu-central-1 AWS_DEFAULT_REGION=eu-central-1 AWS_EC2_METADATA_DISABLED=true AWS_PAGER=
unset AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_PROFILE 2>/dev/null || true

step "The server"
hash=$(tr -d '\n' <$D/state/secrets/enroll | sed 's/^factory://' | openssl dgst -sha256 -r | cut -d' ' -f1)
sed -e "s|\"0\{64\}\" # mintmark est secret|\"$hash\"|" -e "s|endpoint: http[^ ]*.*|endpoint: $control|" \
	-e 's|http://ca.factory.example:8080|http://localhost:8080|' examples/aws-just-in-time.yaml >$D/state/mintmark.yaml
[ -z "$HSM" ] || sed -i -e "s|^  passphrase_file:.*|  tokens: [{name: demo, uri: \"${token%%\?*}\", pin: {file: \"$PWD/$D/pin\"}}]|" $D/state/mintmark.yaml
run $M config check --dir $D/state
$M serve --dir $D/state --listen 127.0.0.1:0 >"$D/log/server.out" 2>"$D/log/server.log" &
server=$!
pids="$pids $server"
est=$(waitfor "$D/log/server.out" "est listening on ")
echo "  EST on $est"
port=${est##*:}

step "Registration with AWS IoT Core"
run $M aws plan --dir $D/state
run $M aws apply --yes --dir $D/state
run $M aws apply --yes --dir $D/state >"$D/log/apply-again"
cat "$D/log/apply-again"
row "aws apply" "mintmark" "two CAs registered by registration code; the second apply changed nothing"

step "Enrollment over EST"
url=https://localhost:$port
chain() { # chain LABEL NAME: the certificate and the issuing CA, as AWS wants it
	$M est cacerts --url "$url" --label "$1" --ca $D/root.pem --out "$D/devices/$2.cacerts.pem"
	openssl verify -CAfile $D/root.pem -untrusted "$D/devices/$2.cacerts.pem" "$D/devices/$2.pem"
	# The issuing CA is the one whose subject is the certificate's issuer.
	issuer=$(openssl x509 -in "$D/devices/$2.pem" -noout -issuer_hash)
	awk -v d="$D/devices/$2.ca" '/BEGIN CERT/{n++} {print > (d "." n)}' "$D/devices/$2.cacerts.pem"
	cp "$D/devices/$2.pem" "$D/devices/$2.chain.pem"
	for c in "$D/devices/$2".ca.*; do
		[ "$(openssl x509 -in "$c" -noout -subject_hash)" = "$issuer" ] && cat "$c" >>"$D/devices/$2.chain.pem"
		rm "$c"
	done
}
own_enroll() { # own_enroll LABEL NAME
	run $M est enroll --url "$url" --label "$1" --ca $D/root.pem --password-file $D/state/secrets/enroll \
		--name "$2" --new-key "$D/devices/$2.key" --out "$D/devices/$2.pem"
}

# 1: openssl and curl
name=press-0001
if [ -n "$curl" ]; then
	openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout $D/devices/$name.key -subj /CN=$name -outform DER 2>/dev/null | openssl base64 >$D/devices/$name.b64
	echo "  $ curl --data-binary @$name.b64 $url/.well-known/est/jitr/simpleenroll"
	tr -d '\n' <$D/state/secrets/enroll | sed 's/.*/user = "&"/' >$D/curlrc
	curl -sS --fail-with-body --config $D/curlrc --cacert $D/root.pem -H 'Content-Type: application/pkcs10' --data-binary @$D/devices/$name.b64 \
		"$url/.well-known/est/jitr/simpleenroll" | openssl base64 -d -A | openssl pkcs7 -inform DER -print_certs | sed -n '/BEGIN/,/END/p' >$D/devices/$name.pem
	row "$name enrolled" "openssl + curl" "label jitr, HTTP Basic"
else
	own_enroll jitr $name
	row "$name enrolled" "mintmark" "label jitr, HTTP Basic (no curl here)"
fi
chain jitr $name

# 2: strongSwan
name=press-0002
if [ -n "$pki" ]; then
	pki --gen --type ecdsa --size 256 --outform pem >$D/devices/$name.key
	pki --req --type priv --in $D/devices/$name.key --dn "CN=$name" --outform der >$D/devices/$name.csr
	echo "  $ pki --est --url $url/jitr"
	pki --est --url "$url/jitr" --in $D/devices/$name.csr --cacert $D/root.pem \
		--userpass "$(cat $D/state/secrets/enroll)" --outform pem >$D/devices/$name.pem 2>>"$D/log/pki.log" || fail "pki --est failed: see $D/log/pki.log"
	row "$name enrolled" "strongSwan pki" "label jitr, HTTP Basic"
else
	own_enroll jitr $name
	row "$name enrolled" "mintmark" "label jitr, HTTP Basic (no strongSwan here)"
fi
chain jitr $name

# 3: mintmark's own client
name=press-0003
own_enroll jitp $name
row "$name enrolled" "mintmark est" "label jitp, HTTP Basic"
chain jitp $name

step "Connecting over MQTT"
bhost=${broker%:*}
bport=${broker##*:}
publish() { # publish NAME
	if [ -n "$mosquitto" ]; then
		mosquitto_pub --cafile $D/sim/amazon-root.pem --cert "$D/devices/$1.chain.pem" --key "$D/devices/$1.key" \
			-h "$bhost" -p "$bport" -i "$1" -t "devices/$1/hello" -m hello -q 1 -V mqttv311
	else
		$M aws publish --endpoint "$broker" --ca $D/sim/amazon-root.pem --cert "$D/devices/$1.chain.pem" --key "$D/devices/$1.key" \
			--client-id "$1" --topic "devices/$1/hello" --message hello
	fi
}
with=mosquitto_pub
[ -n "$mosquitto" ] || with="mintmark aws publish"
connect() { # connect NAME WAY
	tries=0
	until publish "$1" >>"$D/log/mqtt.log" 2>&1; do
		tries=$((tries + 1))
		echo "  $1: attempt $tries refused while the certificate is pending"
		[ "$tries" -lt 60 ] || fail "$1 was never let in"
		sleep 0.5
	done
	[ "$tries" -gt 0 ] || fail "$1 was let in at once: nobody checked it"
	echo "  $1: attempt $((tries + 1)) delivered a message"
	row "$1 connected" "$with" "$2: refused while pending, then delivered"
}
connect press-0001 "JITR, activated by the Lambda"
connect press-0003 "JITP, provisioned from the template"

step "What AWS knows"
if [ -n "$aws" ]; then
	awscli() { "$aws" --endpoint-url "$control" --no-cli-pager --output table "$@"; }
	awscli iot list-ca-certificates --query 'certificates[].[certificateId,status]'
	awscli iot list-certificates --query 'certificates[].[certificateId,status]'
	awscli iot list-things --query 'things[].thingName'
	things=$("$aws" --endpoint-url "$control" --output text iot list-things --query 'things[].thingName')
	active=$("$aws" --endpoint-url "$control" --output text iot list-certificates --query 'length(certificates[?status==`ACTIVE`])')
	for name in press-0001 press-0003; do
		case " $(echo "$things" | tr '\t\n' '  ') " in *" $name "*) ;; *) fail "AWS has no thing $name" ;; esac
		principal=$("$aws" --endpoint-url "$control" --output text iot list-thing-principals --thing-name $name --query 'principals[0]')
		policy=$("$aws" --endpoint-url "$control" --output text iot list-attached-policies --target "$principal" --query 'policies[0].policyName')
		[ "$policy" = mintmark-device ] || fail "the certificate of $name has the policy $policy"
		row "thing $name" "aws CLI" "has the certificate and the policy $policy"
	done
	[ "$active" = 2 ] || fail "$active certificates are active, 2 expected"
else
	run $M aws status --dir $D/state
	row "AWS status" "mintmark" "no aws CLI here"
fi
$M device list --dir $D/state

step "Stopping"
kill "$server"
wait "$server" || fail "the server ended with $?"
pids=$(echo "$pids" | sed "s/ $server//")
stop

step "What happened"
awk -F'\t' '{printf "  %-22s %-20s %s\n", $1, $2, $3}' "$D/results"
cat <<END

  trust anchor            $D/root.pem
  devices                 $D/devices/NAME.{key,pem,chain.pem}
  state of the server     $D/state (mintmark.yaml, ledger.db, log/)
  logs                    $D/log

The main job took $(($(date +%s) - began)) s.
END
