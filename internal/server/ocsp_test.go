package server

import (
	"bytes"
	"encoding/base64"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ocsp"

	"mintmark/internal/ledger"
	"mintmark/issuer"
)

// TestOCSPServed asks a server for a certificate that it has issued, by both methods, before
// and after it is revoked in the way of everybody who revokes.
func TestOCSPServed(t *testing.T) {
	dir := newState(t)
	editConfig(t, dir, "server: mintmark\n", "server: mintmark\nocsp: {enabled: true}\n")
	s := serveLocal(t, dir, nil)
	device := issue(t, s.Server, "device", "press-1").Leaf
	authority, err := s.ra.Authority("issuing")
	if err != nil {
		t.Fatal(err)
	}
	issuing := authority.Certificate()
	request, err := ocsp.CreateRequest(device, issuing, nil)
	if err != nil {
		t.Fatal(err)
	}
	address := "http://" + s.http + "/ocsp/issuing"
	status := func(r *http.Response, err error) int {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := ocsp.ParseResponseForCert(body, device, issuing)
		if err != nil {
			t.Fatalf("status %d: %v", r.StatusCode, err)
		}
		return answer.Status
	}
	byGet := func() int {
		return status(http.Get(address + "/" + url.PathEscape(base64.StdEncoding.EncodeToString(request))))
	}
	post := func() int {
		return status(http.Post(address, "application/ocsp-request", bytes.NewReader(request)))
	}
	if g, p := byGet(), post(); g != ocsp.Good || p != ocsp.Good {
		t.Fatalf("GET %d, POST %d", g, p)
	}
	// Two slashes in a row reach the responder, and no redirect.
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	if got := status(client.Get(address + "//" + base64.StdEncoding.EncodeToString(request))); got != ocsp.Good {
		t.Errorf("with two slashes: status %d", got)
	}
	if _, err := s.ra.Revoke(t.Context(), ledger.Selector{Serial: issuer.SerialOf(device.SerialNumber)}, ledger.KeyCompromise, "test"); err != nil {
		t.Fatal(err)
	}
	if d := eventually(t, "OCSP shows the revocation", func() bool { return byGet() == ocsp.Revoked }); d > 5*time.Second {
		t.Errorf("shown after %v", d)
	}
	if got := post(); got != ocsp.Revoked {
		t.Errorf("POST: status %d", got)
	}
	// The CRLs are where they were.
	if r, err := http.Get("http://" + s.http + "/ca/issuing.crt"); err != nil || r.StatusCode != http.StatusOK {
		t.Errorf("the CA certificate: %v, %v", r, err)
	}
	if _, text := get(t, "http://"+s.metrics+"/metrics"); !strings.Contains(text, `mintmark_ocsp_answers_total{outcome="revoked"}`) || !strings.Contains(text, "mintmark_ocsp_seen_timestamp_seconds") {
		t.Error("there are no metrics")
	}
}

// TestOCSPNotServed: nobody answers where nobody has asked for it.
func TestOCSPNotServed(t *testing.T) {
	s := serveLocal(t, newState(t), nil)
	r, err := http.Post("http://"+s.http+"/ocsp/issuing", "application/ocsp-request", strings.NewReader("x"))
	if err != nil || r.StatusCode != http.StatusNotFound {
		t.Errorf("%v, %v", r, err)
	}
}
