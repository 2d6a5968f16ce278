package est

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net/http"

	"golang.org/x/crypto/cryptobyte"
	cryptobyteasn1 "golang.org/x/crypto/cryptobyte/asn1"

	"mintmark/internal/cms"
	"mintmark/internal/pkcs10"
)

// serverKeygen makes a key for the device and a certificate of it: RFC 7030,
// Section 4.4. Only the answer holds the private key; nothing keeps or logs it.
//
// All that can refuse the request without a key does so before there is one,
// since making it is what costs most; and the key is encrypted before there is a certificate, so that no
// certificate is issued of a key that nobody gets.
func (h *Handler) serverKeygen(x *exchange) (response, error) {
	if x.label.Keygen == nil {
		return notImplemented(x)
	}
	who, csr, err := h.admit(x)
	if err != nil {
		return response{}, err
	}
	attributes, err := pkcs10.ParseAttributes(csr)
	if err != nil {
		return response{}, fail(http.StatusBadRequest, ruleAttributes, "the attributes of the certification request cannot be read: %v", err)
	}
	recipient, err := x.recipient(who, attributes)
	if err != nil {
		return response{}, err
	}
	// Section 4.4.1: key and signature do not count, but the key's type may be
	// followed.
	request, err := x509.ParseCertificateRequest(csr)
	if err != nil {
		f := fail(http.StatusBadRequest, ruleKeygenRequest, "the certification request cannot be parsed as PKCS #10")
		f.err = err
		return response{}, f
	}
	asked := x.asks(who, csr)
	if asked.Approval {
		return response{}, errPendingKey
	}
	key, err := h.authority.GenerateKey(x.r.Context(), asked, request.PublicKey)
	if err != nil {
		return response{}, err
	}
	defer wipe(key)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return response{}, fmt.Errorf("encoding a generated key: %w", err)
	}
	defer clear(private)
	part, partType := private, mediaTypePKCS8
	if recipient != nil {
		if part, err = h.envelope(private, *recipient); err != nil {
			return response{}, fmt.Errorf("encrypting a generated key: %w", err)
		}
		partType = mediaTypeKey
	}
	asked.Generated = key.Public()
	answer, err := h.issue(x, asked)
	if err != nil {
		return response{}, err
	}
	if public, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool }); !ok || !public.Equal(answer.Certificate.PublicKey) {
		return response{}, fmt.Errorf("certificate %s is not of the key that was made", answer.Serial)
	}
	certificate, err := cms.CertsOnly([]*x509.Certificate{answer.Certificate})
	if err != nil {
		return response{}, err
	}
	return encodeKeygen(partType, part, certificate, x.r.UserAgent()), nil
}

// envelope signs and encrypts a private key in PKCS #8: RFC 7030, Section 4.4.2;
// RFC 5958, Section 4. The server signs, as it has made the key.
func (h *Handler) envelope(private []byte, recipient cms.Recipient) ([]byte, error) {
	signer, err := h.keySigner()
	if err != nil {
		return nil, err
	}
	var b cryptobyte.Builder
	b.AddASN1(cryptobyteasn1.SEQUENCE, func(b *cryptobyte.Builder) { b.AddBytes(private) }) // AsymmetricKeyPackage
	pack, err := b.Bytes()
	if err != nil {
		return nil, err
	}
	defer clear(pack)
	signed, err := cms.Sign(cms.Signed{
		ContentType: cms.AsymmetricKeyPackage, Content: pack, Signer: signer.certificates[0], Certificates: signer.certificates, SigningTime: h.now(),
	}, signer.key)
	if err != nil {
		return nil, err
	}
	defer clear(signed)
	return cms.Encrypt(cms.SignedData, signed, recipient)
}

// keySigner is who signs generated keys: certificate and path, and the key.
type keySigner struct {
	certificates []*x509.Certificate
	key          crypto.Signer
}

// keySigner returns who signs, and fails where the TLS server has no certificate.
func (h *Handler) keySigner() (keySigner, error) {
	pair, err := h.signer()
	if err != nil {
		return keySigner{}, err
	}
	key, ok := pair.PrivateKey.(crypto.Signer)
	if !ok || len(pair.Certificate) == 0 {
		return keySigner{}, errors.New("the server's TLS certificate has no key that signs")
	}
	s := keySigner{key: key}
	for _, der := range pair.Certificate {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return keySigner{}, err
		}
		s.certificates = append(s.certificates, c)
	}
	return s, nil
}

// recipient decides how the private key is encrypted: RFC 7030, Section 4.4.1.
// Nil stands for a plain key, which only a label that says so hands out, and
// only to a client that has not asked for more.
func (x *exchange) recipient(who identity, a pkcs10.Attributes) (*cms.Recipient, error) {
	switch {
	case a.DecryptKeyIdentifier != nil && a.AsymmetricDecryptKeyIdentifier != nil:
		return nil, fail(http.StatusBadRequest, ruleKeygenKey, "the request names both a symmetric and an asymmetric key to encrypt with: name one")
	case a.DecryptKeyIdentifier != nil:
		key := x.label.Keygen.SymmetricKeys[string(a.DecryptKeyIdentifier)]
		if key == nil {
			return nil, fail(http.StatusBadRequest, ruleKeygenKey, "this label has no symmetric key of that DecryptKeyIdentifier")
		}
		r := cms.Recipient{Key: key, Identifier: a.DecryptKeyIdentifier}
		return x.choose(&r, a.Capabilities)
	case a.AsymmetricDecryptKeyIdentifier != nil:
		certificate, err := x.decryptCertificate(who, a.AsymmetricDecryptKeyIdentifier)
		if err != nil {
			return nil, err
		}
		// Section 4.4.2: the identifier is copied from the request.
		r := cms.Recipient{Key: certificate.PublicKey, Identifier: a.AsymmetricDecryptKeyIdentifier, Certificate: certificate}
		return x.choose(&r, a.Capabilities)
	case x.label.Keygen.Plain:
		x.note(slog.String("key_encryption", "none"))
		return nil, nil
	}
	return nil, fail(http.StatusBadRequest, ruleKeygenPlain, "this label hands out no key that only TLS protects: name the key to encrypt with in an AsymmetricDecryptKeyIdentifier or a DecryptKeyIdentifier attribute, and the algorithms in SMIMECapabilities (RFC 7030, Section 4.4.1)")
}

// wipe overwrites a private key, as far as Go lets: copies that the standard
// library made are out of reach.
func wipe(key crypto.Signer) {
	switch k := key.(type) {
	case *ecdsa.PrivateKey:
		clear(k.D.Bits())
	case *rsa.PrivateKey:
		clear(k.D.Bits())
		for _, prime := range k.Primes {
			clear(prime.Bits())
		}
		for _, derived := range []*big.Int{k.Precomputed.Dp, k.Precomputed.Dq, k.Precomputed.Qinv} {
			if derived != nil {
				clear(derived.Bits())
			}
		}
	}
}
