package ca

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/binary"
	"hash"
	"sync"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// Certificates of one profile differ in few places: serial number, dates, key,
// the device's name. What the lints look for is the same in all of them, so
// one full lint speaks for all certificates of its shape.
//
// The shape of a certificate is its TBS with every byte in it, except: the
// digits of the serial number, of which the length counts; the dates, of which
// the types, the year of notBefore and the difference count; the point of an EC
// key (package x509 has found it on its curve); the subject key identifier, of
// which the length counts; and the values of commonName and serialNumber, in
// which a letter stands for every letter of its case and a digit for every
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

var (
	oidCommonName   = asn1.ObjectIdentifier{2, 5, 4, 3}
	oidSerialNumber = asn1.ObjectIdentifier{2, 5, 4, 5}
	oidSAN          = asn1.ObjectIdentifier{2, 5, 29, 17}
	oidSKI          = asn1.ObjectIdentifier{2, 5, 29, 14}
)

// shapeOf returns the shape of a certificate, or false if it has none.
func shapeOf(cert *x509.Certificate, pub crypto.PublicKey) (shape [sha256.Size]byte, ok bool) {
	if _, ec := pub.(*ecdsa.PublicKey); !ec || cert.IsCA {
		return shape, false
	}
	h := shapeHash{sha256.New()}
	input := cryptobyte.String(cert.RawTBSCertificate)
	var tbs, version, serial, algorithm, issuer, validity, subject, key, extensions cryptobyte.String
	if !input.ReadASN1(&tbs, cbasn1.SEQUENCE) ||
		!tbs.ReadASN1Element(&version, cbasn1.Tag(0).ContextSpecific().Constructed()) ||
		!tbs.ReadASN1(&serial, cbasn1.INTEGER) ||
		!tbs.ReadASN1Element(&algorithm, cbasn1.SEQUENCE) ||
		!tbs.ReadASN1Element(&issuer, cbasn1.SEQUENCE) ||
		!tbs.ReadASN1(&validity, cbasn1.SEQUENCE) ||
		!tbs.ReadASN1(&subject, cbasn1.SEQUENCE) ||
		!tbs.ReadASN1(&key, cbasn1.SEQUENCE) ||
		!tbs.ReadASN1(&extensions, cbasn1.Tag(3).ContextSpecific().Constructed()) || !tbs.Empty() {
		return shape, false
	}
	h.exact(version)
	h.number(len(serial), int(serial[0]&0x80))
	h.exact(algorithm)
	h.exact(issuer)
	if !h.validity(validity, cert) || !h.subject(subject) || !h.key(key) || !h.extensions(extensions) {
		return shape, false
	}
	h.Sum(shape[:0])
	return shape, true
}

// shapeHash takes in what counts, each part with its length.
type shapeHash struct{ hash.Hash }

func (h shapeHash) number(values ...int) {
	var b [8]byte
	for _, v := range values {
		binary.BigEndian.PutUint64(b[:], uint64(v))
		h.Write(b[:])
	}
}

func (h shapeHash) exact(b []byte) {
	h.number(len(b))
	h.Write(b)
}

func (h shapeHash) validity(s cryptobyte.String, cert *x509.Certificate) bool {
	for range 2 {
		var date cryptobyte.String
		var tag cbasn1.Tag
		if !s.ReadAnyASN1(&date, &tag) {
			return false
		}
		h.number(int(tag), len(date))
	}
	length := int(cert.NotAfter.Unix() - cert.NotBefore.Unix())
	if cert.NotAfter.Year() == 9999 {
		length = -1 // no well-defined expiry: the difference says nothing
	}
	h.number(cert.NotBefore.Year(), length)
	return s.Empty()
}

func (h shapeHash) subject(s cryptobyte.String) bool {
	for !s.Empty() {
		var set cryptobyte.String
		if !s.ReadASN1(&set, cbasn1.SET) {
			return false
		}
		h.number(len(set))
		for !set.Empty() {
			var attribute, value cryptobyte.String
			var oid asn1.ObjectIdentifier
			var tag cbasn1.Tag
			if !set.ReadASN1(&attribute, cbasn1.SEQUENCE) || !attribute.ReadASN1ObjectIdentifier(&oid) || !attribute.ReadAnyASN1(&value, &tag) || !attribute.Empty() {
				return false
			}
			h.exact([]byte(oid.String()))
			h.number(int(tag))
			if oid.Equal(oidCommonName) || oid.Equal(oidSerialNumber) {
				h.exact(classes(value))
			} else {
				h.exact(value)
			}
		}
	}
	return true
}

// key takes in the algorithm with its curve, and the length of the point.
func (h shapeHash) key(s cryptobyte.String) bool {
	var algorithm, point cryptobyte.String
	if !s.ReadASN1Element(&algorithm, cbasn1.SEQUENCE) || !s.ReadASN1(&point, cbasn1.BIT_STRING) || !s.Empty() || len(point) < 2 {
		return false
	}
	h.exact(algorithm)
	h.number(len(point), int(point[0]), int(point[1])) // unused bits, form of the point
	return true
}

func (h shapeHash) extensions(s cryptobyte.String) bool {
	var list cryptobyte.String
	if !s.ReadASN1(&list, cbasn1.SEQUENCE) || !s.Empty() {
		return false
	}
	for !list.Empty() {
		var whole, extension cryptobyte.String
		var oid asn1.ObjectIdentifier
		if !list.ReadASN1Element(&whole, cbasn1.SEQUENCE) {
			return false
		}
		body := whole
		if !body.ReadASN1(&extension, cbasn1.SEQUENCE) || !extension.ReadASN1ObjectIdentifier(&oid) {
			return false
		}
		switch {
		case oid.Equal(oidSAN):
			return false
		case oid.Equal(oidSKI):
			h.exact([]byte(oid.String()))
			h.number(len(whole))
		default:
			h.exact(whole)
		}
	}
	return true
}

// classes replaces letters and digits by one of their kind.
func classes(value []byte) []byte {
	out := make([]byte, len(value))
	for i, b := range value {
		switch {
		case b >= 'a' && b <= 'z':
			b = 'a'
		case b >= 'A' && b <= 'Z':
			b = 'A'
		case b >= '0' && b <= '9':
			b = '0'
		}
		out[i] = b
	}
	return out
}
