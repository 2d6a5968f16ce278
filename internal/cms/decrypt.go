package cms

import (
	"bytes"
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/rand"
	"crypto/rsa"
	"crypto/subtle"
	"encoding/asn1"
	"errors"
	"fmt"

	"golang.org/x/crypto/cryptobyte"
	cryptobyteasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// ErrDecrypt says that a message cannot be decrypted with a key, and not why: a
// sender could learn of the content from the reason (RFC 3218).
var ErrDecrypt = errors.New("the message is not encrypted for this key, or is damaged")

// maxRecipients bounds the recipients of a message that are tried.
const maxRecipients = 8

// Decrypt decrypts an EnvelopedData. The key is a crypto.Decrypter with an RSA
// key, an *ecdsa.PrivateKey or *ecdh.PrivateKey on P-256 or P-384, or an AES
// key. Every recipient that is of the kind of the key is tried, whatever its
// identifier.
//
// A message that cannot be parsed is one error, one that cannot be decrypted
// another, which wraps ErrDecrypt and is the same whatever was wrong.
func Decrypt(ber []byte, key any) (contentType asn1.ObjectIdentifier, content []byte, err error) {
	m, err := parseEnveloped(ber)
	if err != nil {
		return nil, nil, fmt.Errorf("parsing enveloped message: %w", err)
	}
	for _, r := range m.recipients {
		cek := r(key, keyLength(m.cipher))
		if len(cek) != keyLength(m.cipher) {
			continue
		}
		content, ok := decryptCBC(cek, m.iv, m.encrypted)
		clear(cek)
		if ok {
			return m.contentType, content, nil
		}
	}
	return nil, nil, fmt.Errorf("decrypting message: %w", ErrDecrypt)
}

// recipient gets the key of the content's cipher with a private key; nil if it
// cannot. What it returns may be a wrong one.
type recipient func(key any, length int) []byte

type enveloped struct {
	recipients    []recipient
	contentType   asn1.ObjectIdentifier
	cipher        asn1.ObjectIdentifier
	iv, encrypted []byte
}

func parseEnveloped(ber []byte) (*enveloped, error) {
	der, err := definite(ber)
	if err != nil {
		return nil, err
	}
	input := cryptobyte.String(der)
	fields, err := readContentInfo(&input, oidEnvelopedData, "EnvelopedData")
	if err != nil {
		return nil, err
	}
	m := &enveloped{}
	var version int64
	var infos, content, iv cryptobyte.String
	if !fields.ReadASN1Integer(&version) || version < 0 || version > 4 || !fields.SkipOptionalASN1(tag0) ||
		!fields.ReadASN1(&infos, cryptobyteasn1.SET) || !fields.ReadASN1(&content, cryptobyteasn1.SEQUENCE) ||
		!fields.SkipOptionalASN1(tag1) || !fields.Empty() {
		return nil, errors.New("malformed EnvelopedData")
	}
	for n := 0; !infos.Empty(); n++ {
		if n == maxRecipients {
			return nil, fmt.Errorf("message has more than %d recipients", maxRecipients)
		}
		r, err := parseRecipient(&infos)
		if err != nil {
			return nil, err
		}
		m.recipients = append(m.recipients, r)
	}
	if !content.ReadASN1ObjectIdentifier(&m.contentType) {
		return nil, errors.New("malformed EncryptedContentInfo")
	}
	var parameters cryptobyte.String
	if m.cipher, parameters, err = readAlgorithm(&content); err != nil {
		return nil, err
	}
	if keyLength(m.cipher) == 0 || isWrap(m.cipher) {
		return nil, fmt.Errorf("the content is encrypted with %v; only AES-CBC is known", m.cipher)
	}
	if !parameters.ReadASN1(&iv, cryptobyteasn1.OCTET_STRING) || len(iv) != aes.BlockSize {
		return nil, errors.New("malformed initialization vector")
	}
	m.iv = iv
	var ok bool
	if m.encrypted, ok = readOctets(&content, tagOctets0, tag0); !ok || !content.Empty() ||
		len(m.encrypted) == 0 || len(m.encrypted)%aes.BlockSize != 0 {
		return nil, errors.New("malformed encryptedContent")
	}
	return m, nil
}

// parseRecipient reads a RecipientInfo. One of an unknown kind, or with an
// unknown algorithm, is for no key.
func parseRecipient(infos *cryptobyte.String) (recipient, error) {
	var info, skipped cryptobyte.String
	var tag cryptobyteasn1.Tag
	switch {
	case try(infos, &info, cryptobyteasn1.SEQUENCE):
		return parseTransport(info)
	case try(infos, &info, tag1):
		return parseAgreement(info)
	case try(infos, &info, tag2):
		return parseKEK(info)
	case infos.ReadAnyASN1(&skipped, &tag):
		return forNobody, nil
	}
	return nil, errors.New("malformed RecipientInfo")
}

func forNobody(any, int) []byte { return nil }

func parseTransport(info cryptobyte.String) (recipient, error) {
	malformed := errors.New("malformed KeyTransRecipientInfo")
	var version int64
	var id, encrypted cryptobyte.String
	if !info.ReadASN1Integer(&version) || !try(&info, &id, cryptobyteasn1.SEQUENCE) && !try(&info, &id, tagOctets0) {
		return nil, malformed
	}
	algorithm, parameters, err := readAlgorithm(&info)
	if err != nil {
		return nil, err
	}
	if !info.ReadASN1(&encrypted, cryptobyteasn1.OCTET_STRING) || !info.Empty() {
		return nil, malformed
	}
	var oaep *rsa.OAEPOptions
	switch {
	case algorithm.Equal(RSAEncryption):
	case algorithm.Equal(RSAOAEP):
		// Unknown ones, as a label, are no reason to refuse the other recipients.
		if oaep, err = parseOAEP(parameters); err != nil {
			return forNobody, nil
		}
	default:
		return forNobody, nil
	}
	return func(key any, length int) []byte {
		private, ok := key.(crypto.Decrypter)
		if !ok {
			return nil
		}
		if _, ok := private.Public().(*rsa.PublicKey); !ok {
			return nil
		}
		var options crypto.DecrypterOpts = oaep
		if oaep == nil {
			// RFC 3218, Section 2.3.2: a random key takes the place of one whose
			// padding is wrong, so that both fail later and alike.
			options = &rsa.PKCS1v15DecryptOptions{SessionKeyLen: length}
		}
		cek, err := private.Decrypt(rand.Reader, encrypted, options)
		if err != nil {
			return nil
		}
		return cek
	}, nil
}

// parseOAEP reads RSAES-OAEP-params: RFC 4055, Section 4.1. What is absent is
// SHA-1 and an empty label.
func parseOAEP(parameters cryptobyte.String) (*rsa.OAEPOptions, error) {
	malformed := errors.New("malformed or unknown RSAES-OAEP parameters")
	options := &rsa.OAEPOptions{Hash: crypto.SHA1, MGFHash: crypto.SHA1}
	var fields, hash, mgf, source cryptobyte.String
	if !parameters.Empty() && !parameters.ReadASN1(&fields, cryptobyteasn1.SEQUENCE) {
		return nil, malformed
	}
	var hasHash, hasMGF, hasSource bool
	if !fields.ReadOptionalASN1(&hash, &hasHash, tag0) || !fields.ReadOptionalASN1(&mgf, &hasMGF, tag1) ||
		!fields.ReadOptionalASN1(&source, &hasSource, tag2) || !fields.Empty() {
		return nil, malformed
	}
	if hasHash {
		oid, _, err := readAlgorithm(&hash)
		known := false
		if options.Hash, known = hashOf(oid); err != nil || !known {
			return nil, malformed
		}
	}
	if hasMGF {
		oid, inner, err := readAlgorithm(&mgf)
		if err != nil || !oid.Equal(oidMGF1) {
			return nil, malformed
		}
		known := false
		if oid, _, err = readAlgorithm(&inner); err != nil {
			return nil, malformed
		}
		if options.MGFHash, known = hashOf(oid); !known {
			return nil, malformed
		}
	}
	if hasSource {
		var label cryptobyte.String
		if _, inner, err := readAlgorithm(&source); err != nil || !inner.ReadASN1(&label, cryptobyteasn1.OCTET_STRING) || len(label) > 0 {
			return nil, malformed
		}
	}
	return options, nil
}

func parseAgreement(info cryptobyte.String) (recipient, error) {
	malformed := errors.New("malformed KeyAgreeRecipientInfo")
	var version int64
	var originator, point, ukm, keys cryptobyte.String
	var hasUKM bool
	if !info.ReadASN1Integer(&version) || !info.ReadASN1(&originator, tag0) {
		return nil, malformed
	}
	// A static originator is named by its certificate, which nobody has.
	ephemeral := originator.PeekASN1Tag(tag1)
	if ephemeral {
		var originatorKey cryptobyte.String
		var bits asn1.BitString
		if !originator.ReadASN1(&originatorKey, tag1) || !originatorKey.SkipASN1(cryptobyteasn1.SEQUENCE) ||
			!originatorKey.ReadASN1BitString(&bits) || bits.BitLength%8 != 0 || !originatorKey.Empty() {
			return nil, malformed
		}
		point = bits.Bytes
	}
	if !info.ReadOptionalASN1(&ukm, &hasUKM, tag1) {
		return nil, malformed
	}
	var material []byte
	if hasUKM {
		var octets cryptobyte.String
		if !ukm.ReadASN1(&octets, cryptobyteasn1.OCTET_STRING) || !ukm.Empty() {
			return nil, malformed
		}
		material = append([]byte{}, octets...)
	}
	algorithm, wrap, err := readAlgorithm(&info)
	if err != nil {
		return nil, err
	}
	if !info.ReadASN1(&keys, cryptobyteasn1.SEQUENCE) || !info.Empty() {
		return nil, malformed
	}
	var encrypted []cryptobyte.String
	for !keys.Empty() {
		var one, id, value cryptobyte.String
		var tag cryptobyteasn1.Tag
		if len(encrypted) == maxRecipients || !keys.ReadASN1(&one, cryptobyteasn1.SEQUENCE) || !one.ReadAnyASN1(&id, &tag) ||
			!one.ReadASN1(&value, cryptobyteasn1.OCTET_STRING) || !one.Empty() {
			return nil, malformed
		}
		encrypted = append(encrypted, value)
	}
	hash, known := derivation(algorithm)
	wrapDER := bytes.Clone(wrap)
	wrapID, _, err := readAlgorithm(&wrap)
	if !ephemeral || !known || err != nil || !isWrap(wrapID) {
		return forNobody, nil
	}
	return func(key any, _ int) []byte {
		z := agree(key, point)
		if z == nil {
			return nil
		}
		defer clear(z)
		kek, err := deriveKEK(hash, z, wrapDER, material, keyLength(wrapID))
		if err != nil {
			return nil
		}
		defer clear(kek)
		for _, e := range encrypted {
			if cek := unwrapKey(kek, e); cek != nil {
				return cek
			}
		}
		return nil
	}, nil
}

// agree is the shared secret with an originator's point; nil if the point is
// not on the key's curve.
func agree(key any, point []byte) []byte {
	var private *ecdh.PrivateKey
	switch k := key.(type) {
	case *ecdh.PrivateKey:
		private = k
	case interface {
		ECDH() (*ecdh.PrivateKey, error)
	}:
		private, _ = k.ECDH()
	}
	if private == nil || !knownCurve(private.Curve()) {
		return nil
	}
	public, err := private.Curve().NewPublicKey(point)
	if err != nil {
		return nil
	}
	z, err := private.ECDH(public)
	if err != nil {
		return nil
	}
	return z
}

// knownCurve reports whether EnvelopedData may be for keys on a curve.
func knownCurve(c ecdh.Curve) bool { return c == ecdh.P256() || c == ecdh.P384() }

func parseKEK(info cryptobyte.String) (recipient, error) {
	malformed := errors.New("malformed KEKRecipientInfo")
	var version int64
	var encrypted cryptobyte.String
	if !info.ReadASN1Integer(&version) || !info.SkipASN1(cryptobyteasn1.SEQUENCE) {
		return nil, malformed
	}
	algorithm, _, err := readAlgorithm(&info)
	if err != nil {
		return nil, err
	}
	if !info.ReadASN1(&encrypted, cryptobyteasn1.OCTET_STRING) || !info.Empty() {
		return nil, malformed
	}
	return func(key any, _ int) []byte {
		kek, ok := key.([]byte)
		if !ok || !isWrap(algorithm) || keyLength(algorithm) != len(kek) {
			return nil
		}
		return unwrapKey(kek, encrypted)
	}, nil
}

// decryptCBC decrypts and takes the padding off, looking at all of it whatever
// it finds: RFC 5652, Section 6.3.
func decryptCBC(key, iv, encrypted []byte) (content []byte, ok bool) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, false
	}
	padded := make([]byte, len(encrypted))
	cipher.NewCBCDecrypter(block, iv).CryptBlocks(padded, encrypted)
	last := padded[len(padded)-aes.BlockSize:]
	n := int(last[aes.BlockSize-1])
	good := subtle.ConstantTimeLessOrEq(1, n) & subtle.ConstantTimeLessOrEq(n, aes.BlockSize)
	for i, b := range last {
		inside := subtle.ConstantTimeLessOrEq(aes.BlockSize, i+n)
		good &= subtle.ConstantTimeSelect(inside, subtle.ConstantTimeByteEq(b, byte(n)), 1)
	}
	if good != 1 {
		clear(padded)
		return nil, false
	}
	return padded[:len(padded)-n], true
}

// OAEPWithSHA256 reports whether the parameters of an RSAOAEP capability, in
// DER, take what Encrypt writes: SHA-256 throughout. Parameters that are
// not there leave it open.
func OAEPWithSHA256(parameters []byte) bool {
	if parameters == nil {
		return true
	}
	options, err := parseOAEP(parameters)
	return err == nil && options.Hash == crypto.SHA256 && options.MGFHash == crypto.SHA256
}
