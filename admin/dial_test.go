package admin_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"mintmark/admin"
)

func TestDialTLS(t *testing.T) {
	for _, bad := range []string{
		"", "ca.example.org:8444", "http://ca.example.org:8444", "https://", "https://ca.example.org/v1", "https://ca.example.org?x=y", "https://user@ca.example.org", "https://a b",
	} {
		if _, err := admin.DialTLS(bad, &tls.Config{}); err == nil || !strings.Contains(err.Error(), "not the address of a server") {
			t.Errorf("%q: %v", bad, err)
		}
	}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, `{"actor":"`+r.TLS.PeerCertificates[0].Subject.Organization[0]+`"}`)
	}))
	server.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert}
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	defer server.Close()
	own := server.TLS.Certificates[0] // any will do
	trusted := x509.NewCertPool()
	trusted.AddCert(server.Certificate())
	for name, c := range map[string]struct {
		config *tls.Config
		fails  string
	}{
		"both know each other":         {&tls.Config{RootCAs: trusted, Certificates: []tls.Certificate{own}}, ""},
		"another trust anchor":         {&tls.Config{RootCAs: x509.NewCertPool(), Certificates: []tls.Certificate{own}}, "unknown authority"},
		"no certificate of the caller": {&tls.Config{RootCAs: trusted}, "certificate required"},
	} {
		client, err := admin.DialTLS(server.URL, c.config)
		if err != nil {
			t.Fatal(err)
		}
		s, err := client.Status(t.Context())
		if c.fails == "" && (err != nil || s.Actor != "Acme Co") || c.fails != "" && (err == nil || !strings.Contains(err.Error(), c.fails)) {
			t.Errorf("%s: %q, %v", name, s.Actor, err)
		}
		client.Close()
	}
}

// TestProposed reads what was proposed and not done as an error.
func TestProposed(t *testing.T) {
	answer := `{"id":"k3f7q2xw4m","words":"create CA \"x\"","next":"mintmark approval run k3f7q2xw4m"}`
	client := admin.New(admin.InProcess(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusAccepted)
		io.WriteString(w, answer)
	})))
	_, err := client.CreateAuthority(t.Context(), admin.AuthoritySpec{Name: "x"})
	var proposed *admin.Proposed
	if !errors.As(err, &proposed) || proposed.Approval.ID != "k3f7q2xw4m" {
		t.Fatalf("got %v", err)
	}
	for _, said := range []string{"nothing was done", `create CA "x"`, "approval run k3f7q2xw4m"} {
		if !strings.Contains(err.Error(), said) {
			t.Errorf("%q does not say %q", err, said)
		}
	}
	answer = "accepted"
	if _, err := client.CreateAuthority(t.Context(), admin.AuthoritySpec{Name: "x"}); err == nil || errors.As(err, &proposed) {
		t.Errorf("an answer without a proposal: %v", err)
	}
}
