package keystore

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"errors"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"mintmark/internal/pkitest"
)

// slow is a backend that takes as long as it is told, fails, panics, or lies.
type slow struct {
	crypto.Signer
	takes       atomic.Int64
	fails       atomic.Pointer[error]
	panics, lie atomic.Bool
	calls, most atomic.Int64
	under       atomic.Int64
}

func (s *slow) Sign(random io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	s.calls.Add(1)
	s.most.Store(max(s.most.Load(), s.under.Add(1)))
	defer s.under.Add(-1)
	time.Sleep(time.Duration(s.takes.Load()))
	if err := s.fails.Load(); err != nil {
		return nil, *err
	}
	if s.panics.Load() {
		panic("slice bounds out of range")
	}
	if s.lie.Load() {
		return []byte("garbage"), nil
	}
	return s.Signer.Sign(random, digest, opts)
}

func newBounded(t *testing.T, places int) (*bounded, *slow) {
	s := &slow{Signer: pkitest.Key(t, "P-256")}
	return &bounded{name: "awskms:key-id=x", inner: s, gate: newGate(places), within: signWithin}, s
}

// A call that hangs is given up in time, keeps its place until it returns, and when
// all of them are taken nobody waits.
func TestBoundedHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, s := newBounded(t, 2)
		s.takes.Store(int64(time.Minute))
		for i := range 2 {
			start := time.Now()
			if err := testSign(b); !errors.Is(err, errLate) || time.Since(start) != signWithin {
				t.Errorf("after %v: %v", time.Since(start), err)
			}
			if err := b.Ready(); (err != nil) != (i == 1) {
				t.Errorf("ready with %d of 2 places taken: %v", i+1, err)
			}
		}
		start := time.Now()
		err := testSign(b)
		var wait interface{ RetryAfter() time.Duration }
		if !errors.Is(err, errHangs) || time.Since(start) != 0 || !errors.As(err, &wait) || wait.RetryAfter() <= 0 {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
		if n := s.calls.Load(); n != 2 {
			t.Errorf("%d calls were made", n)
		}
		s.takes.Store(0)
		time.Sleep(2 * time.Minute)
		if err := b.Ready(); err != nil {
			t.Error(err)
		}
		if err := testSign(b); err != nil {
			t.Error(err)
		}
	})
}

// No more calls than places are under way; the others wait, as long as there is time.
func TestBoundedPlaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, s := newBounded(t, 1)
		s.takes.Store(int64(time.Second))
		var signed, busy atomic.Int64
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() {
				switch err := testSign(b); {
				case err == nil:
					signed.Add(1)
				case errors.Is(err, errBusy), errors.Is(err, errLate), b.Ready() != nil:
					busy.Add(1)
				default:
					t.Error(err)
				}
			})
		}
		start := time.Now()
		wg.Wait()
		// At the fifth second one is done and another one is given up, in either order.
		if n := signed.Load(); n < 4 || n > 5 || signed.Load()+busy.Load() != 10 || time.Since(start) != signWithin {
			t.Errorf("%d signed, %d not, in %v", signed.Load(), busy.Load(), time.Since(start))
		}
		if s.most.Load() != 1 {
			t.Errorf("%d calls at a time", s.most.Load())
		}
		time.Sleep(time.Minute)
		if err := testSign(b); err != nil {
			t.Error(err)
		}
	})
}

// After a few failures the key rests for a moment, and is tried again then.
func TestBoundedRests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, s := newBounded(t, 4)
		down := errors.New("connection refused")
		s.fails.Store(&down)
		for range restAfter + 5 {
			if err := testSign(b); !errors.Is(err, down) || !strings.Contains(err.Error(), "awskms:key-id=x") {
				t.Error(err)
			}
		}
		if n := s.calls.Load(); n != restAfter {
			t.Errorf("asked %d times", n)
		}
		if err := b.Ready(); !errors.Is(err, down) {
			t.Errorf("ready: %v", err)
		}
		time.Sleep(rest)
		if err := b.Ready(); err != nil {
			t.Errorf("ready after the rest: %v", err)
		}
		// One more failure, and it rests again.
		testSign(b)
		if err := b.Ready(); !errors.Is(err, down) || s.calls.Load() != restAfter+1 {
			t.Errorf("ready: %v, asked %d times", err, s.calls.Load())
		}
		time.Sleep(rest)
		s.fails.Store(nil)
		for range 3 {
			if err := testSign(b); err != nil {
				t.Error(err)
			}
		}
	})
}

func TestBoundedDistrust(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, s := newBounded(t, 4)
		s.lie.Store(true)
		if err := testSign(b); err == nil {
			t.Error("a wrong signature passed")
		}
		b.Distrust(nil)
		if err := b.Ready(); err == nil || !strings.Contains(err.Error(), "does not verify") {
			t.Errorf("ready: %v", err)
		}
		s.lie.Store(false)
		time.Sleep(rest)
		if err := testSign(b); err != nil {
			t.Error(err)
		}
	})
}

func TestBoundedPanic(t *testing.T) {
	b, s := newBounded(t, 1)
	s.panics.Store(true)
	if err := testSign(b); err == nil || !strings.Contains(err.Error(), "panicked") {
		t.Error(err)
	}
	s.panics.Store(false)
	if err := testSign(b); err != nil {
		t.Error(err)
	}
}

// The context of whoever opens a key ends the wait, and says why.
func TestGateContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate(1)
		ctx, cancel := context.WithCancel(background)
		time.AfterFunc(time.Second, cancel)
		hang := func(context.Context) (int, error) { time.Sleep(time.Minute); return 1, nil }
		if _, err := do(ctx, g, signWithin, hang); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		if g.stuck() {
			t.Error("a call that nobody waits for any more counts as one that hangs")
		}
		// It has the place still.
		if _, err := do(background, g, signWithin, hang); !errors.Is(err, errBusy) {
			t.Error(err)
		}
		time.Sleep(2 * time.Minute)
		if n, err := do(background, g, 2*time.Minute, hang); n != 1 || err != nil {
			t.Error(n, err)
		}
	})
}

func TestCheckDigest(t *testing.T) {
	p256, p384, key := pkitest.Key(t, "P-256").Public(), pkitest.Key(t, "P-384").Public(), pkitest.Key(t, "RSA-2048").Public()
	digest := make([]byte, 64)
	for _, tt := range []struct {
		name   string
		public crypto.PublicKey
		size   int
		opts   crypto.SignerOpts
		want   string
	}{
		{"P-256", p256, 32, crypto.SHA256, ""},
		{"P-384", p384, 48, crypto.SHA384, ""},
		{"RSA", key, 32, crypto.SHA256, ""},
		{"RSA", key, 64, crypto.SHA512, ""},
		{"no hash", p256, 32, nil, "needs to know the hash"},
		{"none", key, 32, crypto.Hash(0), "are not made"},
		{"SHA-1", key, 20, crypto.SHA1, "are not made"},
		{"MD5 with SHA-1", key, 36, crypto.MD5SHA1, "are not made"},
		{"PSS", key, 32, &rsa.PSSOptions{Hash: crypto.SHA256}, "RSA-PSS"},
		{"short", p256, 31, crypto.SHA256, "31 bytes"},
		{"long", p256, 33, crypto.SHA256, "33 bytes"},
		{"empty", key, 0, crypto.SHA256, "0 bytes"},
		{"other hash", p256, 48, crypto.SHA384, "P-256 does not sign over SHA-384"},
		{"other hash", p384, 32, crypto.SHA256, "P-384 does not sign over SHA-256"},
		{"other key", &ecdsa.PrivateKey{}, 32, crypto.SHA256, "*ecdsa.PrivateKey"},
	} {
		err := checkDigest(tt.public, digest[:tt.size], tt.opts)
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
	b, s := newBounded(t, 1)
	if _, err := b.Sign(nil, digest[:20], crypto.SHA1); err == nil || s.calls.Load() != 0 {
		t.Errorf("the backend was asked %d times, %v", s.calls.Load(), err)
	}
}

// A call that hangs counts, although whoever asked for it did not wait for its end.
func TestGateCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate(1)
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		if _, err := do(ctx, g, signWithin, func(context.Context) (int, error) { time.Sleep(time.Minute); return 0, nil }); !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled: %v", err)
		}
		if g.stuck() {
			t.Error("stuck before it is late")
		}
		time.Sleep(signWithin)
		if !g.stuck() {
			t.Error("a call that hangs is not seen")
		}
		time.Sleep(time.Minute)
		if g.stuck() {
			t.Error("stuck after the call has returned")
		}
	})
}
