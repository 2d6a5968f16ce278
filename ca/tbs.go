package ca

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"io"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// capture is a signer that keeps what it is asked to sign and signs nothing.
// With it crypto/x509 builds certificates and CRLs without the key, in a fifth
// of the time, because it also skips the check of the signature.
type capture struct {
	public crypto.PublicKey
	tbs    []byte
}

var errCaptured = errors.New("captured")

func (c *capture) Public() crypto.PublicKey { return c.public }

func (c *capture) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) {
	return nil, errors.New("a digest was to be signed in place of a message")
}

// SignMessage implements crypto.MessageSigner.
func (c *capture) SignMessage(_ io.Reader, message []byte, _ crypto.SignerOpts) ([]byte, error) {
	c.tbs = message
	return nil, errCaptured
}

// buildTBS returns the DER TBSCertificate of template for the key pub, issued
// by parent.
func buildTBS(template, parent *x509.Certificate, pub crypto.PublicKey) ([]byte, error) {
	if tbs, ok := encodeTBS(template, parent, pub); ok {
		return tbs, nil
	}
	return reflectTBS(template, parent, pub)
}

// reflectTBS is buildTBS by crypto/x509.
func reflectTBS(template, parent *x509.Certificate, pub crypto.PublicKey) ([]byte, error) {
	c := &capture{public: parent.PublicKey}
	_, err := x509.CreateCertificate(nil, template, parent, pub, c)
	return c.result(err)
}

func (c *capture) result(err error) ([]byte, error) {
	if !errors.Is(err, errCaptured) {
		if err == nil {
			err = errors.New("it was encoded without being signed")
		}
		return nil, err
	}
	return c.tbs, nil
}

// signatureAlgorithm returns the AlgorithmIdentifier inside a TBSCertificate
// or TBSCertList, which the outer one must repeat (RFC 5280, Sections 4.1.1.2
// and 5.1.1.2).
func signatureAlgorithm(tbs []byte) ([]byte, error) {
	input := cryptobyte.String(tbs)
	var body, algorithm cryptobyte.String
	if !input.ReadASN1(&body, cbasn1.SEQUENCE) ||
		!body.SkipOptionalASN1(cbasn1.Tag(0).ContextSpecific().Constructed()) || // version of a certificate
		!body.SkipASN1(cbasn1.INTEGER) || // serial number, or version of a CRL
		!body.ReadASN1Element(&algorithm, cbasn1.SEQUENCE) {
		return nil, errors.New("reading the signature algorithm of what is to be signed")
	}
	return algorithm, nil
}

// assemble returns SEQUENCE { tbs, algorithm, BIT STRING signature }: a
// certificate or a CRL.
func assemble(tbs, algorithm, signature []byte) ([]byte, error) {
	b := cryptobyte.NewBuilder(make([]byte, 0, len(tbs)+len(algorithm)+len(signature)+16))
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddBytes(tbs)
		b.AddBytes(algorithm)
		b.AddASN1BitString(signature)
	})
	der, err := b.Bytes()
	if err != nil {
		return nil, fmt.Errorf("encoding what was signed: %w", err)
	}
	return der, nil
}

// signedPart returns the first element of what assemble made.
func signedPart(der []byte) ([]byte, error) {
	input := cryptobyte.String(der)
	var outer, tbs cryptobyte.String
	if !input.ReadASN1(&outer, cbasn1.SEQUENCE) || !input.Empty() || !outer.ReadASN1Element(&tbs, cbasn1.SEQUENCE) {
		return nil, errors.New("decoding what was signed")
	}
	return tbs, nil
}

// dummySignature returns bytes of the form of a signature by pub, which verify
// as nothing: lint wants a whole certificate.
func dummySignature(pub crypto.PublicKey) ([]byte, error) {
	switch pub := pub.(type) {
	case *ecdsa.PublicKey:
		one := make([]byte, (pub.Curve.Params().BitSize+7)/8)
		for i := range one {
			one[i] = 1
		}
		var b cryptobyte.Builder
		b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
			for range 2 {
				b.AddASN1(cbasn1.INTEGER, func(b *cryptobyte.Builder) { b.AddBytes(one) })
			}
		})
		return b.Bytes()
	case *rsa.PublicKey:
		return make([]byte, pub.Size()), nil
	}
	return nil, fmt.Errorf("key type %T is not supported", pub)
}

// keyID returns the subject key identifier of pub: the leftmost 160 bits of
// the SHA-256 of the public key bits (RFC 7093, Section 2, method 1).
func keyID(pub crypto.PublicKey) ([]byte, error) {
	var bits []byte
	var err error
	switch pub := pub.(type) {
	case *ecdsa.PublicKey:
		bits, err = pub.Bytes() // RFC 5480, Section 2.2: the point, uncompressed
	case *rsa.PublicKey:
		bits = x509.MarshalPKCS1PublicKey(pub) // RFC 3279, Section 2.3.1
	default:
		err = fmt.Errorf("key type %T is not supported", pub)
	}
	if err != nil {
		return nil, fmt.Errorf("encoding the public key: %w", err)
	}
	sum := sha256.Sum256(bits)
	return sum[:20], nil
}
