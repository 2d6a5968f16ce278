#!/bin/sh
# Runs each fuzz target, of the given packages or of all, for the given time. An
# input that is interesting is made smaller for a second at most: Go's own minute
# would leave nothing of a short run.
set -eu
time=${1:?usage: fuzz.sh DURATION [PACKAGE...]}
shift
for file in $(git ls-files "${@:-.}" | grep '_test\.go$' | xargs grep -l '^func Fuzz'); do
	for target in $(sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\)(.*/\1/p' "$file"); do
		echo "== $(dirname "$file") $target"
		go test -run '^$' -fuzz "^$target\$" -fuzztime "$time" -fuzzminimizetime 1s "./$(dirname "$file")"
	done
done
