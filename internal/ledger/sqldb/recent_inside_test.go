package sqldb

import (
	"errors"
	"fmt"
	"runtime"
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
	r.suspend()
	r.put([]byte{1}, valid, round)
	_, _, during := r.get([]byte{1})
	r.put([]byte{1}, valid, during)
	r.resume()
	r.put([]byte{1}, valid, round)
	r.put([]byte{1}, valid, during)
	if _, kept, _ := r.get([]byte{1}); kept {
		t.Error("what was read before the change is kept")
	}
	_, _, round = r.get([]byte{1})
	r.put([]byte{2}, ledger.Certificate{State: ledger.Open}, round)
	r.put([]byte{2}, ledger.Certificate{State: ledger.Valid, DER: make([]byte, mostRecentDER+1)}, round)
	for n := range 2 * mostRecent {
		r.put([]byte{byte(n), byte(n >> 8), 3}, valid, round)
	}
	if _, kept, _ := r.get([]byte{2}); kept || len(r.serial) != mostRecent {
		t.Errorf("%d are kept, and of an open one %v", len(r.serial), kept)
	}
	r.suspend()
	if len(r.serial) != 0 {
		t.Error("something is kept after a change")
	}
}

// watchedLog calls a function before a batch is appended, and before its end is read again: the database
// does not have the batch then, or nobody knows what it has.
type watchedLog struct {
	*audit.Log
	watch func() error
}

func (l *watchedLog) Append(events []ledger.Event) (ledger.Head, error) {
	if err := l.watch(); err != nil {
		return ledger.Head{}, err
	}
	return l.Log.Append(events)
}

func (l *watchedLog) Reopen() error {
	l.watch()
	return l.Log.Reopen()
}

// While a revocation is being committed nothing is kept: the database shows it before the committer
// knows that it is there, and OCSP, which lists what has changed, asks for the certificate then, and signs and
// keeps what it gets. Nor is anything kept while nobody knows what the database has.
func TestNothingIsKeptWhileItMayChange(t *testing.T) {
	dir := t.TempDir()
	inner, err := audit.Open(dir, audit.Config{Server: "alpha"})
	if err != nil {
		t.Fatal(err)
	}
	defer inner.Close()
	log := &watchedLog{inner, func() error { return nil }}
	s, err := Open(t.Context(), Config{Path: dir + "/ledger.db", Log: log, Migrate: true, Retry: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	now, serial := time.Now(), []byte{0x0a}
	epoch, err := s.Join(t.Context(), "alpha", now, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	results, err := s.Begin(t.Context(), []ledger.Intent{{
		Epoch: epoch, Serial: serialOf(serial), Issuer: "line-a", Profile: "gateway", Purpose: ledger.ForDevice, Device: "dev-1",
		Key: [32]byte{1}, TBS: []byte{1}, NotBefore: now, NotAfter: now.Add(time.Hour), At: now,
	}})
	if err := errors.Join(append(results, err)...); err != nil {
		t.Fatal(err)
	}
	results, err = s.Finish(t.Context(), []ledger.Issued{{Serial: serialOf(serial), DER: []byte{2}, At: now}})
	if err := errors.Join(append(results, err)...); err != nil {
		t.Fatal(err)
	}
	read := func(want ledger.State, wantKept bool) (round uint64) {
		t.Helper()
		c, err := s.Certificate(t.Context(), serialOf(serial))
		_, kept, round := s.recent.get(serial)
		if err != nil || c.State != want || kept != wantKept {
			t.Errorf("it is %s, %v, and kept: %v; want %s, %v", c.State, err, kept, want, wantKept)
		}
		return round
	}
	read(ledger.Valid, true)
	var rounds []uint64
	log.watch = func() error {
		if rounds = append(rounds, read(ledger.Valid, false)); len(rounds) == 1 {
			return errors.New("the disk is full")
		}
		return nil
	}
	for err = ledger.ErrUnavailable; errors.Is(err, ledger.ErrUnavailable); runtime.Gosched() {
		_, err = s.Revoke(t.Context(), ledger.Selector{Serial: serialOf(serial)}, ledger.Superseded, "test", now, nil)
	}
	if err != nil || len(rounds) != 3 {
		t.Errorf("%v, after %d looks; want a failure, a look at what there is, and the revocation", err, len(rounds))
	}
	for _, round := range rounds { // of those who had read by then, and are slow
		s.recent.put(serial, ledger.Certificate{State: ledger.Valid}, round)
		read(ledger.Revoked, false)
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
