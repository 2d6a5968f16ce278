# shellcheck shell=sh
# need COMMAND PACKAGE: installs a Debian package when root and the command is
# missing. Returns whether the command is there; never fails the caller.
need() {
	command -v "$1" >/dev/null 2>&1 && return 0
	if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
		if [ -z "${apt_updated:-}" ]; then
			apt_updated=1
			apt-get update -qq >/dev/null 2>&1 || true
		fi
		DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$2" >/dev/null 2>&1 || true
	fi
	command -v "$1" >/dev/null 2>&1
}
