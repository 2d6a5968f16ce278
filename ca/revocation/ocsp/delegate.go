package ocsp

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/fips140"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"

	"mintmark/ca"
)

// delegate is a responder that an authority has certified (RFC 6960, Section
// 4.2.2.2). It is not changed.
type delegate struct {
	certificate *x509.Certificate
	key         crypto.Signer
	hash        crypto.Hash
	algorithm   []byte // DER of the AlgorithmIdentifier of its signatures
	keyHash     []byte // KeyHash of Section 4.2.1
	tail        []byte // the end of each answer: the field certs
	issuerKey   []byte // DER of the SubjectPublicKeyInfo that certifies it
}

// newDelegate holds a certificate against what relying parties will ask of it.
func newDelegate(a *ca.Authority, certificate *x509.Certificate, key crypto.Signer) (*delegate, error) {
	own, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool })
	switch {
	case !ok || !own.Equal(certificate.PublicKey):
		return nil, errors.New("the responder's certificate is for another key")
	case !slices.Contains(certificate.ExtKeyUsage, x509.ExtKeyUsageOCSPSigning):
		return nil, errors.New("the responder's certificate is not for signing OCSP answers")
	}
	if err := certificate.CheckSignatureFrom(a.Certificate()); err != nil {
		return nil, fmt.Errorf("the responder's certificate: %w", err)
	}
	d := &delegate{certificate: certificate, key: key, issuerKey: a.Certificate().RawSubjectPublicKeyInfo}
	oid, parameters := asn1.ObjectIdentifier(nil), false
	switch public := key.Public().(type) {
	case *ecdsa.PublicKey:
		switch public.Curve {
		case elliptic.P256():
			oid, d.hash = oidECDSAWithSHA256, crypto.SHA256
		case elliptic.P384():
			oid, d.hash = oidECDSAWithSHA384, crypto.SHA384
		case elliptic.P521():
			oid, d.hash = oidECDSAWithSHA512, crypto.SHA512
		}
	case *rsa.PublicKey:
		oid, d.hash, parameters = oidSHA256WithRSA, crypto.SHA256, true
	}
	if oid == nil {
		return nil, fmt.Errorf("a responder does not sign with a key of type %T", key.Public())
	}
	var algorithm, tail cryptobyte.Builder
	algorithm.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1ObjectIdentifier(oid)
		if parameters {
			b.AddASN1NULL()
		}
	})
	tail.AddASN1(explicit(0), func(b *cryptobyte.Builder) {
		b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) { b.AddBytes(certificate.Raw) })
	})
	var err error
	if d.algorithm, err = algorithm.Bytes(); err != nil {
		return nil, err
	}
	if d.tail, err = tail.Bytes(); err != nil {
		return nil, err
	}
	bits, err := keyBits(certificate.RawSubjectPublicKeyInfo)
	d.keyHash = sha1Of(bits)
	return d, err
}

// serves reports whether a delegate may sign for an authority, which may go by
// another certificate of the same key by now.
func (d *delegate) serves(a *ca.Authority, now time.Time) bool {
	return d != nil && !now.Before(d.certificate.NotBefore) && now.Before(d.certificate.NotAfter) &&
		bytes.Equal(d.issuerKey, a.Certificate().RawSubjectPublicKeyInfo)
}

// old reports whether it is time for the next one: half of its life is over.
func (d *delegate) old(now time.Time) bool {
	life := d.certificate.NotAfter.Sub(d.certificate.NotBefore)
	return now.After(d.certificate.NotBefore.Add(life / 2))
}

// keyBits returns the value of the BIT STRING of a SubjectPublicKeyInfo, which
// is what key hashes are made of.
func keyBits(spki []byte) ([]byte, error) {
	input := cryptobyte.String(spki)
	var info, bits cryptobyte.String
	if !input.ReadASN1(&info, cbasn1.SEQUENCE) || !info.SkipASN1(cbasn1.SEQUENCE) || !info.ReadASN1(&bits, cbasn1.BIT_STRING) || len(bits) < 1 {
		return nil, errors.New("decoding a public key")
	}
	return bits[1:], nil
}

// sha1Of is a name and protects nothing, so that it is allowed where SHA-1 is not
// (GODEBUG=fips140=only).
func sha1Of(data []byte) []byte {
	var sum [sha1.Size]byte
	fips140.WithoutEnforcement(func() { sum = sha1.Sum(data) })
	return sum[:]
}
