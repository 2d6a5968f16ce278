# shellcheck shell=sh

# install PACKAGE...: installs Debian packages when root; never fails the caller.
install() {
	[ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1 || return 0
	if [ -z "${apt_updated:-}" ]; then
		apt_updated=1
		apt-get update -qq >/dev/null 2>&1 || true
	fi
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null 2>&1 || true
}

# need COMMAND PACKAGE...: installs the packages if the command is missing, and
# returns whether it is there then.
need() {
	wanted=$1
	shift
	command -v "$wanted" >/dev/null 2>&1 || install "$@"
	command -v "$wanted" >/dev/null 2>&1
}
