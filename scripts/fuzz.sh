#!/bin/sh
# Runs each fuzz target, of the given packages or of all, for the given time. An
# input that is interesting is made smaller for a second at most: Go's own minute
# would leave nothing of a short run. Each package is built once, and not for each of
# its targets.
set -eu
time=${1:?usage: fuzz.sh DURATION [PACKAGE...]}
shift
bin=$(mktemp)
trap 'rm -f "$bin"' EXIT
trap 'exit 1' INT TERM
built=
for file in $(git ls-files "${@:-.}" | grep '_test\.go$' | xargs grep -l '^func Fuzz'); do
	dir=$(dirname "$file")
	for target in $(sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\)(.*/\1/p' "$file"); do
		echo "== $dir $target"
		[ "$built" = "$dir" ] || go test -c -fuzz . -o "$bin" "./$dir" # with what guides the fuzzer
		built=$dir
		# The cache of inputs is the one of go test -fuzz.
		(cd "$dir" && "$bin" -test.run '^$' -test.fuzz "^$target\$" -test.fuzztime "$time" -test.fuzzminimizetime 1s \
			-test.fuzzcachedir "$(go env GOCACHE)/fuzz/$(go list .)")
	done
done
