package sqldb

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"mintmark/internal/audit"
	"mintmark/internal/ledger"
)

// What was read before a change is not kept after it, nor is more kept than there is room for.
func TestRecent(t *testing.T) {
	var r recent
	valid := ledger.Certificate{State: ledger.Valid}
	_, _, round := r.get([]byte{1})
	r.forget()
	r.put([]byte{1}, valid, round)
	if _, kept, _ := r.get([]byte{1}); kept {
		t.Error("what was read before the change is kept")
	}
	_, _, round = r.get([]byte{1})
	r.put([]byte{2}, ledger.Certificate{State: ledger.Open}, round)
	for n := range 2 * mostRecent {
		r.put([]byte{byte(n), byte(n >> 8), 3}, valid, round)
	}
	if _, kept, _ := r.get([]byte{2}); kept || len(r.serial) != mostRecent {
		t.Errorf("%d are kept, and of an open one %v", len(r.serial), kept)
	}
	r.forget()
	if len(r.serial) != 0 {
		t.Error("something is kept after a change")
	}
}

// An intent in the batch of the revocation does not go by what was read before.
func TestRevokedInTheSameBatch(t *testing.T) {
	dir := t.TempDir()
	log, err := audit.Open(dir, audit.Config{Server: "alpha"})
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	batch := 0
	s, err := Open(t.Context(), Config{
		Path: dir + "/ledger.db", Log: log, Migrate: true, MaxLinger: time.Minute,
		ObserveCommit: func(events int, _ time.Duration) { batch = events },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	s.queue.busy = func() bool { return true } // a batch waits for what is announced
	now := time.Now()
	epoch, err := s.Join(t.Context(), "alpha", now, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	begin := func(n byte, r ledger.Requester) error {
		results, err := s.Begin(t.Context(), []ledger.Intent{{
			Epoch: epoch, Serial: ledger.Serial(fmt.Sprintf("%02x", n)), Issuer: "line-a", Profile: "gateway", Purpose: ledger.ForDevice, Device: "dev-1",
			Requester: r, Key: [32]byte{n}, TBS: []byte{1}, NotBefore: now, NotAfter: now.Add(time.Hour), At: now,
		}})
		if err != nil {
			t.Fatal(err)
		}
		return results[0]
	}
	if err := begin(0x0a, ledger.Requester{Kind: "password", Name: "s"}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Finish(t.Context(), []ledger.Issued{{Serial: "0a", DER: []byte{2}, At: now}}); err != nil {
		t.Fatal(err)
	}
	if c, err := s.Certificate(t.Context(), "0a"); err != nil || c.State != ledger.Valid {
		t.Fatal(c, err)
	}
	done, revoked := s.Announce(), make(chan error)
	go func() {
		_, err := s.Revoke(t.Context(), ledger.Selector{Serial: "0a"}, ledger.Superseded, "test", now, nil)
		revoked <- err
	}()
	for waits := 0; waits == 0; {
		s.queue.mu.Lock()
		waits = len(s.queue.ops)
		s.queue.mu.Unlock()
	}
	if err := begin(0x0b, ledger.Requester{Kind: "certificate", Name: "0a"}); !errors.Is(err, ledger.ErrRevoked) {
		t.Errorf("in the batch of the revocation: %v", err)
	}
	done()
	if err := <-revoked; err != nil || batch != 1 {
		t.Errorf("%d events in the batch, %v", batch, err)
	}
}
