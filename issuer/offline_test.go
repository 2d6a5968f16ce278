package issuer_test

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"mintmark/ca"
	"mintmark/ca/revocation"
	"mintmark/internal/pkitest"
	"mintmark/issuer"
)

// offlineRoot is a root whose key is not at the registration authority: here, with it.
type offlineRoot struct {
	*ca.Authority
	key crypto.Signer
}

// newOffline makes a root.
func newOffline(t testing.TB, name, subject string, years int, pathLen *int) *offlineRoot {
	t.Helper()
	key := pkitest.NewKey(t)
	template, err := ca.Spec{Name: name, Subject: pkix.Name{CommonName: subject}, Validity: time.Duration(years) * 365 * 24 * time.Hour, Backdate: 48 * time.Hour, PathLen: pathLen}.
		Template(issuer.NewSerial(time.Now()), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	prepared, err := ca.PrepareRoot(template, key)
	if err != nil {
		t.Fatal(err)
	}
	return &offlineRoot{openAuthority(t, name, key, issued(t, prepared)), key}
}

func issued(t testing.TB, prepared *ca.Prepared) *x509.Certificate {
	t.Helper()
	prepared.Recorded()
	c, err := prepared.Issue(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func openAuthority(t testing.TB, name string, key crypto.Signer, path ...*x509.Certificate) *ca.Authority {
	t.Helper()
	a, err := ca.New(ca.Config{Name: name, Certificate: path[0], Chain: path[1:], Signer: func(context.Context) (crypto.Signer, error) { return key, nil }})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// raw signs a template as it stands, whatever the engine would say of it.
func (a *offlineRoot) raw(t testing.TB, template *x509.Certificate, public crypto.PublicKey) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, a.Certificate(), public, a.key)
	if err != nil {
		t.Fatal(err)
	}
	return parseDER(t, der)
}

// issuing certifies a CA below the root; change may alter the template.
func (a *offlineRoot) issuing(t testing.TB, name string, public crypto.PublicKey, change func(*x509.Certificate)) *x509.Certificate {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: issuer.NewSerial(time.Now()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(5, 0, 0),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	if change != nil {
		change(template)
	}
	return a.raw(t, template, public)
}

// imported brings the root as a trust anchor.
func (a *offlineRoot) imported(t testing.TB, ra *issuer.RA) *offlineRoot {
	t.Helper()
	if _, err := ra.ImportAuthority(t.Context(), a.Name(), []*x509.Certificate{a.Certificate()}, ""); err != nil {
		t.Fatal(err)
	}
	return a
}

// list is a CRL of the root; change may alter it.
func (a *offlineRoot) list(t testing.TB, number int64, change func(*x509.RevocationList), serials ...*big.Int) []byte {
	t.Helper()
	now := time.Now()
	template := &x509.RevocationList{Number: big.NewInt(number), ThisUpdate: now.Add(-time.Hour + time.Duration(number)*time.Minute), NextUpdate: now.AddDate(0, 6, 0)}
	for _, s := range serials {
		template.RevokedCertificateEntries = append(template.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: s, RevocationTime: now.Add(-2 * time.Hour), ReasonCode: 1})
	}
	if change != nil {
		change(template)
	}
	der, err := x509.CreateRevocationList(rand.Reader, template, a.Certificate(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// nextUpdateGauge reads the metric of an authority's CRL.
func nextUpdateGauge(t testing.TB, p *revocation.Publisher, name string) float64 {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(p.Metrics()...)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == "crl_next_update_timestamp_seconds" && m.GetLabel()[0].GetValue() == name {
				return m.GetGauge().GetValue()
			}
		}
	}
	return 0
}
