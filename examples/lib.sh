# shellcheck shell=sh
# What the examples share. Sourced by run.sh, which works in $D and finds the
# programs in $M (mintmark) and $F (the Lambda bundle, built for this machine).

root=$(cd "$(dirname "$0")/../.." && pwd)
here=$(cd "$(dirname "$0")" && pwd)
M=${MINTMARK:-$root/bin/mintmark}
F=${BOOTSTRAP:-$root/bin/bootstrap}
D=${WORK:-$root/examples/run/$(basename "$here")}
umask 077

step() { printf '\n== %s\n' "$*"; }
fail() {
	echo "$(basename "$here"): $*" >&2
	for log in "$D"/log/*; do echo "--- $log" && tail -n 15 "$log"; done >&2
	[ -z "${control:-}" ] || curl -sS "$control/_sim/events" | python3 -c 'import json,sys; [print(json.dumps(e)) for e in json.load(sys.stdin)[-25:]]' >&2
	[ -z "${azure:-}" ] || curl -sS --cacert sim/root.pem "https://localhost:${azure##*:}/_sim/events" | tail -c 4000 >&2
	exit 1
}
wants() { # wants COMMAND...: what the example cannot do without
	for command in "$@"; do
		command -v "$command" >/dev/null || fail "$command is needed: on Debian, apt-get install awscli mosquitto-clients openssl curl python3 nodejs"
	done
}
wants openssl curl python3
[ -x "$M" ] || fail "run make build first"

rm -rf "$D"
mkdir -p "$D/log" "$D/line"
cd "$D"

pids=
stop() {
	for pid in $pids; do kill "$pid" 2>/dev/null || true; done
	for pid in $pids; do wait "$pid" 2>/dev/null || true; done
	pids=
}
trap stop EXIT
trap 'exit 1' INT TERM

# after FILE TEXT: what follows TEXT in FILE, once it is there.
after() {
	n=0
	until grep -q "^$2" "$1" 2>/dev/null; do
		n=$((n + 1))
		[ "$n" -lt 600 ] || fail "nothing says \"$2\" in $1"
		sleep 0.1
	done
	sed -n "s|^$2||p" "$1" | head -n 1
}

# until_ok COMMAND...: repeats a command that fails until it does not, for as long
# as AWS would need; what it printed last is in log/until.
until_ok() {
	n=0
	until "$@" >log/until 2>&1; do
		n=$((n + 1))
		[ "$n" -lt 150 ] || fail "this never succeeded: $*"
		sleep 0.2
	done
	cat log/until
}

# must_fail COMMAND...: the command must be refused.
must_fail() {
	if "$@" >log/refused 2>&1; then fail "this should have been refused: $*"; fi
	sed 's/^/    refused: /' log/refused | tail -n 2
}

# json FIELD: a field of the JSON object on standard input, for scripts.
json() { python3 -c 'import json,sys; v=json.load(sys.stdin)[sys.argv[1]]; print(v if isinstance(v,str) else json.dumps(v))' "$1"; }

# simulate [FLAG...]: starts the AWS simulator in ./sim, and points the aws command
# at it.
simulate() {
	wants aws mosquitto_pub mosquitto_rr
	[ -x "$F" ] || fail "run make bin/bootstrap first"
	"$M" sim aws --state sim "$@" >log/sim.out 2>log/sim.log &
	pids="$pids $!"
	control=$(after log/sim.out "control plane listening on ")
	broker=$(after log/sim.out "broker listening on ")
	export AWS_SHARED_CREDENTIALS_FILE="$PWD/sim/credentials" AWS_REGION=eu-central-1 AWS_DEFAULT_REGION=eu-central-1
	export AWS_EC2_METADATA_DISABLED=true AWS_PAGER= AWS_CONFIG_FILE=/dev/null
	unset AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_SESSION_TOKEN AWS_PROFILE
	echo "  control plane $control, broker $broker"
}
cloud() { aws --endpoint-url "$control" "$@"; }

# simulate_azure [FLAG...]: starts the Azure simulator in ./sim.
simulate_azure() {
	"$M" sim azure --state sim "$@" >log/sim.out 2>log/sim.log &
	pids="$pids $!"
	n=0
	until [ -s sim/azure.json ]; do
		n=$((n + 1))
		[ "$n" -lt 600 ] || fail "the simulator does not start"
		sleep 0.1
	done
	azure=$(json https <sim/azure.json)
	echo "  at $azure"
}

# serve: starts the server on ./ca with the example's configuration, in which the
# simulator's address takes the place of the example's.
serve() {
	sed -e "s|http://127.0.0.1:4566|${control:-}|" -e "s|127.0.0.1:4443|${azure:-}|" "$here/mintmark.yaml" >ca/mintmark.yaml
	"$M" config check --dir ca
	"$M" serve --dir ca --listen 127.0.0.1:0 >log/server.out 2>log/server.log &
	server=$!
	pids="$pids $server"
	est=$(after log/server.out "est listening on ")
}

# ended: the server must end in order.
ended() {
	kill "$server"
	wait "$server" || fail "the server ended with $?"
}

# mqtt PROGRAM CERTIFICATE KEY CLIENT ...: one of mosquitto's clients, over mutual
# TLS to the endpoint.
mqtt() {
	program=$1 certificate=$2 key=$3 client=$4
	shift 4
	# shellcheck disable=SC2086 # a program may come with words before it
	$program -h localhost -p "${broker##*:}" --cafile sim/amazon-root.pem --cert "$certificate" --key "$key" -i "$client" "$@"
}

# provision CLAIM TEMPLATE SERIAL DIR: what the test PC does for one device, with
# nothing but openssl and mosquitto: the device makes its key and its request, the
# claim gets the certificate, and the device gets provisioned. CLAIM is a file with
# key, certificate and chain.
provision() {
	create "$1" "$3" "$4"
	register "$1" "$2" "$3" "$4" accepted
	rm "$4/created" "$4/provisioned"
}

# refused CLAIM TEMPLATE SERIAL DIR: the same, and AWS must reject it.
refused() {
	create "$1" "$3" "$4"
	register "$1" "$2" "$3" "$4" rejected
	echo "    rejected: $(cat "$4/provisioned")"
	rm -r "$4"
}

create() { # create CLAIM SERIAL DIR
	mkdir -p "$3"
	openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$3/device.key" -subj "/CN=$2" -out "$3/device.csr" 2>/dev/null
	python3 -c 'import json,sys; print(json.dumps({"certificateSigningRequest": open(sys.argv[1]).read()}))' "$3/device.csr" >"$3/request"
	answer "$1" "\$aws/certificates/create-from-csr/json" accepted "$3/request" "$3/created"
	json certificatePem <"$3/created" >"$3/device.pem"
	rm "$3/request" "$3/device.csr"
}

register() { # register CLAIM TEMPLATE SERIAL DIR accepted|rejected
	python3 -c 'import json,sys; print(json.dumps({"certificateOwnershipToken": json.load(open(sys.argv[1]))["certificateOwnershipToken"], "parameters": {"SerialNumber": sys.argv[2]}}))' "$4/created" "$3" >"$4/request"
	answer "$1" "\$aws/provisioning-templates/$2/provision/json" "$5" "$4/request" "$4/provisioned"
	rm "$4/request"
}

# answer CLAIM TOPIC accepted|rejected REQUEST FILE: publishes a request and keeps
# the answer of that kind. The subscription is there before the request. (mosquitto_rr
# 2.0.11 sends nothing of a file, so the request is an argument.)
answer() {
	mqtt mosquitto_rr "$1" "$1" line-pc-1 -V mqttv311 -q 1 -W 20 -t "$2" -e "$2/$3" -m "$(cat "$4")" -F %p >"$5" 2>>log/mqtt ||
		fail "no answer on $2/$3"
}
