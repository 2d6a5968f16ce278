package ca

import (
	"bytes"
	"errors"
	"math/big"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// CRLLists reports whether the DER of a CRL has an entry for a serial number. It steps over
// the entries without keeping them; nothing of the CRL is verified.
func CRLLists(der []byte, serial *big.Int) (bool, error) {
	malformed := errors.New("malformed CRL")
	input := cryptobyte.String(der)
	var crl, tbs cryptobyte.String
	if !input.ReadASN1(&crl, cbasn1.SEQUENCE) || !input.Empty() || !crl.ReadASN1(&tbs, cbasn1.SEQUENCE) {
		return false, malformed
	}
	var head CRLHead
	if !tbs.SkipOptionalASN1(cbasn1.INTEGER) || !tbs.SkipASN1(cbasn1.SEQUENCE) || !tbs.SkipASN1(cbasn1.SEQUENCE) || !readTime(&tbs, &head.ThisUpdate) ||
		!tbs.SkipOptionalASN1(cbasn1.UTCTime) || !tbs.SkipOptionalASN1(cbasn1.GeneralizedTime) {
		return false, malformed
	}
	var entries cryptobyte.String
	var present bool
	if !tbs.ReadOptionalASN1(&entries, &present, cbasn1.SEQUENCE) {
		return false, malformed
	}
	var b cryptobyte.Builder
	b.AddASN1BigInt(serial)
	want, err := b.Bytes()
	if err != nil {
		return false, err
	}
	for !entries.Empty() {
		var entry, number cryptobyte.String
		if !entries.ReadASN1(&entry, cbasn1.SEQUENCE) || !entry.ReadASN1Element(&number, cbasn1.INTEGER) {
			return false, malformed
		}
		if bytes.Equal(number, want) {
			return true, nil
		}
	}
	return false, nil
}
