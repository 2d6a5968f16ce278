package server

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"mintmark/admin"
	"mintmark/ca/rotation"
	"mintmark/internal/ledger"
	"mintmark/internal/pkitest"
	"mintmark/issuer"
)

// TestOfficersThroughRotation replaces the CA of officers' certificates: those of either CA are
// taken while both are in force, whichever of the two the file names.
func TestOfficersThroughRotation(t *testing.T) {
	o := openOffice(t)
	enroll := func() *x509.Certificate {
		t.Helper()
		csr := pkitest.CSR(t, o.keys["alice"], pkix.Name{CommonName: "alice"})
		answer, err := o.ra.EnrollOfficer(t.Context(), "alice", "issuing", "officer", csr, o.spki(o.keys["alice"]), ledger.Requester{Kind: "admin", Name: "test"})
		if err != nil {
			t.Fatal(err)
		}
		return answer.Certificate
	}
	// wants holds what is answered to two certificates against the rules that they break.
	wants := func(configured string, rules map[*x509.Certificate]string) {
		t.Helper()
		o.config.Access.Issuer = configured
		for certificate, rule := range rules {
			_, err := o.holder(t.Context(), certificate)
			var refusal *issuer.Refusal
			if rule == "" && err != nil || rule != "" && (!errors.As(err, &refusal) || refusal.Rule != rule) {
				t.Errorf("access.issuer %s, certificate by %s: %v, want %q", configured, certificate.Issuer, err, rule)
			}
		}
	}
	before := enroll()
	w := turn(t, o.Server, ledger.RotateIssuing)
	w.to(t, rotation.Distributing)
	// Until it issues, the new CA is any other one.
	wants("issuing2", map[*x509.Certificate]string{before: "certificate-issuer"})
	w.to(t, rotation.Switched)
	after := enroll()
	for _, configured := range []string{"issuing", "issuing2"} {
		wants(configured, map[*x509.Certificate]string{before: "", after: ""})
	}
	wants("officers", map[*x509.Certificate]string{before: "certificate-issuer", after: "certificate-issuer"})
	// A stolen CA is revoked: what it has certified ends with it.
	authority, err := o.ra.Authority("issuing")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := o.ra.Revoke(t.Context(), ledger.Selector{Serial: issuer.SerialOf(authority.Certificate().SerialNumber)}, ledger.KeyCompromise, "test"); err != nil {
		t.Fatal(err)
	}
	if err := o.ra.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	wants("issuing", map[*x509.Certificate]string{before: "certificate-issuer", after: ""})
}

// TestStrangersThroughRotation: what has replaced a CA of officers lets no devices in either, and
// issues nothing to them.
func TestStrangersThroughRotation(t *testing.T) {
	s := openLocal(t, newState(t), nil)
	defer s.Close()
	s.config.Access.Issuer = "issuing"
	turn(t, s, ledger.RotateIssuing).to(t, rotation.Switched)
	got := (&azureTargets{s: s}).strangers()
	if got["issuing2"] == "" || got["issuing2"] != got["issuing"] {
		t.Errorf("strangers %q", got)
	}
	request := pkitest.PEM("CERTIFICATE REQUEST", pkitest.CSR(t, pkitest.NewKey(t), pkix.Name{CommonName: "press-1"}))
	body, err := json.Marshal(admin.Issue{Profile: "device", Issuer: "issuing2", CSR: string(request)})
	if err != nil {
		t.Fatal(err)
	}
	for field, own := range map[string]*string{"access.issuer": &s.config.Access.Issuer, "orders.issuer": &s.config.Orders.Issuer} {
		s.config.Access.Issuer, s.config.Orders.Issuer = "", ""
		*own = "issuing"
		answer := httptest.NewRecorder()
		q := httptest.NewRequest(http.MethodPost, "/v1/certificates", bytes.NewReader(body))
		q.Header.Set("Content-Type", "application/json")
		s.Admin().ServeHTTP(answer, q)
		if answer.Code != http.StatusForbidden || !strings.Contains(answer.Body.String(), "nothing else") {
			t.Errorf("%s: %d %s", field, answer.Code, answer.Body)
		}
	}
}
