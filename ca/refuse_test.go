package ca

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
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

// TestBadTemplates takes one good template, spoils it in one way, and wants it
// refused with that reason, with nothing signed.
func TestBadTemplates(t *testing.T) {
	_, issuing, key := hierarchy(t, "P-256")
	good := pkitest.SecondKey(t, "P-256").Public()
	rsaKey := pkitest.Key(t, "RSA-2048").Public().(*rsa.PublicKey)
	p224, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	edwards, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ext := func(oid asn1.ObjectIdentifier, critical bool, value []byte) func(*x509.Certificate) {
		return func(c *x509.Certificate) {
			c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: oid, Critical: critical, Value: value})
		}
	}
	name := func(oid asn1.ObjectIdentifier, value any) func(*x509.Certificate) {
		return func(c *x509.Certificate) {
			c.Subject.ExtraNames = append(c.Subject.ExtraNames, pkix.AttributeTypeAndValue{Type: oid, Value: value})
		}
	}
	tests := []struct {
		name  string
		spoil func(*x509.Certificate)
		pub   crypto.PublicKey
		rules Rules
		want  string
	}{
		{"no serial number", func(c *x509.Certificate) { c.SerialNumber = nil }, nil, Rules{}, "serial number: is missing"},
		{"serial number 0", func(c *x509.Certificate) { c.SerialNumber = new(big.Int) }, nil, Rules{}, "serial number: must be positive"},
		{"negative serial number", func(c *x509.Certificate) { c.SerialNumber = big.NewInt(-5) }, nil, Rules{}, "serial number: must be positive"},
		{"serial number of 21 octets", func(c *x509.Certificate) { c.SerialNumber = new(big.Int).Lsh(one, 159) }, nil, Rules{}, "longer than 20 octets"},
		{"no notBefore", func(c *x509.Certificate) { c.NotBefore = time.Time{} }, nil, Rules{}, "notBefore is missing"},
		{"no notAfter", func(c *x509.Certificate) { c.NotAfter = time.Time{} }, nil, Rules{}, "notAfter is missing"},
		{"notAfter before notBefore", func(c *x509.Certificate) { c.NotAfter = c.NotBefore.Add(-time.Hour) }, nil, Rules{}, "is not after notBefore"},
		{"validity of less than a second", func(c *x509.Certificate) { c.NotAfter = c.NotBefore.Add(time.Millisecond) }, nil, Rules{}, "is not after notBefore"},
		{"notAfter after the issuer's", func(c *x509.Certificate) { c.NotAfter = testNow.AddDate(15, 0, 0) }, nil, Rules{}, "outlive its issuer"},
		{"CA without the rule", func(c *x509.Certificate) { c.IsCA, c.BasicConstraintsValid = true, true }, nil, Rules{}, "cA is set"},
		{"keyCertSign without the rule", func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageCertSign }, nil, Rules{}, "keyCertSign is set"},
		{"cRLSign without the rule", func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageCRLSign }, nil, Rules{}, "cRLSign is set"},
		{"end entity under the CA rule", func(*x509.Certificate) {}, nil, Rules{CA: true}, "not a CA certificate"},
		{"foreign key identifier", func(c *x509.Certificate) { c.SubjectKeyId = []byte{1, 2, 3} }, nil, Rules{}, "subject key identifier"},
		{"encoded basicConstraints", ext(oidBasicConstraints, true, []byte{0x30, 3, 1, 1, 0xff}), nil, Rules{}, "basicConstraints is set by the engine"},
		{"encoded keyUsage", ext(oidKeyUsage, true, []byte{3, 2, 2, 4}), nil, Rules{}, "keyUsage is set by the engine"},
		{"encoded authority key identifier", ext(oidAuthorityKeyID, false, []byte{0x30, 0}), nil, Rules{}, "authorityKeyIdentifier is set by the engine"},
		{"encoded subject key identifier", ext(oidSubjectKeyID, false, []byte{4, 1, 1}), nil, Rules{}, "subjectKeyIdentifier is set by the engine"},
		{"encoded name constraints", ext(oidNameConstraints, true, []byte{0x30, 0}), nil, Rules{}, "nameConstraints is set by the engine"},
		{"extension twice", func(c *x509.Certificate) {
			ext(asn1.ObjectIdentifier{1, 2, 3}, false, []byte{5, 0})(c)
			ext(asn1.ObjectIdentifier{1, 2, 3}, false, []byte{5, 0})(c)
		}, nil, Rules{}, "duplicate"},
		{"key of the issuer", func(*x509.Certificate) {}, key.Public(), Rules{}, "is the key of the issuing CA itself"},
		{"curve P-224", func(*x509.Certificate) {}, p224.Public(), Rules{}, "P-224 is not one of"},
		{"Ed25519", func(*x509.Certificate) {}, edwards, Rules{}, "ed25519.PublicKey is not one of"},
		{"point not on the curve", func(*x509.Certificate) {}, &ecdsa.PublicKey{Curve: elliptic.P256(), X: big.NewInt(1), Y: big.NewInt(1)}, Rules{}, "not a valid public key"},
		{"RSA-1024", func(*x509.Certificate) {}, &rsa.PublicKey{N: new(big.Int).Rsh(rsaKey.N, 1024), E: 65537}, Rules{}, "1024 bits"},
		{"RSA exponent 3", func(*x509.Certificate) {}, &rsa.PublicKey{N: rsaKey.N, E: 3}, Rules{}, "exponent 3"},
		{"RSA exponent even", func(*x509.Certificate) {}, &rsa.PublicKey{N: rsaKey.N, E: 65538}, Rules{}, "exponent 65538"},
		{"no key", func(*x509.Certificate) {}, struct{}{}, Rules{}, "public key"},
		{"URL that is not ASCII", func(c *x509.Certificate) { c.OCSPServer = []string{"http://pki.ex\u00e4mple/"} }, nil, Rules{}, "character that a URL cannot have"},

		// From here on it is lint that refuses.
		{"common name of 65", func(c *x509.Certificate) { c.Subject.CommonName = strings.Repeat("a", 65) }, nil, Rules{}, "e_subject_common_name_max_length"},
		{"serialNumber attribute of 65", func(c *x509.Certificate) { c.Subject.SerialNumber = strings.Repeat("1", 65) }, nil, Rules{}, "e_subject_dn_serial_number_max_length"},
		{"organization of 65", func(c *x509.Certificate) { c.Subject.Organization = []string{strings.Repeat("o", 65)} }, nil, Rules{}, "e_subject_organization_name_max_length"},
		{"organizational unit of 65", func(c *x509.Certificate) { c.Subject.OrganizationalUnit = []string{strings.Repeat("u", 65)} }, nil, Rules{}, "e_subject_organizational_unit_name_max_length"},
		{"locality of 129", func(c *x509.Certificate) { c.Subject.Locality = []string{strings.Repeat("l", 129)} }, nil, Rules{}, "e_subject_locality_name_max_length"},
		{"country in UTF-8", name(asn1.ObjectIdentifier{2, 5, 4, 6}, asn1.RawValue{Tag: asn1.TagUTF8String, Bytes: []byte("DE")}), nil, Rules{}, "country_not_printable_string"},
		{"control character in the name", func(c *x509.Certificate) { c.Subject.CommonName = "press\x07" }, nil, Rules{}, "e_subject_dn_not_printable_characters"},
		{"no subject and no alternative name", func(c *x509.Certificate) { c.Subject = pkix.Name{} }, nil, Rules{}, "e_subject_empty_without_san"},
		{"no subject, alternative name not critical", func(c *x509.Certificate) {
			c.Subject = pkix.Name{}
			ext(oidSubjectAltName, false, []byte{0x30, 5, 0x82, 3, 'a', '.', 'b'})(c)
		}, nil, Rules{}, "e_ext_san_not_critical_without_subject"},
		{"empty alternative name", ext(oidSubjectAltName, false, []byte{0x30, 0}), nil, Rules{}, "e_ext_san_no_entries"},
		{"underscore in a DNS name", func(c *x509.Certificate) { c.DNSNames = []string{"press_1.example.com"} }, nil, Rules{}, "underscore"},
		{"empty label in a DNS name", func(c *x509.Certificate) { c.DNSNames = []string{"press..example.com"} }, nil, Rules{}, "empty_label"},
		{"DNS label of 64", func(c *x509.Certificate) { c.DNSNames = []string{strings.Repeat("a", 64) + ".example.com"} }, nil, Rules{}, "e_rfc_dnsname_label_too_long"},
		{"DNS name of one space", func(c *x509.Certificate) { c.DNSNames = []string{" "} }, nil, Rules{}, "e_ext_san_space_dns_name"},
		{"relative URI", func(c *x509.Certificate) { c.URIs = []*url.URL{{Path: "press/142"}} }, nil, Rules{}, "e_ext_san_uri_"},
		{"e-mail only in the subject", name(oidEmailAddress, "a@example.com"), nil, Rules{}, "e_subj_email_not_in_san"},
		{"keyEncipherment for an EC key", func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageKeyEncipherment }, nil, Rules{}, "e_ecdsa_allowed_ku"},
		{"keyAgreement for an RSA key", func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageKeyAgreement }, rsaKey, Rules{}, "e_rsa_allowed_ku_ee"},
		{"key usage against extended key usage", func(c *x509.Certificate) {
			c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageOCSPSigning}
			c.KeyUsage = x509.KeyUsageKeyAgreement
		}, nil, Rules{}, "e_key_usage_and_extended_key_usage_inconsistent"},
		{"policy twice", func(c *x509.Certificate) {
			ext(oidPolicies, false, []byte{0x30, 12, 0x30, 4, 6, 2, 42, 3, 0x30, 4, 6, 2, 42, 3})(c)
		}, nil, Rules{}, "certificate policies"},
		{"critical CRL distribution points", func(c *x509.Certificate) {
			c.CRLDistributionPoints = nil
			ext(oidCRLDistribution, true, crlDistribution)(c)
		}, nil, Rules{}, "w_ext_crl_distribution_marked_critical"},
		{"CA issuers without a URL", func(c *x509.Certificate) { c.IssuingCertificateURL = []string{"directory"} }, nil, Rules{}, "not an absolute"},
		{"CRL at a path", func(c *x509.Certificate) { c.CRLDistributionPoints = []string{"http:///root.crl"} }, nil, Rules{}, "not an absolute"},
		{"critical authority information", func(c *x509.Certificate) {
			c.IssuingCertificateURL, c.OCSPServer = nil, nil
			ext(oidAuthorityInfo, true, []byte("\x30\x17\x30\x15\x06\x08\x2b\x06\x01\x05\x05\x07\x30\x01\x86\x09http://a/"))(c)
		}, nil, Rules{}, "incorrectly marked critical"},
		{"CT poison with an SCT list", func(c *x509.Certificate) {
			ext(oidCTPoison, true, []byte{5, 0})(c)
			ext(oidSCTList, false, []byte{4, 2, 0, 0})(c)
		}, nil, Rules{}, "sct_list"},
	}
	if p, err := issuing.Prepare(deviceTemplate(), good, Rules{}); err != nil || p == nil {
		t.Fatalf("the good template: %v", err)
	}
	if len(tests) < 50 {
		t.Errorf("only %d bad templates", len(tests))
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			template := deviceTemplate()
			tt.spoil(template)
			pub := tt.pub
			if pub == nil {
				pub = good
			}
			p, err := issuing.Prepare(template, pub, tt.rules)
			if err == nil {
				t.Fatal("accepted")
			}
			if p != nil {
				t.Error("refused, but with a token")
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("refused for another reason: %v; want %q", err, tt.want)
			}
		})
	}
	if n := key.calls.Load(); n != 0 {
		t.Errorf("%d signatures for bad templates", n)
	}
}

// crlDistribution is CRLDistributionPoints with one URL.
var crlDistribution = []byte("\x30\x13\x30\x11\xa0\x0f\xa0\x0d\x86\x0bhttp://a/b.")

func TestLimitsOfTheIssuer(t *testing.T) {
	_, lan, _ := net.ParseCIDR("10.0.0.0/8")
	_, vault, _ := net.ParseCIDR("10.9.0.0/16")
	below := 1
	s := rootSpec()
	s.PathLen = &below
	s.Permitted = NameConstraints{DNS: []string{"factory.example"}, IP: []*net.IPNet{lan}, Email: []string{"factory.example"}, URI: []string{".factory.example"}}
	s.Excluded = NameConstraints{DNS: []string{"secret.factory.example"}, IP: []*net.IPNet{vault}}
	root := makeRoot(t, s, pkitest.Key(t, "P-384"))
	sub := issuingSpec()
	sub.PathLen = nil
	issuing := makeSub(t, root, sub, 2, pkitest.Key(t, "P-256"))
	pub := pkitest.SecondKey(t, "P-256").Public()

	link := func(s string) []*url.URL { u, _ := url.Parse(s); return []*url.URL{u} }
	for _, tt := range []struct {
		name  string
		build func(*x509.Certificate)
		want  string
	}{
		{"inside", func(c *x509.Certificate) {
			c.DNSNames, c.IPAddresses = []string{"EST.factory.example", "factory.example", "*.line1.factory.example"}, []net.IP{net.IPv4(10, 1, 1, 1)}
			c.EmailAddresses, c.URIs = []string{"pki@factory.example"}, link("https://a.factory.example/x")
		}, ""},
		{"only a common name", func(*x509.Certificate) {}, ""},
		{"other domain", func(c *x509.Certificate) { c.DNSNames = []string{"evil.example"} }, "outside the names"},
		{"suffix without a dot", func(c *x509.Certificate) { c.DNSNames = []string{"evilfactory.example"} }, "outside the names"},
		{"excluded", func(c *x509.Certificate) { c.DNSNames = []string{"a.secret.factory.example"} }, "is excluded"},
		{"wildcard over the excluded", func(c *x509.Certificate) { c.DNSNames = []string{"*.factory.example"} }, "is excluded"},
		{"other address", func(c *x509.Certificate) { c.IPAddresses = []net.IP{net.IPv4(192, 168, 1, 1)} }, "outside the ranges"},
		{"address of another family", func(c *x509.Certificate) { c.IPAddresses = []net.IP{net.ParseIP("fd00::1")} }, "outside the ranges"},
		{"excluded address", func(c *x509.Certificate) { c.IPAddresses = []net.IP{net.IPv4(10, 9, 1, 1)} }, "is excluded"},
		{"other mailbox", func(c *x509.Certificate) { c.EmailAddresses = []string{"a@evil.example"} }, "outside the names"},
		{"mailbox of a host below", func(c *x509.Certificate) { c.EmailAddresses = []string{"a@x.factory.example"} }, "outside the names"},
		{"URI of the bare domain", func(c *x509.Certificate) { c.URIs = link("https://factory.example/") }, "outside the names"},
		{"URI without a host", func(c *x509.Certificate) { c.URIs = link("urn:mint:1") }, "has no host name"},
		{"URI of an address", func(c *x509.Certificate) { c.URIs = link("https://10.1.1.1/") }, "has no host name"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			template := deviceTemplate()
			tt.build(template)
			p, err := issuing.Prepare(template, pub, Rules{})
			if tt.want != "" {
				if err == nil || !strings.Contains(err.Error(), tt.want) {
					t.Fatalf("error %v, want %q", err, tt.want)
				}
				return
			}
			cert := issue(t, p, err)
			pool := x509.NewCertPool()
			pool.AddCert(root.Certificate())
			between := x509.NewCertPool()
			between.AddCert(issuing.Certificate())
			_, err = cert.Verify(x509.VerifyOptions{Roots: pool, Intermediates: between, CurrentTime: testNow, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
			if err != nil {
				t.Errorf("crypto/x509 refuses what the engine allowed: %v", err)
			}
		})
	}

	// The root allows one CA below it; issuing is that one.
	template, err := Spec{Subject: pkix.Name{CommonName: "Gateway CA"}, Validity: time.Hour}.Template(big.NewInt(3), testNow)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := issuing.Prepare(template, pub, Rules{CA: true}); err == nil || !strings.Contains(err.Error(), "path length") {
		t.Errorf("a CA beyond the path length: %v", err)
	}
	template.MaxPathLen = 3
	if _, err := root.Prepare(template, pub, Rules{CA: true}); err == nil || !strings.Contains(err.Error(), "cannot be reached") {
		t.Errorf("a path length that cannot be reached: %v", err)
	}
	template.MaxPathLen, template.MaxPathLenZero = 0, true
	if _, err := root.Prepare(template, pub, Rules{CA: true}); err != nil {
		t.Errorf("a CA within the path length: %v", err)
	}
}
