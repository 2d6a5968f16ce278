package est

import (
	"bytes"
	"mintmark/issuer"
	"net/http"

	"golang.org/x/crypto/cryptobyte"
	cryptobyteasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// notImplemented answers an optional operation that is not offered: RFC 7030,
// Section 4.3.2 leaves 404 and 501 for it.
func notImplemented(x *exchange) (response, error) {
	return response{}, fail(http.StatusNotImplemented, ruleOperation, "this server does not offer %s", x.op)
}

// fullCMC refuses: Full CMC is the server's to offer, and one that does not
// answers 404 or 501 (RFC 7030, Section 4.3.2).
func (h *Handler) fullCMC(x *exchange) (response, error) { return notImplemented(x) }

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
