package sqldb_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mintmark/internal/audit"
	"mintmark/internal/ledger"
	"mintmark/internal/ledger/ledgertest"
	"mintmark/internal/ledger/sqldb"
)

// copied is a ledger to which things were done before and after its file was copied. Its
// clock stands still: whatever rises does so by what is recorded, and not by the time.
type copied struct {
	t       *testing.T
	dir     string
	now     time.Time
	s       *sqldb.Store
	log     *audit.Log
	epoch   ledger.Epoch
	n       int
	states  map[ledger.Serial]ledger.State
	numbers map[int]int64 // of the last CRL of each shard
}

const shardsOfCopy = 3

func (c *copied) ok(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
}

func (c *copied) open() {
	c.t.Helper()
	c.s, c.log = open(c.t, c.dir, func(cfg *sqldb.Config) { cfg.Now = func() time.Time { return c.now } })
	var err error
	c.epoch, err = c.s.Join(c.t.Context(), "alpha", c.now, time.Hour)
	c.ok(err)
}

func (c *copied) close() {
	c.t.Helper()
	c.ok(c.s.Close())
	c.log.Close()
}

// work issues certificates, revokes every third, voids one intent, leaves one open and
// signs the CRLs of all shards twice.
func (c *copied) work(certificates int) {
	c.t.Helper()
	ctx := c.t.Context()
	for range certificates + 2 {
		c.n++
		i := ledgertest.NewIntent(c.epoch, c.now, fmt.Sprint("dev-", c.n), fmt.Sprint("key-", c.n))
		i.Shard = c.n % shardsOfCopy
		results, err := c.s.Begin(ctx, []ledger.Intent{i})
		c.ok(errors.Join(append(results, err)...))
		c.states[i.Serial] = ledger.Open
		switch {
		case c.n%10 == 1:
			c.ok(c.s.Void(ctx, i.Serial, c.now))
			c.states[i.Serial] = ledger.Voided
			continue
		case c.n%10 == 2:
			continue
		}
		results, err = c.s.Finish(ctx, []ledger.Issued{ledgertest.Signed(i, c.now)})
		c.ok(errors.Join(append(results, err)...))
		c.states[i.Serial] = ledger.Valid
		if c.n%3 == 0 {
			_, err = c.s.Revoke(ctx, ledger.Selector{Serial: i.Serial}, ledger.KeyCompromise, "anna", c.now, nil)
			c.ok(err)
			c.states[i.Serial] = ledger.Revoked
		}
	}
	fence, err := c.s.Acquire(ctx, "crl", "alpha", c.now, time.Hour)
	c.ok(err)
	for n := range 2 * shardsOfCopy {
		shard := n % shardsOfCopy
		work, err := c.s.NextCRL(ctx, fence, "line-a", shard, c.now, time.Hour)
		c.ok(err)
		if work.Number <= c.numbers[shard] {
			c.t.Errorf("CRL %d of shard %d after %d", work.Number, shard, c.numbers[shard])
		}
		c.numbers[shard] = work.Number
		c.ok(c.s.PutCRL(ctx, fence, ledger.CRL{Issuer: "line-a", Shard: shard, Number: work.Number, ThisUpdate: c.now, NextUpdate: c.now.Add(time.Hour), DER: []byte{0x30}}))
	}
}

// An old copy of the database in the place of the newer one is refused with words, and
// rebuilt from the log. Then every certificate since the copy is found, no serial number is
// given twice, the numbers of CRLs go on for each shard, and a rotation stands where it stood.
func TestOldCopyIsHealed(t *testing.T) {
	ctx := t.Context()
	c := &copied{t: t, dir: t.TempDir(), now: time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC), states: map[ledger.Serial]ledger.State{}, numbers: map[int]int64{}}
	c.open()
	c.work(20)
	rotation := ledger.Rotation{ID: "r-1", Kind: ledger.RotateRoot, Old: "a", New: "b", Plan: []byte("{}"), State: "PLANNED", At: c.now, Version: 1}
	c.ok(c.s.PutRotation(ctx, rotation, ledger.RotationEntry{At: c.now}, false))
	c.close()
	copy := t.TempDir()
	copyFiles(t, copy, c.dir, "ledger.db*")

	c.open()
	c.work(30)
	for rotation.Version = 2; rotation.Version < 5; rotation.Version++ {
		rotation.State = fmt.Sprint("STATE-", rotation.Version)
		c.ok(c.s.PutRotation(ctx, rotation, ledger.RotationEntry{At: c.now}, false))
	}
	c.ok(c.s.NoteAnchors(ctx, "r-1", []ledger.AnchorNote{{Device: "dev-4", Trusts: c.now, How: "fetched"}}))
	_, position, err := c.s.ChangedSince(ctx, "", 0)
	c.ok(err)
	c.close()

	file := filepath.Join(c.dir, "ledger.db")
	put := func(content string) {
		t.Helper()
		for _, suffix := range []string{"", "-wal", "-shm"} {
			os.Remove(file + suffix)
		}
		data, err := os.ReadFile(content)
		c.ok(err)
		c.ok(os.WriteFile(file, data, 0o600))
	}
	put(filepath.Join(copy, "ledger.db"))
	log, err := audit.Open(c.dir, audit.Config{Server: "alpha"})
	c.ok(err)
	if s, err := sqldb.Open(ctx, sqldb.Config{Path: file, Log: log}); err == nil {
		s.Close()
		t.Fatal("an old copy was opened")
	} else if !errors.Is(err, sqldb.ErrDiverged) || !strings.Contains(err.Error(), "the database is older than its issuance log") || !strings.Contains(err.Error(), "rebuild it from the log") {
		t.Errorf("the refusal: %v", err)
	}
	c.ok(log.Close())

	rebuilt, _ := replay(t, c.dir)
	put(rebuilt)
	c.open()
	for serial, want := range c.states {
		got, err := c.s.Certificate(ctx, serial)
		if err != nil || got.State != want {
			t.Errorf("%s is %s, want %s: %v", serial, got.State, want, err)
		}
		again := ledgertest.NewIntent(c.epoch, c.now, "dev-again-"+string(serial), string(serial))
		again.Serial = serial
		if results, err := c.s.Begin(ctx, []ledger.Intent{again}); err != nil || !errors.Is(results[0], ledger.ErrTaken) {
			t.Errorf("%s once more: %v, %v", serial, results, err)
		}
	}
	counts, err := c.s.RevocationsSince(ctx)
	c.ok(err)
	for shard := range shardsOfCopy {
		if counts[ledger.CRLName{Issuer: "line-a", Shard: shard}] == 0 {
			t.Errorf("shard %d has nothing to show: %v", shard, counts)
		}
	}
	if _, _, err := c.s.ChangedSince(ctx, position, 0); !errors.Is(err, ledger.ErrStale) {
		t.Errorf("the position of before: %v", err)
	}
	stale := rotation
	stale.Version = 2
	if err := c.s.PutRotation(ctx, stale, ledger.RotationEntry{At: c.now}, false); !errors.Is(err, ledger.ErrStale) {
		t.Errorf("an old version: %v", err)
	}
	other := ledger.Rotation{ID: "r-2", Kind: ledger.RotateRoot, Old: "a", New: "c", Plan: []byte("{}"), State: "PLANNED", At: c.now, Version: 1}
	if err := c.s.PutRotation(ctx, other, ledger.RotationEntry{At: c.now}, false); !errors.Is(err, ledger.ErrTaken) {
		t.Errorf("a second rotation: %v", err)
	}
	c.ok(c.s.PutRotation(ctx, rotation, ledger.RotationEntry{At: c.now}, false))
	devices, _, err := c.s.Anchors(ctx, ledger.AnchorQuery{Rotation: "r-1", Issuers: []string{"line-a"}, Now: c.now, Class: ledger.AnchorTrusts})
	if err != nil || len(devices) != 1 || devices[0].Device != "dev-4" {
		t.Errorf("who has followed: %+v, %v", devices, err)
	}
	c.work(5) // numbers that do not rise fail there
	c.close()
	if report, err := audit.Verify(c.dir); err != nil {
		t.Errorf("log: %+v, %v", report, err)
	}
}
