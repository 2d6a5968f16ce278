package est

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"golang.org/x/crypto/cryptobyte"
	cryptobyteasn1 "golang.org/x/crypto/cryptobyte/asn1"

	"mintmark/internal/cms"
	"mintmark/internal/pkcs10"
)

// Recipient is the key to which a server encrypts a private key that it makes
// (RFC 7030, Section 4.4.1).
type Recipient struct {
	// Key is a crypto.Decrypter with an RSA key, an *ecdsa.PrivateKey on P-256 or
	// P-384, or an AES key of 16, 24 or 32 bytes that both sides have.
	Key any
	// Identifier names it to the server: the subject key identifier of the
	// certificate that holds the public key, or the name of the AES key.
	Identifier []byte
}

// Generated is what a server made.
type Generated struct {
	Key         crypto.Signer
	Certificate *x509.Certificate // of that key
	// Signer signed the private key, if it was encrypted: the server itself, as it
	// authenticated in TLS, or another under the same trust anchors.
	Signer *x509.Certificate
}

// ServerKeygen has the server make a key and its certificate: RFC 7030, Section
// 4.4. Key and signature of the request do not count, except that the key's
// type shows what type is wanted; nil stands for a new key on P-256. With a Recipient the
// private key comes encrypted and signed, and nothing else is accepted; without
// one only TLS protects it.
//
// It cannot be repeated to the same end: each call makes another key.
func (c *Client) ServerKeygen(ctx context.Context, r Request, to *Recipient) (*Generated, error) {
	g, err := c.serverKeygen(ctx, r, to)
	if err != nil {
		return nil, fmt.Errorf("having the server make a key: %w", err)
	}
	return g, nil
}

func (c *Client) serverKeygen(ctx context.Context, r Request, to *Recipient) (*Generated, error) {
	if r.Key == nil {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, err
		}
		r.Key = key
	}
	if to != nil {
		if err := to.describe(&r.Attributes); err != nil {
			return nil, err
		}
	}
	var a *answer
	err := c.linked(ctx, r, func(over *http.Client, csr []byte) (err error) {
		a, err = c.do(ctx, over, ask{method: http.MethodPost, op: "serverkeygen", contentType: mediaTypePKCS10, der: csr})
		return err
	})
	if err != nil {
		return nil, err
	}
	defer clear(a.content)
	parts, err := parseKeygen(a.header.Get("Content-Type"), a.content)
	if err != nil {
		return nil, err
	}
	defer clear(parts.key)
	return c.generated(parts, to, a.server)
}

// generated opens and checks what the server made.
func (c *Client) generated(parts keygenAnswer, to *Recipient, server *x509.Certificate) (*Generated, error) {
	g := &Generated{}
	der := parts.key
	switch {
	case to == nil && parts.encrypted:
		return nil, errors.New("the server encrypted the private key, which was not asked for")
	case to != nil && !parts.encrypted:
		return nil, errors.New("the server sent the private key without encrypting it, although that was asked for: it is not used")
	case to != nil:
		var err error
		if der, g.Signer, err = c.open(parts.key, to, server); err != nil {
			return nil, err
		}
		defer clear(der)
	}
	key, err := parsePrivate(der)
	if err != nil {
		return nil, err
	}
	g.Key = key
	spki, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return nil, err
	}
	if g.Certificate, err = certified(parts.certificates, spki); err != nil {
		return nil, errors.New("server answered without a certificate for the key that it made")
	}
	return g, nil
}

// open decrypts a private key and verifies who signed it: RFC 7030, Section
// 4.4.2. The result is PKCS #8.
func (c *Client) open(enveloped []byte, to *Recipient, server *x509.Certificate) ([]byte, *x509.Certificate, error) {
	contentType, signed, err := cms.Decrypt(enveloped, to.Key)
	if err != nil {
		return nil, nil, err
	}
	defer clear(signed)
	if !contentType.Equal(cms.SignedData) {
		return nil, nil, errors.New("the encrypted private key is not signed")
	}
	s, err := cms.Verify(signed)
	if err != nil {
		return nil, nil, err
	}
	if err := c.trusts(s, server); err != nil {
		return nil, nil, err
	}
	der := s.Content // some servers put PKCS #8 there as it is
	if s.ContentType.Equal(cms.AsymmetricKeyPackage) {
		if der, err = onlyKey(s.Content); err != nil {
			return nil, nil, err
		}
	}
	return bytes.Clone(der), s.Signer, nil // what it stands in is wiped
}

// trusts checks that a private key was signed by the server or by somebody whom
// the trust anchors for servers vouch for.
func (c *Client) trusts(s *cms.Signed, server *x509.Certificate) error {
	if server != nil && s.Signer.Equal(server) {
		return nil
	}
	// Any device has a certificate of the CA that vouches for the server, too.
	if isDevice(s.Signer) {
		return fmt.Errorf("the private key is signed by %q, whose certificate is for clients only: it is not used", s.Signer.Subject)
	}
	options := x509.VerifyOptions{Roots: c.RootCAs, Intermediates: x509.NewCertPool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}
	for _, certificate := range s.Certificates {
		options.Intermediates.AddCert(certificate)
	}
	if _, err := s.Signer.Verify(options); err != nil {
		return fmt.Errorf("the private key is signed by %q, which is not the server and not trusted: %w", s.Signer.Subject, err)
	}
	return nil
}

// isDevice reports whether a certificate is of an end entity and good for TLS
// clients and nothing else.
func isDevice(c *x509.Certificate) bool {
	others := slices.ContainsFunc(c.ExtKeyUsage, func(u x509.ExtKeyUsage) bool { return u != x509.ExtKeyUsageClientAuth })
	return !(c.BasicConstraintsValid && c.IsCA) && len(c.ExtKeyUsage) > 0 && !others && len(c.UnknownExtKeyUsage) == 0
}

// onlyKey returns the only element of an AsymmetricKeyPackage: RFC 5958, Section 2.
func onlyKey(pack []byte) ([]byte, error) {
	input := cryptobyte.String(pack)
	var list, key cryptobyte.String
	if !input.ReadASN1(&list, cryptobyteasn1.SEQUENCE) || !input.Empty() || !list.ReadASN1Element(&key, cryptobyteasn1.SEQUENCE) {
		return nil, errors.New("malformed AsymmetricKeyPackage")
	}
	if !list.Empty() {
		return nil, errors.New("the server sent more than one private key")
	}
	return key, nil
}

// parsePrivate reads a private key in PKCS #8, or in the forms that libest sends
// under that name.
func parsePrivate(der []byte) (crypto.Signer, error) {
	var key any
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		if rsaKey, other := x509.ParsePKCS1PrivateKey(der); other == nil {
			key, err = rsaKey, nil
		} else if ecKey, other := x509.ParseECPrivateKey(der); other == nil {
			key, err = ecKey, nil
		}
	}
	if err != nil {
		return nil, errors.New("the server's private key cannot be parsed") // the cause might quote it
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("the server's private key is a %T, which does not sign", key)
	}
	return signer, nil
}

// describe puts into the attributes of a request how its answer is to be
// encrypted: RFC 7030, Sections 4.4.1.1 and 4.4.1.2.
func (to *Recipient) describe(a *pkcs10.Attributes) error {
	if len(to.Identifier) == 0 {
		return errors.New("the key to encrypt for needs an identifier")
	}
	ciphers := []pkcs10.Capability{{Algorithm: cms.AES256CBC}, {Algorithm: cms.AES128CBC}}
	var keys []pkcs10.Capability
	switch key := to.Key.(type) {
	case []byte:
		wrap := map[int]asn1.ObjectIdentifier{16: cms.AES128Wrap, 24: cms.AES192Wrap, 32: cms.AES256Wrap}[len(key)]
		if wrap == nil {
			return fmt.Errorf("a symmetric key has 16, 24 or 32 bytes, and not %d", len(key))
		}
		a.DecryptKeyIdentifier = to.Identifier
		a.Capabilities = append(ciphers, pkcs10.Capability{Algorithm: wrap})
		return nil
	case *ecdsa.PrivateKey:
		schemes := []asn1.ObjectIdentifier{cms.ECDHSHA256}
		switch key.Curve {
		case elliptic.P256():
		case elliptic.P384():
			schemes = []asn1.ObjectIdentifier{cms.ECDHSHA384, cms.ECDHSHA256}
		default:
			return errors.New("a key to encrypt for is RSA, or on P-256 or P-384")
		}
		wraps := []asn1.ObjectIdentifier{cms.AES256Wrap, cms.AES128Wrap}
		for _, scheme := range schemes {
			for _, wrap := range wraps {
				// RFC 5753, Section 7.1: the parameters are the AlgorithmIdentifier of the
				// wrap.
				keys = append(keys, pkcs10.Capability{Algorithm: scheme, Parameters: algorithmIdentifier(wrap)})
			}
		}
		for _, wrap := range wraps {
			keys = append(keys, pkcs10.Capability{Algorithm: wrap})
		}
	case crypto.Decrypter:
		if _, ok := key.Public().(*rsa.PublicKey); !ok {
			return errors.New("a key to encrypt for is RSA, or on P-256 or P-384")
		}
		keys = []pkcs10.Capability{{Algorithm: cms.RSAOAEP, Parameters: slices.Clone(oaepSHA256)}, {Algorithm: cms.RSAEncryption}}
	default:
		return fmt.Errorf("a %T is no key to encrypt for", to.Key)
	}
	a.AsymmetricDecryptKeyIdentifier = to.Identifier
	a.Capabilities = append(ciphers, keys...)
	return nil
}

func algorithmIdentifier(id asn1.ObjectIdentifier) []byte {
	var b cryptobyte.Builder
	b.AddASN1(cryptobyteasn1.SEQUENCE, func(b *cryptobyte.Builder) { b.AddASN1ObjectIdentifier(id) })
	return b.BytesOrPanic() // of constants only
}

// oaepSHA256 is rSAES-OAEP-SHA256-Params of RFC 4055, Section 4.1, which RFC
// 3560, Section 4 wants with the algorithm.
var oaepSHA256 = []byte{
	0x30, 0x2f,
	0xa0, 0x0f, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00,
	0xa1, 0x1c, 0x30, 0x1a, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x08,
	0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00,
}
