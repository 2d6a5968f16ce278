package issuer_test

import (
	"testing"
	"time"

	"mintmark/internal/ledger"
	"mintmark/internal/pkitest"
	"mintmark/issuer"
)

// TestQueued: who polls finds the label again, until the answer can have been
// had.
func TestQueued(t *testing.T) {
	now := time.Now()
	l := newLedger(t)
	ra := withHierarchy(t, newRA(t, l, func(c *issuer.Config) {
		c.Now = func() time.Time { return now }
		c.EpochTTL = 1000 * time.Hour
	}))
	key := pkitest.NewKey(t)
	want := func(label string) {
		t.Helper()
		got, ok, err := ra.Queued(t.Context(), csr(t, key, "press-1"))
		if err != nil || got != label || ok != (label != "") {
			t.Errorf("label %q, %v, %v; want %q", got, ok, err, label)
		}
	}
	want("")
	r := approved(t, key, "press-1")
	_, err := ra.Enroll(t.Context(), r)
	wantRefused(t, err, issuer.Pending, "approval-pending")
	want("line")
	id := enrollments(t, l)[0].ID
	decideAt(t, l, id, false, now)
	want("line") // it hears there that it is rejected
	decideAt(t, l, id, true, now)
	want("line")
	now = now.Add(time.Hour)
	if _, err := ra.Enroll(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	want("line") // the answer may have been lost
	now = now.Add(59 * time.Minute)
	want("line")
	now = now.Add(2 * time.Minute)
	want("") // from here on it is a request like others

	for name, request := range map[string][]byte{
		"another key": csr(t, pkitest.NewKey(t), "press-1"), "another subject": csr(t, key, "press-2"), "nothing": nil, "garbage": []byte("garbage"),
		"too long": make([]byte, issuer.MaxRequest+1),
	} {
		if label, ok, err := ra.Queued(t.Context(), request); label != "" || ok || err != nil {
			t.Errorf("%s: %q, %v, %v", name, label, ok, err)
		}
	}
}

// TestQueuedWaitsNoLonger: an entry that is over, or whose certificate was
// revoked, leads nowhere.
func TestQueuedWaitsNoLonger(t *testing.T) {
	now := time.Now()
	l := newLedger(t)
	ra := withHierarchy(t, newRA(t, l, func(c *issuer.Config) {
		c.Now = func() time.Time { return now }
		c.EpochTTL = 1000 * time.Hour
	}))
	first, second := approved(t, pkitest.NewKey(t), "press-1"), approved(t, pkitest.NewKey(t), "press-2")
	for _, r := range []issuer.Request{first, second} {
		_, err := ra.Enroll(t.Context(), r)
		wantRefused(t, err, issuer.Pending, "approval-pending")
	}
	for _, e := range enrollments(t, l) {
		if e.Device == "press-2" {
			decideAt(t, l, e.ID, true, now)
		}
	}
	answer, err := ra.Enroll(t.Context(), second)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ra.Revoke(t.Context(), ledger.Selector{Serial: answer.Serial}, ledger.KeyCompromise, "test"); err != nil {
		t.Fatal(err)
	}
	if _, ok, err := ra.Queued(t.Context(), second.CSR); ok || err != nil {
		t.Errorf("revoked: %v, %v", ok, err)
	}
	now = now.Add(8 * 24 * time.Hour)
	if _, ok, err := ra.Queued(t.Context(), first.CSR); ok || err != nil {
		t.Errorf("over: %v, %v", ok, err)
	}
}
