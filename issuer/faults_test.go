package issuer_test

import (
	"bytes"
	"context"
	"crypto"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"mintmark/internal/ledger"
	"mintmark/internal/ledger/ledgertest"
	"mintmark/internal/pkitest"
	"mintmark/issuer"
)

// faults decides which writes of a ledger fail.
type faults struct {
	mu   sync.Mutex
	mode func(op string) ledgertest.Mode // nil lets everything pass
	hits int
}

func (f *faults) fail(op string) ledgertest.Mode {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.mode == nil {
		return ledgertest.Pass
	}
	mode := f.mode(op)
	if mode != ledgertest.Pass {
		f.hits++
	}
	return mode
}

// set breaks the ledger, or heals it with nil.
func (f *faults) set(mode func(op string) ledgertest.Mode) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mode = mode
}

// openOnce is a key store that opens each key once for all registration
// authorities: opening is slow by design.
type openOnce struct {
	issuer.KeyStore
	signers sync.Map
}

func (o *openOnce) Signer(ctx context.Context, uri string, want crypto.PublicKey) (crypto.Signer, error) {
	if s, ok := o.signers.Load(uri); ok {
		return s.(crypto.Signer), nil
	}
	s, err := o.KeyStore.Signer(ctx, uri, want)
	if err == nil {
		o.signers.Store(uri, s)
	}
	return s, err
}

// newModel makes a hierarchy, and returns its keys and how to copy it into
// another ledger.
func newModel(t *testing.T) (keys issuer.KeyStore, copyInto func(*testing.T, ledger.Ledger)) {
	t.Helper()
	keys = &openOnce{KeyStore: newKeys(t)}
	model := newLedger(t)
	withHierarchy(t, newRA(t, model, func(c *issuer.Config) { c.Keys = keys }))
	records, err := model.Authorities(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return keys, func(t *testing.T, into ledger.Ledger) {
		t.Helper()
		for _, r := range records {
			if err := into.PutAuthority(t.Context(), r); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// keep runs ra.Keep until the returned function is called, or the test ends.
func keep(t *testing.T, ra *issuer.RA) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		ra.Keep(ctx)
		close(ended)
	}()
	stop = func() {
		cancel()
		<-ended
	}
	t.Cleanup(stop)
	return stop
}

// faulty returns a ledger that fails on command, and the sound one in it.
func faulty(t *testing.T) (ledger.Ledger, *faults, ledger.Ledger) {
	sound, f := newLedger(t), new(faults)
	return &ledgertest.Faulty{Ledger: sound, Fail: f.fail}, f, sound
}

var modes = map[string]ledgertest.Mode{"not persisted": ledgertest.NotPersist, "persisted": ledgertest.ButPersist}

// wantSound checks what must hold whatever failed: every certificate that left
// is recorded, valid and the only valid one of its key and device; no intent is
// open.
func wantSound(t *testing.T, l ledger.Ledger, left []issuer.Answer) {
	t.Helper()
	page, err := l.Certificates(t.Context(), ledger.Query{Purpose: ledger.ForDevice, Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	valid := make(map[string]ledger.Serial)
	for _, c := range page.Certificates {
		if c.State == ledger.Open {
			t.Errorf("intent %s of %s is open", c.Serial, c.Device)
		}
		if c.State != ledger.Valid {
			continue
		}
		id := fmt.Sprintf("%s %x", c.Device, c.Key)
		if other, ok := valid[id]; ok {
			t.Errorf("device %s has two valid certificates for one key: %s, %s", c.Device, other, c.Serial)
		}
		valid[id] = c.Serial
	}
	for _, answer := range left {
		c, err := l.Certificate(t.Context(), answer.Serial)
		if err != nil || c.State != ledger.Valid || !bytes.Equal(c.DER, answer.Certificate.Raw) {
			t.Errorf("certificate %s left and is %s in the ledger, %v", answer.Serial, c.State, err)
		}
	}
}

// wantNothing checks that an enrollment over a broken ledger gave no
// certificate, and a refusal that lets the device try again.
func wantNothing(t *testing.T, answer issuer.Answer, err error) {
	t.Helper()
	if err == nil || answer.Certificate != nil || answer.Chain != nil || answer.Serial != "" {
		t.Fatalf("a certificate left although its record failed: %v, %v", answer.Serial, err)
	}
	var refusal *issuer.Refusal
	if !errors.As(err, &refusal) || refusal.Kind != issuer.Unavailable || refusal.RetryAfter <= 0 || !errors.Is(err, ledgertest.ErrInjected) {
		t.Errorf("error %v is no refusal for a while", err)
	}
}

// enrollWhenHealed repeats a request until it is answered: an open intent in
// the way is for the registration authority to void by itself.
func enrollWhenHealed(t *testing.T, ra *issuer.RA, key crypto.Signer, name string) issuer.Answer {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); ; {
		answer, err := enroll(t.Context(), t, ra, key, name)
		if err == nil {
			return answer
		}
		var refusal *issuer.Refusal
		if !errors.As(err, &refusal) || refusal.Kind != issuer.Unavailable || time.Now().After(end) {
			t.Errorf("the repeated request: %v", err)
			return answer
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// often makes Keep look every tenth of a second.
const often = 400 * time.Millisecond

// TestFaults fails Begin or Finish in both ways, and with it what would void
// the intent: not at all, not persisted, persisted. Then the ledger is sound
// again, and either the same registration authority goes on or a new one over
// the same ledger.
func TestFaults(t *testing.T) {
	keys, copyInto := newModel(t)
	run := func(t *testing.T, op string, mode, voiding ledgertest.Mode, restart bool) {
		l, f, sound := faulty(t)
		copyInto(t, sound)
		ra := newRA(t, l, func(c *issuer.Config) { c.Keys, c.EpochTTL = keys, often })
		stop := keep(t, ra)
		left := []issuer.Answer{enrollWhenHealed(t, ra, pkitest.NewKey(t), "before")}

		f.set(func(got string) ledgertest.Mode {
			switch got {
			case op:
				return mode
			case "Void":
				return voiding
			}
			return ledgertest.Pass
		})
		key := pkitest.NewKey(t)
		answer, err := enroll(t.Context(), t, ra, key, "device-1")
		wantNothing(t, answer, err)
		unheard, err := sound.Certificates(t.Context(), ledger.Query{Device: "device-1", State: ledger.Valid})
		if err != nil {
			t.Fatal(err)
		}
		// While it lasts, asking again gives nothing either, unless the
		// certificate was recorded: then it is durable, and no write is needed.
		recorded := op == "Finish" && mode == ledgertest.ButPersist
		if again, err := enroll(t.Context(), t, ra, key, "device-1"); !recorded && err == nil {
			t.Errorf("asking again while the ledger fails: %v, %v", again.Serial, err)
		}

		f.set(nil)
		if restart {
			stop()
			ra = newRA(t, l, func(c *issuer.Config) { c.Keys = keys })
		}
		answer = enrollWhenHealed(t, ra, key, "device-1")
		if recorded != answer.Prior || recorded != (len(unheard.Certificates) == 1) {
			t.Errorf("%d certificates were recorded without being heard of, prior %v", len(unheard.Certificates), answer.Prior)
		} else if recorded && unheard.Certificates[0].Serial != answer.Serial {
			t.Errorf("certificate %s was recorded, %s answered", unheard.Certificates[0].Serial, answer.Serial)
		}
		left = append(left, answer, enrollWhenHealed(t, ra, pkitest.NewKey(t), "device-2"))
		wantNoneOpen(t, sound)
		wantSound(t, sound, left)
	}
	for _, op := range []string{"Begin", "Finish"} {
		for name, mode := range modes {
			for voiding, voidMode := range map[string]ledgertest.Mode{"works": ledgertest.Pass, "is not persisted": ledgertest.NotPersist, "is persisted": ledgertest.ButPersist} {
				for after, restart := range map[string]bool{"the same": false, "a new": true} {
					t.Run(fmt.Sprintf("%s is %s, voiding %s, %s authority goes on", op, name, voiding, after), func(t *testing.T) {
						run(t, op, mode, voidMode, restart)
					})
				}
			}
		}
	}
}

// TestFaultsAtRandom lets a third of all writes fail while many devices ask
// until they are answered.
func TestFaultsAtRandom(t *testing.T) {
	keys, copyInto := newModel(t)
	l, f, sound := faulty(t)
	copyInto(t, sound)
	ra := newRA(t, l, func(c *issuer.Config) { c.Keys, c.EpochTTL = keys, often })
	keep(t, ra)
	f.set(func(op string) ledgertest.Mode {
		switch op {
		case "Begin", "Finish", "Void":
			return []ledgertest.Mode{ledgertest.NotPersist, ledgertest.ButPersist, ledgertest.Pass, ledgertest.Pass, ledgertest.Pass, ledgertest.Pass}[rand.N(6)]
		}
		return ledgertest.Pass
	})
	var mu sync.Mutex
	var left []issuer.Answer
	var wait sync.WaitGroup
	for worker := range 8 {
		wait.Go(func() {
			for n := range 8 {
				key, name := pkitest.NewKey(t), fmt.Sprintf("device-%d-%d", worker, n)
				answer := enrollWhenHealed(t, ra, key, name)
				mu.Lock()
				left = append(left, answer)
				mu.Unlock()
			}
		})
	}
	wait.Wait()
	f.set(nil)
	wantNoneOpen(t, sound)
	wantSound(t, sound, left)
	if len(left) != 64 || f.hits < 20 {
		t.Errorf("%d certificates left, %d writes failed", len(left), f.hits)
	}
}

// wantNoneOpen waits until no intent is open: Keep voids what is left over.
func wantNoneOpen(t *testing.T, l ledger.Ledger) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		page, err := l.Certificates(t.Context(), ledger.Query{State: ledger.Open})
		if err != nil {
			t.Fatal(err)
		}
		if len(page.Certificates) == 0 {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%d intents stay open", len(page.Certificates))
		}
	}
}
