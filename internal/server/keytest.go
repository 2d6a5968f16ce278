package server

import (
	"context"
	"fmt"
	"sync"
	"time"
)

const (
	// readinessAge is how long a test signature counts, so that a prober
	// cannot keep an HSM busy.
	readinessAge = 5 * time.Second
	// testTimeout is when a test signature hangs.
	testTimeout = 3 * time.Second
	// testPatience is how long a probe waits for all keys together: what takes longer
	// is answered with what is known.
	testPatience = 500 * time.Millisecond
)

// keyTests makes test signatures for a readiness probe, one at a time for each key and
// all keys at the same time, and never makes the probe wait for one that hangs.
type keyTests struct {
	test func(ctx context.Context, authority string) error

	mu   sync.Mutex
	keys map[string]*keyTest
}

// keyTest is what is known of one key.
type keyTest struct {
	done    chan struct{} // closed when the test that began last has ended; nil before the first
	running bool
	began   time.Time // the last test
	ended   time.Time // and its end, if it has ended
	good    time.Time // the end of the last one that passed
	err     error     // of the last that ended
}

// keyResult is what a probe says of a key.
type keyResult struct {
	finding string
	good    time.Time // the last test signature that was right
}

func newKeyTests(test func(context.Context, string) error) *keyTests {
	return &keyTests{test: test, keys: make(map[string]*keyTest)}
}

// look begins the tests that are due, waits for them a moment, and says what is known.
func (k *keyTests) look(names []string) map[string]keyResult {
	patience := time.NewTimer(testPatience)
	defer patience.Stop()
	var running []chan struct{}
	for _, name := range names {
		if done := k.begin(name); done != nil {
			running = append(running, done)
		}
	}
wait:
	for _, done := range running {
		select {
		case <-done:
		case <-patience.C:
			break wait
		}
	}
	results := make(map[string]keyResult, len(names))
	for _, name := range names {
		results[name] = k.result(name)
	}
	return results
}

// begin starts a test of the key if its last one is too old and has come back, and
// returns what is closed when the running one ends; nil if none runs.
func (k *keyTests) begin(name string) chan struct{} {
	k.mu.Lock()
	defer k.mu.Unlock()
	t := k.keys[name]
	if t == nil {
		t = new(keyTest)
		k.keys[name] = t
	}
	if t.running {
		return t.done
	}
	if !t.ended.IsZero() && time.Since(t.ended) < readinessAge {
		return nil
	}
	t.running, t.began, t.done = true, time.Now(), make(chan struct{})
	done := t.done
	go func() {
		defer close(done)
		// Its end does not end a signature that hangs, only the wait for a key that
		// is being opened.
		ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
		defer cancel()
		err := k.test(ctx, name)
		k.mu.Lock()
		defer k.mu.Unlock()
		t.running, t.err, t.ended = false, err, time.Now()
		if err == nil {
			t.good = t.ended
		}
	}()
	return done
}

func (k *keyTests) result(name string) keyResult {
	k.mu.Lock()
	defer k.mu.Unlock()
	t := k.keys[name]
	r := keyResult{good: t.good}
	switch age := time.Since(t.began).Round(100 * time.Millisecond); {
	case t.running && (t.ended.IsZero() || age >= testTimeout):
		r.finding = fmt.Sprintf("a test signature has not come back for %v", age)
		if t.err != nil {
			r.finding += fmt.Sprintf("; the one before: %v", t.err)
		}
	case t.err != nil:
		r.finding = t.err.Error()
	}
	return r
}

// testKey has the key of an authority sign a test.
func (s *Server) testKey(ctx context.Context, name string) error {
	authority, err := s.ra.Authority(name)
	if err != nil {
		return err
	}
	if err := authority.Ready(); err != nil {
		return err
	}
	return authority.TestSign(ctx)
}
