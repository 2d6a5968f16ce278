package issuer

import (
	"bytes"
	"crypto/x509"
	"regexp"
	"slices"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"

	"mintmark/internal/pkcs10"
)

// oidChangeSubjectName is the content of id-cmc-changeSubjectName in DER (RFC
// 6402, Section 2.8). A request without these bytes does not have the
// attribute, and its attributes need not be read.
var oidChangeSubjectName = []byte{0x2b, 6, 1, 5, 5, 7, 7, 36}

// rename lets the names that a request asks for by ChangeSubjectName take the
// place of its own (RFC 7030, Section 4.2.2), where that is allowed.
func (csr *request) rename(r *Request) error {
	if r.naming != nil || !bytes.Contains(csr.Raw, oidChangeSubjectName) {
		return nil
	}
	attributes, err := pkcs10.ParseAttributes(csr.Raw)
	if err != nil {
		refusal := refuse(Malformed, "csr-attribute", "an attribute of the certification request cannot be parsed")
		refusal.Err = err
		return refusal
	}
	if attributes.ChangeSubject == nil {
		return nil
	}
	if !r.ChangeNames {
		return refuse(Forbidden, "change-names", "the request asks for other names by ChangeSubjectName, which is not allowed here: leave it out")
	}
	names, err := csr.with(*attributes.ChangeSubject)
	if err != nil {
		refusal := refuse(Malformed, "csr-attribute", "the names in ChangeSubjectName cannot be parsed")
		refusal.Err = err
		return refusal
	}
	if err := checkSize(names); err != nil {
		return err
	}
	csr.names, csr.change = names, attributes.ChangeSubject
	return nil
}

// with returns a request of the same key that has the new names where there
// are some: they are read by the parser that reads every request's.
func (csr *request) with(change pkcs10.ChangeSubject) (*x509.CertificateRequest, error) {
	subject, alternative := change.Subject, change.SubjectAlt
	if subject == nil {
		subject = csr.RawSubject
	}
	if alternative == nil {
		for _, extension := range csr.Extensions {
			if extension.Id.Equal(oidSubjectAltName) {
				alternative = extension.Value
			}
		}
	}
	// RFC 2986, Section 4.1.
	var b cryptobyte.Builder
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1Int64(0)
			b.AddBytes(subject)
			b.AddBytes(csr.RawSubjectPublicKeyInfo)
			b.AddASN1(cbasn1.Tag(0).ContextSpecific().Constructed(), func(b *cryptobyte.Builder) {
				if alternative != nil {
					addAlternative(b, alternative)
				}
			})
		})
		b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) { b.AddASN1ObjectIdentifier(oidECDSAWithSHA256) })
		b.AddASN1BitString(nil) // nobody verifies it
	})
	der, err := b.Bytes()
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificateRequest(der)
}

// addAlternative adds an extensionRequest (RFC 2985, Section 5.4.2) of subject
// alternative names.
func addAlternative(b *cryptobyte.Builder, names []byte) {
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1ObjectIdentifier(oidExtensionRequest)
		b.AddASN1(cbasn1.SET, func(b *cryptobyte.Builder) {
			b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
				b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
					b.AddASN1ObjectIdentifier(oidSubjectAltName)
					b.AddASN1OctetString(names)
				})
			})
		})
	})
}

// takesChange refuses names in ChangeSubjectName that a certificate of the
// profile would not get. Whoever asks for a change by name must have it or be
// told; what a request merely brings along is left out without a word.
func (p *Profile) takesChange(csr *request) error {
	if csr.change == nil {
		return nil
	}
	if csr.change.Subject != nil {
		for _, a := range csr.names.Subject.Names {
			i := slices.IndexFunc(p.subject, func(r subjectRule) bool { return r.oid.Equal(a.Type) })
			switch {
			case i < 0:
				return refuse(Malformed, "change-names", "ChangeSubjectName asks for the subject attribute %s, which profile %s does not take", a.Type, p.Name)
			case p.subject[i].pattern == nil && a.Value != p.subject[i].value:
				return refuse(Malformed, "change-names", "ChangeSubjectName asks for another %s than %q, which every certificate of profile %s has", p.subject[i].attribute, p.subject[i].value, p.Name)
			}
		}
	}
	if csr.change.SubjectAlt == nil {
		return nil
	}
	all, err := generalNames(csr.names.Extensions)
	if err != nil {
		return err
	}
	taken := 0
	for _, kind := range []struct {
		name    string
		count   int
		allowed *regexp.Regexp
	}{{"DNS", len(csr.names.DNSNames), p.dns}, {"IP", len(csr.names.IPAddresses), p.ip}, {"URI", len(csr.names.URIs), p.uri}, {"email", len(csr.names.EmailAddresses), p.email}} {
		if taken += kind.count; kind.count > 0 && kind.allowed == nil {
			return refuse(Malformed, "change-names", "ChangeSubjectName asks for a %s name, and profile %s takes none", kind.name, p.Name)
		}
	}
	if taken != len(all) {
		return refuse(Malformed, "change-names", "ChangeSubjectName asks for a kind of alternative name that no profile takes")
	}
	return nil
}

// sameNames reports whether two requests ask for the same names. That they were
// found by one text says nothing: it is clipped.
func (csr *request) sameNames(other *request) bool {
	if !bytes.Equal(csr.names.RawSubject, other.names.RawSubject) && !sameName(csr.names.Subject, other.names.Subject) {
		return false
	}
	a, err := generalNames(csr.names.Extensions)
	if err != nil {
		return false
	}
	b, err := generalNames(other.names.Extensions)
	return err == nil && slices.EqualFunc(a, b, bytes.Equal)
}
