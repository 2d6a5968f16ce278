package ca

import (
	"context"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"strings"
	"testing"
	"time"

	zx509 "github.com/zmap/zcrypto/x509"
	"github.com/zmap/zlint/v3/lint"
)

func emptyCRL() CRL {
	return CRL{Number: big.NewInt(1), ThisUpdate: testNow, NextUpdate: testNow.AddDate(0, 0, 7)}
}

func manyEntries(n int) []x509.RevocationListEntry {
	entries := make([]x509.RevocationListEntry, n)
	base := new(big.Int).Lsh(one, 140)
	for i := range entries {
		entries[i] = x509.RevocationListEntry{
			SerialNumber:   new(big.Int).Add(base, big.NewInt(int64(i))),
			RevocationTime: testNow.Add(-time.Duration(i) * time.Second),
			ReasonCode:     i % 6,
		}
	}
	return entries
}

func TestSignCRL(t *testing.T) {
	_, issuing, key := hierarchy(t, "P-256")
	der, err := issuing.SignCRL(background, emptyCRL())
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseRevocationList(der)
	if err != nil {
		t.Fatal(err)
	}
	if err := parsed.CheckSignatureFrom(issuing.Certificate()); err != nil {
		t.Error(err)
	}

	n := 100_000
	if testing.Short() {
		n = 1000
	}
	long := emptyCRL()
	long.Entries = manyEntries(n)
	start := time.Now()
	der, err = issuing.SignCRL(background, long)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d entries: %d bytes in %v", n, len(der), time.Since(start))
	if parsed, err = x509.ParseRevocationList(der); err != nil || len(parsed.RevokedCertificateEntries) != n {
		t.Errorf("a CRL of %d entries does not parse: %v", n, err)
	}

	calls := key.calls.Load()
	entry := func(serial *big.Int, at time.Time, reason int) func(*CRL) {
		return func(c *CRL) {
			c.Entries = append(c.Entries, x509.RevocationListEntry{SerialNumber: serial, RevocationTime: at, ReasonCode: reason})
		}
	}
	before := testNow.Add(-time.Hour)
	for _, tt := range []struct {
		name, want string
		spoil      func(*CRL)
	}{
		{"no number", "CRL number", func(c *CRL) { c.Number = nil }},
		{"negative number", "negative", func(c *CRL) { c.Number = big.NewInt(-1) }},
		{"number of 21 octets", "20 octets", func(c *CRL) { c.Number = new(big.Int).Lsh(one, 160) }},
		{"no nextUpdate", "required", func(c *CRL) { c.NextUpdate = time.Time{} }},
		{"nextUpdate at thisUpdate", "is not after", func(c *CRL) { c.NextUpdate = c.ThisUpdate }},
		{"no serial number", "not a positive", entry(nil, before, 0)},
		{"serial number 0", "not a positive", entry(new(big.Int), before, 0)},
		{"serial number twice", "listed twice", func(c *CRL) { entry(one, before, 0)(c); entry(one, before, 1)(c) }},
		{"reason code 7", "reason code 7", entry(one, before, 7)},
		{"removeFromCRL in a full CRL", "reason code 8", entry(one, before, 8)},
		{"revoked in the future", "after thisUpdate", entry(one, testNow.Add(time.Hour), 1)},
		{"no revocation time", "RevocationTime", entry(one, time.Time{}, 1)},
		{"serial number twice, apart", "listed twice", func(c *CRL) {
			entry(big.NewInt(9), before, 0)(c)
			entry(big.NewInt(7), before, 0)(c)
			entry(big.NewInt(8), before, 0)(c)
			entry(big.NewInt(9), before, 1)(c)
		}},
		{"an extension in an entry", "further extensions", func(c *CRL) {
			entry(one, before, 0)(c)
			c.Entries[0].ExtraExtensions = []pkix.Extension{{Id: oidKeyUsage, Value: []byte{5, 0}}}
		}},
	} {
		crl := emptyCRL()
		tt.spoil(&crl)
		if der, err := issuing.SignCRL(background, crl); err == nil || der != nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error %v, want %q", tt.name, err, tt.want)
		}
	}
	if n := key.calls.Load() - calls; n != 0 {
		t.Errorf("%d signatures for bad CRLs", n)
	}
	canceled, cancel := context.WithCancel(background)
	cancel()
	if _, err := issuing.SignCRL(canceled, emptyCRL()); !errors.Is(err, context.Canceled) {
		t.Errorf("in a canceled context: %v", err)
	}
}

// TestNoCRLLintIsLost: the lint that is left out of CRLs with entries finds nothing there, and
// is run on one whose list is there and empty.
func TestNoCRLLintIsLost(t *testing.T) {
	_, issuing, _ := hierarchy(t, "P-256")
	crl := emptyCRL()
	crl.Entries = manyEntries(20)
	der, err := issuing.SignCRL(background, crl)
	if err != nil {
		t.Fatal(err)
	}
	z, err := zx509.ParseRevocationList(der)
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for _, l := range crlLints() {
		found = found || l.Name == lintEmptyList
		if findings := appendFinding(nil, l.Name, l.Execute(z, lint.Configuration{})); len(findings) > 0 {
			t.Errorf("%s: %v", l.Name, findings)
		}
	}
	if !found {
		t.Errorf("zlint has no lint %q", lintEmptyList)
	}
	// RFC 5280, Section 5.1.2.6: where nothing is revoked, the list must be absent.
	p, err := issuing.PrepareCRL(emptyCRL())
	if err != nil {
		t.Fatal(err)
	}
	tbs, err := withList(p.TBS(), nil)
	if err != nil {
		t.Fatal(err)
	}
	dummy, err := dummySignature(issuing.cert.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	if der, err = assemble(tbs, p.algorithm, dummy); err != nil {
		t.Fatal(err)
	}
	if err := lintCRL(der); err == nil || !strings.Contains(err.Error(), lintEmptyList) {
		t.Errorf("a list that is there and empty: %v", err)
	}
}

func TestCRLLintRefuses(t *testing.T) {
	_, issuing, _ := hierarchy(t, "P-256")
	der, err := issuing.SignCRL(background, emptyCRL())
	if err != nil {
		t.Fatal(err)
	}
	if err := lintCRL(der); err != nil {
		t.Errorf("a good CRL: %v", err)
	}
	if err := lintCRL(der[:40]); err == nil {
		t.Error("half a CRL passed lint")
	}
	if n := len(crlLints()); n < 8 {
		t.Errorf("only %d lints for CRLs", n)
	}
}

func BenchmarkSignCRL100k(b *testing.B) {
	_, issuing, _ := hierarchy(b, "P-256")
	crl := emptyCRL()
	crl.Entries = manyEntries(100_000)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := issuing.SignCRL(background, crl); err != nil {
			b.Fatal(err)
		}
	}
}
