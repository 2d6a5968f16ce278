package issuer_test

import (
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"strings"
	"testing"
	"time"

	"mintmark/internal/pkcs10"
	"mintmark/internal/pkitest"
	"mintmark/issuer"
)

// crowded is a name of so many attributes that are the same.
func crowded(n int, value string) pkix.Name {
	name := pkix.Name{CommonName: "press-1"}
	for range n {
		name.ExtraNames = append(name.ExtraNames, pkix.AttributeTypeAndValue{Type: asn1.ObjectIdentifier{2, 5, 4, 46}, Value: value})
	}
	return name
}

// TestCrowdedRequests: a request that costs much to read costs little to refuse,
// before anything of it is put in text; who only asks whether it waits is told no.
func TestCrowdedRequests(t *testing.T) {
	l := newLedger(t)
	ra := withHierarchy(t, newRA(t, l, withNames(t)))
	key := pkitest.NewKey(t)
	extended := func(n int) func(*x509.CertificateRequest) {
		return func(r *x509.CertificateRequest) {
			for i := range n {
				r.ExtraExtensions = append(r.ExtraExtensions, pkix.Extension{Id: asn1.ObjectIdentifier{1, 2, i}})
			}
		}
	}
	change := func(name pkix.Name) []byte {
		return asking(t, key, named("press-1"), nil, pkcs10.ChangeSubject{Subject: subjectDER(t, name)})
	}
	for _, test := range []struct {
		name string
		csr  []byte
		rule string // empty if it succeeds
	}{
		{"ample", signed(t, key, crowded(63, "x"), extended(63)), ""},
		{"attributes", signed(t, key, crowded(64, "x"), nil), "csr-size"},
		{"many attributes", signed(t, key, crowded(1200, "x"), nil), "csr-size"},
		{"a long attribute", signed(t, key, crowded(1, strings.Repeat("x", 2100)), nil), "csr-size"},
		{"extensions", signed(t, key, named("press-1"), extended(65)), "csr-size"},
		{"ample other names", change(crowded(60, "x")), "change-names"}, // not for their number
		{"long other names", change(crowded(1, strings.Repeat("x", 2100))), "csr-size"},
	} {
		r := under(issuer.Trusted)
		r.CSR, r.ChangeNames = test.csr, true
		_, err := ra.Enroll(t.Context(), r)
		if test.rule == "" {
			if err != nil {
				t.Errorf("%s: %v", test.name, err)
			}
			continue
		}
		if refusal := wantRefused(t, err, issuer.Malformed, test.rule); len(refusal.Subject) > 100 {
			t.Errorf("%s: subject %q", test.name, refusal.Subject)
		}
		if _, ok, err := ra.Queued(t.Context(), test.csr); ok || err != nil {
			t.Errorf("%s: waits: %v, %v", test.name, ok, err)
		}
	}
}

// TestNameText: the text of a stranger's name is as long as honest ones are.
func TestNameText(t *testing.T) {
	for _, test := range []struct {
		name pkix.Name
		want string
	}{
		{pkix.Name{CommonName: "press-1", Organization: []string{"A+B"}}, `CN=press-1,O=A\+B`},
		{crowded(64, "x"), "(a name of "},
		{crowded(15000, "x"), "(a name of "},
		{crowded(1, strings.Repeat("x", 2100)), "(a name of "},
	} {
		c := presented(t, pkitest.NewKey(t), test.name)
		if got := issuer.NameText(c.Subject, c.RawSubject); !strings.HasPrefix(got, test.want) || len(got) > 100 {
			t.Errorf("%.200s, want %s", got, test.want)
		}
	}
}

// TestCheckPresented refuses certificates that are larger than any honest one.
func TestCheckPresented(t *testing.T) {
	key := pkitest.NewKey(t)
	small, large := presented(t, key, crowded(64, "x")), presented(t, key, crowded(1500, "x"))
	for _, test := range []struct {
		list []*x509.Certificate
		ok   bool
	}{{nil, true}, {[]*x509.Certificate{small, small}, true}, {[]*x509.Certificate{large}, false}, {[]*x509.Certificate{small, large}, false}} {
		if err := issuer.CheckPresented(tls.ConnectionState{PeerCertificates: test.list}); (err == nil) != test.ok {
			t.Errorf("%d certificates: %v", len(test.list), err)
		}
	}
}

// presented is a self-signed certificate of a name.
func presented(t testing.TB, key crypto.Signer, name pkix.Name) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: big.NewInt(5), Subject: name, NotAfter: time.Now()}, &x509.Certificate{}, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}
