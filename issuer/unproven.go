package issuer

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"

	"mintmark/ca"
)

// parse is the part of step 2 that needs no profile.
func (r *Request) parse() (*request, error) {
	if r.Unproven != nil {
		return r.Unproven.request()
	}
	return parseRequest(r.CSR)
}

// made is the key of a certificate whose request does not prove possession of it: the
// server has made it, or an operator vouches for it. Nil for every other.
func (r *Request) made(csr *request) crypto.PublicKey {
	if r.Unproven != nil {
		return csr.public
	}
	return r.Generated
}

// request is what a certification request of that name and key would be, without the
// signature and without encoding one.
func (u *Unproven) request() (*request, error) {
	if len(u.Name) > maxName || len(u.Key) > MaxRequest {
		return nil, refuse(Malformed, "csr-size", "the name measures %d bytes and the key %d; %d and %d are allowed", len(u.Name), len(u.Key), maxName, MaxRequest)
	}
	public, err := x509.ParsePKIXPublicKey(u.Key)
	if err != nil {
		r := refuse(Malformed, "key-type", "the key is no SubjectPublicKeyInfo in DER of a type that is known here")
		r.Err = err
		return nil, r
	}
	// The certificate gets the key as it is encoded here; in other bytes the sender would
	// not find it there.
	if der, err := x509.MarshalPKIXPublicKey(public); err != nil || !bytes.Equal(der, u.Key) {
		return nil, refuse(Malformed, "key-type", "the key is not encoded as certificates have it: send the SubjectPublicKeyInfo in DER")
	}
	name := pkix.Name{CommonName: u.Name, Names: []pkix.AttributeTypeAndValue{{Type: oidCommonName, Value: u.Name}}}
	parsed := &x509.CertificateRequest{Subject: name, PublicKey: public}
	return &request{CertificateRequest: parsed, names: parsed, public: public}, nil
}

// forever is the window of a request that is made again: see Request.Again.
const forever = 1<<63 - 1

// pathOf returns the path of a certificate, the root first: that of the authority which
// signed it now, or that of the related one which did so earlier.
func (ra *RA) pathOf(c *x509.Certificate, by *ca.Authority, label, device string) []*x509.Certificate {
	if signedBy(c, by) {
		return ra.PathFor(by.Name(), label, device)
	}
	for _, name := range ra.Related(by.Name()) {
		if a, err := ra.Authority(name); err == nil && signedBy(c, a) {
			ra.mu.RLock()
			defer ra.mu.RUnlock()
			return ra.known.pathFor(name, label, device)
		}
	}
	return ra.PathFor(by.Name(), label, device)
}

// signedBy compares names, of which no two authorities have the same with the same key.
func signedBy(c *x509.Certificate, a *ca.Authority) bool {
	return bytes.Equal(c.RawIssuer, a.Certificate().RawSubject) && bytes.Equal(c.AuthorityKeyId, a.Certificate().SubjectKeyId)
}
