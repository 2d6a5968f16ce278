package ca

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
)

// Examine reports why a CA certificate that was made elsewhere is not one that
// Prepare would have let through: what an authority needs, the serial number, the
// key, the lint. It looks neither at the signature nor at the clock. It may be called concurrently.
func Examine(cert *x509.Certificate) error {
	if err := checkIssuing(cert); err != nil {
		return err
	}
	// RFC 5280, Section 4.1.2.2.
	if cert.SerialNumber.Sign() <= 0 || cert.SerialNumber.BitLen() > 159 {
		return fmt.Errorf("%s: the serial number is not a positive number of at most 20 octets", certName(cert))
	}
	if err := CheckKey(cert.PublicKey); err != nil {
		return fmt.Errorf("%s: key: %w", certName(cert), err)
	}
	if err := lintCertificate(cert, cert.PublicKey, certifies(cert, cert) == nil); err != nil {
		return fmt.Errorf("%s: %w", certName(cert), err)
	}
	return nil
}

// ReadCRL parses a CRL that was signed elsewhere with the key of the authority and
// checks all that does not depend on time: the signature, the issuer, the number, the
// entries, the lint. It takes complete CRLs only: one with a critical extension (a delta,
// one for some certificates or some reasons) would leave out what another one says (RFC
// 5280, Section 5.2). It may be called concurrently.
func (a *Authority) ReadCRL(der []byte) (*x509.RevocationList, error) {
	list, err := x509.ParseRevocationList(der)
	if err != nil {
		return nil, fmt.Errorf("parsing the CRL: %w", err)
	}
	// crypto/x509 does not look behind it.
	if len(list.Raw) != len(der) {
		return nil, fmt.Errorf("parsing the CRL: %d bytes follow it", len(der)-len(list.Raw))
	}
	if !bytes.Equal(list.RawIssuer, a.cert.RawSubject) {
		return nil, fmt.Errorf("the CRL is one of %q, not of %q", list.Issuer, a.cert.Subject)
	}
	if len(list.AuthorityKeyId) > 0 && !bytes.Equal(list.AuthorityKeyId, a.cert.SubjectKeyId) {
		return nil, fmt.Errorf("the CRL was signed by another key (identifier %x) than that of %s (%x)", list.AuthorityKeyId, certName(a.cert), a.cert.SubjectKeyId)
	}
	if err := list.CheckSignatureFrom(a.cert); err != nil {
		return nil, fmt.Errorf("the CRL was not signed by %s: %w", certName(a.cert), err)
	}
	for _, x := range list.Extensions {
		if x.Critical {
			return nil, fmt.Errorf("the CRL has the critical extension %s: only a complete CRL is taken, neither a delta nor one for a part", x.Id)
		}
	}
	if list.Number != nil && list.Number.Cmp(maxCRLNumber) > 0 {
		return nil, fmt.Errorf("the CRL number %s is larger than %s", list.Number, maxCRLNumber)
	}
	for _, e := range list.RevokedCertificateEntries {
		for _, x := range e.Extensions {
			if x.Critical {
				return nil, fmt.Errorf("the entry of serial number %x has the critical extension %s, which is not understood here", e.SerialNumber, x.Id)
			}
		}
	}
	if list.NextUpdate.IsZero() {
		return nil, errors.New("the CRL has no nextUpdate")
	}
	if err := checkCRL(CRL{Number: list.Number, ThisUpdate: list.ThisUpdate, NextUpdate: list.NextUpdate, Entries: list.RevokedCertificateEntries}); err != nil {
		return nil, err
	}
	if err := lintCRL(der); err != nil {
		return nil, err
	}
	return list, nil
}

// maxCRLNumber is what the ledger can count to.
var maxCRLNumber = new(big.Int).SetInt64(1<<63 - 1)
