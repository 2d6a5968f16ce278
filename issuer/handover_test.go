package issuer_test

import (
	"context"
	"crypto"
	"crypto/x509/pkix"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"mintmark/internal/ledger"
	"mintmark/internal/pkitest"
	"mintmark/issuer"
)

// cloud is a target that pins the devices of all labels but other, and what it was given.
type cloud struct {
	mu    sync.Mutex
	away  bool
	given []ledger.Certificate
}

func (c *cloud) handover() issuer.Handover {
	return issuer.Handover{Targets: pinning, Take: c.take}
}

func pinning(c ledger.Certificate) []string {
	if c.Label == "other" {
		return nil
	}
	return []string{"plant"}
}

func (c *cloud) take(_ context.Context, target string, certificate ledger.Certificate) error {
	if target != "plant" {
		return errors.New("there is no target " + target)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.given = append(c.given, certificate)
	if c.away {
		return errors.New("secret.internal does not answer")
	}
	return nil
}

// renewal is a request by the device's own certificate.
func renewal(t testing.TB, old issuer.Answer, key crypto.Signer, name string) issuer.Request {
	return issuer.Request{
		Profile: "device", Issuer: "issuing", Label: "line", Authorize: issuer.ByOrder, Device: name, Renews: old.Certificate,
		Requester: ledger.Requester{Kind: "certificate", Name: string(old.Serial)},
		CSR:       pkitest.CSR(t, key, pkix.Name{CommonName: name}),
	}
}

// TestHandover: a renewal leaves once the cloud has it. Until then it is recorded, the
// same request finds it again, and nothing is charged or issued twice.
func TestHandover(t *testing.T) {
	now := time.Now()
	var at cloud
	l := newLedger(t)
	ra := withHierarchy(t, newRA(t, l, func(c *issuer.Config) {
		c.Handover, c.Now = at.handover(), func() time.Time { return now }
	}))
	order(t, l, "wo-1", func(o *ledger.Order) { o.Quantity = 1 })
	key := pkitest.NewKey(t)
	first := issuer.Request{
		Profile: "device", Issuer: "issuing", Label: "line", Authorize: issuer.ByOrder, Order: "wo-1",
		Requester: ledger.Requester{Kind: "order", Name: "wo-1"}, CSR: pkitest.CSR(t, key, pkix.Name{CommonName: "press-1"}),
	}
	at.away = true
	old, err := ra.Enroll(t.Context(), first)
	if err != nil || len(at.given) > 0 {
		t.Fatalf("a first certificate waits: %v, %v", err, at.given)
	}
	now = now.Add(time.Minute)
	request := renewal(t, old, pkitest.NewKey(t), "press-1")
	var refused *issuer.Refusal
	for range 2 {
		answer, err := ra.Enroll(t.Context(), request)
		refused = wantRefused(t, err, issuer.Unavailable, "cloud")
		if answer.Certificate != nil || answer.Chain != nil || answer.Serial != "" {
			t.Fatalf("%+v left", answer)
		}
	}
	if refused.RetryAfter != 30*time.Second || refused.Device != "press-1" || refused.Subject == "" || refused.Key == [32]byte{} ||
		strings.Contains(refused.Text, "secret.internal") || !strings.Contains(refused.Error(), "secret.internal") {
		t.Errorf("%+v", refused)
	}
	if states := count(t, l); states[ledger.Valid] != 2 || len(states) != 1 {
		t.Errorf("%v", states)
	}
	at.away = false
	answer, err := ra.Enroll(t.Context(), request)
	if err != nil || !answer.Prior {
		t.Fatalf("%+v, %v", answer, err)
	}
	if len(at.given) != 3 {
		t.Fatalf("it was handed over %d times", len(at.given))
	}
	for _, c := range at.given {
		if c.Serial != answer.Serial || c.Device != "press-1" || c.State != ledger.Valid || c.Requester.Name != string(old.Serial) || len(c.DER) == 0 {
			t.Errorf("handed over %+v", c)
		}
	}
	if states := count(t, l); states[ledger.Valid] != 2 || len(states) != 1 {
		t.Errorf("%v", states)
	}
	if usage, err := l.OrderUsage(t.Context(), "wo-1"); err != nil || usage.Issued != 1 || usage.Open != 0 || usage.Left != 0 {
		t.Errorf("%+v, %v", usage, err)
	}
	// What is new each time waits each time.
	again := renewal(t, answer, pkitest.NewKey(t), "press-1")
	if third, err := ra.Enroll(t.Context(), again); err != nil || third.Prior || len(at.given) != 4 {
		t.Errorf("%+v, %v, %d", third, err, len(at.given))
	}
}

// TestHandoverOfOthers: only what replaces the certificate of a device waits, also where a
// registration authority asks in the device's place.
func TestHandoverOfOthers(t *testing.T) {
	at := cloud{away: true}
	ra := withHierarchy(t, newRA(t, newLedger(t), func(c *issuer.Config) {
		withNames(t)(c)
		c.Handover = at.handover()
	}))
	old := mustEnroll(t, ra, pkitest.NewKey(t), "press-1")
	if _, err := ra.Enroll(t.Context(), issuer.Request{
		Profile: "server", Issuer: "issuing", Requester: ledger.Requester{Kind: "certificate", Name: string(old.Serial)}, Authorize: issuer.Trusted,
		CSR: pkitest.CSR(t, pkitest.NewKey(t), pkix.Name{CommonName: "a.example"}, "a.example"),
	}); err != nil {
		t.Errorf("a server's certificate: %v", err)
	}
	key := pkitest.NewKey(t)
	named := issuer.Request{Profile: "named", Issuer: "issuing", Authorize: issuer.Trusted, Requester: password, CSR: asRequested(t, key, "press-2", "b.example")}
	if _, err := ra.Enroll(t.Context(), named); err != nil {
		t.Fatal(err)
	}
	if len(at.given) > 0 {
		t.Errorf("handed over %+v", at.given)
	}
	rekey := byRA(asRequested(t, pkitest.NewKey(t), "press-2", "b.example"))
	rekey.SecondKey = issuer.AllowSecondKey
	_, err := ra.Enroll(t.Context(), rekey)
	wantRefused(t, err, issuer.Unavailable, "cloud")
}

// TestHandoverUnset: nothing is asked and nothing more is read without it, and only the
// certificate itself where no target pins the device.
func TestHandoverUnset(t *testing.T) {
	for want, handover := range []issuer.Handover{{}, {
		Targets: func(ledger.Certificate) []string { return nil },
		Take:    func(context.Context, string, ledger.Certificate) error { return errors.New("nobody is concerned") },
	}} {
		l := &reads{Ledger: newLedger(t)}
		ra := withHierarchy(t, newRA(t, l, func(c *issuer.Config) { c.Handover = handover }))
		old := mustEnroll(t, ra, pkitest.NewKey(t), "press-1")
		before, lists := l.n, l.lists
		r := renewal(t, old, pkitest.NewKey(t), "press-1")
		r.Authorize = issuer.Trusted
		if _, err := ra.Enroll(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		if l.n != before+want || l.lists != lists {
			t.Errorf("%d certificates were read, and %d lists of them", l.n-before, l.lists-lists)
		}
	}
}

// reads counts how often a certificate is looked up, and how often they are listed.
type reads struct {
	ledger.Ledger
	n, lists int
}

func (r *reads) Certificates(ctx context.Context, query ledger.Query) (ledger.Page, error) {
	r.lists++
	return r.Ledger.Certificates(ctx, query)
}

func (r *reads) Certificate(ctx context.Context, serial ledger.Serial) (ledger.Certificate, error) {
	r.n++
	return r.Ledger.Certificate(ctx, serial)
}

// TestHandoverOfBootstrapped: whoever asks for it, a certificate waits if its device has
// another one in force, and only then: one that is expired or revoked lets nobody in.
func TestHandoverOfBootstrapped(t *testing.T) {
	for _, by := range []ledger.Requester{password, {Kind: "maker", Name: "maker"}, {Kind: "order", Name: "wo-1"}, {Kind: "cas", Name: "step"}, admin} {
		t.Run(by.Kind, func(t *testing.T) {
			now := time.Now()
			at := cloud{away: true}
			l := newLedger(t)
			ra := withHierarchy(t, newRA(t, l, func(c *issuer.Config) {
				c.Handover, c.Now, c.EpochTTL = at.handover(), func() time.Time { return now }, 100*365*24*time.Hour
			}))
			r := issuer.Request{Profile: "device", Issuer: "issuing", Label: "line", Authorize: issuer.Trusted, Requester: by,
				SecondKey: issuer.AllowSecondKey, CSR: pkitest.CSR(t, pkitest.NewKey(t), pkix.Name{CommonName: "press-1"})}
			if by.Kind == "order" {
				order(t, l, "wo-1", func(o *ledger.Order) { o.NotAfter = now.Add(5 * 365 * 24 * time.Hour) })
				r.Order, r.Authorize = "wo-1", issuer.ByOrder
			}
			first, err := ra.Enroll(t.Context(), r)
			if err != nil || len(at.given) > 0 {
				t.Fatalf("a first certificate waits: %v, %v", err, at.given)
			}
			if again, err := ra.Enroll(t.Context(), r); err != nil || !again.Prior || len(at.given) > 0 {
				t.Fatalf("a first certificate that is asked for again waits: %v, %v", err, at.given)
			}
			// A certificate of its own is pinned, even for the same key.
			now = now.Add(2 * time.Hour)
			_, err = ra.Enroll(t.Context(), r)
			wantRefused(t, err, issuer.Unavailable, "cloud")
			r.CSR = pkitest.CSR(t, pkitest.NewKey(t), pkix.Name{CommonName: "press-1"})
			_, err = ra.Enroll(t.Context(), r)
			wantRefused(t, err, issuer.Unavailable, "cloud")
			if len(at.given) != 2 || at.given[1].Requester != by || at.given[1].Serial == first.Serial {
				t.Fatalf("handed over %+v", at.given)
			}
			at.away = false
			if answer, err := ra.Enroll(t.Context(), r); err != nil || !answer.Prior || answer.Serial != at.given[1].Serial {
				t.Fatalf("%+v, %v", answer, err)
			}
			at.away, at.given = true, nil
			if _, err := ra.Ledger.Revoke(t.Context(), ledger.Selector{Device: "press-1"}, ledger.Superseded, "test", now, nil); err != nil {
				t.Fatal(err)
			}
			r.CSR = pkitest.CSR(t, pkitest.NewKey(t), pkix.Name{CommonName: "press-1"})
			last, err := ra.Enroll(t.Context(), r)
			if err != nil {
				t.Fatalf("a device whose certificates are revoked: %v", err)
			}
			now = last.Certificate.NotAfter.Add(time.Minute)
			r.CSR = pkitest.CSR(t, pkitest.NewKey(t), pkix.Name{CommonName: "press-1"})
			if _, err := ra.Enroll(t.Context(), r); err != nil || len(at.given) > 0 {
				t.Fatalf("a device whose certificates have expired: %v, %v", err, at.given)
			}
		})
	}
}

// TestHandoverToAll: every target is told at once, under one deadline, and one that is
// away is enough to keep a certificate back.
func TestHandoverToAll(t *testing.T) {
	var mu sync.Mutex
	deadlines := make(map[string]time.Time)
	both := make(chan struct{})
	ra := withHierarchy(t, newRA(t, newLedger(t), func(c *issuer.Config) {
		c.Handover = issuer.Handover{
			Targets: func(ledger.Certificate) []string { return []string{"away", "there"} },
			Take: func(ctx context.Context, target string, _ ledger.Certificate) error {
				mu.Lock()
				deadlines[target], _ = ctx.Deadline()
				if len(deadlines) == 2 {
					close(both)
				}
				mu.Unlock()
				select {
				case <-both:
				case <-ctx.Done():
					return ctx.Err()
				}
				if target == "away" {
					return errors.New("it is away")
				}
				return nil
			},
		}
	}))
	old := mustEnroll(t, ra, pkitest.NewKey(t), "press-1")
	r := renewal(t, old, pkitest.NewKey(t), "press-1")
	r.Authorize = issuer.Trusted
	_, err := ra.Enroll(t.Context(), r)
	refused := wantRefused(t, err, issuer.Unavailable, "cloud")
	if !strings.Contains(refused.Error(), "it is away") || strings.Contains(refused.Error(), "deadline") {
		t.Errorf("%v", refused)
	}
	if at := deadlines["away"]; at.IsZero() || !at.Equal(deadlines["there"]) || time.Until(at) > 10*time.Second {
		t.Errorf("deadlines %v", deadlines)
	}
}

// TestHandoverHoldsNobodyUp: certificates that wait for a target keep no other request
// from its place, and as many may wait for each target, whatever becomes of the others.
func TestHandoverHoldsNobodyUp(t *testing.T) {
	waiting, release := make(chan struct{}, 300), make(chan struct{})
	ra := withHierarchy(t, newRA(t, newLedger(t), func(c *issuer.Config) {
		c.MaxInFlight = 1
		c.Handover = issuer.Handover{
			Targets: func(c ledger.Certificate) []string {
				return map[string][]string{"line": {"slow"}, "second": {"fast"}, "both": {"slow", "fast"}}[c.Label]
			},
			Take: func(_ context.Context, target string, _ ledger.Certificate) error {
				if target == "slow" {
					waiting <- struct{}{}
					<-release
				}
				return nil
			},
		}
	}))
	const most = 256
	olds := make([]issuer.Answer, most+1)
	for i := range olds {
		olds[i] = mustEnroll(t, ra, pkitest.NewKey(t), name(i))
	}
	results := make(chan error, most)
	for i := range most {
		r := renewal(t, olds[i], pkitest.NewKey(t), name(i))
		r.Authorize = issuer.Trusted
		go func() {
			_, err := ra.Enroll(t.Context(), r)
			results <- err
		}()
		<-waiting
	}
	mustEnroll(t, ra, pkitest.NewKey(t), "somebody-else")
	for _, tt := range []struct {
		label   string
		refused bool
	}{{"line", true}, {"both", true}, {"second", false}, {"other", false}} {
		r := renewal(t, olds[most], pkitest.NewKey(t), name(most))
		r.Authorize, r.Label = issuer.Trusted, tt.label
		_, err := ra.Enroll(t.Context(), r)
		if tt.refused {
			wantRefused(t, err, issuer.Unavailable, "cloud")
		} else if err != nil {
			t.Errorf("a renewal at label %s: %v", tt.label, err)
		}
	}
	close(release)
	for range most {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
	// Their places are free again.
	r := renewal(t, olds[most], pkitest.NewKey(t), name(most))
	r.Authorize = issuer.Trusted
	if _, err := ra.Enroll(t.Context(), r); err != nil {
		t.Error(err)
	}
}

func name(i int) string { return "press-" + string(rune('a'+i/26%26)) + string(rune('a'+i%26)) }
