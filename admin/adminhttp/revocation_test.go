package adminhttp_test

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"mintmark/admin"
	"mintmark/admin/adminhttp"
	"mintmark/internal/ledger"
)

// TestRevokeBy revokes by what a request can name: what it names, and nothing else.
func TestRevokeBy(t *testing.T) {
	w := open(t, nil).hierarchy(t)
	kept := w.issue(t, "kept").Certificate
	for name, by := range map[string]func(admin.Certificate) admin.Revocation{
		"serial": func(c admin.Certificate) admin.Revocation { return admin.Revocation{Serial: c.Serial} },
		"device": func(c admin.Certificate) admin.Revocation { return admin.Revocation{Device: c.Device} },
		"key":    func(c admin.Certificate) admin.Revocation { return admin.Revocation{Key: c.Key} },
		"KEY":    func(c admin.Certificate) admin.Revocation { return admin.Revocation{Key: strings.ToUpper(c.Key)} },
	} {
		c := w.issue(t, "by-"+name).Certificate
		done, err := w.client.Revoke(t.Context(), by(c))
		if err != nil || done.Count != 1 || len(done.Serials) != 1 || done.Serials[0] != c.Serial || done.Warning != "" {
			t.Errorf("by %s: %+v, %v", name, done, err)
		}
		again, err := w.client.Revoke(t.Context(), by(c))
		if err != nil || again.Count != 0 || again.Serials == nil {
			t.Errorf("by %s again: %+v, %v", name, again, err)
		}
	}
	if c, err := w.client.Certificate(t.Context(), kept.Serial); err != nil || c.State != "valid" || c.Revocation != nil {
		t.Errorf("what was not named: %+v, %v", c, err)
	}
	_, err := w.client.Revoke(t.Context(), admin.Revocation{Requester: "local:tester", RequesterKind: "password"})
	refused(t, err, http.StatusNotFound, "not-found")
	if done, err := w.client.Revoke(t.Context(), admin.Revocation{Requester: "local:tester", RequesterKind: "admin"}); err != nil || done.Count != 1 || done.Serials[0] != kept.Serial {
		t.Errorf("by requester: %+v, %v", done, err)
	}
	last := w.issue(t, "last").Certificate
	if done, err := w.client.Revoke(t.Context(), admin.Revocation{Issuer: "issuing", Superseded: true}); err != nil || done.Count != 0 {
		t.Errorf("superseded: %+v, %v", done, err)
	}
	if done, err := w.client.Revoke(t.Context(), admin.Revocation{Issuer: "issuing"}); err != nil || done.Count != 1 || done.Serials[0] != last.Serial {
		t.Errorf("by issuer: %+v, %v", done, err)
	}
	// The key of a CA is not a way around what its certificate takes.
	issuing, err := w.client.Authority(t.Context(), "issuing")
	if err != nil {
		t.Fatal(err)
	}
	ca, err := w.client.Certificate(t.Context(), issuing.Serial)
	if err != nil || ca.Key == "" {
		t.Fatalf("%+v, %v", ca, err)
	}
	_, err = w.client.Revoke(t.Context(), admin.Revocation{Key: ca.Key})
	refused(t, err, http.StatusForbidden, "authority-revocation")
	for _, name := range []string{"issuing", "root"} {
		if a, err := w.client.Authority(t.Context(), name); err != nil || a.State == "revoked" {
			t.Errorf("authority %s is %q, %v", name, a.State, err)
		}
	}
}

// TestRevocationRefused: what names nothing, too much or no sense.
func TestRevocationRefused(t *testing.T) {
	w := open(t, nil).hierarchy(t)
	for _, name := range []string{"press", "press-2", "press-3"} {
		w.issue(t, name)
	}
	for _, c := range []struct {
		in     admin.Revocation
		status int
		rule   string
	}{
		{admin.Revocation{}, 400, "selector"},
		{admin.Revocation{Reason: "keyCompromise"}, 400, "selector"},
		{admin.Revocation{Device: "press", Issuer: "issuing"}, 400, "selector"},
		{admin.Revocation{Requester: "a", Key: strings.Repeat("00", 32)}, 400, "selector"},
		{admin.Revocation{Superseded: true}, 400, "selector"},
		{admin.Revocation{Device: "press", Superseded: true}, 400, "selector"},
		{admin.Revocation{Device: "press", RequesterKind: "order"}, 400, "selector"},
		{admin.Revocation{Issuer: "issuing", Authority: true}, 400, "selector"},
		{admin.Revocation{Key: "00ff"}, 400, "selector"},
		{admin.Revocation{Key: strings.Repeat("zz", 32)}, 400, "selector"},
		{admin.Revocation{Key: strings.Repeat("00", 32)}, 400, "selector"},
		{admin.Revocation{Device: "press", Most: -1}, 400, "most"},
		{admin.Revocation{Issuer: "issuing", Most: 2}, 409, "most"},
		{admin.Revocation{Key: strings.Repeat("01", 32)}, 404, "not-found"},
		{admin.Revocation{Issuer: "nobody"}, 404, "not-found"},
		{admin.Revocation{Requester: "nobody"}, 404, "not-found"},
		{admin.Revocation{Requester: "a\x00b"}, 404, "not-found"},
		{admin.Revocation{Issuer: "issuing", Reason: "boredom"}, 400, "reason"},
	} {
		_, err := w.client.Revoke(t.Context(), c.in)
		var e *admin.Error
		if !errors.As(err, &e) || e.Status != c.status || e.Rule != c.rule || e.Text == "" {
			t.Errorf("%+v: %v, want %d by rule %s", c.in, err, c.status, c.rule)
		}
	}
	if list, err := w.client.Certificates(t.Context(), admin.Query{State: "revoked"}); err != nil || len(list.Certificates) != 0 {
		t.Errorf("revoked %+v, %v", list, err)
	}
}

// TestRevokeMany revokes more than one transaction holds, in one go, and puts all of it on
// one CRL.
func TestRevokeMany(t *testing.T) {
	const n = 430
	w := open(t, func(c *adminhttp.Config) { c.RevokeLimit = 1000 }).hierarchy(t)
	for i := range n {
		w.issue(t, fmt.Sprintf("press-%d", i))
	}
	done, err := w.client.Revoke(t.Context(), admin.Revocation{Issuer: "issuing", Reason: "keyCompromise", Most: n})
	if err != nil || done.Count != n || len(done.Serials) != n || done.Warning != "" {
		t.Fatalf("revoked %d, %v, %q", done.Count, err, done.Warning)
	}
	crl, err := w.ra.Ledger.LatestCRL(t.Context(), "issuing", 0)
	if err != nil {
		t.Fatal(err)
	}
	if list, err := x509.ParseRevocationList(crl.DER); err != nil || len(list.RevokedCertificateEntries) != n {
		t.Errorf("the CRL does not list %d: %v", n, err)
	}
	if waits, err := w.ra.Ledger.RevocationsSince(t.Context()); err != nil || waits[ledger.CRLName{Issuer: "issuing"}] != 0 {
		t.Errorf("not on a CRL: %v, %v", waits, err)
	}
}

// TestRevokeUpTo: two persons agree to a number; fewer or as many are revoked, more are not.
func TestRevokeUpTo(t *testing.T) {
	p := populate(t)
	for range 3 {
		p.certificate(t, "press-1")
	}
	in := admin.Revocation{Device: "press-1", Most: 4}
	a := p.agreed(t, "POST", wire{path: "/v1/revocations", body: in})
	if !strings.Contains(a.Words, `up to 4 valid certificates of device "press-1"`) {
		t.Errorf("they agree to %q", a.Words)
	}
	p.certificate(t, "press-1")
	late := p.certificate(t, "press-1")
	if answer := p.ask(t, "alice", "POST", runOf(a)); ruleOf(answer) != "most" || p.revoked(t, late) {
		t.Errorf("of five: %d %s", answer.Code, answer.Body)
	}
	b := p.agreed(t, "POST", wire{path: "/v1/revocations", body: admin.Revocation{Device: "press-1", Most: 6}})
	last := p.certificate(t, "press-1")
	if answer := p.ask(t, "alice", "POST", runOf(b)); answer.Code != http.StatusOK || !p.revoked(t, late) || !p.revoked(t, last) {
		t.Errorf("of six: %d %s", answer.Code, answer.Body)
	}
}

// TestRevokedWhereCRL: a revocation is shown on the CRL once it is there, and what stands in
// the way until then.
func TestRevokedWhereCRL(t *testing.T) {
	var seen time.Time
	w := open(t, func(c *adminhttp.Config) { c.OCSPSeen = func() time.Time { return seen } }).hierarchy(t)
	one, two := w.issue(t, "one").Certificate, w.issue(t, "two").Certificate
	where := func(serial string) admin.RevokedWhere {
		t.Helper()
		c, err := w.client.Certificate(t.Context(), serial)
		if err != nil || c.Revocation == nil {
			t.Fatalf("%+v, %v", c, err)
		}
		return *c.Revocation
	}
	if _, err := w.client.Revoke(t.Context(), admin.Revocation{Serial: one.Serial}); err != nil {
		t.Fatal(err)
	}
	got := where(one.Serial)
	if got.Complete || got.CRL.State != admin.CRLListed || got.CRL.Number == 0 || got.CRL.PublishedAt == nil || got.CRL.Since != nil || got.OCSP == nil || got.OCSP.State != admin.ToldUnknown {
		t.Errorf("listed: %+v", got)
	}
	w.noCRL.Store(true)
	done, err := w.client.Revoke(t.Context(), admin.Revocation{Serial: two.Serial})
	if err != nil || done.Warning == "" {
		t.Errorf("%+v, %v", done, err)
	}
	seen = time.Now().Add(-time.Hour)
	if got := where(two.Serial); got.Complete || got.CRL.State != admin.CRLDue || got.CRL.Since == nil || got.OCSP.State != admin.ToldPending {
		t.Errorf("not listed: %+v", got)
	}
	// The ledger counts what waits by CRL: the one that is listed is found there.
	if got := where(one.Serial); got.CRL.State != admin.CRLListed {
		t.Errorf("listed before: %+v", got)
	}
	w.noCRL.Store(false)
	seen = time.Now().Add(time.Second)
	if _, err := w.client.PublishCRL(t.Context(), "issuing"); err != nil {
		t.Fatal(err)
	}
	if got := where(two.Serial); !got.Complete || got.CRL.State != admin.CRLListed || got.OCSP.State != admin.ToldDone {
		t.Errorf("in the end: %+v", got)
	}
}
