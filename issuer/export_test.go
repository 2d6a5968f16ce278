package issuer

import (
	"context"
	"crypto/x509"
	"crypto/x509/pkix"
	"mintmark/ca"
)

// CeremonySubject writes a name for a ceremony file.
func CeremonySubject(name pkix.Name) (string, error) { return ceremonySubject(name) }

// Tick is what Keep does every few seconds.
func (ra *RA) Tick(ctx context.Context) { ra.tick(ctx) }

// NamesOf returns the request whose names count, if names may be changed.
func NamesOf(der []byte) (names *x509.CertificateRequest, changed bool, err error) {
	csr, err := parseRequest(der)
	if err != nil {
		return nil, false, err
	}
	if err := csr.rename(&Request{ChangeNames: true}); err != nil {
		return nil, false, err
	}
	return csr.names, csr.change != nil, nil
}

// FillGenerators takes every place where an RSA key may be made, or, with
// waiting, every place where one may be waited for.
func (ra *RA) FillGenerators(waiting bool) (free func()) {
	places := ra.generators.running
	if waiting {
		places = ra.generators.asked
	}
	for range cap(places) {
		places <- struct{}{}
	}
	return func() {
		for range cap(places) {
			<-places
		}
	}
}

// Vouch prepares the certificate of one CA by another.
func (ra *RA) Vouch(by, of *ca.Authority) error {
	_, err := ra.cross(by, of)
	return err
}

// Lot is what a device draws in a rotation.
func Lot(id, device string) int { return lot(id, device) }
