package ocsp

import (
	"bytes"
	"crypto/sha256"

	"mintmark/ca"
)

// issuerName is what a certID calls an authority. It stays the same when the
// authority goes by another certificate of the same name and key.
type issuerName struct {
	certificate  []byte // DER that it was made of
	sha1, sha256 hashes
}

type hashes struct{ name, key []byte }

func newIssuerName(a *ca.Authority) (*issuerName, error) {
	c := a.Certificate()
	bits, err := keyBits(c.RawSubjectPublicKeyInfo)
	if err != nil {
		return nil, err
	}
	name, key := sha256.Sum256(c.RawSubject), sha256.Sum256(bits)
	return &issuerName{
		certificate: c.Raw,
		sha1:        hashes{sha1Of(c.RawSubject), sha1Of(bits)},
		sha256:      hashes{name[:], key[:]},
	}, nil
}

// is reports whether a certificate is asked about that the authority has issued,
// or might have. SHA-1 and SHA-256 are known (RFC 5019, Section 2.1.1; RFC 9919).
func (n *issuerName) is(id certID) bool {
	var h hashes
	switch {
	case id.hash.Equal(oidSHA1):
		h = n.sha1
	case id.hash.Equal(oidSHA256):
		h = n.sha256
	default:
		return false
	}
	return bytes.Equal(h.name, id.nameHash) && bytes.Equal(h.key, id.keyHash)
}
