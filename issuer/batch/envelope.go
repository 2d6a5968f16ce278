package batch

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"

	"mintmark/internal/cms"
)

// recipientOf is how to encrypt for the holder of a certificate: EnvelopedData with
// AES-256, the key by RSAES-OAEP or by ECDH (RFC 5652, RFC 4055, RFC 5753).
func recipientOf(der []byte) (cms.Recipient, error) {
	c, err := x509.ParseCertificate(der)
	if err != nil {
		return cms.Recipient{}, fmt.Errorf("the customer's certificate: %w", err)
	}
	r := cms.Recipient{Key: c.PublicKey, Certificate: c, Content: cms.AES256CBC}
	switch key := c.PublicKey.(type) {
	case *rsa.PublicKey:
		r.KeyEncryption = cms.RSAOAEP
	case *ecdsa.PublicKey:
		r.KeyEncryption, r.KeyWrap = cms.ECDHSHA256, cms.AES256Wrap
		if key.Curve == elliptic.P384() {
			r.KeyEncryption = cms.ECDHSHA384
		}
	default:
		return r, errors.New("the customer's key is neither RSA nor on P-256 or P-384")
	}
	return r, nil
}
