package ocsp_test

import (
	"context"
	"crypto"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	xocsp "golang.org/x/crypto/ocsp"

	"mintmark/ca/revocation/ocsp"
	"mintmark/internal/ledger"
)

// torn is a ledger that can be away, that can hang, and that counts.
type torn struct {
	ocsp.Ledger
	mu      sync.Mutex
	away    error
	hang    chan struct{} // not nil: what reads a certificate waits for it after it has read
	lookups int
	stale   bool // the next listing finds a position that is ahead of the ledger
}

func (l *torn) Certificate(ctx context.Context, serial ledger.Serial) (ledger.Certificate, error) {
	l.mu.Lock()
	away, hang := l.away, l.hang
	l.lookups++
	l.mu.Unlock()
	if away != nil {
		return ledger.Certificate{}, away
	}
	c, err := l.Ledger.Certificate(ctx, serial)
	if hang != nil {
		<-hang
	}
	return c, err
}

func (l *torn) ChangedSince(ctx context.Context, position string, limit int) ([]ledger.Serial, string, error) {
	l.mu.Lock()
	away, stale := l.away, l.stale
	l.stale = false
	l.mu.Unlock()
	if away != nil {
		return nil, "", away
	}
	if stale && position != "" {
		return nil, "", ledger.ErrStale
	}
	return l.Ledger.ChangedSince(ctx, position, limit)
}

func (l *torn) set(change func(*torn)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change(l)
}

func (l *torn) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lookups
}

// watched makes a world in a bubble, whose clock is the test's, with its responder
// running.
func watched(t *testing.T, change func(*ocsp.Config)) (*world, *torn) {
	t.Helper()
	var l *torn
	w := newWorld(t, "P-256", func(w *world, c *ocsp.Config) {
		l = &torn{Ledger: w.ledger}
		c.Ledger = l
		if change != nil {
			change(c)
		}
	})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); w.responder.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-ended })
	// Nothing is kept before changes are listed.
	time.Sleep(100 * time.Millisecond)
	if w.responder.Seen().IsZero() {
		t.Fatal("changes are not listed")
	}
	return w, l
}

// TestRevokedWithinSeconds: what was answered by "good" is answered by "revoked" within five
// seconds after the revocation, by whichever server; at once where that is told of it.
func TestRevokedWithinSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, l := watched(t, nil)
		issuing := w.authority(t, "issuing")
		here, there := w.enroll(t, "dev-1"), w.enroll(t, "dev-2")
		for range 3 {
			mustAsk(t, w.responder, here, issuing, xocsp.Good)
			mustAsk(t, w.responder, there, issuing, xocsp.Good)
		}
		if n := l.count(); n != 2 {
			t.Errorf("%d look-ups: answers are not kept", n)
		}
		w.revoke(t, there, ledger.KeyCompromise)
		revokedAt := time.Now()
		for mustAskAny(t, w, there, issuing) != xocsp.Revoked {
			if time.Since(revokedAt) > 5*time.Second {
				t.Fatal("not within five seconds")
			}
			time.Sleep(100 * time.Millisecond)
		}
		t.Logf("revoked elsewhere: shown after %v", time.Since(revokedAt))
		time.Sleep(500 * time.Millisecond) // in the middle between two looks
		w.revoke(t, here, ledger.Superseded)
		w.responder.Wake()
		synctest.Wait()
		revokedAt = time.Now()
		eventuallyWithin(t, 300*time.Millisecond, func() bool { return mustAskAny(t, w, here, issuing) == xocsp.Revoked })
		t.Logf("revoked here: shown after %v", time.Since(revokedAt))
	})
}

func eventuallyWithin(t *testing.T, d time.Duration, f func() bool) {
	t.Helper()
	for end := time.Now().Add(d); !f(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %v", d)
		}
	}
}

func mustAskAny(t *testing.T, w *world, c, issuing *certificate) int {
	t.Helper()
	return mustAskStatus(t, w, c, issuing, crypto.SHA1)
}

// TestRevokedWhileSigned: an answer whose certificate is revoked after it was looked up, and
// before it is signed, is not kept.
func TestRevokedWhileSigned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, l := watched(t, nil)
		issuing, device := w.authority(t, "issuing"), w.enroll(t, "dev-1")
		mustAsk(t, w.responder, w.enroll(t, "dev-2"), issuing, xocsp.Good) // the responder is certified
		gate := make(chan struct{})
		l.set(func(l *torn) { l.hang = gate })
		first := make(chan int, 1)
		go func() { first <- mustAskAny(t, w, device, issuing) }()
		time.Sleep(100 * time.Millisecond)
		w.revoke(t, device, ledger.KeyCompromise)
		time.Sleep(2 * time.Second) // the change is listed
		l.set(func(l *torn) { l.hang = nil })
		// Who asks now is not given what the other one waits for.
		if status := mustAskAny(t, w, device, issuing); status != xocsp.Revoked {
			t.Errorf("status %d while the old answer is signed", status)
		}
		close(gate)
		if status := <-first; status != xocsp.Good {
			t.Errorf("status %d of what was looked up before", status)
		}
		if status := mustAskAny(t, w, device, issuing); status != xocsp.Revoked {
			t.Errorf("status %d afterwards", status)
		}
	})
}

// TestLedgerAway: while the ledger cannot be read, kept answers are given out for the time that
// is configured and then no more; what was revoked meanwhile shows as soon as it can be read.
func TestLedgerAway(t *testing.T) {
	for name, outage := range map[string]time.Duration{"some minutes": 5 * time.Minute, "none": 0} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, l := watched(t, func(c *ocsp.Config) { c.Outage = outage })
				issuing, device, other := w.authority(t, "issuing"), w.enroll(t, "dev-1"), w.enroll(t, "dev-2")
				mustAsk(t, w.responder, device, issuing, xocsp.Good)
				l.set(func(l *torn) { l.away = errors.New("the database is away") })
				w.revoke(t, device, ledger.KeyCompromise) // by a server that reaches it
				began := time.Now()
				wantStatus(t, w.responder, other, issuing, xocsp.TryLater)
				for !isTryLater(w, device, issuing) {
					if time.Since(began) > outage+5*time.Second {
						t.Fatal("answered still")
					}
					time.Sleep(time.Second)
				}
				if d := time.Since(began); d < outage-2*time.Second {
					t.Errorf("given up after %v", d)
				}
				time.Sleep(10 * time.Minute)
				wantStatus(t, w.responder, device, issuing, xocsp.TryLater)
				l.set(func(l *torn) { l.away = nil })
				if status := mustAskAny(t, w, device, issuing); status != xocsp.Revoked {
					t.Errorf("status %d when the ledger is back", status)
				}
				mustAsk(t, w.responder, other, issuing, xocsp.Good)
				time.Sleep(2 * time.Second)
				before := l.count()
				mustAsk(t, w.responder, other, issuing, xocsp.Good)
				mustAsk(t, w.responder, other, issuing, xocsp.Good)
				if n := l.count() - before; n > 1 {
					t.Errorf("%d look-ups: nothing is kept after the outage", n)
				}
			})
		})
	}
}

func isTryLater(w *world, c, issuing *certificate) bool {
	_, err := ask(w.responder, c, issuing, nil)
	return isStatus(err, xocsp.TryLater)
}

// TestOutageIsNotNoticed: an outage that is shorter than what is configured shows nobody
// whose answer is kept, and what was revoked in it is dropped when it ends.
func TestOutageIsNotNoticed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, l := watched(t, nil)
		issuing, device := w.authority(t, "issuing"), w.enroll(t, "dev-1")
		mustAsk(t, w.responder, device, issuing, xocsp.Good)
		l.set(func(l *torn) { l.away = errors.New("the database is away") })
		for range 4 {
			time.Sleep(time.Minute)
			mustAsk(t, w.responder, device, issuing, xocsp.Good)
		}
		w.revoke(t, device, ledger.KeyCompromise)
		l.set(func(l *torn) { l.away = nil })
		time.Sleep(5 * time.Second)
		mustAsk(t, w.responder, device, issuing, xocsp.Revoked)
	})
}

// TestStalePosition: a ledger that is older than the position, because it was restored, makes
// everything that is kept be looked up again.
func TestStalePosition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, l := watched(t, nil)
		issuing, device := w.authority(t, "issuing"), w.enroll(t, "dev-1")
		mustAsk(t, w.responder, device, issuing, xocsp.Good)
		before := l.count()
		l.set(func(l *torn) { l.stale = true })
		time.Sleep(5 * time.Second)
		mustAsk(t, w.responder, device, issuing, xocsp.Good)
		mustAsk(t, w.responder, device, issuing, xocsp.Good)
		if n := l.count() - before; n != 1 {
			t.Errorf("%d look-ups", n)
		}
	})
}

// TestRefresh: what is asked for is signed anew before it ends, so that nobody waits for
// it; what nobody asks for is forgotten.
func TestRefresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, l := watched(t, func(c *ocsp.Config) { c.Lifetime = time.Hour })
		issuing, asked, left := w.authority(t, "issuing"), w.enroll(t, "dev-1"), w.enroll(t, "dev-2")
		mustAsk(t, w.responder, left, issuing, xocsp.Good)
		first := mustAsk(t, w.responder, asked, issuing, xocsp.Good)
		time.Sleep(35 * time.Minute)
		mustAsk(t, w.responder, asked, issuing, xocsp.Good)
		time.Sleep(13 * time.Minute)
		before := l.count()
		second := mustAsk(t, w.responder, asked, issuing, xocsp.Good)
		if l.count() != before || !second.ThisUpdate.After(first.ThisUpdate) {
			t.Errorf("not signed anew: %v", second.ThisUpdate)
		}
		time.Sleep(15 * time.Minute)
		if n := kept(t, w.responder); n != 1 {
			t.Errorf("%d answers are kept", n)
		}
		time.Sleep(time.Hour)
		if n := kept(t, w.responder); n != 0 {
			t.Errorf("%d answers are kept that nobody has asked for", n)
		}
	})
}

// TestBounded: no more answers are kept than may be; the one that was not asked for
// longest goes.
func TestBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, l := watched(t, func(c *ocsp.Config) { c.Most = 3 })
		issuing := w.authority(t, "issuing")
		var list []*certificate
		for _, name := range []string{"a", "b", "c", "d"} {
			list = append(list, w.enroll(t, name))
			mustAsk(t, w.responder, list[len(list)-1], issuing, xocsp.Good)
			mustAsk(t, w.responder, list[0], issuing, xocsp.Good)
		}
		if n := kept(t, w.responder); n != 3 {
			t.Errorf("%d answers are kept", n)
		}
		before := l.count()
		mustAsk(t, w.responder, list[0], issuing, xocsp.Good)
		if l.count() != before {
			t.Error("what is asked for most was forgotten")
		}
		mustAsk(t, w.responder, list[1], issuing, xocsp.Good)
		if l.count() != before+1 {
			t.Error("what was asked for once was kept")
		}
		// Of what nobody has issued nothing is kept at all.
		stranger := *list[0]
		for i := range 10 {
			stranger.SerialNumber = bigOf(t, ledger.Serial([]string{"11", "12", "13", "14", "15", "16", "17", "18", "19", "1a"}[i]))
			mustAsk(t, w.responder, &stranger, issuing, xocsp.Unknown)
		}
		if n := kept(t, w.responder); n != 3 {
			t.Errorf("%d answers are kept", n)
		}
	})
}

// TestTogether: many who ask for the same certificate at once cost one signature.
func TestTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, l := watched(t, nil)
		issuing, device := w.authority(t, "issuing"), w.enroll(t, "dev-1")
		gate := make(chan struct{})
		l.set(func(l *torn) { l.hang = gate })
		var wait sync.WaitGroup
		for range 50 {
			wait.Go(func() { mustAskAny(t, w, device, issuing) })
		}
		time.Sleep(time.Second)
		close(gate)
		wait.Wait()
		if n := l.count(); n != 1 {
			t.Errorf("%d look-ups", n)
		}
	})
}

// TestHungLedger: who waits for a ledger that hangs is told to try later, and what is kept
// goes on being given out.
func TestHungLedger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, l := watched(t, nil)
		issuing, device, other := w.authority(t, "issuing"), w.enroll(t, "dev-1"), w.enroll(t, "dev-2")
		mustAsk(t, w.responder, device, issuing, xocsp.Good)
		gate := make(chan struct{})
		l.set(func(l *torn) { l.hang = gate })
		began := time.Now()
		wantStatus(t, w.responder, other, issuing, xocsp.TryLater)
		if d := time.Since(began); d > 6*time.Second {
			t.Errorf("told after %v", d)
		}
		mustAsk(t, w.responder, device, issuing, xocsp.Good)
		close(gate)
	})
}
