package issuer_test

import (
	"context"
	"crypto/x509"
	"errors"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"mintmark/internal/ledger"
	"mintmark/internal/pkitest"
	"mintmark/issuer"
)

// service is a webhook that answers as it is told and remembers what it was
// asked.
type service struct {
	mu      sync.Mutex
	asked   []issuer.Question
	verdict issuer.Verdict
	err     error
}

func (s *service) Ask(_ context.Context, q issuer.Question) (issuer.Verdict, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, q)
	return s.verdict, s.err
}

// byWebhook is a request that s decides about.
func byWebhook(s *service, request []byte) issuer.Request {
	r := issuer.Request{Profile: "all", Issuer: "issuing", Label: "line", Authorize: issuer.ByWebhook, Operation: "est simpleenroll", Requester: password, CSR: request}
	if s != nil {
		r.Webhook = s
	}
	return r
}

func withAllNames(t testing.TB) func(*issuer.Config) {
	return func(c *issuer.Config) {
		c.Profiles["all"] = profile(t, "all", issuer.ProfileConfig{Preset: "device", SAN: issuer.SANConfig{DNS: `.*`, IP: `.*`, URI: `.*`, Email: `.*`}})
	}
}

// TestWebhookQuestion: the service hears of what would be signed.
func TestWebhookQuestion(t *testing.T) {
	ra := withHierarchy(t, newRA(t, newLedger(t), withAllNames(t)))
	key := pkitest.NewKey(t)
	uri, _ := url.Parse("urn:press:1")
	request := signed(t, key, named("press-1"), func(r *x509.CertificateRequest) {
		r.DNSNames, r.IPAddresses, r.URIs, r.EmailAddresses = []string{"press.example"}, []net.IP{net.IPv4(192, 0, 2, 1)}, []*url.URL{uri}, []string{"kept@example.com"}
	})
	s := &service{verdict: issuer.Verdict{Decision: issuer.Allow}}
	before := time.Now()
	if _, err := ra.Enroll(t.Context(), byWebhook(s, request)); err != nil {
		t.Fatal(err)
	}
	if len(s.asked) != 1 {
		t.Fatalf("asked %d times", len(s.asked))
	}
	q := s.asked[0]
	if q.ID == "" || q.At.Before(before) || q.Server != "test" || q.Operation != "est simpleenroll" || q.Label != "line" || q.Profile != "all" || q.Device != "press-1" ||
		q.Subject != "CN=press-1" || !slices.Equal(q.Names, []string{"DNS:press.example", "IP:192.0.2.1", "URI:urn:press:1", "email:kept@example.com"}) || q.Key != spki(t, key) ||
		q.Requester != password || string(q.CSR) != string(request) {
		t.Errorf("question %+v", q)
	}
	// Also about a repeated request, under a number of its own.
	if again, err := ra.Enroll(t.Context(), byWebhook(s, request)); err != nil || !again.Prior || len(s.asked) != 2 || s.asked[1].ID == q.ID {
		t.Errorf("repeated: %v, asked %d times", err, len(s.asked))
	}
}

// TestWebhookVerdicts: whatever is no clear yes issues nothing.
func TestWebhookVerdicts(t *testing.T) {
	l := newLedger(t)
	ra := withHierarchy(t, newRA(t, l, withAllNames(t)))
	for _, test := range []struct {
		name string
		s    *service
		kind issuer.Kind
		rule string
		text string
	}{
		{"no service", nil, issuer.Unavailable, "webhook", ""},
		{"unreachable", &service{err: errors.New("secret internals")}, issuer.Unavailable, "webhook", ""},
		{"yes beside an error", &service{err: errors.New("x"), verdict: issuer.Verdict{Decision: issuer.Allow}}, issuer.Unavailable, "webhook", ""},
		{"no verdict", &service{}, issuer.Unavailable, "webhook", ""},
		{"another word", &service{verdict: issuer.Verdict{Decision: "ALLOW"}}, issuer.Unavailable, "webhook", ""},
		{"no", &service{verdict: issuer.Verdict{Decision: issuer.Deny, Reason: "not\nin\x00 stock\u202e"}}, issuer.Forbidden, "webhook-denied", "not in  stock"},
		{"no, at length", &service{verdict: issuer.Verdict{Decision: issuer.Deny, Reason: strings.Repeat("ä", 5000)}}, issuer.Forbidden, "webhook-denied", "ää"},
		{"no, without reason", &service{verdict: issuer.Verdict{Decision: issuer.Deny}}, issuer.Forbidden, "webhook-denied", "denies this one"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := ra.Enroll(t.Context(), byWebhook(test.s, csr(t, pkitest.NewKey(t), "press-1")))
			refusal := wantRefused(t, err, test.kind, test.rule)
			if !strings.Contains(refusal.Text, test.text) || len(refusal.Text) > 300 || strings.ContainsAny(refusal.Text, "\n\x00\u202e") || strings.Contains(refusal.Text, "internals") {
				t.Errorf("text %q", refusal.Text)
			}
		})
	}
	if states := count(t, l); len(states) != 0 {
		t.Errorf("the ledger holds %v", states)
	}
	// Nobody is asked about what the profile refuses.
	s := &service{verdict: issuer.Verdict{Decision: issuer.Allow}}
	r := byWebhook(s, csr(t, pkitest.NewKey(t), "*"))
	_, err := ra.Enroll(t.Context(), r)
	wantRefused(t, err, issuer.Malformed, "subject")
	r = byWebhook(s, csr(t, pkitest.NewKey(t), "press-1"))
	r.Order = "wo"
	_, err = ra.Enroll(t.Context(), r)
	wantRefused(t, err, issuer.Forbidden, "authorize")
	if len(s.asked) != 0 {
		t.Errorf("asked about %+v", s.asked)
	}
}

// TestWebhookHolds: a person decides, and the service can still say no.
func TestWebhookHolds(t *testing.T) {
	l := newLedger(t)
	ra := withHierarchy(t, newRA(t, l, withAllNames(t)))
	s := &service{verdict: issuer.Verdict{Decision: issuer.Hold}}
	r := byWebhook(s, csr(t, pkitest.NewKey(t), "press-1"))
	for range 2 {
		_, err := ra.Enroll(t.Context(), r)
		wantRefused(t, err, issuer.Pending, "approval-pending")
	}
	waiting := enrollments(t, l)
	if len(waiting) != 1 || waiting[0].Cause != "webhook" {
		t.Fatalf("waiting: %+v", waiting)
	}
	decide(t, l, waiting[0].ID, true)
	s.verdict.Decision = issuer.Deny
	_, err := ra.Enroll(t.Context(), r)
	wantRefused(t, err, issuer.Forbidden, "webhook-denied")
	s.verdict.Decision = issuer.Hold
	answer, err := ra.Enroll(t.Context(), r)
	if err != nil {
		t.Fatalf("held and approved: %v", err)
	}
	if again, err := ra.Enroll(t.Context(), r); err != nil || again.Serial != answer.Serial {
		t.Errorf("repeated: %v", err)
	}
	// Renewals are asked about by the rule of their request.
	renewal := byWebhook(s, csr(t, pkitest.NewKey(t), "press-1"))
	renewal.Renews, renewal.Device = answer.Certificate, "press-1"
	renewal.Requester = ledger.Requester{Kind: "certificate", Name: string(answer.Serial)}
	_, err = ra.Enroll(t.Context(), renewal)
	wantRefused(t, err, issuer.Pending, "approval-pending")
	if counters(t, ra)["alarms_total clone"] != 0 {
		t.Error("an alarm about a device that changes its own key")
	}
}
