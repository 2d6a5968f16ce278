#!/bin/sh
# Runs each fuzz target, of the given packages or of all, for the given time. An
# input that is interesting is made smaller for a second at most: Go's own minute
# would leave nothing of a short run. Each package is built once, and not for each of
# its targets.
set -eu
time=${1:?usage: fuzz.sh DURATION [PACKAGE...]}
shift
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
trap 'exit 1' INT TERM

# Before Go 1.27 the end of the time is at times taken for a failure (go.dev/issue/75804). One that was
# found says more than that, and names the file of its input.
only_time_ran_out() {
	grep -q '^    context deadline exceeded$' "$1" && ! grep -Eq 'Failing input|panic:|fatal error:|_test\.go:[0-9]+:' "$1"
}

built=
for file in $(git ls-files "${@:-.}" | grep '_test\.go$' | xargs grep -l '^func Fuzz'); do
	dir=$(dirname "$file")
	for target in $(sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\)(.*/\1/p' "$file"); do
		echo "== $dir $target"
		[ "$built" = "$dir" ] || go test -c -fuzz . -o "$tmp/bin" "./$dir" # with what guides the fuzzer
		built=$dir
		# The cache of inputs is the one of go test -fuzz.
		cache=$(go env GOCACHE)/fuzz/$(go list "./$dir")
		{
			status=0
			(cd "$dir" && "$tmp/bin" -test.run '^$' -test.fuzz "^$target\$" -test.fuzztime "$time" -test.fuzzminimizetime 1s \
				-test.fuzzcachedir "$cache") || status=$?
			echo "$status" >"$tmp/status"
		} 2>&1 | tee "$tmp/said"
		[ "$(cat "$tmp/status")" = 0 ] || only_time_ran_out "$tmp/said"
	done
done
