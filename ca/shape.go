package ca

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"sync"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// Certificates of one profile differ in few places: serial number, dates, key,
// the device's name. What the lints look for is the same in all of them, so
// one full lint speaks for all certificates of its shape.
//
// The shape of a certificate is its TBS with every byte in it, except: the
// digits of the serial number, of which the length counts, the sign and whether it
// is zero; the digits of the dates, of which the years and the difference count;
// the point of an EC key (package x509 has found it on its curve); the subject key
// identifier, of which the length counts; and the values of commonName and
// serialNumber, if they are of printable ASCII and of a type that holds it as such:
// there a letter stands for every letter of its case and a digit for every
// digit, while everything else stands for itself. Certificates with subject
// alternative names or with RSA keys have no shape: lints read their values.
//
// So that a lint which does read more is found out, one certificate in
// relintEvery of a known shape is linted all the same.

const (
	relintEvery = 256
	maxShapes   = 4096
)

// knownShapes are those that were linted without a finding.
type knownShapes struct {
	mu    sync.Mutex
	known map[[sha256.Size]byte]uint32 // certificates since the last full lint
}

// passed reports whether a certificate of this shape need not be linted.
func (s *knownShapes) passed(shape [sha256.Size]byte) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, ok := s.known[shape]
	if !ok || n >= relintEvery {
		return false
	}
	s.known[shape] = n + 1
	return true
}

// learn records what a full lint of a certificate of this shape found.
func (s *knownShapes) learn(shape [sha256.Size]byte, clean bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !clean {
		delete(s.known, shape)
		return
	}
	if s.known == nil || len(s.known) >= maxShapes {
		s.known = make(map[[sha256.Size]byte]uint32)
	}
	s.known[shape] = 0
}

// DER of the object identifiers of what is not taken in as it stands.
var (
	derCommonName   = []byte{6, 3, 0x55, 4, 3}
	derSerialNumber = []byte{6, 3, 0x55, 4, 5}
	derSAN          = []byte{6, 3, 0x55, 29, 17}
	derSKI          = []byte{6, 3, 0x55, 29, 14}
)

// shapeOf returns the shape of a certificate, or false if it has none.
func shapeOf(cert *x509.Certificate, pub crypto.PublicKey) (shape [sha256.Size]byte, ok bool) {
	if _, ec := pub.(*ecdsa.PublicKey); !ec || cert.IsCA {
		return shape, false
	}
	s := skeleton{make([]byte, 0, len(cert.RawTBSCertificate)+512)}
	input := cryptobyte.String(cert.RawTBSCertificate)
	var tbs, version, serial, algorithm, issuer, validity, subject, key, extensions cryptobyte.String
	if !input.ReadASN1(&tbs, cbasn1.SEQUENCE) || !input.Empty() ||
		!tbs.ReadASN1Element(&version, cbasn1.Tag(0).ContextSpecific().Constructed()) ||
		!tbs.ReadASN1(&serial, cbasn1.INTEGER) || len(serial) == 0 ||
		!tbs.ReadASN1Element(&algorithm, cbasn1.SEQUENCE) ||
		!tbs.ReadASN1Element(&issuer, cbasn1.SEQUENCE) ||
		!tbs.ReadASN1(&validity, cbasn1.SEQUENCE) ||
		!tbs.ReadASN1(&subject, cbasn1.SEQUENCE) ||
		!tbs.ReadASN1(&key, cbasn1.SEQUENCE) ||
		!tbs.ReadASN1(&extensions, cbasn1.Tag(3).ContextSpecific().Constructed()) || !tbs.Empty() {
		return shape, false
	}
	s.exact(version)
	s.number(len(serial), int(serial[0]&0x80), len(bytes.TrimLeft(serial, "\x00")))
	s.exact(algorithm)
	s.exact(issuer)
	if !s.validity(validity, cert) || !s.subject(subject) || !s.key(key) || !s.extensions(extensions) {
		return shape, false
	}
	return sha256.Sum256(s.parts), true
}

// skeleton takes in what counts, each part with its length.
type skeleton struct{ parts []byte }

func (s *skeleton) number(values ...int) {
	for _, v := range values {
		s.parts = binary.BigEndian.AppendUint64(s.parts, uint64(v))
	}
}

func (s *skeleton) exact(b []byte) {
	s.number(len(b))
	s.parts = append(s.parts, b...)
}

// classes takes in b with letters, if they count, and digits replaced by one of their
// kind.
func (s *skeleton) classes(b []byte, letters bool) {
	start := len(s.parts) + 8
	s.exact(b)
	for i, c := range s.parts[start:] {
		switch {
		case c >= '0' && c <= '9':
			c = '0'
		case letters && c >= 'a' && c <= 'z':
			c = 'a'
		case letters && c >= 'A' && c <= 'Z':
			c = 'A'
		}
		s.parts[start+i] = c
	}
}

func (s *skeleton) validity(input cryptobyte.String, cert *x509.Certificate) bool {
	for range 2 {
		var date cryptobyte.String
		var tag cbasn1.Tag
		if !input.ReadAnyASN1(&date, &tag) {
			return false
		}
		s.number(int(tag))
		s.classes(date, false)
	}
	length := int(cert.NotAfter.Unix() - cert.NotBefore.Unix())
	if cert.NotAfter.Year() == 9999 {
		length = -1 // no well-defined expiry: the difference says nothing
	}
	s.number(cert.NotBefore.Year(), cert.NotAfter.Year(), length)
	return input.Empty()
}

func (s *skeleton) subject(input cryptobyte.String) bool {
	for !input.Empty() {
		var set cryptobyte.String
		if !input.ReadASN1(&set, cbasn1.SET) {
			return false
		}
		s.number(len(set))
		for !set.Empty() {
			var attribute, oid, value cryptobyte.String
			var tag cbasn1.Tag
			if !set.ReadASN1(&attribute, cbasn1.SEQUENCE) || !attribute.ReadASN1Element(&oid, cbasn1.OBJECT_IDENTIFIER) || !attribute.ReadAnyASN1(&value, &tag) || !attribute.Empty() {
				return false
			}
			s.exact(oid)
			s.number(int(tag))
			if (bytes.Equal(oid, derCommonName) || bytes.Equal(oid, derSerialNumber)) && printable(value, tag) {
				s.classes(value, true)
			} else {
				s.exact(value)
			}
		}
	}
	return true
}

// printable reports whether a string is of printable ASCII and of a type in which each
// byte of it is a character.
func printable(value []byte, tag cbasn1.Tag) bool {
	switch tag {
	case cbasn1.PrintableString, cbasn1.UTF8String, cbasn1.IA5String:
		for _, c := range value {
			if c < ' ' || c > '~' {
				return false
			}
		}
		return true
	}
	return false
}

// key takes in the algorithm with its curve, and the length of the point.
func (s *skeleton) key(input cryptobyte.String) bool {
	var algorithm, point cryptobyte.String
	if !input.ReadASN1Element(&algorithm, cbasn1.SEQUENCE) || !input.ReadASN1(&point, cbasn1.BIT_STRING) || !input.Empty() || len(point) < 2 {
		return false
	}
	s.exact(algorithm)
	s.number(len(point), int(point[0]), int(point[1])) // unused bits, form of the point
	return true
}

func (s *skeleton) extensions(input cryptobyte.String) bool {
	var list cryptobyte.String
	if !input.ReadASN1(&list, cbasn1.SEQUENCE) || !input.Empty() {
		return false
	}
	for !list.Empty() {
		var whole, extension, oid cryptobyte.String
		if !list.ReadASN1Element(&whole, cbasn1.SEQUENCE) {
			return false
		}
		body := whole
		if !body.ReadASN1(&extension, cbasn1.SEQUENCE) || !extension.ReadASN1Element(&oid, cbasn1.OBJECT_IDENTIFIER) {
			return false
		}
		switch {
		case bytes.Equal(oid, derSAN):
			return false
		case bytes.Equal(oid, derSKI):
			// Only the identifier itself is left out, which stands last.
			var value, id cryptobyte.String
			if !extension.SkipOptionalASN1(cbasn1.BOOLEAN) || !extension.ReadASN1(&value, cbasn1.OCTET_STRING) || !extension.Empty() ||
				!value.ReadASN1(&id, cbasn1.OCTET_STRING) || !value.Empty() {
				return false
			}
			s.exact(whole[:len(whole)-len(id)])
			s.number(len(id))
		default:
			s.exact(whole)
		}
	}
	return true
}
