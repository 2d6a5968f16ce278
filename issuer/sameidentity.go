package issuer

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"slices"
)

// sameIdentity reports whether a request has the subject and the subject
// alternative names of the certificate that it renews (RFC 7030, Section
// 4.2.2). Values are compared, not bytes: a client may encode a string as
// UTF8String that stands in the certificate as PrintableString, and may order
// its alternative names as it likes.
func sameIdentity(csr *x509.CertificateRequest, old *x509.Certificate) error {
	if !sameName(csr.Subject, old.Subject) {
		return refuse(Malformed, "renewal-subject", "the request's subject %q is not the subject %q of the certificate being renewed", csr.Subject.String(), old.Subject.String())
	}
	requested, err := generalNames(csr.Extensions)
	if err != nil {
		return err
	}
	held, err := generalNames(old.Extensions)
	if err != nil {
		return err
	}
	if !slices.EqualFunc(requested, held, bytes.Equal) {
		return refuse(Malformed, "renewal-san", "the request's subject alternative names are not those of the certificate being renewed")
	}
	return nil
}

// sameName compares two names attribute by attribute.
func sameName(a, b pkix.Name) bool {
	return slices.EqualFunc(a.Names, b.Names, func(x, y pkix.AttributeTypeAndValue) bool {
		sx, okx := x.Value.(string)
		sy, oky := y.Value.(string)
		return x.Type.Equal(y.Type) && okx && oky && sx == sy
	})
}

// generalNames returns the alternative names among extensions, encoded and
// sorted. The context tags of GeneralName leave one encoding per value.
func generalNames(extensions []pkix.Extension) ([][]byte, error) {
	var names [][]byte
	for _, extension := range extensions {
		if !extension.Id.Equal(oidSubjectAltName) {
			continue
		}
		var sequence []asn1.RawValue
		if rest, err := asn1.Unmarshal(extension.Value, &sequence); err != nil || len(rest) > 0 {
			return nil, refuse(Malformed, "csr-extension", "the subject alternative names cannot be parsed")
		}
		for _, name := range sequence {
			names = append(names, name.FullBytes)
		}
	}
	slices.SortFunc(names, bytes.Compare)
	return names, nil
}
