package rotation_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"mintmark/ca/rotation"
	"mintmark/internal/ledger"
)

// leases are those of a ledger; see ledger.Leases.
type leases struct {
	mu     sync.Mutex
	holder string
	token  int64
	ends   time.Time
}

func (l *leases) Acquire(_ context.Context, job, holder string, now time.Time, ttl time.Duration) (ledger.Fence, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case job != "rotation" || holder == "":
		return ledger.Fence{}, fmt.Errorf("job %q of %q", job, holder)
	case l.holder != holder && now.Before(l.ends):
		return ledger.Fence{}, fmt.Errorf("held by %q: %w", l.holder, ledger.ErrBusy)
	case l.holder != holder:
		l.token++
	}
	l.holder, l.ends = holder, now.Add(ttl)
	return ledger.Fence{Job: job, Holder: holder, Token: l.token}, nil
}

// server is a machine of one server of several.
func (w *world) server(l *leases, name string) *rotation.Machine {
	clouds := []rotation.Cloud{w.clouds[0], w.clouds[1]}
	return rotation.New(rotation.World{Records: (*records)(w), Authorities: (*authorities)(w), Clouds: clouds, Fleet: (*fleet)(w), Leases: l, Holder: name, Settle: 30 * time.Second,
		Officers: func(context.Context) ([]ledger.Principal, error) { return w.officers, nil }, Now: func() time.Time { return w.now }})
}

// TestOneMover: while a rotation is moved, nobody else moves one or takes one back, here or on
// another server; and when it is done, or its server has died, others do.
func TestOneMover(t *testing.T) {
	ctx := context.Background()
	w, id := ready(t, rootSpec(), rotation.PathsVerified)
	l := new(leases)
	alpha, beta := w.server(l, "alpha"), w.server(l, "beta")
	tried := 0
	_, err := alpha.Run(ctx, id, rotation.CloudRegistered, "alice", func(ledger.RotationEntry) {
		tried++
		for _, m := range []*rotation.Machine{alpha, beta} {
			_, err := m.Run(ctx, id, "", "bob", nil)
			rule(t, err, "rotation-busy", "rotate journal "+id)
			_, err = m.Rollback(ctx, id, "never mind", "bob", nil)
			rule(t, err, "rotation-busy")
		}
		if _, err := beta.Status(ctx, id); err != nil {
			t.Errorf("nor is it shown: %v", err)
		}
	})
	if err != nil || tried == 0 || w.get(id).State != string(rotation.CloudRegistered) {
		t.Fatalf("%d lines, in %s: %v", tried, w.get(id).State, err)
	}
	if _, err := beta.Run(ctx, id, rotation.CloudActiveBoth, "bob", nil); err != nil {
		t.Fatalf("the lease was not given back: %v", err)
	}
	// One that died has the lease until it lapses.
	if _, err := l.Acquire(ctx, "rotation", "gamma", w.now, time.Minute); err != nil {
		t.Fatal(err)
	}
	_, err = alpha.Run(ctx, id, "", "alice", nil)
	rule(t, err, "rotation-busy")
	w.now = w.now.Add(time.Minute)
	if _, err := alpha.Run(ctx, id, rotation.Distributing, "alice", nil); err != nil {
		t.Error(err)
	}
	w.check(id)
}

// TestBrokenLease: without the lease nothing is moved.
func TestBrokenLease(t *testing.T) {
	w, id := ready(t, rootSpec(), rotation.PathsVerified)
	version := w.get(id).Version
	_, err := w.server(new(leases), "").Run(context.Background(), id, "", "alice", nil)
	if refusal := new(rotation.Refused); err == nil || errors.As(err, &refusal) || w.get(id).Version != version {
		t.Errorf("%v, version %d", err, w.get(id).Version)
	}
}

// TestSettle: where there are other servers, clouds are asked to let nobody in by the old CA
// only when all of them go by the record.
func TestSettle(t *testing.T) {
	for _, c := range []struct {
		spec rotation.Spec
		says string
		wait time.Duration
	}{{issuingSpec(), "SWITCHED lasts at least 30s", 30 * time.Second}, {emergency(issuingSpec()), "SWITCHED lasts at least 10s", 10 * time.Second}} {
		w, id := ready(t, c.spec, rotation.Canaried, "alice", "bob")
		m := w.server(new(leases), "alpha")
		result, err := m.Run(context.Background(), id, rotation.Draining, "alice", nil)
		if err != nil || result.Rotation.State != string(rotation.Switched) || len(result.Blocked) != 1 {
			t.Fatalf("%s, %q, %v", result.Rotation.State, result.Blocked, err)
		}
		w.says(result.Blocked[0], c.says)
		w.now = w.now.Add(c.wait)
		if result, err := m.Run(context.Background(), id, rotation.Draining, "alice", nil); err != nil || result.Rotation.State != string(rotation.Draining) {
			t.Errorf("%s, %q, %v", result.Rotation.State, result.Blocked, err)
		}
		w.check(id)
	}
}
