#!/bin/sh
# Builds the Lambda bundles bin/mintmark-lambda-ARCH.zip, each with one
# executable named bootstrap, as the runtime provided.al2023 wants it.
set -eu
mkdir -p bin
for arch in arm64 amd64; do
	dir=$(mktemp -d)
	GOOS=linux GOARCH=$arch CGO_ENABLED=0 go build -trimpath -tags lambda.norpc -ldflags '-s -w' -o "$dir/bootstrap" ./cmd/mintmark-lambda
	go run ./scripts/zip bin/mintmark-lambda-$arch.zip "$dir/bootstrap"
	rm -r "$dir"
	echo "bin/mintmark-lambda-$arch.zip"
done
