package pkcs10

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	_ "crypto/sha256" // hashes of the signatures
	_ "crypto/sha512"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/crypto/cryptobyte"
	cryptobyteasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// Create makes a certification request in DER from a template of crypto/x509
// with attributes that crypto/x509 cannot write. The key may be RSA or on P-256,
// P-384 or P-521; the hash is as strong as the curve, whatever the template
// says. It fails if ParseAttributes would not take what it made.
func Create(template *x509.CertificateRequest, attributes Attributes, key crypto.Signer) ([]byte, error) {
	der, err := create(template, attributes, key)
	if err != nil {
		return nil, fmt.Errorf("making certification request: %w", err)
	}
	if _, err := ParseAttributes(der); err != nil {
		return nil, fmt.Errorf("making certification request: %w", err)
	}
	return der, nil
}

func create(template *x509.CertificateRequest, attributes Attributes, key crypto.Signer) ([]byte, error) {
	spki, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return nil, err
	}
	algorithm, hash, err := signatureFor(key.Public())
	if err != nil {
		return nil, err
	}
	// crypto/x509 encodes names and extensions, under a key of no consequence:
	// the real one may be in a token and signs once.
	passing, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	t := *template
	t.SignatureAlgorithm = x509.UnknownSignatureAlgorithm
	base, err := x509.CreateCertificateRequest(rand.Reader, &t, passing)
	if err != nil {
		return nil, err
	}
	r, err := parseRequest(base)
	if err != nil {
		return nil, err
	}
	set, err := encodeAttributes(r.attributes, attributes)
	if err != nil {
		return nil, err
	}
	var b cryptobyte.Builder
	b.AddASN1(cryptobyteasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddBytes(r.version)
		b.AddBytes(r.subject)
		b.AddBytes(spki)
		b.AddASN1(tagAttributes, func(b *cryptobyte.Builder) {
			for _, attribute := range set {
				b.AddBytes(attribute)
			}
		})
	})
	info, err := b.Bytes()
	if err != nil {
		return nil, err
	}
	digest := hash.New()
	digest.Write(info)
	signature, err := key.Sign(rand.Reader, digest.Sum(nil), hash)
	if err != nil {
		return nil, err
	}
	b = cryptobyte.Builder{}
	b.AddASN1(cryptobyteasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddBytes(info)
		b.AddBytes(algorithm)
		b.AddASN1BitString(signature)
	})
	return b.Bytes()
}

// signatureFor chooses the signature algorithm, in DER, and its hash.
func signatureFor(public crypto.PublicKey) ([]byte, crypto.Hash, error) {
	type choice struct {
		oid  asn1.ObjectIdentifier
		hash crypto.Hash
	}
	c := choice{asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 11}, crypto.SHA256} // sha256WithRSAEncryption
	ec, elliptical := public.(*ecdsa.PublicKey)
	if elliptical {
		switch ec.Curve {
		case elliptic.P256():
			c = choice{asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 2}, crypto.SHA256}
		case elliptic.P384():
			c = choice{asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 3}, crypto.SHA384}
		case elliptic.P521():
			c = choice{asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 4}, crypto.SHA512}
		default:
			return nil, 0, errors.New("the key is on an unknown curve")
		}
	} else if !isRSA(public) {
		return nil, 0, fmt.Errorf("keys of type %T do not sign certification requests here", public)
	}
	var b cryptobyte.Builder
	b.AddASN1(cryptobyteasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1ObjectIdentifier(c.oid)
		if !elliptical {
			b.AddASN1NULL() // RFC 4055, Section 5: must be there; absent for ECDSA (RFC 5758)
		}
	})
	der, err := b.Bytes()
	return der, c.hash, err
}

// encodeAttributes adds attributes to those that are there. X.690, Section
// 11.6: the elements of a SET OF ascend by their encodings.
func encodeAttributes(there cryptobyte.String, a Attributes) ([][]byte, error) {
	var set [][]byte
	for !there.Empty() {
		var element cryptobyte.String
		if !there.ReadASN1Element(&element, cryptobyteasn1.SEQUENCE) {
			return nil, errors.New("malformed attribute")
		}
		set = append(set, element)
	}
	var failed error
	add := func(id asn1.ObjectIdentifier, value func(*cryptobyte.Builder)) {
		var b cryptobyte.Builder
		b.AddASN1(cryptobyteasn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1ObjectIdentifier(id)
			b.AddASN1(cryptobyteasn1.SET, value)
		})
		der, err := b.Bytes()
		failed = errors.Join(failed, err)
		set = append(set, der)
	}
	if a.Linked {
		add(oidChallengePassword, func(b *cryptobyte.Builder) {
			tag := cryptobyteasn1.UTF8String
			if printable(a.ChallengePassword) {
				tag = cryptobyteasn1.PrintableString
			}
			b.AddASN1(tag, func(b *cryptobyte.Builder) { b.AddBytes([]byte(a.ChallengePassword)) })
		})
	}
	if c := a.ChangeSubject; c != nil {
		add(oidChangeSubjectName, func(b *cryptobyte.Builder) {
			b.AddASN1(cryptobyteasn1.SEQUENCE, func(b *cryptobyte.Builder) {
				b.AddBytes(c.Subject)
				if names := cryptobyte.String(c.SubjectAlt); names != nil {
					var content cryptobyte.String
					if !names.ReadASN1(&content, cryptobyteasn1.SEQUENCE) || !names.Empty() {
						b.SetError(errors.New("alternative names are not a SEQUENCE"))
					}
					b.AddASN1(tagSubjectAlt, func(b *cryptobyte.Builder) { b.AddBytes(content) }) // as erratum 3943 has it
				}
			})
		})
	}
	if len(a.Capabilities) > 0 {
		add(oidSMIMECapabilities, func(b *cryptobyte.Builder) {
			b.AddASN1(cryptobyteasn1.SEQUENCE, func(b *cryptobyte.Builder) {
				for _, c := range a.Capabilities {
					b.AddASN1(cryptobyteasn1.SEQUENCE, func(b *cryptobyte.Builder) {
						b.AddASN1ObjectIdentifier(c.Algorithm)
						b.AddBytes(c.Parameters)
					})
				}
			})
		})
	}
	if a.DecryptKeyIdentifier != nil {
		add(oidDecryptKeyID, func(b *cryptobyte.Builder) { b.AddASN1OctetString(a.DecryptKeyIdentifier) })
	}
	if a.AsymmetricDecryptKeyIdentifier != nil {
		add(oidAsymmetricDecryptKey, func(b *cryptobyte.Builder) { b.AddASN1OctetString(a.AsymmetricDecryptKeyIdentifier) })
	}
	slices.SortFunc(set, bytes.Compare)
	return set, failed
}

func isRSA(public crypto.PublicKey) bool {
	_, ok := public.(*rsa.PublicKey)
	return ok
}

// printable reports whether text fits a PrintableString (X.680, Section 41.4),
// as all base64 does.
func printable(text string) bool {
	for _, c := range []byte(text) {
		letter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
		if !letter && !strings.ContainsRune(" '()+,-./:=?", rune(c)) {
			return false
		}
	}
	return true
}
