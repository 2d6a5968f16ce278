package ca

import (
	"crypto/x509"
	"encoding/asn1"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/zmap/zlint/v3/lint"
	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// What the lints of zlint leave open, or have in its collections for the web only, and
// what no end-entity certificate made here may have. A CA certificate is left alone: its
// subject may be that of a root that another product made long ago, and must stay as it is.
//
// What is read here of the values of a subject must show in the shape of the certificate:
// see shape.go.

// directoryText are the attributes of X.520 that are DirectoryStrings, by the last arc
// of their object identifiers below 2.5.4.
var directoryText = []byte{3, 4, 7, 8, 9, 10, 11, 12, 17, 41, 42, 43, 44, 65}

// lintOwn returns the findings of the lints of this package.
func lintOwn(cert *x509.Certificate) []Finding {
	if cert.IsCA {
		return nil
	}
	findings := lintSubject(cert.RawSubject)
	add := func(name, format string, args ...any) {
		findings = append(findings, Finding{Lint: name, Result: lint.Error.String(), Detail: fmt.Sprintf(format, args...)})
	}
	for _, name := range cert.DNSNames {
		// RFC 6125, Section 6.4.3: the whole of the left-most label, or nothing.
		if _, parent, found := strings.Cut(name, "*"); found && (!strings.HasPrefix(name, "*.") || strings.Contains(parent, "*") || !strings.Contains(parent[1:], ".")) {
			add("e_mintmark_san_wildcard", "%q: a wildcard is the whole of the left-most label, above at least two others", name)
		}
	}
	for _, address := range cert.EmailAddresses {
		if !mailbox(address) {
			add("e_mintmark_san_mailbox", "%q is not a mailbox", address)
		}
	}
	for _, u := range encodedURIs(cert) {
		// RFC 3986, Section 2: everything else stands in it percent-encoded.
		if strings.ContainsFunc(u, func(r rune) bool { return r <= ' ' || r >= 0x7f || strings.ContainsRune("\"<>\\^`{|}", r) }) {
			add("e_mintmark_san_uri", "%q has a character that a URI cannot have", u)
		}
	}
	if ecdsaWithParameters(cert) {
		add("e_mintmark_ecdsa_parameters", "the signature algorithm has parameters, and ECDSA has none")
	}
	for _, id := range cert.UnhandledCriticalExtensions {
		// RFC 5280, Section 4.2: whoever does not know it must refuse the certificate.
		// Names that crypto/x509 does not know, as in an IDevID, are the readers' business.
		if !id.Equal(oidSubjectAltName) {
			add("e_mintmark_unknown_critical", "the extension %s is critical, and few readers know it", id)
		}
	}
	return findings
}

// mailbox reports whether a text is Local-part@Domain in ASCII without spaces (RFC 5321,
// Section 4.1.2). A quoted local part may hold a space, and no system takes it.
func mailbox(address string) bool {
	i := strings.LastIndexByte(address, '@')
	return i > 0 && i < len(address)-1 && !strings.ContainsFunc(address, func(r rune) bool { return r <= ' ' || r >= 0x7f })
}

// encodedURIs are the URIs among the alternative names as they are encoded: crypto/x509 gives
// them in its own spelling.
func encodedURIs(cert *x509.Certificate) (all []string) {
	if len(cert.URIs) == 0 {
		return nil
	}
	for _, e := range cert.Extensions {
		input := cryptobyte.String(e.Value)
		if !e.Id.Equal(oidSubjectAltName) || !input.ReadASN1(&input, cbasn1.SEQUENCE) {
			continue
		}
		var name cryptobyte.String
		var tag cbasn1.Tag
		for input.ReadAnyASN1(&name, &tag) {
			if tag == cbasn1.Tag(6).ContextSpecific() {
				all = append(all, string(name))
			}
		}
	}
	return all
}

// ecdsaWithParameters reports whether the AlgorithmIdentifier of an ECDSA signature has
// parameters (RFC 5758, Section 3.2).
func ecdsaWithParameters(cert *x509.Certificate) bool {
	switch cert.SignatureAlgorithm {
	case x509.ECDSAWithSHA256, x509.ECDSAWithSHA384, x509.ECDSAWithSHA512:
	default:
		return false
	}
	element, err := signatureAlgorithm(cert.RawTBSCertificate)
	input := cryptobyte.String(element)
	return err != nil || !input.ReadASN1(&input, cbasn1.SEQUENCE) || !input.SkipASN1(cbasn1.OBJECT_IDENTIFIER) || !input.Empty()
}

// lintSubject looks at the values of a subject, DER.
func lintSubject(der []byte) (findings []Finding) {
	add := func(name, format string, args ...any) {
		findings = append(findings, Finding{Lint: name, Result: lint.Error.String(), Detail: fmt.Sprintf(format, args...)})
	}
	input := cryptobyte.String(der)
	var sets cryptobyte.String
	if !input.ReadASN1(&sets, cbasn1.SEQUENCE) {
		add("e_mintmark_subject", "is not a name")
		return findings
	}
	for !sets.Empty() {
		var set cryptobyte.String
		if !sets.ReadASN1(&set, cbasn1.SET) {
			add("e_mintmark_subject", "is not a name")
			return findings
		}
		for !set.Empty() {
			var attribute, value cryptobyte.String
			var oid asn1.ObjectIdentifier
			var tag cbasn1.Tag
			if !set.ReadASN1(&attribute, cbasn1.SEQUENCE) || !attribute.ReadASN1ObjectIdentifier(&oid) || !attribute.ReadAnyASN1(&value, &tag) {
				add("e_mintmark_subject", "is not a name")
				return findings
			}
			findings = append(findings, lintValue(oid, tag, value)...)
		}
	}
	return findings
}

// lintValue looks at one value of a subject.
func lintValue(oid asn1.ObjectIdentifier, tag cbasn1.Tag, value []byte) (findings []Finding) {
	add := func(name, format string, args ...any) {
		findings = append(findings, Finding{Lint: name, Result: lint.Error.String(), Detail: fmt.Sprintf(format, args...)})
	}
	// RFC 5280, Section 4.1.2.4: the other types of a DirectoryString are for names that
	// are in use already.
	x520 := len(oid) == 4 && oid[:3].Equal(asn1.ObjectIdentifier{2, 5, 4})
	if x520 && oid[3] < 256 && slices.Contains(directoryText, byte(oid[3])) && tag != cbasn1.PrintableString && tag != cbasn1.UTF8String {
		add("e_mintmark_subject_string_type", "attribute %s is neither a PrintableString nor a UTF8String", oid)
	}
	if len(value) == 0 {
		add("e_mintmark_subject_empty_value", "attribute %s has no value", oid)
		return findings
	}
	if tag == cbasn1.UTF8String && !utf8.Valid(value) {
		add("e_mintmark_subject_utf8", "attribute %s is not UTF-8", oid)
	}
	// RFC 4518, Section 2.6.1: they do not count where names are compared, so that such a
	// name is another one to some readers and the same one to others.
	if value[0] == ' ' || value[len(value)-1] == ' ' {
		add("e_mintmark_subject_blank", "attribute %s begins or ends with a space", oid)
	}
	// X.520, Section 6.3.1: a code of two letters (ISO 3166).
	if x520 && oid[3] == 6 && (len(value) != 2 || !letter(value[0]) || !letter(value[1])) {
		add("e_mintmark_subject_country", "the country %q is not a code of two letters", value)
	}
	return findings
}

func letter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }
