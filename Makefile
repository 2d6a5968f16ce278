# The commands a person types. make demo shows the main job; make test runs
# every test. Both install by themselves what they need (Debian, as root).

GO      ?= go
FUZZ    ?= 10m
STATICCHECK = $(GO) tool -modfile=tools/go.mod staticcheck

.PHONY: build fips demo test interop check tags race fuzz faults scale scale-bench drill bench lambda clean

build:
	$(GO) build -trimpath -ldflags '-s -w' -o bin/mintmark ./cmd/mintmark

# The same on a frozen Go Cryptographic Module (docs/fips.md).
FIPS ?= v1.0.0
fips:
	GOFIPS140=$(FIPS) $(GO) build -trimpath -ldflags '-s -w' -o bin/mintmark-fips ./cmd/mintmark

# The Lambda bundles, one zip for each architecture.
lambda:
	scripts/lambda.sh

demo:
	@. scripts/need.sh; [ -z "$(HSM)" ] || need gcc gcc libc6-dev || true # PKCS #11 needs cgo
	@$(MAKE) --no-print-directory build bin/bootstrap
	@HSM=$(HSM) scripts/demo.sh

# The Lambda bundle for this machine, which the simulator runs.
.PHONY: bin/bootstrap
bin/bootstrap:
	CGO_ENABLED=0 $(GO) build -trimpath -tags lambda.norpc -ldflags '-s -w' -o bin/bootstrap ./cmd/mintmark-lambda

# Three packages at a time, on two processors too: much of it waits for processes and disks.
test:
	scripts/test-tools.sh
	$(GO) test -p 3 -parallel 4 -timeout 15m ./...
	scripts/fuzz.sh 2s internal/cms internal/pkcs10 issuer/est/*_test.go

# The EST server against clients that others wrote: a matrix.
interop:
	scripts/test-tools.sh
	$(GO) test -c -o bin/interop.test ./internal/interop
	@cd internal/interop && ../../bin/interop.test -test.run '^TestMatrix$$'

check:
	scripts/tracked.sh
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { gofmt -l $$(git ls-files '*.go'); exit 1; }
	$(GO) vet ./...
	$(STATICCHECK) ./...

# What only builds with a tag have, or without cgo. yubikey needs the headers of libpcsclite.
tags:
	@. scripts/need.sh; need gcc gcc libc6-dev; [ -f /usr/include/PCSC/winscard.h ] || install libpcsclite-dev pkg-config
	$(GO) vet -tags cloudkms,yubikey ./internal/keystore ./cmd/mintmark
	CGO_ENABLED=0 $(GO) vet ./internal/keystore/... ./cmd/...
	$(GO) test -count=1 -tags cloudkms,yubikey -run 'Google|YubiKey' ./internal/keystore

race:
	scripts/test-tools.sh
	$(GO) test -race -timeout 60m ./...

# Every fuzz target for FUZZ, one after the other.
fuzz:
	scripts/fuzz.sh $(FUZZ)

# Crashes, broken disks and failing tokens for longer than make test takes, and what
# signatures in a token cost against those of its library alone.
faults:
	scripts/test-tools.sh
	MINTMARK_LONG=1 $(GO) test -count=1 -timeout 10m -v -run 'FaultWipes$$|FaultThroughput' ./internal/keystore/faults
	MINTMARK_LONG=1 $(GO) test -count=1 -timeout 60m -skip 'FaultWipes$$|FaultThroughput' -run 'Kill|Crash|Fault|Disk|Trace|ConformancePostgres|Cut' ./internal/... ./issuer/... ./ca/... ./awsreg ./dpsreg ./cmd/...

# A million certificates, a device list of a million, a million revocations in
# shards, a rotation of a hundred thousand devices, the rebuild and the
# verification of a large log.
scale:
	MINTMARK_LONG=1 $(GO) test -count=1 -p 1 -timeout 90m -v -run 'Scale|Thousands' ./internal/ledger/... ./internal/audit/... ./issuer/inventory ./ca/revocation ./awsreg

# Replaces a root under a fleet of 100,000 simulated devices, and with 1,000 takes it back
# from every state and kills the server after every entry of the journal.
drill:
	scripts/test-tools.sh
	MINTMARK_LONG=1 $(GO) test -count=1 -timeout 120m -v -run 'TestDrill' ./internal/drill

# Three minutes, and the machine for itself (docs/benchmarks.md).
bench: build
	bin/mintmark bench --json-out bench.json

# The same with a ledger of 5 million certificates, which SCALE_DIR keeps: 10 GB.
SCALE     ?= 5000000
SCALE_DIR ?= /var/tmp/mintmark-large
scale-bench: build
	bin/mintmark bench --scale $(SCALE) --scale-dir $(SCALE_DIR) --json-out bench.json

clean:
	rm -rf bin demo bench.json
