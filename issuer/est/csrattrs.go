package est

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"math/big"
	"net/http"
	"slices"

	"golang.org/x/crypto/cryptobyte"
	cryptobyteasn1 "golang.org/x/crypto/cryptobyte/asn1"

	"mintmark/ca"
	"mintmark/issuer"
)

const mediaTypeCSRAttrs = "application/csrattrs"

// Object identifiers of CsrAttrs: RFC 8951, Section 3.3; RFC 9908.
var (
	oidChallengePassword = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 7}
	oidExtensionRequest  = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 14}
	oidRequestTemplate   = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 16, 2, 61}
	oidExtensionTemplate = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 16, 2, 62}
	oidRSAKey            = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 1}
	oidECKey             = asn1.ObjectIdentifier{1, 2, 840, 10045, 2, 1}
	oidSubjectAltNames   = asn1.ObjectIdentifier{2, 5, 29, 17}
	oidExtKeyUsages      = asn1.ObjectIdentifier{2, 5, 29, 37}
)

// keyWants says, by algorithm, what is announced of a key: its type, the curve
// or size, and the signature that fits it.
var keyWants = map[ca.Algorithm]struct {
	kind, curve, signature asn1.ObjectIdentifier
	bits                   int
}{
	ca.P256:    {oidECKey, asn1.ObjectIdentifier{1, 2, 840, 10045, 3, 1, 7}, asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 2}, 0},
	ca.P384:    {oidECKey, asn1.ObjectIdentifier{1, 3, 132, 0, 34}, asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 3}, 0},
	ca.P521:    {oidECKey, asn1.ObjectIdentifier{1, 3, 132, 0, 35}, asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 4}, 0},
	ca.RSA2048: {oidRSAKey, nil, asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 11}, 2048},
	ca.RSA3072: {oidRSAKey, nil, asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 11}, 3072},
	ca.RSA4096: {oidRSAKey, nil, asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 11}, 4096},
}

// csrAttrs says what certification requests should hold: RFC 7030, Section 4.5,
// as RFC 9908 clarifies it. It is made of what enrollment enforces. Clients need
// not authenticate.
func (h *Handler) csrAttrs(x *exchange) (response, error) {
	der, err := encodeCSRAttrs(h.authority.Wants(x.label.Profile), x.label.ProofOfPossession == ProofRequired)
	if err != nil {
		return response{}, err
	}
	if der == nil {
		// RFC 7030, Section 4.5.2: 204 says that there is nothing; an empty
		// sequence would too, but libest hangs on it.
		return response{status: http.StatusNoContent}, nil
	}
	return response{status: http.StatusOK, contentType: mediaTypeCSRAttrs, der: der}, nil
}

// encodeCSRAttrs encodes CsrAttrs, in both forms: single elements for clients of
// RFC 7030, and the template of RFC 9908, Section 3.4 for those that know it, which
// look at nothing else. It returns nil if there is nothing to announce.
//
// Two things are left out. The single elements have no extensionRequest: the
// profile sets the extensions whatever a request says, and libest makes malformed
// requests of it. And where requests must be linked to the connection there is no
// template, because in it nothing stands for the challengePassword that RFC
// 7030, Section 4.5.2 demands.
func encodeCSRAttrs(w issuer.Wants, link bool) ([]byte, error) {
	key := onlyKeyType(w.Keys)
	var list [][]byte
	var failed error
	add := func(element func(*cryptobyte.Builder)) {
		var b cryptobyte.Builder
		element(&b)
		der, err := b.Bytes()
		if err != nil {
			failed = err
		}
		list = append(list, der)
	}
	if link {
		add(func(b *cryptobyte.Builder) { b.AddASN1ObjectIdentifier(oidChallengePassword) })
	}
	if key != "" {
		wants := keyWants[key]
		// RFC 9908, Section 3.2: one attribute, of the key's type, with the curve or
		// the number of bits.
		add(func(b *cryptobyte.Builder) {
			addAttribute(b, wants.kind, func(b *cryptobyte.Builder) {
				if wants.curve != nil {
					b.AddASN1ObjectIdentifier(wants.curve)
				} else {
					b.AddASN1Int64(int64(wants.bits))
				}
			})
		})
		add(func(b *cryptobyte.Builder) { b.AddASN1ObjectIdentifier(wants.signature) })
	}
	if template, err := encodeTemplate(w, key); err != nil {
		return nil, err
	} else if template != nil && !link {
		add(func(b *cryptobyte.Builder) {
			addAttribute(b, oidRequestTemplate, func(b *cryptobyte.Builder) { b.AddBytes(template) })
		})
	}
	if failed != nil || len(list) == 0 {
		return nil, failed
	}
	var b cryptobyte.Builder
	b.AddASN1(cryptobyteasn1.SEQUENCE, func(b *cryptobyte.Builder) { b.AddBytes(bytes.Join(list, nil)) })
	return b.Bytes()
}

// onlyKeyType returns the key to announce: none if the profile takes keys of
// several types, for no single type is required then; otherwise the first, which
// is the profile's preference where it takes several curves or sizes.
func onlyKeyType(keys []ca.Algorithm) ca.Algorithm {
	if len(keys) == 0 {
		return ""
	}
	kind := keyWants[keys[0]].kind
	if kind == nil || slices.ContainsFunc(keys, func(k ca.Algorithm) bool { return !keyWants[k].kind.Equal(kind) }) {
		return ""
	}
	return keys[0]
}

func addAttribute(b *cryptobyte.Builder, kind asn1.ObjectIdentifier, values func(*cryptobyte.Builder)) {
	b.AddASN1(cryptobyteasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1ObjectIdentifier(kind)
		b.AddASN1(cryptobyteasn1.SET, values)
	})
}

// Tags of CertificationRequestInfoTemplate, which RFC 9908, Appendix A makes
// IMPLICIT.
var (
	tagTemplateKey        = cryptobyteasn1.Tag(0).Constructed().ContextSpecific()
	tagTemplateAttributes = cryptobyteasn1.Tag(1).Constructed().ContextSpecific()
)

// encodeTemplate encodes a CertificationRequestInfoTemplate: RFC 9908, Section
// 3.4. It returns nil if nothing would be in it.
func encodeTemplate(w issuer.Wants, key ca.Algorithm) ([]byte, error) {
	// What the client may leave out is not required, and must be absent.
	subject := slices.DeleteFunc(slices.Clone(w.Subject), func(a issuer.WantedAttribute) bool { return a.Optional })
	kind, extensions, err := encodeExtensions(w)
	if err != nil {
		return nil, err
	}
	if len(subject) == 0 && key == "" && extensions == nil {
		return nil, nil
	}
	var b cryptobyte.Builder
	b.AddASN1(cryptobyteasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1Int64(0)
		if len(subject) > 0 {
			b.AddASN1(cryptobyteasn1.SEQUENCE, func(b *cryptobyte.Builder) {
				for _, a := range subject {
					addWanted(b, a)
				}
			})
		}
		if key != "" {
			b.AddASN1(tagTemplateKey, func(b *cryptobyte.Builder) { addKeyTemplate(b, key) })
		}
		b.AddASN1(tagTemplateAttributes, func(b *cryptobyte.Builder) {
			if extensions != nil {
				addAttribute(b, kind, func(b *cryptobyte.Builder) { b.AddBytes(extensions) })
			}
		})
	})
	return b.Bytes()
}

// addWanted writes one RDN, without a value where the client fills it in.
func addWanted(b *cryptobyte.Builder, a issuer.WantedAttribute) {
	b.AddASN1(cryptobyteasn1.SET, func(b *cryptobyte.Builder) {
		b.AddASN1(cryptobyteasn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1ObjectIdentifier(a.OID)
			if a.Value == "" {
				return
			}
			// As certificates have it: PrintableString where it fits.
			value, err := asn1.Marshal(a.Value)
			if err != nil {
				b.SetError(err)
			}
			b.AddBytes(value)
		})
	})
}

// addKeyTemplate writes a SubjectPublicKeyInfoTemplate. Only an RSA key has a
// subjectPublicKey: a placeholder whose modulus has the length that is wanted.
func addKeyTemplate(b *cryptobyte.Builder, key ca.Algorithm) {
	wants := keyWants[key]
	b.AddASN1(cryptobyteasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1ObjectIdentifier(wants.kind)
		if wants.curve != nil {
			b.AddASN1ObjectIdentifier(wants.curve)
		} else {
			b.AddASN1NULL()
		}
	})
	if wants.bits == 0 {
		return
	}
	one := big.NewInt(1)
	modulus := new(big.Int).Sub(new(big.Int).Lsh(one, uint(wants.bits)), one)
	var placeholder cryptobyte.Builder
	placeholder.AddASN1(cryptobyteasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1BigInt(modulus)
		b.AddASN1Int64(65537)
	})
	der, err := placeholder.Bytes()
	if err != nil {
		b.SetError(err)
	}
	b.AddASN1BitString(der)
}

// extensionKeyUsages are the usages that profiles know.
var extensionKeyUsages = map[x509.ExtKeyUsage]asn1.ObjectIdentifier{
	x509.ExtKeyUsageServerAuth: {1, 3, 6, 1, 5, 5, 7, 3, 1},
	x509.ExtKeyUsageClientAuth: {1, 3, 6, 1, 5, 5, 7, 3, 2},
}

// encodeExtensions encodes the extensions of the template: as Extensions where
// each has its value, otherwise as ExtensionReqTemplate, in which alternative
// names have none, for the client to fill in. RFC 9908, Section 3.4 wants no more
// than one of the two.
func encodeExtensions(w issuer.Wants) (kind asn1.ObjectIdentifier, der []byte, err error) {
	names := w.DNS || w.IP || w.URI || w.Email
	var usages []asn1.ObjectIdentifier
	for _, u := range w.Usages {
		if id := extensionKeyUsages[u]; id != nil {
			usages = append(usages, id)
		}
	}
	if !names && len(usages) == 0 && !w.CA {
		return nil, nil, nil
	}
	var b cryptobyte.Builder
	b.AddASN1(cryptobyteasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		add := func(id asn1.ObjectIdentifier, critical bool, value any) {
			b.AddASN1(cryptobyteasn1.SEQUENCE, func(b *cryptobyte.Builder) {
				b.AddASN1ObjectIdentifier(id)
				if critical {
					b.AddASN1Boolean(true)
				}
				if value == nil {
					return
				}
				der, err := asn1.Marshal(value)
				if err != nil {
					b.SetError(err)
				}
				b.AddASN1OctetString(der)
			})
		}
		if w.CA {
			add(oidBasicConstraints, true, struct{ CA bool }{true})
		}
		if len(usages) > 0 {
			add(oidExtKeyUsages, false, usages)
		}
		if names {
			add(oidSubjectAltNames, false, nil)
		}
	})
	kind = oidExtensionRequest
	if names {
		kind = oidExtensionTemplate
	}
	der, err = b.Bytes()
	return kind, der, err
}
