package doctor

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// Algorithms, by their OIDs in SMIMECapabilities.
const (
	oidAES128CBC  = "2.16.840.1.101.3.4.1.2"
	oidAES192CBC  = "2.16.840.1.101.3.4.1.22"
	oidAES256CBC  = "2.16.840.1.101.3.4.1.42"
	oidAES128Wrap = "2.16.840.1.101.3.4.1.5"
	oidAES192Wrap = "2.16.840.1.101.3.4.1.25"
	oidAES256Wrap = "2.16.840.1.101.3.4.1.45"
	oidOAEP       = "1.2.840.113549.1.1.7"
	oidECDHSHA256 = "1.3.132.1.11.1"
)

// capable are the algorithms that the doctor asks with, in its order of preference.
var capable = []string{oidAES256CBC, oidAES192CBC, oidAES128CBC, oidECDHSHA256, oidRSA, oidAES256Wrap, oidAES192Wrap, oidAES128Wrap}

// capabilities encodes SMIMECapabilities: RFC 8551, Section 2.5.2. The scheme of
// ECDH names its key wrap: RFC 5753, Section 8.
func capabilities(list []string) []byte {
	var entries [][]byte
	for _, oid := range list {
		parts := [][]byte{encodeOID(oid)}
		if oid == oidECDHSHA256 {
			parts = append(parts, tlv(tagSequence, encodeOID(oidAES256Wrap)))
		}
		entries = append(entries, tlv(tagSequence, parts...))
	}
	return attribute(oidSMIMECapabilities, tlv(tagSequence, entries...))
}

// recipient is a key to which the server can encrypt.
type recipient struct {
	name       string
	cred       *credential
	key        any    // private, or shared
	identifier []byte // attribute that names it
}

// recipients are the keys that were given: those of certificates, and a shared one.
func (p *probe) recipients(base *credential) []recipient {
	var list []recipient
	for name, c := range map[string]*tls.Certificate{"the device's key": p.Device, "the maker's key": p.Maker, "the registration authority's key": p.RA} {
		if c == nil || len(leafOf(c).SubjectKeyId) == 0 {
			continue
		}
		cred := byCertificate(c, name)
		switch c {
		case p.Device:
			cred.device = leafOf(c).Subject.CommonName
		case p.Maker:
			cred.device = subjectName(leafOf(c))
		}
		list = append(list, recipient{name, cred, c.PrivateKey, attribute(oidAsymmetricKeyID, tlv(tagOctets, leafOf(c).SubjectKeyId))})
	}
	slices.SortFunc(list, func(a, b recipient) int { return strings.Compare(a.name, b.name) })
	if p.SharedID != "" {
		list = append(list, recipient{"the shared key", base, p.SharedKey, attribute(oidDecryptKeyID, tlv(tagOctets, []byte(p.SharedID)))})
	}
	return list
}

// generate asks for a key; more are attributes of the request.
func (p *probe) generate(ctx context.Context, cred *credential, change func(*submission)) (*answer, error) {
	e, err := p.fresh(ctx, cred)
	if err != nil {
		return nil, err
	}
	e.submission.op = "serverkeygen"
	if change != nil {
		change(&e.submission)
	}
	return p.submit(ctx, e.submission)
}

// generated is an answer of serverkeygen, taken apart.
type generated struct {
	answer *answer
	parts  []part
	to     *recipient // nil for a plain key
}

// any returns one success: a plain key, or else one encrypted to any recipient.
func (p *probe) anyKey(ctx context.Context) (*generated, error) {
	return p.keygen.get(func() (*generated, error) {
		cred, err := p.generator(ctx)
		if err != nil {
			return nil, err
		}
		g := new(generated)
		if g.answer, err = p.generate(ctx, cred, nil); err != nil {
			return nil, err
		}
		if g.answer.status >= 400 && g.answer.status < 500 {
			list, err := p.encrypted(ctx)
			if err != nil {
				return nil, err
			}
			return list[0], nil
		}
		if g.answer.status == http.StatusAccepted {
			return nil, errNotAsked("serverkeygen waits for an approval")
		}
		if g.answer.status != http.StatusOK {
			return nil, fmt.Errorf("serverkeygen answered %v", g.answer)
		}
		g.parts, err = splitParts(g.answer)
		return g, err
	})
}

// encrypted asks for a key for each recipient, and returns the successes.
func (p *probe) encrypted(ctx context.Context) ([]*generated, error) {
	return p.sealed.get(func() ([]*generated, error) {
		base, err := p.generator(ctx)
		if err != nil {
			return nil, err
		}
		var found []*generated
		last := "no certificate with a key identifier and no shared key was given"
		for _, to := range p.recipients(base) {
			a, err := p.generate(ctx, to.cred, func(s *submission) { s.csr.more = [][]byte{to.identifier, capabilities(capable)} })
			if err != nil {
				return nil, err
			}
			if a.status != http.StatusOK {
				last = fmt.Sprintf("for %s the server answers %v", to.name, a)
				continue
			}
			parts, err := splitParts(a)
			if err != nil {
				return nil, err
			}
			found = append(found, &generated{a, parts, &to})
		}
		if len(found) == 0 {
			return nil, errNotAsked("the server encrypts to no key that is at hand: " + last)
		}
		return found, nil
	})
}

// strength is what a key is worth, in bits: NIST SP 800-57 part 1, table 2.
func strength(key any) int {
	switch k := key.(type) {
	case *rsa.PrivateKey:
		switch bits := k.N.BitLen(); {
		case bits >= 15360:
			return 256
		case bits >= 7680:
			return 192
		case bits >= 3072:
			return 128
		}
		return 112
	case *ecdsa.PrivateKey:
		switch k.Curve {
		case elliptic.P384():
			return 192
		case elliptic.P521():
			return 256
		}
		return 128
	case []byte:
		return 8 * len(k)
	}
	return 0
}

// parsePKCS8 reads a PrivateKeyInfo: the walk comes first, because the library
// takes other forms, too.
func parsePKCS8(der []byte) (crypto.Signer, error) {
	outer, err := whole(der, tagSequence)
	if err != nil {
		return nil, fmt.Errorf("PrivateKeyInfo: %w", err)
	}
	fields, err := outer.children()
	if err != nil || len(fields) < 3 || fields[0].tag != tagInteger || fields[1].tag != tagSequence || fields[2].tag != tagOctets {
		return nil, fmt.Errorf("the key is no PrivateKeyInfo (PKCS #8)")
	}
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, err
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("a key of type %T", key)
	}
	return signer, nil
}
