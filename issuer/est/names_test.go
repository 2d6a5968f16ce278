package est

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"net/http"
	"testing"
	"time"

	"mintmark/internal/ledger"
	"mintmark/internal/pkcs10"
	"mintmark/issuer"
)

// changeSubject asks for other names than those of the request.
func changeSubject(t *testing.T, key crypto.Signer, from, to pkix.Name) string {
	t.Helper()
	subject, err := asn1.Marshal(to.ToRDNSequence())
	if err != nil {
		t.Fatal(err)
	}
	der, err := pkcs10.Create(&x509.CertificateRequest{Subject: from}, pkcs10.Attributes{ChangeSubject: &pkcs10.ChangeSubject{Subject: subject}}, key)
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(der)
}

// ChangeSubjectName over the real registration authority: honoured where the
// label says so, and otherwise refused with a text, never passed over.
func TestChangeSubjectName(t *testing.T) {
	maker := newCA(t, "Maker CA", nil)
	trust := &Maker{Roots: x509.NewCertPool(), Device: "commonName"}
	trust.Roots.AddCert(maker.certificate)
	f := newLedgerFixture(t, map[string]string{"device": "device"}, time.Now(), []Label{
		{Name: "change", Profile: "device", Issuer: "issuing", Authorize: issuer.Trusted, Own: []string{"device"}, Maker: trust, ChangeNames: true, Renewal: Renewal{ChangeNames: true}},
		{Name: "keep", Profile: "device", Issuer: "issuing", Authorize: issuer.Trusted, Own: []string{"device"}, Maker: trust},
	})
	ask := func(label, op, body string, certificate *tls.Certificate) message {
		return f.raw(t, rawRequest{method: http.MethodPost, path: "/.well-known/est/" + label + "/" + op, header: []string{typePKCS10}, certificate: certificate, body: body})
	}
	idevid := maker.device(t, pkix.Name{CommonName: "press-1", Organization: []string{"Acme"}}, nil)
	from, to := idevid.Leaf.Subject, pkix.Name{CommonName: "press-1", SerialNumber: "SN-7"}
	key := newKey(t)

	t.Run("44 a maker's certificate asks for the names of its new owner", func(t *testing.T) {
		m := ask("keep", "simpleenroll", changeSubject(t, key, from, to), idevid)
		if m.status < 400 || m.status >= 500 || len(m.body) == 0 {
			t.Errorf("status %d: %s", m.status, m.body)
		}
		got := ask("change", "simpleenroll", changeSubject(t, key, from, to), idevid).certificates(t)[0]
		if got.Subject.SerialNumber != "SN-7" || got.Subject.CommonName != "press-1" {
			t.Errorf("subject %v", got.Subject)
		}
		// Not those of another device.
		m = ask("change", "simpleenroll", changeSubject(t, newKey(t), from, named("press-2")), idevid)
		if m.status != http.StatusForbidden {
			t.Errorf("status %d: %s", m.status, m.body)
		}
	})
	t.Run("52 54 a renewal too", func(t *testing.T) {
		key := newKey(t)
		answer, err := f.ra.Enroll(t.Context(), issuer.Request{Profile: "device", Issuer: "issuing", CSR: newCSR(t, key, "press-3"),
			Authorize: issuer.Trusted, Requester: ledger.Requester{Kind: "admin", Name: "test"}})
		if err != nil {
			t.Fatal(err)
		}
		own := &tls.Certificate{Certificate: [][]byte{answer.Certificate.Raw}, PrivateKey: key, Leaf: answer.Certificate}
		to := pkix.Name{CommonName: "press-3", SerialNumber: "SN-9"}
		body := changeSubject(t, newKey(t), named("press-3"), to)
		if m := ask("keep", "simplereenroll", body, own); m.status < 400 || m.status >= 500 || len(m.body) == 0 {
			t.Errorf("status %d: %s", m.status, m.body)
		}
		if got := ask("change", "simplereenroll", body, own).certificates(t)[0]; got.Subject.SerialNumber != "SN-9" {
			t.Errorf("subject %v", got.Subject)
		}
		if m := ask("change", "simplereenroll", changeSubject(t, newKey(t), named("press-3"), named("press-4")), own); m.status != http.StatusForbidden {
			t.Errorf("status %d: %s", m.status, m.body)
		}
		// Without the attribute the names stay (RFC 7030, Section 4.2.2).
		m := ask("change", "simplereenroll", base64.StdEncoding.EncodeToString(newCSR(t, newKey(t), "press-4")), own)
		if m.status != http.StatusBadRequest {
			t.Errorf("status %d: %s", m.status, m.body)
		}
	})
}
