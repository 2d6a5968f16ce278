package est

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"mintmark/issuer"
)

// crowded is a name of so many attributes that are the same. Its text costs the
// square of them.
func crowded(n int) pkix.Name {
	name := pkix.Name{CommonName: "dev-1"}
	for range n {
		name.ExtraNames = append(name.ExtraNames, pkix.AttributeTypeAndValue{Type: asn1.ObjectIdentifier{2, 5, 4, 46}, Value: "x"})
	}
	return name
}

// A client certificate that no honest client has ends the handshake.
func TestLargeClientCertificate(t *testing.T) {
	f := newFixture(t)
	r := rawRequest{method: http.MethodGet, path: "/.well-known/est/cacerts", certificate: f.maker.device(t, crowded(1500), nil)}
	small := f.maker.device(t, crowded(64), nil)
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		config := &tls.Config{RootCAs: f.roots, ServerName: "est.test", MinVersion: version, MaxVersion: version, Certificates: []tls.Certificate{*r.certificate}}
		conn, err := tls.Dial("tcp", f.address, config)
		if err == nil { // TLS 1.3: the client is done first
			_, _ = io.WriteString(conn, r.text("Connection: close"))
			_, err = io.ReadAll(conn)
			conn.Close()
		}
		if err == nil || !strings.Contains(err.Error(), "bad certificate") {
			t.Errorf("%s: %v", tls.VersionName(version), err)
		}
		config.Certificates = []tls.Certificate{*small}
		if conn, err = tls.Dial("tcp", f.address, config); err != nil {
			t.Fatal(err)
		}
		if m := over(t, conn, r); m.status != http.StatusOK {
			t.Errorf("%s: status %d for an ample one", tls.VersionName(version), m.status)
		}
		conn.Close()
	}
}

// The name of an ample one is put in text no more than it is believed.
func TestCrowdedNames(t *testing.T) {
	f := newFixture(t)
	certificate := f.maker.device(t, crowded(200), nil)
	for _, path := range []string{"/x", "/.well-known/est/nolabel/cacerts", "/.well-known/est/own/simpleenroll"} {
		f.raw(t, rawRequest{method: http.MethodPost, path: path, header: []string{typePKCS10}, certificate: certificate, body: "AAAA"})
		if r := f.authority.refused[len(f.authority.refused)-1]; !strings.HasPrefix(r.Subject, "(a name of ") {
			t.Errorf("%s: record of %d bytes of subject", path, len(r.Subject))
		}
	}
	forged := f.authority.issuing.device(t, crowded(200), nil)
	refused(t, f.raw(t, reenroll(t, forged)), http.StatusForbidden, ruleUnknown)
	for _, line := range strings.Split(f.log.String(), "\n") {
		if len(line) > 1000 {
			t.Errorf("a line of %d bytes: %.200s", len(line), line)
		}
	}
}

// Nor is that of a request, which is looked up before anybody is authenticated.
func TestCrowdedRequest(t *testing.T) {
	f := newLedgerFixture(t, map[string]string{"device": "device"}, time.Now(), []Label{
		{Name: "line", Profile: "device", Issuer: "issuing", Authorize: issuer.Trusted, Passwords: goodPasswords(), SecondKey: issuer.HoldSecondKey}})
	der, err := x509.CreateCertificateRequest(nil, &x509.CertificateRequest{Subject: crowded(1200)}, newKey(t))
	if err != nil {
		t.Fatal(err)
	}
	r := rawRequest{method: http.MethodPost, path: "/.well-known/est/line/simpleenroll", header: []string{typePKCS10}, body: base64.StdEncoding.EncodeToString(der)}
	challenged(t, f.raw(t, r))
	r.header = append(r.header, basic(goodUser, goodSecret))
	refused(t, f.raw(t, r), http.StatusBadRequest, "csr-size")
	for _, r := range f.refusals(t) {
		if r.Subject != "" {
			t.Errorf("record %+v", r)
		}
	}
}
