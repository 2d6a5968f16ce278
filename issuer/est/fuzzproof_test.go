package est

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"mintmark/internal/pkcs10"
)

// handshake returns the two ends of one TLS connection.
func handshake(t testing.TB, version uint16) (client, server tls.ConnectionState) {
	t.Helper()
	f := newHandler(t)
	certificate := f.authority.root.server(t)
	states := make(chan tls.ConnectionState, 1)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { states <- *r.TLS }))
	s.TLS = &tls.Config{Certificates: []tls.Certificate{*certificate}, MinVersion: version, MaxVersion: version}
	s.StartTLS()
	defer s.Close()
	roots := x509.NewCertPool()
	roots.AddCert(f.authority.root.certificate)
	conn, err := tls.Dial("tcp", s.Listener.Addr().String(), &tls.Config{RootCAs: roots, ServerName: "est.test"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("GET / HTTP/1.1\r\nHost: est.test\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	return conn.ConnectionState(), <-states
}

// A request is linked to the connection by what only its two ends can compute,
// and by nothing else.
func FuzzChallengePassword(f *testing.F) {
	client12, server12 := handshake(f, tls.VersionTLS12)
	client13, server13 := handshake(f, tls.VersionTLS13)
	unique, exporter12, empty12 := bindingsOf(f, client12)
	_, exporter13, _ := bindingsOf(f, client13)
	h := newHandler(f, proofLabelsNamed("required-2")).handler
	for _, seed := range []string{"", unique, exporter12, empty12, exporter13, unique + "\n", unique[:15], "=", strings.Repeat("A", 1000), "\x00", strings.ToLower(exporter13)} {
		f.Add(seed, false)
		f.Add(seed, true)
	}
	key := newKey(f)
	f.Fuzz(func(t *testing.T, challenge string, newer bool) {
		state, right := &server12, challenge == unique || challenge == exporter12 || challenge == empty12
		if newer {
			state, right = &server13, challenge == exporter13
		}
		if got := linked(state, challenge); got != right {
			t.Fatalf("%q: linked %t", challenge, got)
		}
		if linked(&tls.ConnectionState{Version: state.Version}, challenge) {
			t.Fatalf("%q is linked to no connection", challenge)
		}
		csr, err := pkcs10.Create(&x509.CertificateRequest{Subject: named("fuzzed")}, pkcs10.Attributes{Linked: true, ChallengePassword: challenge}, key)
		if err != nil {
			return // no string of ASN.1
		}
		x := &exchange{label: h.labels["required-2"], r: &http.Request{TLS: state}}
		err = x.checkProof(identity{}, csr)
		parsed, parseErr := pkcs10.ParseAttributes(csr)
		if parseErr == nil && parsed.ChallengePassword != challenge {
			t.Fatalf("%q was read as %q", challenge, parsed.ChallengePassword)
		}
		if (err == nil) != (right && parseErr == nil) {
			t.Fatalf("%q: %v, want right %t (%v)", challenge, err, right, parseErr)
		}
		if err != nil && toFailure(err).status != http.StatusBadRequest {
			t.Fatalf("%q: %v", challenge, err)
		}
	})
}

func proofLabelsNamed(name string) func(*fixture, *Config) {
	return withLabels(Label{Name: name, Passwords: goodPasswords(), ProofOfPossession: ProofRequired})
}

// A path leads to a label and an operation that there are, or to none; and a
// name is either refused by the configuration or found again under its paths.
func FuzzLabel(f *testing.F) {
	x := newHandler(f)
	for _, seed := range []string{"", "line-a", "cacerts", "..", "a/b", "a%2fb", "LINE", strings.Repeat("a", 33), "line-a/", "est", ".well-known", "\x00", "é"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, name string) {
		config := Label{Name: name, Profile: "device", Issuer: "issuing", Authorize: "trusted"}
		_, err := newLabel(config)
		for _, path := range []string{"/.well-known/est/" + name + "/cacerts", "/" + name + "/.well-known/est/cacerts"} {
			r := &http.Request{Method: http.MethodGet, URL: &url.URL{Path: path}, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
				Host: "est.test", Header: http.Header{}, Body: http.NoBody, RemoteAddr: "192.0.2.7:1", TLS: &tls.ConnectionState{}}
			w := httptest.NewRecorder()
			x.handler.ServeHTTP(w, r)
			x.log.b.Reset()
			x.authority.refused = nil
			known := name != "" && x.handler.labels[name] != nil
			want := known && x.handler.labels[name].Issuer == "issuing"
			if (w.Code == 200) != want {
				t.Fatalf("%s: status %d", path, w.Code)
			}
			if w.Code == 200 && err != nil {
				t.Fatalf("%q is served and refused: %v", name, err)
			}
			if w.Body.Len() > 8<<10 {
				t.Fatalf("%d bytes for %q", w.Body.Len(), path)
			}
		}
	})
}

// Limits count whatever comes, and no more than that.
func FuzzSource(f *testing.F) {
	for _, seed := range []string{"192.0.2.1:1", "[2001:db8::1]:1", "[::ffff:192.0.2.1]:1", "[fe80::1%eth0]:1", "", "x", ":1", "192.0.2.1"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, remote string) {
		a := peer(&http.Request{RemoteAddr: remote})
		p := source(a)
		if a.IsValid() != p.IsValid() || a.IsValid() && !p.Contains(a) || a.Zone() != "" {
			t.Fatalf("%q: %v in %v", remote, a, p)
		}
		if a.Is4() && p.Bits() != 32 || a.Is6() && p.Bits() != 64 || p != p.Masked() {
			t.Fatalf("%q: %v", remote, p)
		}
	})
}
