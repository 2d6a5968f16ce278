#!/bin/sh
# Puts the configuration of the IoT Edge device @DEVICE@ in its place, with the owners
# and modes that IoT Edge needs. Written by mintmark azure edge-config; run as root on the
# device, after IoT Edge has been installed:
#
#	sh place.sh @OPTIONS@
#
# --root DIR works on an image of the device that is mounted there. --replace puts the
# configuration and certificates in the place of others; the configuration that was there
# is kept as config.toml.old. A key is never replaced.
set -eu
umask 077
export LC_ALL=C

root= replace= identity_key= bootstrap_key= est_key= password_file= pin_file=
die() {
	echo "place.sh: $*" >&2
	exit 1
}
while [ $# -gt 0 ]; do
	case $1 in
	--replace)
		replace=1
		shift
		continue
		;;
	--root | --identity-key | --bootstrap-key | --est-key | --password-file | --pin-file) ;;
	*) die "there is no option $1" ;;
	esac
	[ $# -ge 2 ] && [ -n "$2" ] || die "$1 needs a value"
	case $1 in
	--root) root=$(cd "$2" && pwd) ;;
	--identity-key) identity_key=$2 ;;
	--bootstrap-key) bootstrap_key=$2 ;;
	--est-key) est_key=$2 ;;
	--password-file) password_file=$2 ;;
	--pin-file) pin_file=$2 ;;
	esac
	shift 2
done
[ "$root" != / ] || root=
from=$(cd "$(dirname "$0")" && pwd)

# account NAME: user and group of IoT Edge's accounts, as numbers; in an image, its own.
account() {
	if [ -n "$root" ]; then
		awk -F: -v name="$1" '$1 == name { print $3 ":" $4; found = 1; exit } END { exit !found }' "$root/etc/passwd" 2>/dev/null
	else
		id -u "$1" >/dev/null 2>&1 && echo "$(id -u "$1"):$(id -g "$1")"
	fi || die "there is no account $1${root:+ in $root/etc/passwd}: install IoT Edge first (the package aziot-edge)"
}

# folder PATH OWNER MODE: a directory, made if it is not there.
folder() {
	[ -d "$root$1" ] || mkdir -p "$root$1"
	chown -h "$2" "$root$1"
	chmod "$3" "$root$1"
}

# check FILE PLACE: what is there already is the same, or may be replaced.
check() {
	[ -f "$1" ] || die "there is no file $1"
	[ ! -L "$root$2" ] || die "$root$2 is a symbolic link"
	if [ -e "$root$2" ] && ! cmp -s "$1" "$root$2"; then
		[ -f "$root$2" ] || die "$root$2 is no file"
		[ -n "$replace" ] || die "$root$2 is there and differs: look at it, then add --replace"
	fi
}

# key OPTION FILE PLACE CERTIFICATE: a private key that is the certificate's, and does
# not take another's place.
key() {
	[ -n "$2" ] || die "$1 FILE must be given"
	[ -f "$2" ] || die "there is no file $2"
	grep -q 'PRIVATE KEY-----' "$2" || die "$2 holds no private key in PEM"
	if grep -q ENCRYPTED "$2"; then die "the key in $2 is encrypted, and IoT Edge could not read it"; fi
	[ ! -L "$root$3" ] || die "$root$3 is a symbolic link"
	if [ -e "$root$3" ] && ! cmp -s "$2" "$root$3"; then
		die "$root$3 is there and is another key: keys are never replaced, move it away yourself"
	fi
	if command -v openssl >/dev/null 2>&1; then
		of_key=$(openssl pkey -in "$2" -pubout 2>/dev/null) || die "$2 holds no private key that openssl reads"
		[ "$of_key" = "$(openssl x509 -in "$from/$4" -noout -pubkey)" ] || die "the key in $2 is not that of $4"
	fi
}

# install_file FILE PLACE OWNER MODE: through a directory that only root writes to, so
# that the file is never there half or with another owner.
install_file() {
	cat "$1" >"$stage/file"
	chown -h "$3" "$stage/file"
	chmod "$4" "$stage/file"
	mv -f "$stage/file" "$root$2"
	echo "$root$2"
}

# secret OPTION FILE: the first line of a file, in characters that every part takes.
secret() {
	[ -n "$2" ] || die "$1 FILE must be given"
	[ -f "$2" ] || die "there is no file $2"
	awk 'NR == 1 { good = length($0) > 0 && $0 !~ /[^ -~]/ } END { exit !good }' "$2" ||
		die "the first line of $2 is empty, or has other characters than printable ASCII"
}

# fill: config.toml with the secrets. They go from file to file, through no command line:
# the password as TOML writes it, the PIN as a URI does. A password may stand behind its
# user, as in the file of mintmark est secret.
fill() {
	password_file=$password_file pin_file=$pin_file awk '
		function first(file, line) { getline line < file; close(file); return line }
		function toml(s, out, i, c) {
			for (i = 1; i <= length(s); i++) { c = substr(s, i, 1); out = out (c == "\\" || c == "\"" ? "\\" c : c) }
			return out
		}
		function percent(s, out, i, c) {
			for (i = 1; i <= length(s); i++) { c = substr(s, i, 1); out = out (c ~ /[0-9A-Za-z]/ ? c : sprintf("%%%02X", code[c])) }
			return out
		}
		function without(user, s, i) {
			i = index(s, ":")
			return i > 1 && toml(substr(s, 1, i - 1)) == user ? substr(s, i + 1) : s
		}
		BEGIN {
			for (i = 1; i < 128; i++) code[sprintf("%c", i)] = i
			if (ENVIRON["password_file"] != "") password = first(ENVIRON["password_file"])
			if (ENVIRON["pin_file"] != "") pin = percent(first(ENVIRON["pin_file"]))
		}
		/^username = "/ { user = substr($0, 13, length($0) - 13) }
		$0 == "password = \"@EST_PASSWORD@\"" { print "password = \"" toml(without(user, password)) "\""; next }
		/^(identity_pk|bootstrap_identity_pk|pkcs11_base_slot) = / && /[?]pin-value=@PKCS11_PIN@"$/ {
			print substr($0, 1, length($0) - length("@PKCS11_PIN@\"")) pin "\""; next
		}
		{ print }
	' "$from/config.toml"
}

# Everything is looked at before anything is written. From an image, an absolute link
# would lead to the machine that the image is mounted on, and secrets with it.
for place in ${root:+/etc /etc/aziot /var} /var/aziot /var/aziot/certs /var/aziot/secrets /etc/aziot/config.toml.old; do
	[ ! -L "$root$place" ] || die "$root$place is a symbolic link"
done
certd=$(account aziotcs)
keyd=$(account aziotks)
identityd=$(account aziotid)
super=$(account root)
@CHECKS@
[ -d "$root/var/aziot" ] || (umask 022 && mkdir -p "$root/var/aziot")
[ -d "$root/etc/aziot" ] || (umask 022 && mkdir -p "$root/etc/aziot")
stage=$(mktemp -d "$root/var/aziot/.place.XXXXXX")
trap 'rm -rf "$stage"' EXIT
trap 'exit 1' INT TERM
fill >"$stage/config.toml"
check "$stage/config.toml" /etc/aziot/config.toml

folder /var/aziot/certs "$certd" 755
folder /var/aziot/secrets "$keyd" 700
@INSTALLS@
if [ -e "$root/etc/aziot/config.toml" ] && ! cmp -s "$stage/config.toml" "$root/etc/aziot/config.toml"; then
	install_file "$root/etc/aziot/config.toml" /etc/aziot/config.toml.old "$super" 600
fi
install_file "$stage/config.toml" /etc/aziot/config.toml "$super" 600

echo
echo "Next, on the device: iotedge config apply"
echo "Then: iotedge system status, and iotedge check"
