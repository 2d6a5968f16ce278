package dpsreg_test

import (
	"context"
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	"mintmark/ca"
	"mintmark/dpsreg"
	"mintmark/dpsreg/dps"
	"mintmark/dpsreg/dpssim"
	"mintmark/internal/ledger"
	"mintmark/internal/pkitest"
	"mintmark/issuer"
)

// memory is a key store.
type memory struct {
	mu   sync.Mutex
	keys map[string]crypto.Signer
	new  func() crypto.Signer
}

func (m *memory) Create(_ context.Context, uri, _ string) (string, crypto.Signer, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.keys[uri] = m.new()
	return uri, m.keys[uri], nil
}

func (m *memory) Signer(_ context.Context, uri string, _ crypto.PublicKey) (crypto.Signer, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.keys[uri] == nil {
		return nil, errors.New("no such key")
	}
	return m.keys[uri], nil
}

// TestRenewalWaits is the whole way of a renewal: the issuance cycle over a real ledger,
// with a cloud that is away at first.
func TestRenewalWaits(t *testing.T) {
	w := newWorld(t)
	target := w.target()
	target.Enrollments = []dpsreg.Enrollment{{Name: "pins", Profiles: []string{"pinned"}}}
	targets := []dpsreg.Target{target}
	r := w.devices()
	profiles := make(map[string]*issuer.Profile)
	for _, name := range []string{"pinned", "device"} {
		p, err := issuer.NewProfile(name, issuer.ProfileConfig{Preset: "device"}, "http://ca.example")
		w.ok(err)
		profiles[name] = p
	}
	ra, err := issuer.New(t.Context(), issuer.Config{
		Ledger: w.ledger(), Keys: &memory{keys: make(map[string]crypto.Signer), new: func() crypto.Signer { return pkitest.NewKey(t) }},
		Server: "ra", EpochTTL: 100 * time.Hour, Profiles: profiles, Logger: slog.New(slog.DiscardHandler), Now: w.now,
		Tasks: func(c ledger.Certificate) []ledger.Task { return r.TasksFor(targets, c) },
		Handover: issuer.Handover{
			Targets: func(c ledger.Certificate) (pinning []string) {
				if target.Enrolled(c) {
					pinning = append(pinning, target.Name)
				}
				return pinning
			},
			Take: func(ctx context.Context, _ string, c ledger.Certificate) error { return r.Handover(ctx, target, c) },
		},
	})
	w.ok(err)
	_, err = ra.CreateAuthority(t.Context(), issuer.AuthoritySpec{
		Spec: ca.Spec{Name: "own", Subject: pkix.Name{CommonName: "Own Root"}, Validity: 20 * 365 * 24 * time.Hour}, Key: ca.P256,
	}, ledger.Requester{Kind: "admin", Name: "test"})
	w.ok(err)
	enroll := func(profile, name string, by ledger.Requester, renews *x509.Certificate, key crypto.Signer) (issuer.Answer, error) {
		request := issuer.Request{Profile: profile, Issuer: "own", Authorize: issuer.Trusted, Requester: by, Renews: renews, CSR: pkitest.CSR(t, key, pkix.Name{CommonName: name})}
		if renews != nil {
			request.Device = name
		}
		return ra.Enroll(t.Context(), request)
	}
	deliver := func() {
		t.Helper()
		tasks, err := w.ledger().Due(t.Context(), dpsreg.TaskKind(target), w.now().Add(time.Hour), 100)
		w.ok(err)
		for i, err := range r.Deliver(t.Context(), target, tasks) {
			w.ok(err)
			w.ok(w.ledger().Done(t.Context(), []int64{tasks[i].ID}))
		}
	}
	password := ledger.Requester{Kind: "password", Name: "line"}

	// Azure is away: first enrollments do not wait, and neither do renewals of others.
	w.sim.Inject(dpssim.Fault{Operation: "enrollments.*", Times: 1 << 20})
	if len(w.sim.Calls()) > 0 {
		t.Fatal(w.sim.Calls())
	}
	old, err := enroll("pinned", "pump-1", password, nil, pkitest.NewKey(t))
	w.ok(err)
	other, err := enroll("device", "pump-2", password, nil, pkitest.NewKey(t))
	w.ok(err)
	_, err = enroll("device", "pump-2", ledger.Requester{Kind: "certificate", Name: string(other.Serial)}, other.Certificate, pkitest.NewKey(t))
	w.ok(err)
	if calls := w.sim.Calls(); len(calls) > 0 {
		t.Errorf("they called %v", calls)
	}

	key, by := pkitest.NewKey(t), ledger.Requester{Kind: "certificate", Name: string(old.Serial)}
	answer, err := enroll("pinned", "pump-1", by, old.Certificate, key)
	var refused *issuer.Refusal
	if !errors.As(err, &refused) || refused.Rule != "cloud" || refused.Kind != issuer.Unavailable || answer.Certificate != nil {
		t.Fatalf("%+v, %v", answer, err)
	}

	// It is back: the same request gets the certificate that was issued then.
	w.sim.ClearFaults()
	again, err := enroll("pinned", "pump-1", by, old.Certificate, key)
	if err != nil || !again.Prior {
		t.Fatalf("%+v, %v", again, err)
	}
	as := func(a issuer.Answer, key crypto.Signer) device {
		return device{leaf: a.Certificate, chain: a.Chain, key: key}
	}
	first, second := as(old, nil), as(again, key)
	w.want(w.enrollment("pump-1"), "pinned", dps.Enabled, "0 1", first, second)
	if _, err := w.register(second); err != nil {
		t.Error(err)
	}
	deliver()
	w.want(w.enrollment("pump-1"), "pinned", dps.Enabled, "1 0", first, second)
	if w.enrollment("pump-2") != nil {
		t.Error("a group device has an enrollment")
	}
	page, err := w.ledger().Certificates(t.Context(), ledger.Query{Device: "pump-1"})
	w.ok(err)
	if len(page.Certificates) != 2 {
		t.Errorf("%d certificates were issued", len(page.Certificates))
	}
}
