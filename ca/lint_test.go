package ca

import (
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"net"
	"slices"
	"strings"
	"testing"

	zx509 "github.com/zmap/zcrypto/x509"
	"github.com/zmap/zlint/v3/lint"

	"mintmark/internal/pkitest"
)

// shapes returns templates that between them have every extension of the
// table, and none, well and badly made.
func shapes(t *testing.T) map[string]*x509.Certificate {
	t.Helper()
	_, lan, _ := net.ParseCIDR("10.0.0.0/8")
	caTemplate := func(s Spec) *x509.Certificate {
		c, err := s.Template(big.NewInt(5), testNow)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	bare := &x509.Certificate{SerialNumber: big.NewInt(6), NotBefore: testNow, NotAfter: testNow.AddDate(1, 0, 0)}
	named := *bare
	named.Subject = pkix.Name{CommonName: "x"}
	everlasting := deviceTemplate()
	everlasting.NotAfter = pkitest.NoExpiry
	constrained := issuingSpec()
	constrained.Permitted = NameConstraints{DNS: []string{"example.com"}, IP: []*net.IPNet{lan}, Email: []string{"example.com"}, URI: []string{".example.com"}}
	noPath := issuingSpec()
	noPath.PathLen = nil
	all := map[string]*x509.Certificate{
		"bare": bare, "named": &named, "device": deviceTemplate(), "server": serverTemplate(), "everlasting": everlasting,
		"root": caTemplate(rootSpec()), "issuing": caTemplate(issuingSpec()), "constrained": caTemplate(constrained), "no path length": caTemplate(noPath),
	}
	encryption := deviceTemplate()
	encryption.KeyUsage = x509.KeyUsageKeyEncipherment | x509.KeyUsageKeyAgreement | x509.KeyUsageEncipherOnly
	encryption.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageAny, x509.ExtKeyUsageEmailProtection}
	all["encryption"] = encryption
	registrar := deviceTemplate()
	registrar.UnknownExtKeyUsage = []asn1.ObjectIdentifier{{1, 3, 6, 1, 5, 5, 7, 3, 28}}
	all["registration authority"], all["gateway"] = registrar, gatewayTemplate()
	leafWithBasics := deviceTemplate()
	leafWithBasics.BasicConstraintsValid, leafWithBasics.MaxPathLen = true, -1
	all["basic constraints of an end entity"] = leafWithBasics

	// Each extension of the table by itself, in an end-entity and in a CA
	// certificate, with contents that are good, empty or not even DER.
	for _, row := range conditions {
		if row.when.extension == nil {
			continue
		}
		for value, bytes := range map[string][]byte{"empty sequence": {0x30, 0}, "null": {5, 0}, "name": {0x30, 3, 0x82, 1, 'a'}, "octets": {4, 2, 0, 0}, "nothing": {}} {
			for _, base := range []string{"device", "issuing", "bare"} {
				c := *all[base]
				c.ExtraExtensions = []pkix.Extension{{Id: row.when.extension, Critical: value == "null", Value: bytes}}
				all[base+" with "+row.when.extension.String()+" of "+value] = &c
			}
		}
	}
	return all
}

// TestNoLintIsLost runs what the table of conditions skips on every shape, for
// EC and RSA keys: none of it may find anything.
func TestNoLintIsLost(t *testing.T) {
	var skipped, ran, certs int
	var config lint.Configuration
	fired := make(map[string]bool)
	for name, template := range shapes(t) {
		for _, alg := range []string{"P-256", "P-384", "RSA-2048"} {
			pub := pkitest.Key(t, alg).Public()
			der := dummyCertificate(t, template, pub)
			if der == nil {
				continue
			}
			z, err := zx509.ParseCertificate(der)
			if err != nil {
				continue // the engine refuses it, see lintCertificate
			}
			cert, err := x509.ParseCertificate(der)
			if err != nil {
				continue // nor does this one get to lint
			}
			certs++
			for _, selfSigned := range []bool{false, true} {
				if selfSigned && !cert.IsCA {
					continue // only PrepareRoot makes self-signed ones, of CAs
				}
				z.SelfSigned = selfSigned
				for _, l := range certificateLints() {
					found := appendFinding(nil, l.Name, l.Execute(z, config))
					if l.when.holds(cert, pub) {
						ran++
						if len(found) > 0 {
							fired[l.Name] = true
						}
						continue
					}
					skipped++
					if len(found) > 0 {
						t.Errorf("%s with a %s key: the table skips a lint that finds %v", name, alg, found[0])
					}
				}
			}
		}
	}
	t.Logf("%d certificates: %d lints run, %d skipped, %d different ones found something", certs, ran, skipped, len(fired))
	if certs < 60 || len(fired) < 20 {
		t.Errorf("the shapes are too few to prove anything: %d certificates, findings of %d lints", certs, len(fired))
	}
}

// dummyCertificate encodes template without any check of the engine.
func dummyCertificate(t *testing.T, template *x509.Certificate, pub crypto.PublicKey) []byte {
	t.Helper()
	parent := &x509.Certificate{Subject: pkix.Name{CommonName: "issuer"}, PublicKey: pkitest.SecondKey(t, "P-256").Public(), SubjectKeyId: []byte{1}}
	tbs, err := buildTBS(template, parent, pub)
	if err != nil {
		return nil
	}
	algorithm, err := signatureAlgorithm(tbs)
	if err != nil {
		t.Fatal(err)
	}
	dummy, err := dummySignature(parent.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	der, err := assemble(tbs, algorithm, dummy)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// Every row of the table must stand for a lint that zlint has, and no lint of
// another source may run.
func TestConditionsNameLints(t *testing.T) {
	var names []string
	for _, l := range certificateLints() {
		names = append(names, l.Name)
		if !strings.HasPrefix(string(l.Source), "RFC") {
			t.Errorf("%s is of source %s", l.Name, l.Source)
		}
	}
	if len(names) < 115 {
		t.Errorf("only %d lints are registered", len(names))
	}
	for _, row := range conditions {
		for _, pattern := range row.lints {
			prefix, many := strings.CutSuffix(pattern, "*")
			if !slices.ContainsFunc(names, func(n string) bool { return n == pattern || many && strings.HasPrefix(n, prefix) }) {
				t.Errorf("zlint has no lint %q", pattern)
			}
		}
	}
}

// How many lints a certificate meets; a figure for the documents.
func TestCountLints(t *testing.T) {
	_, issuing, _ := hierarchy(t, "P-256")
	pub := pkitest.SecondKey(t, "P-256").Public()
	p, err := issuing.Prepare(deviceTemplate(), pub, Rules{})
	device := issue(t, p, err)
	for name, cert := range map[string]*x509.Certificate{"device": device, "issuing": issuing.Certificate(), "root": issuing.Root()} {
		n := 0
		for _, l := range certificateLints() {
			if l.when.holds(cert, cert.PublicKey) {
				n++
			}
		}
		t.Logf("%s: %d of %d lints", name, n, len(certificateLints()))
		if n < 40 {
			t.Errorf("%s: only %d lints run", name, n)
		}
	}
}

func TestLintErrorNamesFindings(t *testing.T) {
	_, issuing, _ := hierarchy(t, "P-256")
	template := deviceTemplate()
	template.Subject.CommonName = strings.Repeat("x", 65)
	_, err := issuing.Prepare(template, pkitest.SecondKey(t, "P-256").Public(), Rules{})
	lintErr, ok := err.(*LintError)
	if !ok || len(lintErr.Findings) != 1 {
		t.Fatalf("error %v", err)
	}
	if f := lintErr.Findings[0]; f.Lint != "e_subject_common_name_max_length" || f.Result != "error" {
		t.Errorf("finding %+v", f)
	}
}

// An extension of a profile's own must not trouble lint.
func TestPrivateExtension(t *testing.T) {
	_, issuing, _ := hierarchy(t, "P-256")
	template := deviceTemplate()
	template.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 37476, 9000, 1}, Value: []byte{0x0c, 1, 'x'}}}
	p, err := issuing.Prepare(template, pkitest.SecondKey(t, "P-256").Public(), Rules{})
	issue(t, p, err)
}
