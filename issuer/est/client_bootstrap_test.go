package est

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"mintmark/internal/cms"
)

func TestClientBootstrap(t *testing.T) {
	f := newFixture(t)
	root, issuing := f.authority.root.certificate, f.authority.issuing.certificate
	// Whatever the client has, it shows nobody yet.
	client := f.client("", f.authority.own(t, "press", nil), true)
	client.RootCAs = x509.NewCertPool()
	list, err := client.Bootstrap(t.Context(), PinOf(root))
	if err != nil || len(list) != 2 || !list[0].Equal(root) || !list[1].Equal(issuing) {
		t.Fatalf("%d certificates, %v", len(list), err)
	}
	if _, err := client.Bootstrap(t.Context(), PinOf(issuing)); err == nil || !strings.Contains(err.Error(), "not a root") {
		t.Errorf("pin of the issuing CA: %v", err)
	}
	_, err = client.Bootstrap(t.Context(), Pin{1})
	if err == nil || !strings.Contains(err.Error(), "no certificate with the SHA-256 01000") || !strings.Contains(err.Error(), PinOf(root).String()) {
		t.Errorf("another pin: %v", err)
	}
	// Somebody in between who passes on the right answer under a certificate of
	// another root, or of ours for another name.
	stranger := newCA(t, "Stranger", nil)
	for name, certificate := range map[string]*tls.Certificate{
		"under another root": stranger.server(t),
		"for another name": f.authority.root.device(t, named("other.test"), func(c *x509.Certificate) {
			c.DNSNames, c.ExtKeyUsage = []string{"other.test"}, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		}),
		"of a device": f.authority.issuing.device(t, named("127.0.0.1"), func(c *x509.Certificate) { c.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)} }),
	} {
		der, err := cms.CertsOnly([]*x509.Certificate{root, issuing, stranger.certificate})
		if err != nil {
			t.Fatal(err)
		}
		var authorized, presented bool
		server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _, authorized = r.BasicAuth()
			presented = len(r.TLS.PeerCertificates) > 0
			if r.URL.Path != "/.well-known/est/cacerts" {
				t.Errorf("asked for %s", r.URL)
			}
			w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
			w.Header().Set("Content-Type", mediaTypeCACerts)
			w.Write(encodeBase64(der, ""))
		}))
		server.TLS = &tls.Config{Certificates: []tls.Certificate{*certificate}, ClientAuth: tls.RequestClientCert}
		server.StartTLS()
		client.URL = server.URL
		list, err := client.Bootstrap(t.Context(), PinOf(root))
		server.Close()
		if !errors.As(err, new(*tls.CertificateVerificationError)) || list != nil {
			t.Errorf("%s: %d certificates, %v", name, len(list), err)
		}
		if authorized || presented {
			t.Errorf("%s: the client authenticated to a server that nothing vouches for", name)
		}
	}
}

func TestParsePin(t *testing.T) {
	want := "93ab51" + strings.Repeat("0", 58)
	for text, ok := range map[string]bool{
		want: true, strings.ToUpper(want): true, "93:AB:51" + strings.Repeat(":00", 29): true,
		"sha256 Fingerprint=93:AB:51" + strings.Repeat(":00", 29): true, "93 ab 51" + strings.Repeat("00", 29): true,
		"": false, want[1:]: false, want + "00": false, strings.Replace(want, "9", "g", 1): false, "sha1 Fingerprint=93:AB:51": false,
	} {
		pin, err := ParsePin(text)
		if (err == nil) != ok || ok && pin.String() != want {
			t.Errorf("%q: %v, %v", text, pin, err)
		}
	}
}

func TestClientURL(t *testing.T) {
	for _, c := range []struct{ url, label, want string }{
		{"https://ca.test", "", "https://ca.test/.well-known/est/cacerts"},
		{"https://ca.test/", "", "https://ca.test/.well-known/est/cacerts"},
		{"https://ca.test:8443", "line-a", "https://ca.test:8443/.well-known/est/line-a/cacerts"},
		{"https://[::1]:8443", "domain/profile", "https://[::1]:8443/.well-known/est/domain/profile/cacerts"},
		{"https://ca.test/.well-known/est", "", "https://ca.test/.well-known/est/cacerts"},
		{"https://ca.test/.well-known/est/", "line-a", "https://ca.test/.well-known/est/line-a/cacerts"},
		{"https://ca.test/.well-known/est/line-a", "", "https://ca.test/.well-known/est/line-a/cacerts"},
		{"https://ca.test/line-a/.well-known/est", "", "https://ca.test/line-a/.well-known/est/cacerts"},
		{"https://ca.test/api/est", "x", "https://ca.test/api/est/x/cacerts"},
		{"https://ca.test/a%20b", "c d", "https://ca.test/a%20b/c%20d/cacerts"},
		{"https://ca.test", "a?b#c", "https://ca.test/.well-known/est/a%3Fb%23c/cacerts"},

		{"", "", ""}, {":", "", ""}, {"https://", "", ""}, {"https://:8443", "", ""}, {"ca.test", "", ""},
		{"http://ca.test", "", ""}, {"HTTPS//ca.test", "", ""}, {"https://u:p@ca.test", "", ""}, {"https://ca.test?x", "", ""},
		{"https://ca.test?", "", ""}, {"https://ca.test#x", "", ""},
		{"https://ca.test/a//b", "", ""}, {"https://ca.test", "../../x", ""}, {"https://ca.test", "a//b", ""}, {"https://ca.test", ".", ""},
		{"https://ca.test/.well-known/est/simpleenroll", "", ""}, {"https://ca.test", "cacerts", ""},
	} {
		got, err := (&Client{URL: c.url, Label: c.label}).target("cacerts")
		if got != c.want || (err == nil) != (c.want != "") {
			t.Errorf("%q and label %q: %q, %v; want %q", c.url, c.label, got, err, c.want)
		}
		if err != nil && strings.Contains(err.Error(), "u:p@") {
			t.Errorf("a password is in the error %v", err)
		}
		if c.want != "" {
			if _, err := url.Parse(got); err != nil {
				t.Error(err)
			}
		}
	}
}

// TestClientPassword holds the password back where it is told to, and never
// sends it to whom did not ask for it in words that it knows.
func TestClientPassword(t *testing.T) {
	for _, c := range []struct {
		name        string
		onChallenge bool
		challenges  []string
		code, sent  int // status for requests without the password; how often it came
		want        int
	}{
		{"sent at once", false, nil, 200, 1, 200},
		{"not asked for", true, nil, 200, 0, 200},
		{"asked for", true, []string{`Basic realm="x"`}, 401, 1, 200},
		{"asked for in one field of several schemes", true, []string{`Bearer, bAsIc realm="a, b", charset="UTF-8"`}, 401, 1, 200},
		{"asked for in the second field", true, []string{`Digest realm="Basic"`, `Basic`}, 401, 1, 200},
		{"digest alone", true, []string{`Digest realm="Basic x", qop="auth"`}, 401, 0, 401},
		{"asked for without a challenge", true, nil, 401, 0, 401},
		{"asked for with another status", true, []string{`Basic realm="x"`}, 403, 0, 403},
	} {
		requests, sent := 0, 0
		server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			requests++
			w.Header()["WWW-Authenticate"] = c.challenges
			if user, password, ok := r.BasicAuth(); ok {
				sent++
				if user != "u" || password != "p:q" {
					t.Errorf("%s: %q and %q", c.name, user, password)
				}
			} else if c.code != 200 {
				w.WriteHeader(c.code)
				return
			}
			w.Header().Set("Content-Type", "application/pkcs7-mime; smime-type=CMC-response")
			w.Write([]byte("MAA="))
		}))
		roots := x509.NewCertPool()
		roots.AddCert(server.Certificate())
		client := &Client{URL: server.URL, RootCAs: roots, User: "u", Password: "p:q", OnChallenge: c.onChallenge}
		_, err := client.FullCMC(t.Context(), []byte{0x30, 0})
		var status *StatusError
		if got := errors.As(err, &status); got != (c.want != 200) || got && status.Code != c.want || sent != c.sent {
			t.Errorf("%s: %v, sent %d times, want %d", c.name, err, sent, c.sent)
		}
		if requests > 2 {
			t.Errorf("%s: %d requests", c.name, requests)
		}
		server.Close()
	}
}
