// Package ledgertest is the conformance suite of the ledger: what the
// contract promises, sentence by sentence, for any back end to run. It also
// has a ledger that fails on command, for the tests of whoever relies on one.
package ledgertest

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"mintmark/internal/ledger"
)

// Run checks a back end. open returns an empty ledger and arranges for its end
// with t.Cleanup.
func Run(t *testing.T, open func(t testing.TB) ledger.Ledger) {
	groups := []struct {
		name  string
		cases []check
	}{
		{"begin", beginChecks},
		{"finish", finishChecks},
		{"epochs", epochChecks},
		{"certificates", certificateChecks},
		{"revocations", revocationChecks},
		{"selectors", selectorChecks},
		{"crls", crlChecks},
		{"shards", shardChecks},
		{"changes", changeChecks},
		{"rotations", rotationChecks},
		{"anchors", anchorChecks},
		{"renewals", renewalChecks},
		{"admission", admissionChecks},
		{"devices", deviceChecks},
		{"imports", importChecks},
		{"orders", orderChecks},
		{"quota", quotaChecks},
		{"imported", importedChecks},
		{"enrollments", enrollmentChecks},
		{"secrets", secretChecks},
		{"taken", takenChecks},
		{"gateways", gatewayChecks},
		{"registration authorities", registrationChecks},
		{"refusals", refusalChecks},
		{"principals", principalChecks},
		{"approvals", approvalChecks},
		{"hierarchy", hierarchyChecks},
		{"leases", leaseChecks},
		{"outbox", outboxChecks},
		{"texts", textChecks},
		{"concurrency", concurrencyChecks},
	}
	for _, g := range groups {
		t.Run(g.name, func(t *testing.T) {
			for _, c := range g.cases {
				t.Run(c.name, func(t *testing.T) {
					l := open(t)
					c.run(t, newBench(t, l))
				})
			}
		})
	}
}

// check is one sentence of the contract.
type check struct {
	name string
	run  func(*testing.T, *bench)
}

// start is when the suite's clock begins: whole seconds, so that any back
// end's precision will do.
var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

const year = 365 * 24 * time.Hour

// bench is a ledger with a joined server and a clock that tests move.
type bench struct {
	ledger.Ledger
	t     testing.TB
	ctx   context.Context
	now   time.Time
	epoch ledger.Epoch
}

func newBench(t testing.TB, l ledger.Ledger) *bench {
	t.Helper()
	b := &bench{Ledger: l, t: t, ctx: context.Background(), now: start}
	epoch, err := l.Join(b.ctx, "alpha", b.now, time.Hour)
	if err != nil {
		t.Fatalf("joining: %v", err)
	}
	b.epoch = epoch
	return b
}

// NewSerial makes a serial number as the server does: seconds, then random
// bytes.
func NewSerial(now time.Time) ledger.Serial {
	var b [18]byte
	binary.BigEndian.PutUint32(b[:], uint32(now.Unix()))
	rand.Read(b[4:])
	return ledger.Serial(hex.EncodeToString(b[:]))
}

// Key is the hash of a key that exists in name only.
func Key(name string) [32]byte { return sha256.Sum256([]byte(name)) }

// NewIntent is an intent for a device under a bootstrap credential.
func NewIntent(epoch ledger.Epoch, now time.Time, device, key string) ledger.Intent {
	serial := NewSerial(now)
	return ledger.Intent{
		Epoch:     epoch,
		Serial:    serial,
		Issuer:    "line-a",
		Profile:   "gateway",
		Label:     "line",
		Purpose:   ledger.ForDevice,
		Device:    device,
		Subject:   "CN=" + device,
		Requester: ledger.Requester{Kind: "password", Name: "station-2", Address: netip.MustParseAddr("192.0.2.7")},
		Key:       Key(key),
		TBS:       []byte("to be signed: " + string(serial)),
		NotBefore: now.Add(-time.Hour),
		NotAfter:  now.Add(year),
		At:        now,
		Repeat:    10 * time.Minute,
	}
}

// Signed is the certificate for an intent.
func Signed(i ledger.Intent, now time.Time, tasks ...ledger.Task) ledger.Issued {
	return ledger.Issued{Serial: i.Serial, DER: []byte("signed: " + string(i.TBS)), Tasks: tasks, At: now}
}

// intent is one of the bench's epoch and time, changed as needed.
func (b *bench) intent(device, key string, change ...func(*ledger.Intent)) ledger.Intent {
	i := NewIntent(b.epoch, b.now, device, key)
	for _, c := range change {
		c(&i)
	}
	return i
}

// begin records one intent and returns its result.
func (b *bench) begin(i ledger.Intent) error {
	b.t.Helper()
	results, err := b.Begin(b.ctx, []ledger.Intent{i})
	if err != nil {
		b.t.Fatalf("begin: %v", err)
	}
	if len(results) != 1 {
		b.t.Fatalf("begin: %d results for one intent", len(results))
	}
	return results[0]
}

// finish records one certificate and returns its result.
func (b *bench) finish(i ledger.Issued) error {
	b.t.Helper()
	results, err := b.Finish(b.ctx, []ledger.Issued{i})
	if err != nil {
		b.t.Fatalf("finish: %v", err)
	}
	if len(results) != 1 {
		b.t.Fatalf("finish: %d results for one certificate", len(results))
	}
	return results[0]
}

// issue goes through the whole cycle.
func (b *bench) issue(i ledger.Intent, tasks ...ledger.Task) ledger.Serial {
	b.t.Helper()
	b.ok(b.begin(i))
	b.ok(b.finish(Signed(i, b.now, tasks...)))
	return i.Serial
}

func (b *bench) ok(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) want(err, want error) {
	b.t.Helper()
	if !errors.Is(err, want) {
		b.t.Fatalf("error is %v, want %v", err, want)
	}
}

func (b *bench) state(serial ledger.Serial, want ledger.State) ledger.Certificate {
	b.t.Helper()
	c, err := b.Certificate(b.ctx, serial)
	b.ok(err)
	if c.State != want {
		b.t.Fatalf("%s is %s, want %s", serial, c.State, want)
	}
	return c
}

// revoke revokes what a selector names and returns how many that were.
func (b *bench) revoke(s ledger.Selector) []ledger.Serial {
	b.t.Helper()
	changed, err := b.Revoke(b.ctx, s, ledger.Superseded, "officer", b.now, nil)
	b.ok(err)
	return changed
}

func (b *bench) fence(job string) ledger.Fence {
	b.t.Helper()
	f, err := b.Acquire(b.ctx, job, "alpha", b.now, time.Hour)
	b.ok(err)
	return f
}

func (b *bench) equal(what string, got, want any) {
	b.t.Helper()
	if g, w := fmt.Sprintf("%+v", got), fmt.Sprintf("%+v", want); g != w {
		b.t.Fatalf("%s:\n got %s\nwant %s", what, g, w)
	}
}

// eventually waits for what the ledger does by itself.
func (b *bench) eventually(what string, f func() bool) {
	b.t.Helper()
	for range 500 {
		if f() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	b.t.Fatalf("not within 5 s: %s", what)
}
