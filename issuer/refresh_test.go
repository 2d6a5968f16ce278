package issuer_test

import (
	"context"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mintmark/ca"
	"mintmark/internal/ledger"
	"mintmark/internal/pkitest"
	"mintmark/issuer"
)

// TestTwoServers: what one server does with the hierarchy, the other knows
// after Refresh.
func TestTwoServers(t *testing.T) {
	l, keys := newLedger(t), newKeys(t)
	server := func(name string) *issuer.RA {
		return newRA(t, l, func(c *issuer.Config) { c.Keys, c.Server = keys, name })
	}
	a, b := server("a"), server("b")
	withHierarchy(t, a)
	if _, err := b.Authority("issuing"); !errors.Is(err, issuer.ErrNoAuthority) {
		t.Fatalf("before Refresh: %v", err)
	}
	refresh := func() {
		t.Helper()
		if err := b.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	refresh()
	mustEnroll(t, b, pkitest.NewKey(t), "device-1")
	names := func(ra *issuer.RA) (list []string) {
		for _, authority := range ra.Authorities() {
			list = append(list, authority.Name())
		}
		return list
	}
	if got := names(b); !slices.Equal(got, []string{"root", "issuing"}) {
		t.Errorf("authorities %v", got)
	}
	// What has not changed is the same object: its key stays open.
	before, _ := b.Authority("issuing")
	refresh()
	if after, _ := b.Authority("issuing"); after != before {
		t.Error("an authority that nobody touched was made anew")
	}

	// One that waits for its certificate, and then has it.
	spec := issuer.AuthoritySpec{Spec: ca.Spec{Name: "line-2", Subject: pkix.Name{CommonName: "Line 2"}, Validity: 1000 * 24 * time.Hour}, Key: ca.P256}
	if _, err := a.RequestAuthority(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	refresh()
	if waiting := b.Waiting(); len(waiting) != 1 || waiting[0].Name != "line-2" {
		t.Errorf("waiting: %v", waiting)
	}
	spec.Name = "line-3"
	if _, err := a.CreateAuthority(t.Context(), spec, admin); err != nil {
		t.Fatal(err)
	}
	records, err := l.Authorities(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	record := func(name string) ledger.Authority {
		return records[slices.IndexFunc(records, func(r ledger.Authority) bool { return r.Name == name })]
	}
	// Replaced: the certificate of another takes its place.
	replaced := record("line-3")
	replaced.Name = "line-2"
	if err := l.PutAuthority(t.Context(), replaced); err != nil {
		t.Fatal(err)
	}
	refresh()
	if len(b.Waiting()) != 0 {
		t.Error("line-2 still waits")
	}
	issuing := record("issuing")
	issuing.Name = "line-2"
	if err := l.PutAuthority(t.Context(), issuing); err != nil {
		t.Fatal(err)
	}
	refresh()
	if got, err := b.Authority("line-2"); err != nil || got.Certificate().Subject.CommonName != "Test Issuing" {
		t.Errorf("the replaced authority: %v, %v", got, err)
	}

	// A record that cannot be read is an error, and changes nothing else.
	broken := record("line-3")
	broken.Certificate = []byte("garbage")
	if err := l.PutAuthority(t.Context(), broken); err != nil {
		t.Fatal(err)
	}
	if err := b.Refresh(t.Context()); err == nil {
		t.Error("took over garbage")
	}
	if got, err := b.Authority("line-3"); err != nil || got.Certificate().Subject.CommonName != "Line 2" {
		t.Errorf("the old state: %v", err)
	}

	// Revoked by a; b issues nothing under it once it has looked.
	authority, err := a.Authority("issuing")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Revoke(t.Context(), ledger.Selector{Serial: issuer.SerialOf(authority.Certificate().SerialNumber)}, ledger.KeyCompromise, "test"); err != nil {
		t.Fatal(err)
	}
	b.Refresh(t.Context())
	_, err = enroll(t.Context(), t, b, pkitest.NewKey(t), "device-2")
	wantRefused(t, err, issuer.Unavailable, "issuer-revoked")
	if !b.Withdrawn("issuing") || b.Withdrawn("root") {
		t.Error("withdrawn is not what was revoked")
	}
}

// gone is a ledger that has lost an authority.
type gone struct {
	ledger.Ledger
	name atomic.Pointer[string]
}

func (g *gone) Authorities(ctx context.Context) ([]ledger.Authority, error) {
	records, err := g.Ledger.Authorities(ctx)
	name := g.name.Load()
	return slices.DeleteFunc(records, func(r ledger.Authority) bool { return name != nil && r.Name == *name }), err
}

func TestRemovedAuthority(t *testing.T) {
	l := &gone{Ledger: newLedger(t)}
	ra := withHierarchy(t, newRA(t, l, nil))
	name := "issuing"
	l.name.Store(&name)
	if err := ra.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := enroll(t.Context(), t, ra, pkitest.NewKey(t), "device-1"); !errors.Is(err, issuer.ErrNoAuthority) {
		t.Errorf("under an authority that is gone: %v", err)
	}
	if ra.Anchors("issuing") != nil || len(ra.Authorities()) != 1 {
		t.Error("it is still listed")
	}
}

// TestRefreshWhileMaking makes authorities while another goroutine refreshes:
// none may get lost, not for a moment.
func TestRefreshWhileMaking(t *testing.T) {
	ra := withHierarchy(t, newRA(t, newLedger(t), nil))
	stop := make(chan struct{})
	var wait sync.WaitGroup
	for range 2 {
		wait.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if err := ra.Refresh(t.Context()); err != nil {
					t.Error(err)
					return
				}
				if _, err := ra.Authority("issuing"); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for i := range 20 {
		name := fmt.Sprintf("line-%d", i)
		spec := issuer.AuthoritySpec{Spec: ca.Spec{Name: name, Subject: pkix.Name{CommonName: name}, Validity: time.Hour}, Key: ca.P256, Issuer: "root"}
		if _, err := ra.CreateAuthority(t.Context(), spec, admin); err != nil {
			t.Error(err)
		}
		if _, err := ra.Authority(name); err != nil {
			t.Error(err)
		}
	}
	close(stop)
	wait.Wait()
	if n := len(ra.Authorities()); n != 22 {
		t.Errorf("%d authorities, want 22", n)
	}
}

// TestKilledServer leaves an intent of server a open, as a kill would. Server
// b voids it when the epoch of a has ended, not before, and a's certificate
// never leaves.
func TestKilledServer(t *testing.T) {
	l, keys := newLedger(t), newKeys(t)
	var clock atomic.Int64
	clock.Store(time.Now().UnixNano())
	now := func() time.Time { return time.Unix(0, clock.Load()) }
	reached, release := make(chan struct{}), make(chan struct{})
	var armed atomic.Bool
	a := withHierarchy(t, newRA(t, l, func(c *issuer.Config) {
		c.Keys, c.Server, c.Now, c.EpochTTL = keys, "a", now, 30*time.Second
		c.Step = func(n int) {
			if n == 6 && armed.CompareAndSwap(true, false) {
				close(reached)
				<-release
			}
		}
	}))
	b := newRA(t, l, func(c *issuer.Config) { c.Keys, c.Server, c.Now, c.EpochTTL = keys, "b", now, 30*time.Second })
	order(t, l, "one", func(o *ledger.Order) { o.Quantity = 1 })
	first, second := by("one"), by("one")
	first.CSR, second.CSR = csr(t, pkitest.NewKey(t), "press-1"), csr(t, pkitest.NewKey(t), "press-2")
	armed.Store(true)
	done := make(chan error, 1)
	go func() {
		_, err := a.Enroll(t.Context(), first)
		done <- err
	}()
	<-reached

	clock.Add(int64(29 * time.Second))
	b.Tick(t.Context())
	if open := count(t, l)[ledger.Open]; open != 1 {
		t.Fatalf("%d intents open while the epoch of their server is in force", open)
	}
	_, err := b.Enroll(t.Context(), second)
	wantRefused(t, err, issuer.Unavailable, "order-in-flight")
	clock.Add(int64(2 * time.Second))
	b.Tick(t.Context())
	if states := count(t, l); states[ledger.Open] != 0 || states[ledger.Voided] != 1 {
		t.Errorf("after the epoch: %v", states)
	}
	// The unit is free again, for the other server's request.
	if _, err := b.Enroll(t.Context(), second); err != nil {
		t.Error(err)
	}
	close(release)
	if err := <-done; err == nil {
		t.Error("a certificate left a server whose epoch had ended")
	}
	if n := taken(t, l, "one"); n != 1 {
		t.Errorf("%d units taken", n)
	}
}
