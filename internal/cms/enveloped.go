package cms

import (
	"bytes"
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"

	"golang.org/x/crypto/cryptobyte"
	cryptobyteasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// Recipient is who can decrypt an EnvelopedData, and how it is encrypted.
type Recipient struct {
	// Key is the *rsa.PublicKey, or the *ecdsa.PublicKey on P-256 or P-384, to
	// encrypt for, or the AES key that both sides have: 16, 24 or 32 bytes.
	Key any
	// Identifier names the key: as subjectKeyIdentifier, or as the identifier of an
	// AES key, which must have one. Where it is empty, Certificate names the
	// public key by issuer and serial number.
	Identifier  []byte
	Certificate *x509.Certificate

	// Content is AES128CBC, AES192CBC or AES256CBC.
	Content asn1.ObjectIdentifier
	// KeyEncryption is RSAOAEP or RSAEncryption, ECDHSHA256 or ECDHSHA384; for
	// an AES key it is the wrap of its length.
	KeyEncryption asn1.ObjectIdentifier
	// KeyWrap is AES128Wrap, AES192Wrap or AES256Wrap, with ECDH only.
	KeyWrap asn1.ObjectIdentifier
}

// Encrypt encodes content as an EnvelopedData for one recipient, in a
// ContentInfo. It fails if the recipient's algorithms do not fit its key.
func Encrypt(contentType asn1.ObjectIdentifier, content []byte, r Recipient) ([]byte, error) {
	der, err := r.encrypt(contentType, content)
	if err != nil {
		return nil, fmt.Errorf("encrypting message: %w", err)
	}
	return der, nil
}

func (r Recipient) encrypt(contentType asn1.ObjectIdentifier, content []byte) ([]byte, error) {
	if keyLength(r.Content) == 0 || isWrap(r.Content) {
		return nil, fmt.Errorf("%v is no content cipher", r.Content)
	}
	cek := make([]byte, keyLength(r.Content))
	defer clear(cek)
	rand.Read(cek)
	info, version, err := r.info(cek)
	if err != nil {
		return nil, err
	}
	iv := make([]byte, aes.BlockSize)
	rand.Read(iv)
	encrypted, err := encryptCBC(cek, iv, content)
	if err != nil {
		return nil, err
	}
	var b cryptobyte.Builder
	b.AddASN1(cryptobyteasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1Int64(version)
		b.AddASN1(cryptobyteasn1.SET, func(b *cryptobyte.Builder) { b.AddBytes(info) })
		b.AddASN1(cryptobyteasn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1ObjectIdentifier(contentType)
			addAlgorithm(b, r.Content, func(b *cryptobyte.Builder) { b.AddASN1OctetString(iv) })
			b.AddASN1(tagOctets0, func(b *cryptobyte.Builder) { b.AddBytes(encrypted) })
		})
	})
	envelopedData, err := b.Bytes()
	if err != nil {
		return nil, err
	}
	return ContentInfo(oidEnvelopedData, envelopedData)
}

// info encodes the RecipientInfo, and says which version it gives the
// EnvelopedData: 0 if that of the RecipientInfo is 0, otherwise 2 (RFC 5652,
// Section 6.1).
func (r Recipient) info(cek []byte) (der []byte, version int64, err error) {
	_, wrapped := r.Key.([]byte)
	switch {
	case len(r.Identifier) > 0:
	case wrapped:
		return nil, 0, errors.New("an AES key needs an identifier")
	case r.Certificate == nil:
		return nil, 0, errors.New("the recipient's key has neither identifier nor certificate")
	}
	var b cryptobyte.Builder
	switch key := r.Key.(type) {
	case *rsa.PublicKey:
		if len(r.Identifier) > 0 {
			version = 2
		}
		err = r.addTransport(&b, key, cek)
	case *ecdsa.PublicKey:
		version = 2
		err = r.addAgreement(&b, key, cek)
	case []byte:
		version = 2
		err = r.addKEK(&b, key, cek)
	default:
		err = fmt.Errorf("a key of type %T does not encrypt", key)
	}
	if err != nil {
		return nil, 0, err
	}
	der, err = b.Bytes()
	return der, version, err
}

// addTransport writes a KeyTransRecipientInfo: RFC 5652, Section 6.2.1.
func (r Recipient) addTransport(b *cryptobyte.Builder, key *rsa.PublicKey, cek []byte) (err error) {
	var encrypted []byte
	var parameters func(*cryptobyte.Builder)
	switch {
	case r.KeyEncryption.Equal(RSAOAEP):
		// RFC 4055, Section 4.1: all of what is not the default, SHA-1.
		parameters = func(b *cryptobyte.Builder) {
			sha256 := func(b *cryptobyte.Builder) { addAlgorithm(b, oidSHA256, (*cryptobyte.Builder).AddASN1NULL) }
			b.AddASN1(cryptobyteasn1.SEQUENCE, func(b *cryptobyte.Builder) {
				b.AddASN1(tag0, sha256)
				b.AddASN1(tag1, func(b *cryptobyte.Builder) { addAlgorithm(b, oidMGF1, sha256) })
			})
		}
		encrypted, err = rsa.EncryptOAEP(sha256.New(), rand.Reader, key, cek, nil)
	case r.KeyEncryption.Equal(RSAEncryption):
		parameters = (*cryptobyte.Builder).AddASN1NULL
		encrypted, err = rsa.EncryptPKCS1v15(rand.Reader, key, cek)
	default:
		err = fmt.Errorf("%v does not encrypt for an RSA key", r.KeyEncryption)
	}
	if err != nil {
		return err
	}
	b.AddASN1(cryptobyteasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		if len(r.Identifier) > 0 {
			b.AddASN1Int64(2)
			b.AddASN1(tagOctets0, func(b *cryptobyte.Builder) { b.AddBytes(r.Identifier) })
		} else {
			b.AddASN1Int64(0)
			addIssuerAndSerial(b, r.Certificate)
		}
		addAlgorithm(b, r.KeyEncryption, parameters)
		b.AddASN1OctetString(encrypted)
	})
	return nil
}

// addAgreement writes a KeyAgreeRecipientInfo with an ephemeral originator: RFC
// 5652, Section 6.2.2; RFC 5753, Section 3.1.
func (r Recipient) addAgreement(b *cryptobyte.Builder, key *ecdsa.PublicKey, cek []byte) error {
	static, err := key.ECDH()
	if err != nil {
		return err
	}
	if !knownCurve(static.Curve()) {
		return errors.New("the recipient's key is neither on P-256 nor on P-384")
	}
	hash, ok := derivation(r.KeyEncryption)
	if !ok || !isWrap(r.KeyWrap) {
		return fmt.Errorf("%v with %v does not encrypt for a key on a curve", r.KeyEncryption, r.KeyWrap)
	}
	ephemeral, err := static.Curve().GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	z, err := ephemeral.ECDH(static)
	if err != nil {
		return err
	}
	defer clear(z)
	var wrap cryptobyte.Builder
	addAlgorithm(&wrap, r.KeyWrap, nil)
	kek, err := deriveKEK(hash, z, wrap.BytesOrPanic(), nil, keyLength(r.KeyWrap))
	if err != nil {
		return err
	}
	defer clear(kek)
	encrypted, err := wrapKey(kek, cek)
	if err != nil {
		return err
	}
	b.AddASN1(tag1, func(b *cryptobyte.Builder) {
		b.AddASN1Int64(3)
		b.AddASN1(tag0, func(b *cryptobyte.Builder) { // originator
			b.AddASN1(tag1, func(b *cryptobyte.Builder) { // originatorKey
				addAlgorithm(b, oidECPublicKey, nil)
				b.AddASN1BitString(ephemeral.PublicKey().Bytes())
			})
		})
		addAlgorithm(b, r.KeyEncryption, func(b *cryptobyte.Builder) { addAlgorithm(b, r.KeyWrap, nil) })
		b.AddASN1(cryptobyteasn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1(cryptobyteasn1.SEQUENCE, func(b *cryptobyte.Builder) {
				if len(r.Identifier) > 0 {
					b.AddASN1(tag0, func(b *cryptobyte.Builder) { b.AddASN1OctetString(r.Identifier) })
				} else {
					addIssuerAndSerial(b, r.Certificate)
				}
				b.AddASN1OctetString(encrypted)
			})
		})
	})
	return nil
}

// addKEK writes a KEKRecipientInfo: RFC 5652, Section 6.2.3.
func (r Recipient) addKEK(b *cryptobyte.Builder, kek, cek []byte) error {
	if !isWrap(r.KeyEncryption) || keyLength(r.KeyEncryption) != len(kek) {
		return fmt.Errorf("%v does not encrypt with a key of %d bytes", r.KeyEncryption, len(kek))
	}
	encrypted, err := wrapKey(kek, cek)
	if err != nil {
		return err
	}
	b.AddASN1(tag2, func(b *cryptobyte.Builder) {
		b.AddASN1Int64(4)
		b.AddASN1(cryptobyteasn1.SEQUENCE, func(b *cryptobyte.Builder) { b.AddASN1OctetString(r.Identifier) })
		addAlgorithm(b, r.KeyEncryption, nil)
		b.AddASN1OctetString(encrypted)
	})
	return nil
}

// deriveKEK is the key derivation of X9.63 over ECC-CMS-SharedInfo: RFC 5753,
// Section 7.2. wrap is the AlgorithmIdentifier of the wrap as it stands in the
// message, ukm its user keying material.
func deriveKEK(hash crypto.Hash, z, wrap, ukm []byte, length int) ([]byte, error) {
	var b cryptobyte.Builder
	b.AddASN1(cryptobyteasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddBytes(wrap)
		if ukm != nil {
			b.AddASN1(tag0, func(b *cryptobyte.Builder) { b.AddASN1OctetString(ukm) })
		}
		b.AddASN1(tag2, func(b *cryptobyte.Builder) {
			b.AddASN1(cryptobyteasn1.OCTET_STRING, func(b *cryptobyte.Builder) { b.AddUint32(uint32(8 * length)) })
		})
	})
	sharedInfo, err := b.Bytes()
	if err != nil {
		return nil, err
	}
	var key []byte
	for counter := byte(1); len(key) < length; counter++ {
		h := hash.New()
		h.Write(z)
		h.Write([]byte{0, 0, 0, counter})
		h.Write(sharedInfo)
		key = h.Sum(key)
	}
	return key[:length], nil
}

func encryptCBC(key, iv, content []byte) ([]byte, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	// RFC 5652, Section 6.3.
	n := aes.BlockSize - len(content)%aes.BlockSize
	padded := append(append(make([]byte, 0, len(content)+n), content...), bytes.Repeat([]byte{byte(n)}, n)...)
	cipher.NewCBCEncrypter(block, iv).CryptBlocks(padded, padded)
	return padded, nil
}
