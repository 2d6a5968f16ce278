package cms

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/subtle"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/crypto/cryptobyte"
	cryptobyteasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

var (
	oidContentType   = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 3}
	oidMessageDigest = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 4}
	oidSigningTime   = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 5}
)

type signature struct {
	oid   asn1.ObjectIdentifier
	hash  asn1.ObjectIdentifier
	curve elliptic.Curve // with which it is written; nil for RSA
	rsa   bool
}

// signatures are the signature algorithms, the first that fits being the one
// written. The last is what RFC 3370 calls an RSA signature whose hash stands in
// digestAlgorithm.
var signatures = []signature{
	{asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 2}, oidSHA256, elliptic.P256(), false},
	{asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 3}, oidSHA384, elliptic.P384(), false},
	{asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 4}, oidSHA512, elliptic.P521(), false},
	{asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 11}, oidSHA256, nil, true},
	{asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 12}, oidSHA384, nil, true},
	{asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 13}, oidSHA512, nil, true},
	{RSAEncryption, nil, nil, true},
}

// Signed is a SignedData with one signer.
type Signed struct {
	ContentType asn1.ObjectIdentifier
	Content     []byte
	// Detached leaves the content out of the message (RFC 5652, Section 5.2): it goes beside.
	Detached bool
	Signer   *x509.Certificate
	// Certificates are all that the message holds, Signer among them.
	Certificates []*x509.Certificate
	SigningTime  time.Time // zero if the message does not say
}

// Sign encodes s as a SignedData, signed by the key of s.Signer, which may be
// RSA or on P-256, P-384 or P-521. What it returns is to be enveloped as it is, or
// wrapped by ContentInfo.
func Sign(s Signed, key crypto.Signer) ([]byte, error) {
	der, err := s.sign(key)
	if err != nil {
		return nil, fmt.Errorf("signing message: %w", err)
	}
	return der, nil
}

// CanSign fails if Sign would for that key.
func CanSign(key crypto.Signer) error {
	_, err := signatureOf(key)
	return err
}

// signatureOf is the algorithm that is written with a key.
func signatureOf(key crypto.Signer) (signature, error) {
	ec, elliptical := key.Public().(*ecdsa.PublicKey)
	i := slices.IndexFunc(signatures, func(a signature) bool {
		if elliptical {
			return a.curve == ec.Curve
		}
		_, ok := key.Public().(*rsa.PublicKey)
		return ok && a.rsa
	})
	if i < 0 {
		return signature{}, fmt.Errorf("a key of type %T does not sign messages: RSA and P-256, P-384, P-521 do", key.Public())
	}
	return signatures[i], nil
}

func (s Signed) sign(key crypto.Signer) ([]byte, error) {
	algorithm, err := signatureOf(key)
	if err != nil {
		return nil, err
	}
	hash, _ := hashOf(algorithm.hash)
	attributes, err := s.attributes(digest(hash, s.Content))
	if err != nil {
		return nil, err
	}
	// RFC 5652, Section 5.4: signed as a SET OF, though written as [0].
	signature, err := key.Sign(rand.Reader, digest(hash, attributes), hash)
	if err != nil {
		return nil, err
	}
	certificates := s.Certificates
	if len(certificates) == 0 {
		certificates = []*x509.Certificate{s.Signer}
	}
	// Section 5.1: 3 for content that is not data.
	version := int64(3)
	if s.ContentType.Equal(Data) {
		version = 1
	}
	var b cryptobyte.Builder
	b.AddASN1(cryptobyteasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1Int64(version)
		b.AddASN1(cryptobyteasn1.SET, func(b *cryptobyte.Builder) { addAlgorithm(b, algorithm.hash, nil) })
		b.AddASN1(cryptobyteasn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1ObjectIdentifier(s.ContentType)
			if !s.Detached {
				b.AddASN1(tag0, func(b *cryptobyte.Builder) { b.AddASN1OctetString(s.Content) })
			}
		})
		b.AddASN1(tag0, func(b *cryptobyte.Builder) {
			set := make([][]byte, 0, len(certificates))
			for _, c := range certificates {
				set = append(set, c.Raw)
			}
			slices.SortFunc(set, bytes.Compare)
			for _, der := range slices.CompactFunc(set, bytes.Equal) {
				b.AddBytes(der)
			}
		})
		b.AddASN1(cryptobyteasn1.SET, func(b *cryptobyte.Builder) {
			b.AddASN1(cryptobyteasn1.SEQUENCE, func(b *cryptobyte.Builder) {
				b.AddASN1Int64(1)
				addIssuerAndSerial(b, s.Signer)
				addAlgorithm(b, algorithm.hash, nil)
				signed := cryptobyte.String(attributes)
				signed.ReadASN1(&signed, cryptobyteasn1.SET)
				b.AddASN1(tag0, func(b *cryptobyte.Builder) { b.AddBytes(signed) })
				addAlgorithm(b, algorithm.oid, func(b *cryptobyte.Builder) {
					if algorithm.rsa {
						b.AddASN1NULL()
					}
				})
				b.AddASN1OctetString(signature)
			})
		})
	})
	return b.Bytes()
}

// attributes encodes the signed attributes as a SET OF.
func (s Signed) attributes(messageDigest []byte) ([]byte, error) {
	var set [][]byte
	var failed error
	add := func(id asn1.ObjectIdentifier, value func(b *cryptobyte.Builder)) {
		var b cryptobyte.Builder
		b.AddASN1(cryptobyteasn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1ObjectIdentifier(id)
			b.AddASN1(cryptobyteasn1.SET, value)
		})
		der, err := b.Bytes()
		failed = errors.Join(failed, err)
		set = append(set, der)
	}
	add(oidContentType, func(b *cryptobyte.Builder) { b.AddASN1ObjectIdentifier(s.ContentType) })
	add(oidMessageDigest, func(b *cryptobyte.Builder) { b.AddASN1OctetString(messageDigest) })
	if !s.SigningTime.IsZero() {
		add(oidSigningTime, func(b *cryptobyte.Builder) {
			// Section 11.3: UTCTime from 1950 through 2049.
			if at := s.SigningTime.UTC(); at.Year() >= 1950 && at.Year() < 2050 {
				b.AddASN1UTCTime(at)
			} else {
				b.AddASN1GeneralizedTime(at)
			}
		})
	}
	slices.SortFunc(set, bytes.Compare)
	var b cryptobyte.Builder
	b.AddASN1(cryptobyteasn1.SET, func(b *cryptobyte.Builder) {
		for _, der := range set {
			b.AddBytes(der)
		}
	})
	der, err := b.Bytes()
	return der, errors.Join(failed, err)
}

func digest(hash crypto.Hash, content []byte) []byte {
	h := hash.New()
	h.Write(content)
	return h.Sum(nil)
}

func addIssuerAndSerial(b *cryptobyte.Builder, c *x509.Certificate) {
	b.AddASN1(cryptobyteasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddBytes(c.RawIssuer)
		b.AddASN1BigInt(c.SerialNumber)
	})
}

// Verify reads a SignedData, bare or in a ContentInfo, and verifies its only
// signature with a certificate that it holds. Whether that certificate is to be trusted
// is for the caller to say. It wants content and signed attributes, which RFC
// 5652, Section 5.3 demands for all content but data.
func Verify(ber []byte) (*Signed, error) {
	s, err := verify(ber, nil)
	if err != nil {
		return nil, fmt.Errorf("verifying signed message: %w", err)
	}
	return s, nil
}

// VerifyDetached is Verify of a message whose content goes beside it.
func VerifyDetached(ber, content []byte) (*Signed, error) {
	if content == nil {
		content = []byte{}
	}
	s, err := verify(ber, content)
	if err != nil {
		return nil, fmt.Errorf("verifying detached signature: %w", err)
	}
	return s, nil
}

// verify takes the content from the message if beside is nil.
func verify(ber, beside []byte) (*Signed, error) {
	der, err := definite(ber)
	if err != nil {
		return nil, err
	}
	input := cryptobyte.String(der)
	signedData, err := bareSignedData(&input)
	if err != nil {
		return nil, err
	}
	s := &Signed{}
	var version int64
	var encapsulated, explicit, set, signers, signer cryptobyte.String
	if !signedData.ReadASN1Integer(&version) || version < 1 || version > 5 || !signedData.SkipASN1(cryptobyteasn1.SET) ||
		!signedData.ReadASN1(&encapsulated, cryptobyteasn1.SEQUENCE) || !encapsulated.ReadASN1ObjectIdentifier(&s.ContentType) {
		return nil, errors.New("malformed SignedData")
	}
	switch {
	case beside != nil && !encapsulated.Empty():
		return nil, errors.New("message has content of its own")
	case beside != nil:
		s.Content, s.Detached = beside, true
	case !encapsulated.ReadASN1(&explicit, tag0) || !encapsulated.Empty():
		return nil, errors.New("message has no content")
	default:
		var ok bool
		if s.Content, ok = readOctets(&explicit, cryptobyteasn1.OCTET_STRING, tagOctetsWith); !ok || !explicit.Empty() {
			return nil, errors.New("malformed content")
		}
	}
	if !signedData.ReadASN1(&set, tag0) || !signedData.SkipOptionalASN1(tag1) ||
		!signedData.ReadASN1(&signers, cryptobyteasn1.SET) || !signedData.Empty() {
		return nil, errors.New("malformed certificates or signerInfos")
	}
	if s.Certificates, err = parseSet(set); err != nil {
		return nil, err
	}
	if !signers.ReadASN1(&signer, cryptobyteasn1.SEQUENCE) || !signers.Empty() {
		return nil, errors.New("message does not have exactly one signer")
	}
	if err := s.verifySigner(signer); err != nil {
		return nil, err
	}
	return s, nil
}

// bareSignedData returns the fields of a SignedData, which begin with a version
// where a ContentInfo begins with its type.
func bareSignedData(input *cryptobyte.String) (cryptobyte.String, error) {
	peek := *input
	var fields cryptobyte.String
	if peek.ReadASN1(&fields, cryptobyteasn1.SEQUENCE) && peek.Empty() && fields.PeekASN1Tag(cryptobyteasn1.INTEGER) {
		return fields, nil
	}
	return readContentInfo(input, SignedData, "SignedData")
}

// verifySigner verifies a SignerInfo: RFC 5652, Sections 5.3 and 5.6.
func (s *Signed) verifySigner(info cryptobyte.String) error {
	var version int64
	if !info.ReadASN1Integer(&version) {
		return errors.New("malformed SignerInfo")
	}
	if err := s.findSigner(&info); err != nil {
		return err
	}
	hashID, _, err := readAlgorithm(&info)
	if err != nil {
		return err
	}
	hash, ok := hashOf(hashID)
	if !ok || hash == crypto.SHA1 {
		return fmt.Errorf("unknown or weak digest algorithm %v", hashID)
	}
	var attributes, signature cryptobyte.String
	if !info.ReadASN1(&attributes, tag0) {
		return errors.New("message has no signed attributes")
	}
	algorithm, _, err := readAlgorithm(&info)
	if err != nil {
		return err
	}
	if !info.ReadASN1(&signature, cryptobyteasn1.OCTET_STRING) || !info.SkipOptionalASN1(tag1) || !info.Empty() {
		return errors.New("malformed SignerInfo")
	}
	if err := s.checkAttributes(attributes, digest(hash, s.Content)); err != nil {
		return err
	}
	sum := digest(hash, append(header(nil, byte(cryptobyteasn1.SET), len(attributes)), attributes...))
	return verifySignature(s.Signer, algorithm, hashID, hash, sum, signature)
}

func verifySignature(signer *x509.Certificate, algorithm, hashID asn1.ObjectIdentifier, hash crypto.Hash, sum, signature []byte) error {
	for _, a := range signatures {
		if !a.oid.Equal(algorithm) || a.hash != nil && !a.hash.Equal(hashID) {
			continue
		}
		switch key := signer.PublicKey.(type) {
		case *ecdsa.PublicKey:
			if !a.rsa && ecdsa.VerifyASN1(key, sum, signature) {
				return nil
			}
		case *rsa.PublicKey:
			if a.rsa && rsa.VerifyPKCS1v15(key, hash, sum, signature) == nil {
				return nil
			}
		}
		return errors.New("the signature does not verify")
	}
	return fmt.Errorf("unknown signature algorithm %v with digest algorithm %v", algorithm, hashID)
}

// findSigner finds the certificate that a SignerIdentifier names.
func (s *Signed) findSigner(info *cryptobyte.String) error {
	var name, issuer, serial, keyID cryptobyte.String
	var fits func(c *x509.Certificate) bool
	switch {
	case try(info, &name, cryptobyteasn1.SEQUENCE):
		if !name.ReadASN1Element(&issuer, cryptobyteasn1.SEQUENCE) || !name.ReadASN1(&serial, cryptobyteasn1.INTEGER) || !name.Empty() {
			return errors.New("malformed issuerAndSerialNumber")
		}
		fits = func(c *x509.Certificate) bool {
			var b cryptobyte.Builder
			b.AddASN1BigInt(c.SerialNumber)
			der, err := b.Bytes()
			return err == nil && bytes.Equal(c.RawIssuer, issuer) && bytes.Equal(der, append(header(nil, byte(cryptobyteasn1.INTEGER), len(serial)), serial...))
		}
	case try(info, &keyID, tagOctets0):
		fits = func(c *x509.Certificate) bool { return len(c.SubjectKeyId) > 0 && bytes.Equal(c.SubjectKeyId, keyID) }
	default:
		return errors.New("malformed SignerIdentifier")
	}
	i := slices.IndexFunc(s.Certificates, fits)
	if i < 0 {
		return errors.New("the signer's certificate is not in the message")
	}
	s.Signer = s.Certificates[i]
	return nil
}

// checkAttributes holds the signed attributes against the content: RFC 5652,
// Section 11.
func (s *Signed) checkAttributes(attributes cryptobyte.String, sum []byte) error {
	seen := make(map[string]bool)
	for !attributes.Empty() {
		var attribute, set, value cryptobyte.String
		var id asn1.ObjectIdentifier
		if !attributes.ReadASN1(&attribute, cryptobyteasn1.SEQUENCE) || !attribute.ReadASN1ObjectIdentifier(&id) ||
			!attribute.ReadASN1(&set, cryptobyteasn1.SET) || !attribute.Empty() {
			return errors.New("malformed signed attribute")
		}
		if seen[id.String()] {
			return fmt.Errorf("signed attribute %v is there twice", id)
		}
		seen[id.String()] = true
		switch {
		case id.Equal(oidContentType):
			var contentType asn1.ObjectIdentifier
			if !set.ReadASN1ObjectIdentifier(&contentType) || !set.Empty() || !contentType.Equal(s.ContentType) {
				return errors.New("the signed content type is not that of the content")
			}
		case id.Equal(oidMessageDigest):
			if !set.ReadASN1(&value, cryptobyteasn1.OCTET_STRING) || !set.Empty() || subtle.ConstantTimeCompare(value, sum) != 1 {
				return errors.New("the signed digest is not that of the content")
			}
		case id.Equal(oidSigningTime):
			read := set.ReadASN1GeneralizedTime
			if set.PeekASN1Tag(cryptobyteasn1.UTCTime) {
				read = set.ReadASN1UTCTime
			}
			if !read(&s.SigningTime) || !set.Empty() {
				return errors.New("malformed signing time")
			}
		}
	}
	if !seen[oidContentType.String()] || !seen[oidMessageDigest.String()] {
		return errors.New("the content type or the digest is not signed")
	}
	return nil
}
