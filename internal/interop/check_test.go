package interop

import (
	"crypto/x509"
	"testing"
)

// enrolled checks that a file begins with the certificate of a device, under
// the site's root.
func enrolled(t testing.TB, s *site, file, name string) *x509.Certificate {
	t.Helper()
	c := certificates(t, file)[0]
	if c.Subject.CommonName != name {
		t.Errorf("%s holds the certificate of %q, want %q", file, c.Subject.CommonName, name)
	}
	roots := x509.NewCertPool()
	roots.AddCert(certificates(t, s.root)[0])
	intermediates := x509.NewCertPool()
	intermediates.AddCert(s.issuing)
	if _, err := c.Verify(x509.VerifyOptions{Roots: roots, Intermediates: intermediates, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
		t.Error(err)
	}
	return c
}
