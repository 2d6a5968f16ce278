package revocation_test

import (
	"context"
	"crypto"
	"crypto/x509/pkix"
	"io"
	"log/slog"
	"maps"
	"math/big"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"mintmark/ca"
	"mintmark/ca/revocation"
	"mintmark/internal/ledger"
	"mintmark/internal/pkitest"
)

// shelf is a ledger of the CRLs of several authorities.
type shelf struct {
	ledger.Revocations
	mu     sync.Mutex
	number int64
	stored map[string]ledger.CRL
}

func (s *shelf) RevocationsSince(context.Context) (map[ledger.CRLName]int, error) { return nil, nil }

func (s *shelf) LatestCRL(_ context.Context, issuer string, _ int) (ledger.CRL, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	crl, ok := s.stored[issuer]
	if !ok {
		return crl, ledger.ErrNotFound
	}
	return crl, nil
}

func (s *shelf) CRLs(context.Context) ([]ledger.CRL, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Values(s.stored)), nil
}

func (s *shelf) NextCRL(context.Context, ledger.Fence, string, int, time.Time, time.Duration) (ledger.CRLWork, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.number++
	return ledger.CRLWork{Number: s.number}, nil
}

func (s *shelf) PutCRL(ctx context.Context, _ ledger.Fence, crl ledger.CRL) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stored[crl.Issuer] = crl
	return nil
}

// hangs is a key that signs as long as nothing stands in gate.
type hangs struct {
	crypto.Signer
	gate  atomic.Pointer[chan struct{}]
	calls atomic.Int32
}

func (h *hangs) Sign(r io.Reader, digest []byte, o crypto.SignerOpts) ([]byte, error) {
	h.calls.Add(1)
	if gate := h.gate.Load(); gate != nil {
		<-*gate
	}
	return h.Signer.Sign(r, digest, o)
}

// TestHungKey: an authority whose key hangs delays nobody's CRL but its own, and that
// one comes when the key is back.
func TestHungKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &shelf{stored: make(map[string]ledger.CRL)}
		sick := &hangs{Signer: pkitest.NewKey(t)}
		keys := map[string]crypto.Signer{"a": pkitest.NewKey(t), "hangs": sick, "z": pkitest.NewKey(t)}
		var list []*ca.Authority
		for i, name := range []string{"a", "hangs", "z"} {
			template, err := ca.Spec{Subject: pkix.Name{CommonName: name}, Validity: 240 * time.Hour}.Template(big.NewInt(int64(i)+4711), time.Now())
			if err != nil {
				t.Fatal(err)
			}
			prepared, err := ca.PrepareRoot(template, keys[name])
			if err != nil {
				t.Fatal(err)
			}
			prepared.Recorded()
			certificate, err := prepared.Issue(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			one, err := ca.New(ca.Config{Name: name, Certificate: certificate, Signer: func(context.Context) (crypto.Signer, error) { return keys[name], nil }})
			if err != nil {
				t.Fatal(err)
			}
			list = append(list, one)
		}
		p := revocation.New(revocation.Config{
			Ledger: l, Authorities: func() []*ca.Authority { return list }, Period: time.Hour, Lifetime: 4 * time.Hour,
			Now: time.Now, Logger: slog.New(slog.DiscardHandler),
		})
		due := func(within time.Duration) error {
			t.Helper()
			// As under a lease: its context ends with the work.
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			start := time.Now()
			err := p.PublishDue(ctx, ledger.Fence{})
			if d := time.Since(start); d > within {
				t.Errorf("publishing took %v", d)
			}
			return err
		}
		gate := make(chan struct{})
		sick.gate.Store(&gate)
		calls := sick.calls.Load()
		if err := due(2 * time.Second); err != nil {
			t.Errorf("a CRL that is being signed: %v", err)
		}
		if len(l.stored) != 2 || l.stored["z"].Number == 0 {
			t.Fatalf("CRLs: %v", l.stored)
		}
		// The others are not even held up the next time, and the key is not asked again.
		time.Sleep(2 * time.Hour)
		before := l.stored["z"].Number
		err := due(0)
		if err == nil || !strings.Contains(err.Error(), "has not come back for 2h0m") || l.stored["z"].Number == before || sick.calls.Load() != calls+1 {
			t.Errorf("the second time: %v; CRLs %v; the key was asked %d times", err, l.stored, sick.calls.Load()-calls)
		}
		// Somebody who asks for it waits as long as they want to.
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		if err := p.Publish(ctx, ledger.Fence{}, list[1]); err == nil || !strings.Contains(err.Error(), "has not come back") {
			t.Errorf("publishing one: %v", err)
		}
		cancel()
		sick.gate.Store(nil)
		close(gate)
		synctest.Wait()
		if err := due(0); err != nil || l.stored["hangs"].Number == 0 {
			t.Errorf("with the key back: %v; CRLs %v", err, l.stored)
		}
	})
}

// TestSlowKey: what takes longer than the others wait, but comes, is stored.
func TestSlowKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &numbers{}
		gate := make(chan struct{})
		p := newPublisher(t, l, time.Now, false)
		slow := &slowLedger{numbers: l, gate: gate}
		p.Ledger = slow
		ctx, cancel := context.WithCancel(t.Context())
		if err := p.PublishDue(ctx, ledger.Fence{}); err != nil {
			t.Fatal(err)
		}
		cancel() // the work of the lease is over
		time.Sleep(10 * time.Second)
		close(gate)
		synctest.Wait()
		if l.stored == nil {
			t.Error("the CRL was thrown away")
		}
	})
}

// slowLedger takes its time to give out what is on a CRL.
type slowLedger struct {
	*numbers
	gate chan struct{}
}

func (s *slowLedger) NextCRL(ctx context.Context, f ledger.Fence, issuer string, shard int, now time.Time, period time.Duration) (ledger.CRLWork, error) {
	select {
	case <-s.gate:
	case <-ctx.Done():
		return ledger.CRLWork{}, ctx.Err()
	}
	return s.numbers.NextCRL(ctx, f, issuer, shard, now, period)
}
