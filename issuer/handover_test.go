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

// cloud is somebody to hand over to, and what it was given.
type cloud struct {
	mu    sync.Mutex
	away  bool
	given []ledger.Certificate
}

func (c *cloud) take(_ context.Context, certificate ledger.Certificate) error {
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
		c.Handover, c.Now = at.take, func() time.Time { return now }
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

// TestHandoverOfOthers: only renewals of devices wait, also those that a registration
// authority makes in their place.
func TestHandoverOfOthers(t *testing.T) {
	at := cloud{away: true}
	ra := withHierarchy(t, newRA(t, newLedger(t), func(c *issuer.Config) {
		withNames(t)(c)
		c.Handover = at.take
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

// TestHandoverUnset: nothing is asked and nothing more is read without it.
func TestHandoverUnset(t *testing.T) {
	l := &reads{Ledger: newLedger(t)}
	ra := withHierarchy(t, newRA(t, l, nil))
	old := mustEnroll(t, ra, pkitest.NewKey(t), "press-1")
	before := l.n
	r := renewal(t, old, pkitest.NewKey(t), "press-1")
	r.Authorize = issuer.Trusted
	if _, err := ra.Enroll(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if l.n != before {
		t.Errorf("%d certificates were read", l.n-before)
	}
}

// reads counts how often a certificate is looked up.
type reads struct {
	ledger.Ledger
	n int
}

func (r *reads) Certificate(ctx context.Context, serial ledger.Serial) (ledger.Certificate, error) {
	r.n++
	return r.Ledger.Certificate(ctx, serial)
}

// TestHandoverHoldsNobodyUp: renewals that wait for a cloud keep no other request from
// its place, and have places of their own.
func TestHandoverHoldsNobodyUp(t *testing.T) {
	waiting, release := make(chan struct{}, 300), make(chan struct{})
	ra := withHierarchy(t, newRA(t, newLedger(t), func(c *issuer.Config) {
		c.MaxInFlight = 1
		c.Handover = func(context.Context, ledger.Certificate) error {
			waiting <- struct{}{}
			<-release
			return nil
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
	r := renewal(t, olds[most], pkitest.NewKey(t), name(most))
	r.Authorize = issuer.Trusted
	_, err := ra.Enroll(t.Context(), r)
	wantRefused(t, err, issuer.Unavailable, "cloud")
	close(release)
	for range most {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
}

func name(i int) string { return "press-" + string(rune('a'+i/26%26)) + string(rune('a'+i%26)) }
