package server

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"slices"

	"mintmark/ca/rotation"
	"mintmark/internal/ledger"
)

// chained is the server's own certificate with the path that every device can check at
// the moment: the issuing CAs up to, and without, the root, and while a root is replaced
// the certificate of that root by the other one. A device that trusts either of the two then
// finds what it trusts on the path. RFC 8446, Section 4.4.2 lets a chain hold more than
// a device needs. In an emergency nothing leads from one root to the other: whoever trusts the
// new one only would take what the thief of the old key has made. Once it is taken back,
// the old root certifies the new one, and the path is that under the new one.
//
// It is computed of what the registration authority holds in memory, for every handshake,
// so that a step of a rotation counts from the next handshake on.
func (o *ownTLS) chained(c *tls.Certificate) *tls.Certificate {
	path := o.path(c.Leaf)
	if len(path) == 0 {
		return c // as it was issued
	}
	chain := [][]byte{c.Leaf.Raw}
	for _, above := range slices.Backward(path[1:]) {
		chain = append(chain, above.Raw)
	}
	if len(path) == 1 {
		chain = [][]byte{c.Leaf.Raw} // by the root itself
	}
	r, running := o.s.ra.RotationOf(o.s.config.TLS.Issuer)
	emergency := running && r.Emergency && r.Kind == ledger.RotateRoot && !rotation.RollingBack(r)
	if b := bridge(path[0], o.s.ra.Bridges(o.serving())); b != nil && !emergency {
		chain = append(chain, b.Raw)
	}
	if slices.EqualFunc(chain, c.Certificate, bytes.Equal) {
		return c
	}
	changed := &tls.Certificate{PrivateKey: c.PrivateKey, Leaf: c.Leaf, Certificate: chain}
	// Another handshake may have been faster, or a renewal: then the next one will do.
	o.current.CompareAndSwap(c, changed)
	return changed
}

// serving is the CA that issues the server's own certificate.
func (o *ownTLS) serving() string { return o.s.ra.Serving(o.s.config.TLS.Issuer, "", "") }

// replaced reports whether another CA serves than has issued the certificate.
func (o *ownTLS) replaced() bool {
	c := o.current.Load()
	if c == nil {
		return false
	}
	authority, err := o.s.ra.Authority(o.serving())
	return err == nil && !issuedBelow(c.Leaf, []*x509.Certificate{authority.Certificate()})
}

// path is that of a certificate of the server's own, root first: of the CA that serves, or
// of the one that did when it was issued. Under which root, ServerPath knows: not every
// verifier takes every bridge.
func (o *ownTLS) path(leaf *x509.Certificate) []*x509.Certificate {
	if path := o.s.ra.ServerPath(o.s.config.TLS.Issuer); issuedBelow(leaf, path) {
		return path
	}
	if r, running := o.s.ra.RotationOf(o.s.config.TLS.Issuer); running {
		if path := o.s.ra.Anchors(r.Old); issuedBelow(leaf, path) {
			return path
		}
	}
	return nil
}

// issuedBelow reports whether the last CA of a path names itself as a certificate names
// its issuer. fits has checked the signature.
func issuedBelow(leaf *x509.Certificate, path []*x509.Certificate) bool {
	if len(path) == 0 {
		return false
	}
	by := path[len(path)-1]
	return bytes.Equal(leaf.RawIssuer, by.RawSubject) && (len(leaf.AuthorityKeyId) == 0 || bytes.Equal(leaf.AuthorityKeyId, by.SubjectKeyId))
}

// bridge is the certificate of a root's key by the other root of a rollover, or nil. Both
// roots may have one name: what tells them apart is their keys.
func bridge(root *x509.Certificate, bridges []*x509.Certificate) *x509.Certificate {
	for _, c := range bridges {
		if !c.Equal(root) && bytes.Equal(c.RawSubjectPublicKeyInfo, root.RawSubjectPublicKeyInfo) {
			return c
		}
	}
	return nil
}
