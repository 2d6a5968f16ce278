package ocsp

import (
	"crypto"
	"crypto/rand"
	"fmt"
	"time"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"

	"mintmark/internal/ledger"
)

// responseStatus is an OCSPResponseStatus (RFC 6960, Section 4.2.1).
type responseStatus byte

const (
	successful       responseStatus = 0
	malformedRequest responseStatus = 1
	internalError    responseStatus = 2
	tryLater         responseStatus = 3
	unauthorized     responseStatus = 6
)

// failure returns an answer that says nothing of a certificate and is not signed.
func (s responseStatus) failure() []byte {
	return []byte{0x30, 0x03, byte(cbasn1.ENUM), 0x01, byte(s)}
}

// certStatus is what is said of one certificate.
type certStatus int

const (
	good certStatus = iota
	revoked
	unknown
)

// single is a SingleResponse.
type single struct {
	id        certID
	status    certStatus
	revokedAt time.Time
	reason    ledger.Reason
}

// singleOf says how the record of a certificate, or the lack of one, is answered by
// the authority of that name. What is on its CRL is revoked: void serials, too.
// A certificate that is being issued has not left, and is unknown as yet.
func singleOf(id certID, record ledger.Certificate, issuer string) single {
	s := single{id: id, status: unknown}
	if record.Issuer != issuer {
		return s
	}
	switch record.State {
	case ledger.Valid:
		s.status = good
	case ledger.Revoked:
		s.status, s.revokedAt, s.reason = revoked, record.RevokedAt, record.Reason
	case ledger.Voided:
		s.status, s.revokedAt = revoked, record.RevokedAt
	}
	return s
}

// respond encodes and signs an OCSPResponse about certificates, as of now, good
// until the given time. What it returns is without the certificate at its end:
// that is d.tail, which all answers of a delegate share.
func (d *delegate) respond(about []single, nonce []byte, now, until time.Time) ([]byte, error) {
	data, err := responseData(d.keyHash, about, nonce, now, until)
	if err != nil {
		return nil, fmt.Errorf("encoding an OCSP answer: %w", err)
	}
	signature, err := crypto.SignMessage(d.key, rand.Reader, data, d.hash)
	if err != nil {
		return nil, fmt.Errorf("signing an OCSP answer: %w", err)
	}
	var basic cryptobyte.Builder
	basic.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddBytes(data)
		b.AddBytes(d.algorithm)
		b.AddASN1BitString(signature)
		b.AddBytes(d.tail)
	})
	inner, err := basic.Bytes()
	if err != nil {
		return nil, fmt.Errorf("encoding an OCSP answer: %w", err)
	}
	var b cryptobyte.Builder
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1Enum(int64(successful))
		b.AddASN1(explicit(0), func(b *cryptobyte.Builder) {
			b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
				b.AddASN1ObjectIdentifier(oidBasic)
				b.AddASN1OctetString(inner)
			})
		})
	})
	der, err := b.Bytes()
	if err != nil {
		return nil, fmt.Errorf("encoding an OCSP answer: %w", err)
	}
	// Everything ends where the certificate does.
	head := make([]byte, len(der)-len(d.tail))
	copy(head, der)
	return head, nil
}

// responseData encodes a ResponseData (RFC 6960, Section 4.2.1) of a responder
// that is named by the hash of its key.
func responseData(keyHash []byte, about []single, nonce []byte, now, until time.Time) ([]byte, error) {
	var b cryptobyte.Builder
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1(explicit(2), func(b *cryptobyte.Builder) { b.AddASN1OctetString(keyHash) })
		b.AddASN1GeneralizedTime(now.UTC())
		b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
			for _, s := range about {
				b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
					b.AddBytes(s.id.raw)
					s.addStatus(b, now)
					b.AddASN1GeneralizedTime(now.UTC())
					b.AddASN1(explicit(0), func(b *cryptobyte.Builder) { b.AddASN1GeneralizedTime(until.UTC()) })
				})
			}
		})
		if nonce != nil {
			b.AddASN1(explicit(1), func(b *cryptobyte.Builder) {
				b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
					b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
						b.AddASN1ObjectIdentifier(oidNonce)
						b.AddASN1(cbasn1.OCTET_STRING, func(b *cryptobyte.Builder) { b.AddASN1OctetString(nonce) })
					})
				})
			})
		}
	})
	return b.Bytes()
}

// addStatus encodes a CertStatus.
func (s single) addStatus(b *cryptobyte.Builder, now time.Time) {
	tag := cbasn1.Tag(s.status).ContextSpecific()
	if s.status != revoked {
		b.AddASN1(tag, func(*cryptobyte.Builder) {}) // NULL
		return
	}
	// A clock that was set back since must not make an answer of the future.
	at := s.revokedAt
	if at.After(now) {
		at = now
	}
	b.AddASN1(tag.Constructed(), func(b *cryptobyte.Builder) {
		b.AddASN1GeneralizedTime(at.UTC())
		// As on the CRL, no reason is said where there is none (RFC 5280, Section 5.3.1).
		if s.reason != ledger.Unspecified {
			b.AddASN1(explicit(0), func(b *cryptobyte.Builder) { b.AddASN1Enum(int64(s.reason)) })
		}
	})
}
