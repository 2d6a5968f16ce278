#!/bin/sh
# Nothing that was built may be tracked: no executable but scripts, no file
# larger than 1 MiB.
set -eu
bad=$(git ls-files -z | xargs -0 -r sh -c '
	for f; do
		[ -f "$f" ] || continue
		if [ "$(wc -c <"$f")" -gt 1048576 ] || [ "$(head -c 4 "$f" | tail -c 3)" = ELF ]; then
			echo "$f"
		fi
	done' sh)
[ -z "$bad" ] || { echo "these were built and must not be tracked:"; echo "$bad"; exit 1; } >&2
