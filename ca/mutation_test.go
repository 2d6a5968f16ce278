package ca

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	"mintmark/internal/pkitest"
)

// What is wrong must be refused by an authority that has seen nothing, and by one that has
// let through many certificates which differ from the wrong one in that one point only:
// those it knows by their shape, and a shape that is too coarse would speak for the
// wrong one.

// mutant is a template that is good or bad, by one change.
type mutant struct {
	name      string
	good, bad func(*x509.Certificate)
	pub       crypto.PublicKey // of the bad one, where it is the key that is bad
}

// text is a good value as long as the bad one.
func text(bad string) string { return strings.Repeat("x", len(bad)) }

func commonName(v string) func(*x509.Certificate) {
	return func(c *x509.Certificate) { c.Subject.CommonName = v }
}

// attributeValue puts a value of any string type into the subject.
func attributeValue(arc int, tag int, v string) func(*x509.Certificate) {
	return func(c *x509.Certificate) {
		c.Subject.ExtraNames = append(c.Subject.ExtraNames, pkix.AttributeTypeAndValue{
			Type: asn1.ObjectIdentifier{2, 5, 4, arc}, Value: asn1.RawValue{Tag: tag, Bytes: []byte(v)},
		})
		if arc == 3 {
			c.Subject.CommonName = "" // in place of the one that there is
		}
		if arc == 5 {
			c.Subject.SerialNumber = ""
		}
	}
}

func extension(oid asn1.ObjectIdentifier, critical bool, value string) func(*x509.Certificate) {
	return func(c *x509.Certificate) {
		c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: oid, Critical: critical, Value: []byte(value)})
	}
}

func same(*x509.Certificate) {}

// badTemplates are wrong in what the certificate is, and not in a name.
func badTemplates(t *testing.T, issuer crypto.PublicKey) []mutant {
	t.Helper()
	rsaKey := pkitest.Key(t, "RSA-2048").Public().(*rsa.PublicKey)
	p224, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	private := asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 37476, 9000, 1}
	set := func(f func(c *x509.Certificate)) func(*x509.Certificate) { return f }
	return []mutant{
		{"serial number 0", set(func(c *x509.Certificate) { c.SerialNumber = big.NewInt(1) }), func(c *x509.Certificate) { c.SerialNumber = new(big.Int) }, nil},
		{"serial number negative", set(func(c *x509.Certificate) { c.SerialNumber = big.NewInt(1) }), func(c *x509.Certificate) { c.SerialNumber = big.NewInt(-1) }, nil},
		{"serial number of 21 octets", same, func(c *x509.Certificate) { c.SerialNumber = new(big.Int).Lsh(one, 159) }, nil},
		{"no serial number", same, func(c *x509.Certificate) { c.SerialNumber = nil }, nil},
		{"notAfter before notBefore", same, func(c *x509.Certificate) { c.NotBefore, c.NotAfter = c.NotAfter, c.NotBefore }, nil},
		{"notAfter is notBefore", same, func(c *x509.Certificate) { c.NotAfter = c.NotBefore }, nil},
		{"notAfter after the issuer's", same, func(c *x509.Certificate) { c.NotAfter = testNow.AddDate(15, 0, 0) }, nil},
		{"notBefore missing", same, func(c *x509.Certificate) { c.NotBefore = time.Time{} }, nil},
		{"CA with a path length", same, func(c *x509.Certificate) { c.IsCA, c.BasicConstraintsValid, c.MaxPathLen = true, true, 1 }, nil},
		{"path length without CA", set(func(c *x509.Certificate) { c.BasicConstraintsValid, c.MaxPathLen = true, -1 }), extension(oidBasicConstraints, true, "\x30\x03\x02\x01\x03"), nil},
		{"keyCertSign", same, func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageCertSign }, nil},
		{"cRLSign", same, func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageCRLSign }, nil},
		{"keyEncipherment with an EC key", same, func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageKeyEncipherment }, nil},
		{"usages that contradict", same, func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageEncipherOnly | x509.KeyUsageKeyAgreement }, nil},
		{"unknown critical extension", extension(private, false, "\x0c\x01x"), extension(private, true, "\x0c\x01x"), nil},
		{"extension twice", extension(private, false, "\x0c\x01x"), func(c *x509.Certificate) {
			extension(private, false, "\x0c\x01x")(c)
			extension(private, false, "\x0c\x01x")(c)
		}, nil},
		{"extended key usage empty", same, func(c *x509.Certificate) { c.ExtKeyUsage = nil; extension(oidExtKeyUsage, false, "\x30\x00")(c) }, nil},
		{"extended key usage any, critical", same, func(c *x509.Certificate) {
			c.ExtKeyUsage = nil
			extension(oidExtKeyUsage, true, "\x30\x06\x06\x04\x55\x1d\x25\x00")(c)
		}, nil},
		{"alternative names empty", same, extension(oidSubjectAltName, false, "\x30\x00"), nil},
		{"IP address of 5 bytes", func(c *x509.Certificate) { c.IPAddresses = []net.IP{{10, 0, 0, 1}} }, extension(oidSubjectAltName, false, "\x30\x07\x87\x05\x0a\x00\x00\x01\x02"), nil},
		{"DNS name not in IA5String", func(c *x509.Certificate) { c.DNSNames = []string{"ab.example"} }, extension(oidSubjectAltName, false, "\x30\x0c\x82\x0a\xc3\xa4.example"), nil},
		{"foreign subject key identifier", same, func(c *x509.Certificate) { c.SubjectKeyId = []byte(strings.Repeat("k", 20)) }, nil},
		{"encoded authority key identifier", same, extension(oidAuthorityKeyID, false, "\x30\x00"), nil},
		{"encoded key usage", same, extension(oidKeyUsage, true, "\x03\x02\x02\x04"), nil},
		{"CRL at a URL with a space", func(c *x509.Certificate) { c.CRLDistributionPoints = []string{"http://pki.example.com/a-b"} }, func(c *x509.Certificate) { c.CRLDistributionPoints = []string{"http://pki.example.com/a b"} }, nil},
		{"CRL over ftp", func(c *x509.Certificate) { c.CRLDistributionPoints = []string{"http://pki.example.com/"} }, func(c *x509.Certificate) { c.CRLDistributionPoints = []string{"ftp://pki.example.com/"} }, nil},
		{"CRL critical", same, func(c *x509.Certificate) {
			c.CRLDistributionPoints = nil
			extension(oidCRLDistribution, true, string(crlDistribution))(c)
		}, nil},
		{"OCSP without a host", same, func(c *x509.Certificate) { c.OCSPServer = []string{"http:///ocsp"} }, nil},
		{"authority information critical", same, func(c *x509.Certificate) {
			c.IssuingCertificateURL, c.OCSPServer = nil, nil
			extension(oidAuthorityInfo, true, "\x30\x17\x30\x15\x06\x08\x2b\x06\x01\x05\x05\x07\x30\x01\x86\x09http://a/")(c)
		}, nil},
		{"policy twice", extension(oidPolicies, false, "\x30\x0c\x30\x04\x06\x02\x2a\x03\x30\x04\x06\x02\x2a\x04"), extension(oidPolicies, false, "\x30\x0c\x30\x04\x06\x02\x2a\x03\x30\x04\x06\x02\x2a\x03"), nil},
		{"RSA exponent 1", same, same, &rsa.PublicKey{N: rsaKey.N, E: 1}},
		{"RSA exponent 3", same, same, &rsa.PublicKey{N: rsaKey.N, E: 3}},
		{"RSA exponent even", same, same, &rsa.PublicKey{N: rsaKey.N, E: 65538}},
		{"RSA of 1024 bits", same, same, &rsa.PublicKey{N: new(big.Int).Rsh(rsaKey.N, 1024), E: 65537}},
		{"RSA modulus even", same, same, &rsa.PublicKey{N: new(big.Int).Sub(rsaKey.N, one), E: 65537}},
		{"P-224", same, same, &p224.PublicKey},
		{"point not on the curve", same, same, &ecdsa.PublicKey{Curve: elliptic.P256(), X: big.NewInt(1), Y: big.NewInt(1)}},
		{"key of the issuer", same, same, issuer},
	}
}

// badValues are wrong in a name.
func badValues() []mutant {
	dns := func(v string) func(*x509.Certificate) {
		return func(c *x509.Certificate) { c.DNSNames = []string{v} }
	}
	san := func(tag byte, v string) func(*x509.Certificate) {
		return extension(oidSubjectAltName, false, string(append([]byte{0x30, byte(len(v) + 2), tag, byte(len(v))}, v...)))
	}
	uri := func(v string) func(*x509.Certificate) {
		return func(c *x509.Certificate) {
			c.URIs = []*url.URL{{Scheme: "http", Host: "a.example", Path: "/x"}}
			if v != "" {
				c.URIs = nil
				san(0x86, v)(c)
			}
		}
	}
	cn := func(name, bad string) mutant { return mutant{name, commonName(text(bad)), commonName(bad), nil} }
	value := func(name string, arc, tag int, good, bad string) mutant {
		return mutant{name, attributeValue(arc, tag, good), attributeValue(arc, tag, bad), nil}
	}
	const printableString, utf8String, t61, bmp, universal, ia5 = asn1.TagPrintableString, asn1.TagUTF8String, asn1.TagT61String, asn1.TagBMPString, 28, asn1.TagIA5String
	return []mutant{
		{"common name of 65", commonName(strings.Repeat("a", 64)), commonName(strings.Repeat("a", 65)), nil},
		cn("control character", "press-\x07001"),
		cn("NUL", "press-000\x00"),
		cn("newline", "press\n0001"),
		cn("tab", "press\t0001"),
		cn("DEL", "press-000\x7f"),
		cn("C1 control character", "press-00\u0085"),
		cn("leading space", " press-001"),
		cn("trailing space", "press-0001 "),
		cn("only a space", " "),
		value("empty common name", 3, utf8String, "x", ""),
		value("empty serial number", 5, printableString, "1", ""),
		value("UTF-8 that is none", 3, utf8String, "press-\xc3\xa4", "press-\xc3\x28"),
		value("UTF-8, a surrogate", 3, utf8String, "press-\xe2\x82\xac", "press-\xed\xa0\x80"),
		value("UTF-8, overlong", 3, utf8String, "press-\xc3\xa4", "press-\xc0\xaf"),
		{"BMPString", attributeValue(3, utf8String, "pres"), attributeValue(3, bmp, "\x00p\x00r"), nil},
		{"T61String", attributeValue(3, utf8String, "press-1"), attributeValue(3, t61, "press-1"), nil},
		{"UniversalString", attributeValue(3, utf8String, "press123"), attributeValue(3, universal, "\x00\x00\x00p\x00\x00\x00r"), nil},
		{"IA5String", attributeValue(3, utf8String, "press-1"), attributeValue(3, ia5, "press-1"), nil},
		value("at sign in a PrintableString", 3, printableString, "press-0001", "press@0001"),
		value("underscore in a PrintableString", 3, printableString, "press-0001", "press_0001"),
		value("asterisk in a PrintableString", 5, printableString, "000142", "00*142"),
		value("serial number of 65", 5, printableString, strings.Repeat("1", 64), strings.Repeat("1", 65)),
		{"serial number in UTF-8", attributeValue(5, printableString, "000142"), attributeValue(5, utf8String, "000142"), nil},
		value("country of three letters", 6, printableString, "DE", "DEU"),
		value("country of one letter", 6, printableString, "DE", "D"),
		value("country of digits", 6, printableString, "DE", "49"),
		{"country in UTF-8", attributeValue(6, printableString, "DE"), attributeValue(6, utf8String, "DE"), nil},
		value("organization of 65", 10, utf8String, strings.Repeat("o", 64), strings.Repeat("o", 65)),
		value("unit of 65", 11, utf8String, strings.Repeat("o", 64), strings.Repeat("o", 65)),
		value("locality of 129", 7, utf8String, strings.Repeat("o", 128), strings.Repeat("o", 129)),
		value("state of 129", 8, utf8String, strings.Repeat("o", 128), strings.Repeat("o", 129)),
		{"DNS label of 64", dns(strings.Repeat("a", 63) + ".example.com"), dns(strings.Repeat("a", 64) + ".example.com"), nil},
		{"DNS name of 254", dns(strings.Repeat("a.", 126) + "b"), dns(strings.Repeat("a.", 126) + "bb"), nil},
		{"DNS name with an underscore", dns("press-1.example.com"), dns("press_1.example.com"), nil},
		{"DNS name with an empty label", dns("press.x.example.com"), dns("press..example.com"), nil},
		{"DNS name of a space", dns("x"), dns(" "), nil},
		{"DNS name with a wildcard inside", dns("pr.example.com"), dns("p*.example.com"), nil},
		{"DNS name with a wildcard at the right", dns("press.x.com"), dns("press.*.com"), nil},
		{"DNS name of a wildcard above one label", dns("a.example"), dns("*.example"), nil},
		{"DNS name of a wildcard alone", dns("a"), dns("*"), nil},
		{"DNS name malformed as an internationalised one", dns("xn--mnchen-3ya.example"), dns("xn--mnchen-.example"), nil},
		{"e-mail without a domain", func(c *x509.Certificate) { c.EmailAddresses = []string{"a@b.example"} }, san(0x81, "a.b.example"), nil},
		{"e-mail with a space", func(c *x509.Certificate) { c.EmailAddresses = []string{"a@b.example"} }, san(0x81, "a @b.example"), nil},
		{"e-mail in the subject only", func(c *x509.Certificate) { c.EmailAddresses = []string{"a@b.example"} }, func(c *x509.Certificate) {
			c.Subject.ExtraNames = []pkix.AttributeTypeAndValue{{Type: oidEmailAddress, Value: "a@b.example"}}
		}, nil},
		{"URI that is relative", uri(""), uri("/press/142"), nil},
		{"URI with a space", uri(""), uri("http://a.example/a b"), nil},
		{"URI of no host", uri(""), uri("http:///x"), nil},
		{"URI that is not ASCII", uri(""), uri("http://a.example/\xc3\xa4"), nil},
	}
}

// TestMutants: at least 30 bad templates and 30 bad values.
func TestMutants(t *testing.T) {
	for kind, mutants := range map[string]func(*testing.T, crypto.PublicKey) []mutant{
		"templates": badTemplates,
		"values":    func(*testing.T, crypto.PublicKey) []mutant { return badValues() },
	} {
		t.Run(kind, func(t *testing.T) {
			_, warm, key := hierarchy(t, "P-256")
			all := mutants(t, key.Public())
			if len(all) < 30 {
				t.Errorf("only %d", len(all))
			}
			for _, m := range all {
				for range 3 {
					prepareMutant(t, warm, m.good, newECKey(t, elliptic.P256()), m.name+", good")
				}
			}
			for _, m := range all {
				t.Run(m.name, func(t *testing.T) { refuseMutant(t, warm, m) })
			}
			if n := key.calls.Load(); n != 0 {
				t.Errorf("%d signatures", n)
			}
		})
	}
}

// prepareMutant prepares what must be accepted.
func prepareMutant(t *testing.T, a *Authority, change func(*x509.Certificate), pub crypto.PublicKey, name string) *Prepared {
	t.Helper()
	p, err := mutate(a, change, pub)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return p
}

func mutate(a *Authority, change func(*x509.Certificate), pub crypto.PublicKey) (*Prepared, error) {
	template := deviceTemplate()
	template.SerialNumber.Add(template.SerialNumber, one)
	change(template)
	return a.Prepare(template, pub, Rules{})
}

func refuseMutant(t *testing.T, warm *Authority, m mutant) {
	_, cold, _ := hierarchy(t, "P-256")
	pub := m.pub
	if pub == nil {
		pub = newECKey(t, elliptic.P256())
	}
	if p, err := mutate(cold, m.bad, pub); err == nil || p != nil {
		t.Errorf("accepted by an authority that has seen nothing: %v", err)
	}
	// The good one is known, or has no shape to be known by.
	good := prepareMutant(t, warm, m.good, newECKey(t, elliptic.P256()), "good")
	if shape, ok := shapeOf(good.cert, good.cert.PublicKey); ok && !warm.shapes.passed(shape) {
		t.Error("the shape of the good one is not known")
	}
	for range 2 {
		if p, err := mutate(warm, m.bad, pub); err == nil || p != nil {
			t.Errorf("accepted by an authority that knows the good one: %v", err)
		}
	}
	prepareMutant(t, warm, m.good, newECKey(t, elliptic.P256()), "good, after the bad one")
}
