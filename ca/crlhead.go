package ca

import (
	"errors"
	"math"
	"time"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// CRLHead is what a CRL says of itself; nothing of it is verified.
type CRLHead struct {
	Number     int64
	ThisUpdate time.Time
	// Scope is the value of its issuingDistributionPoint; nil if it has none.
	Scope []byte
}

// ReadCRLHead reads the DER of a CRL but for its entries, which it steps over: a CRL of a
// million entries costs no more than an empty one. The CRL must have a number that is
// positive and fits into 63 bits.
func ReadCRLHead(der []byte) (CRLHead, error) {
	malformed := errors.New("malformed CRL")
	input := cryptobyte.String(der)
	var crl, tbs cryptobyte.String
	if !input.ReadASN1(&crl, cbasn1.SEQUENCE) || !input.Empty() || !crl.ReadASN1(&tbs, cbasn1.SEQUENCE) {
		return CRLHead{}, malformed
	}
	var head CRLHead
	if !tbs.SkipOptionalASN1(cbasn1.INTEGER) || !tbs.SkipASN1(cbasn1.SEQUENCE) || !tbs.SkipASN1(cbasn1.SEQUENCE) || !readTime(&tbs, &head.ThisUpdate) ||
		!tbs.SkipOptionalASN1(cbasn1.UTCTime) || !tbs.SkipOptionalASN1(cbasn1.GeneralizedTime) || !tbs.SkipOptionalASN1(cbasn1.SEQUENCE) {
		return CRLHead{}, malformed
	}
	var outer, extensions cryptobyte.String
	if !tbs.ReadASN1(&outer, cbasn1.Tag(0).ContextSpecific().Constructed()) || !tbs.Empty() || !outer.ReadASN1(&extensions, cbasn1.SEQUENCE) || !outer.Empty() {
		return CRLHead{}, malformed
	}
	for !extensions.Empty() {
		var extension, id, value cryptobyte.String
		if !extensions.ReadASN1(&extension, cbasn1.SEQUENCE) || !extension.ReadASN1(&id, cbasn1.OBJECT_IDENTIFIER) ||
			!extension.SkipOptionalASN1(cbasn1.BOOLEAN) || !extension.ReadASN1(&value, cbasn1.OCTET_STRING) || !extension.Empty() {
			return CRLHead{}, malformed
		}
		switch string(id) {
		case "\x55\x1d\x14": // 2.5.29.20, cRLNumber
			if !value.ReadASN1Integer(&head.Number) || !value.Empty() {
				return CRLHead{}, malformed
			}
		case "\x55\x1d\x1c": // 2.5.29.28, issuingDistributionPoint
			head.Scope = append([]byte{}, value...)
		}
	}
	if head.Number <= 0 || head.Number == math.MaxInt64 {
		return CRLHead{}, errors.New("the CRL has no number that one could follow")
	}
	return head, nil
}

func readTime(s *cryptobyte.String, t *time.Time) bool {
	if s.PeekASN1Tag(cbasn1.UTCTime) {
		return s.ReadASN1UTCTime(t)
	}
	return s.ReadASN1GeneralizedTime(t)
}
