package ca

import (
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"math/big"
	"time"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// withEntries puts revokedCertificates into the TBSCertList of an empty CRL:
//
//	TBSCertList ::= SEQUENCE {
//	  version, signature, issuer, thisUpdate, nextUpdate,
//	  revokedCertificates SEQUENCE OF SEQUENCE { ... } OPTIONAL,
//	  crlExtensions [0] EXPLICIT Extensions OPTIONAL }
//
// RFC 5280, Section 5.1. crypto/x509 encodes all but the entries: it takes a second for
// a hundred thousand of them, and this takes some milliseconds.
func withEntries(frame []byte, entries []x509.RevocationListEntry) ([]byte, error) {
	if len(entries) == 0 {
		return frame, nil // the field is left out: Section 5.1.2.6
	}
	// 23 bytes of serial number at most, 17 of time, 14 of a reason, 2 around them.
	list := make([]byte, 0, 56*len(entries))
	var err error
	for i := range entries {
		if list, err = appendEntry(list, &entries[i]); err != nil {
			return nil, err
		}
	}
	return withList(frame, list)
}

// withList is withEntries with the entries encoded.
func withList(frame, list []byte) ([]byte, error) {
	input := cryptobyte.String(frame)
	var body cryptobyte.String
	if !input.ReadASN1(&body, cbasn1.SEQUENCE) || !input.Empty() {
		return nil, errors.New("the frame is no TBSCertList")
	}
	rest := body
	for range 5 { // up to nextUpdate, which checkCRL wants
		var element cryptobyte.String
		var tag cbasn1.Tag
		if !rest.ReadAnyASN1Element(&element, &tag) {
			return nil, errors.New("the frame ends early")
		}
	}
	head := body[:len(body)-len(rest)]
	if !rest.PeekASN1Tag(cbasn1.Tag(0).ContextSpecific().Constructed()) {
		return nil, errors.New("the frame has no extensions where they belong")
	}
	out := make([]byte, 0, len(frame)+len(list)+16)
	out = appendHeader(out, 0x30, len(head)+headerSize(len(list))+len(list)+len(rest))
	out = append(out, head...)
	out = appendHeader(out, 0x30, len(list))
	out = append(out, list...)
	return append(out, rest...), nil
}

// reasonExtension is the Extension reasonCode of RFC 5280, Section 5.3.1, up to the
// code, which is one byte.
var reasonExtension = []byte{0x30, 0x0c, 0x30, 0x0a, 0x06, 0x03, 0x55, 0x1d, 0x15, 0x04, 0x03, 0x0a, 0x01}

// appendEntry appends one entry that checkCRL has let through.
func appendEntry(b []byte, e *x509.RevocationListEntry) ([]byte, error) {
	if len(e.ExtraExtensions) > 0 {
		return nil, refuse("CRL entry", "serial number %x has further extensions, which are not written", e.SerialNumber)
	}
	serial := integerSize(e.SerialNumber)
	at := e.RevocationTime.UTC()
	// Section 5.1.2.6, as 4.1.2.5: UTCTime through 2049, GeneralizedTime from 2050.
	layout, tag := "060102150405Z", byte(asn1.TagUTCTime)
	switch year := at.Year(); {
	case year < 1950 || year > 9999:
		return nil, refuse("CRL entry", "RevocationTime %s of serial number %x cannot be encoded", at.Format(time.RFC3339), e.SerialNumber)
	case year >= 2050:
		layout, tag = "20060102150405Z", byte(asn1.TagGeneralizedTime)
	}
	size := 2 + serial + 2 + len(layout)
	if e.ReasonCode != 0 {
		size += len(reasonExtension) + 1
	}
	b = appendHeader(b, 0x30, size)
	b = appendHeader(b, byte(asn1.TagInteger), serial)
	b = b[:len(b)+serial]
	e.SerialNumber.FillBytes(b[len(b)-serial:])
	b = append(b, tag, byte(len(layout)))
	b = at.AppendFormat(b, layout)
	if e.ReasonCode != 0 {
		b = append(b, reasonExtension...)
		b = append(b, byte(e.ReasonCode))
	}
	return b, nil
}

// integerSize is the length of a positive INTEGER of DER.
func integerSize(n *big.Int) int { return n.BitLen()/8 + 1 }

// headerSize is the length of tag and length of an element.
func headerSize(n int) int {
	if n <= 0x7f {
		return 2
	}
	size := 2
	for ; n > 0; n >>= 8 {
		size++
	}
	return size
}

// appendHeader appends tag and length: X.690, Section 10.1.
func appendHeader(b []byte, tag byte, n int) []byte {
	b = append(b, tag)
	octets := headerSize(n) - 2
	if octets == 0 {
		return append(b, byte(n))
	}
	b = append(b, 0x80|byte(octets))
	for ; octets > 0; octets-- {
		b = append(b, byte(n>>(8*(octets-1))))
	}
	return b
}
