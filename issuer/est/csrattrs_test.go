package est

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	engine "mintmark/ca"
	"mintmark/internal/pkitest"
	"mintmark/issuer"
)

// wanting is an authority whose profiles want that.
type wanting struct {
	Authority
	wants issuer.Wants
}

func (w wanting) Wants(string) issuer.Wants { return w.wants }

var (
	commonName   = issuer.WantedAttribute{Name: "commonName", OID: asn1.ObjectIdentifier{2, 5, 4, 3}}
	organization = issuer.WantedAttribute{Name: "organization", OID: asn1.ObjectIdentifier{2, 5, 4, 10}, Value: "Example Works"}
	serialNumber = issuer.WantedAttribute{Name: "serialNumber", OID: asn1.ObjectIdentifier{2, 5, 4, 5}, Optional: true}

	p256, p384 = asn1.ObjectIdentifier{1, 2, 840, 10045, 3, 1, 7}, asn1.ObjectIdentifier{1, 3, 132, 0, 34}
)

var wantsCases = map[string]struct {
	wants issuer.Wants
	link  bool
	want  *CSRAttrs // nil for 204
	// bouncy is what BouncyCastle makes of it.
	bouncy string
}{
	"nothing": {},
	"several types of key": {
		wants: issuer.Wants{Keys: []engine.Algorithm{engine.P256, engine.RSA2048}},
	},
	"a curve": {
		wants:  issuer.Wants{Keys: []engine.Algorithm{engine.P384}},
		want:   &CSRAttrs{FromTemplate: true, Keys: []KeyWanted{{Type: oidECKey, Curve: p384}}},
		bouncy: "attribute 1.2.840.10045.2.1 oid 1.2.840.10045.4.3.3 attribute 1.2.840.113549.1.9.16.2.61",
	},
	"two curves": {
		wants:  issuer.Wants{Keys: []engine.Algorithm{engine.P256, engine.P384}},
		want:   &CSRAttrs{FromTemplate: true, Keys: []KeyWanted{{Type: oidECKey, Curve: p256}}},
		bouncy: "attribute 1.2.840.10045.2.1 oid 1.2.840.10045.4.3.2 attribute 1.2.840.113549.1.9.16.2.61",
	},
	"RSA": {
		wants:  issuer.Wants{Keys: []engine.Algorithm{engine.RSA3072, engine.RSA4096}, Subject: []issuer.WantedAttribute{commonName}},
		want:   &CSRAttrs{FromTemplate: true, Keys: []KeyWanted{{Type: oidRSAKey, Bits: 3072}}, Subject: []ValueWanted{{Type: commonName.OID}}},
		bouncy: "attribute 1.2.840.113549.1.1.1 oid 1.2.840.113549.1.1.11 attribute 1.2.840.113549.1.9.16.2.61",
	},
	"link": {
		wants:  issuer.Wants{Keys: []engine.Algorithm{engine.P256}, Subject: []issuer.WantedAttribute{commonName}, DNS: true},
		link:   true,
		want:   &CSRAttrs{Link: true, Keys: []KeyWanted{{Type: oidECKey, Curve: p256}}},
		bouncy: "oid 1.2.840.113549.1.9.7 attribute 1.2.840.10045.2.1 oid 1.2.840.10045.4.3.2",
	},
	"only a link": {link: true, want: &CSRAttrs{Link: true}, bouncy: "oid 1.2.840.113549.1.9.7"},
	"names": {
		wants: issuer.Wants{Keys: []engine.Algorithm{engine.P256}, Subject: []issuer.WantedAttribute{organization, commonName, serialNumber}, URI: true, Usages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}},
		want: &CSRAttrs{
			FromTemplate: true, Keys: []KeyWanted{{Type: oidECKey, Curve: p256}},
			Subject:    []ValueWanted{{Type: organization.OID, Value: append([]byte{0x13, 13}, "Example Works"...)}, {Type: commonName.OID}},
			Extensions: []ValueWanted{{Type: oidExtKeyUsages, Value: []byte{0x30, 10, 6, 8, 0x2b, 6, 1, 5, 5, 7, 3, 2}}, {Type: oidSubjectAltNames}},
		},
		bouncy: "attribute 1.2.840.10045.2.1 oid 1.2.840.10045.4.3.2 attribute 1.2.840.113549.1.9.16.2.61",
	},
	"extensions with all values": {
		wants: issuer.Wants{CA: true, Usages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}},
		want: &CSRAttrs{FromTemplate: true, Extensions: []ValueWanted{
			{Type: oidBasicConstraints, Critical: true, Value: []byte{0x30, 3, 1, 1, 0xff}},
			{Type: oidExtKeyUsages, Value: []byte{0x30, 10, 6, 8, 0x2b, 6, 1, 5, 5, 7, 3, 1}},
		}},
		bouncy: "attribute 1.2.840.113549.1.9.16.2.61",
	},
}

// Checklist 47, 69 to 74 and 96, on the wire; our parser, OpenSSL and
// BouncyCastle read it.
func TestCSRAttrs(t *testing.T) {
	java, javac := tool(t, "java"), tool(t, "javac")
	jars, err := filepath.Glob("/usr/share/java/bc*.jar")
	if err != nil || len(jars) == 0 {
		if os.Getenv("MINTMARK_TOOLS") == "required" {
			t.Fatal("no BouncyCastle in /usr/share/java")
		}
		t.Skip("no BouncyCastle in /usr/share/java")
	}
	d := folder{t, t.TempDir()}
	var files, bouncy []string
	for name, c := range wantsCases {
		f := newFixture(t, withLabels(Label{Name: "linked", ProofOfPossession: ProofRequired}), func(f *fixture, config *Config) {
			config.Authority = wanting{f.authority, c.wants}
		})
		path := "/.well-known/est/csrattrs"
		if c.link {
			path = "/.well-known/est/linked/csrattrs"
		}
		m := f.raw(t, rawRequest{method: http.MethodGet, path: path})
		if c.want == nil {
			if m.status != http.StatusNoContent || len(m.body) != 0 {
				t.Errorf("%s: %d %q", name, m.status, m.body)
			}
			continue
		}
		if m.status != http.StatusOK || m.field(t, "Content-Type") != "application/csrattrs" || m.field(t, "Content-Transfer-Encoding") != "base64" {
			t.Fatalf("%s: %d %s", name, m.status, m.header)
		}
		der, err := base64.StdEncoding.DecodeString(string(m.body))
		if err != nil {
			t.Fatal(err)
		}
		got, err := ParseCSRAttrs(der)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		got.Elements = nil
		if !reflect.DeepEqual(got, *c.want) {
			t.Errorf("%s:\n%+v\n%+v", name, got, *c.want)
		}
		file := pkitest.WriteFile(t, "csrattrs.der", der)
		pkitest.OpenSSL(t, "asn1parse", "-inform", "DER", "-in", file)
		files, bouncy = append(files, file), append(bouncy, c.bouncy)
	}
	class := strings.Join(append(jars, d.path), ":")
	d.run(javac, "-nowarn", "-cp", class, "-d", d.path, absolute(t, "testdata/CSRAttributes.java"))
	out := d.run(java, append([]string{"-XX:TieredStopAtLevel=1", "-cp", class, "CSRAttributes"}, files...)...)
	for i, line := range strings.Split(strings.TrimSpace(out), "\n") {
		// BouncyCastle keeps them in a map.
		if !slices.Equal(pairs(line), pairs(bouncy[i])) {
			t.Errorf("BouncyCastle reads %q, want %q", line, bouncy[i])
		}
	}
}

func pairs(line string) []string {
	var list []string
	words := strings.Fields(line)
	for i := 0; i+1 < len(words); i += 2 {
		list = append(list, words[i]+" "+words[i+1])
	}
	slices.Sort(list)
	return list
}

// Checklist 75: what a real profile announces, a request that follows it gets.
func TestCSRAttrsOfProfile(t *testing.T) {
	f := newOrderFixture(t)
	m := f.raw(t, rawRequest{method: http.MethodGet, path: "/.well-known/est/trusted/csrattrs"})
	der, err := base64.StdEncoding.DecodeString(string(m.body))
	if err != nil || m.status != http.StatusOK {
		t.Fatalf("%d %s", m.status, m.body)
	}
	a, err := ParseCSRAttrs(der)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(a.Subject, func(w ValueWanted) bool { return w.Type.Equal(commonName.OID) && w.Value == nil }) {
		t.Errorf("the device's common name is not wanted: %+v", a)
	}
	for _, key := range a.Keys {
		if !key.Curve.Equal(p256) {
			t.Errorf("wants %+v", key)
		}
	}
	if m := f.ask(t, "trusted", "simpleenroll", "dev-1", newKey(t), nil, basic(goodUser, goodSecret)); m.status != http.StatusOK {
		t.Errorf("a request as wanted: %d %s", m.status, m.body)
	}
}

// tlv encodes an element of less than 64 KiB.
func tlv(tag byte, parts ...[]byte) []byte {
	content := bytes.Join(parts, nil)
	head := []byte{tag, byte(len(content))}
	if len(content) >= 0x80 {
		head = []byte{tag, 0x82, byte(len(content) >> 8), byte(len(content))}
	}
	return append(head, content...)
}

func derOf(t testing.TB, id asn1.ObjectIdentifier) []byte {
	t.Helper()
	der, err := asn1.Marshal(id)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func TestParseCSRAttrs(t *testing.T) {
	o := func(id asn1.ObjectIdentifier) []byte { return derOf(t, id) }
	attr := func(id asn1.ObjectIdentifier, values ...[]byte) []byte { return tlv(0x30, o(id), tlv(0x31, values...)) }
	zero, san := []byte{2, 1, 0}, tlv(0x30, o(oidSubjectAltNames))
	template := func(fields ...[]byte) []byte { return attr(oidRequestTemplate, tlv(0x30, fields...)) }
	unknown := attr(asn1.ObjectIdentifier{1, 2, 3}, tlv(4, []byte("x")))
	// The example of RFC 8951, Section 3.3, in values.
	example := tlv(0x30, o(oidChallengePassword), attr(oidECKey, o(p384)),
		attr(oidExtensionRequest, tlv(0x30, tlv(0x30, o(asn1.ObjectIdentifier{1, 3, 6, 1, 1, 1, 1, 22}), tlv(4, []byte{5, 0})))),
		o(asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 3}))
	a, err := ParseCSRAttrs(example)
	if err != nil || !a.Link || a.FromTemplate || len(a.Keys) != 1 || !a.Keys[0].Curve.Equal(p384) || len(a.Extensions) != 1 || len(a.Elements) != 4 {
		t.Errorf("%+v, %v", a, err)
	}
	for name, c := range map[string]struct {
		der  []byte
		good func(a CSRAttrs) bool
	}{
		"empty":            {tlv(0x30), func(a CSRAttrs) bool { return reflect.DeepEqual(a, CSRAttrs{}) }},
		"unknown elements": {tlv(0x30, unknown, o(asn1.ObjectIdentifier{1, 2, 3})), func(a CSRAttrs) bool { return len(a.Elements) == 2 }},
		"any curve":        {tlv(0x30, attr(oidECKey)), func(a CSRAttrs) bool { return len(a.Keys) == 1 && a.Keys[0].Curve == nil }},
		"several keys":     {tlv(0x30, attr(oidECKey), attr(oidRSAKey, []byte{2, 2, 8, 0})), func(a CSRAttrs) bool { return len(a.Keys) == 2 && a.Keys[1].Bits == 2048 }},
		"template only":    {tlv(0x30, attr(oidECKey, o(p384)), template(zero, tlv(0xa1))), func(a CSRAttrs) bool { return a.FromTemplate && len(a.Keys) == 0 }},
		"link beside":      {tlv(0x30, o(oidChallengePassword), template(zero, tlv(0xa1))), func(a CSRAttrs) bool { return a.FromTemplate && a.Link }},
		"template attributes": {tlv(0x30, template(zero, tlv(0xa1, attr(oidExtensionTemplate, tlv(0x30, san)), unknown))), func(a CSRAttrs) bool {
			return len(a.Extensions) == 1 && a.Extensions[0].Value == nil
		}},
	} {
		if a, err := ParseCSRAttrs(c.der); err != nil || !c.good(a) {
			t.Errorf("%s: %+v, %v", name, a, err)
		}
	}
	request := attr(oidExtensionRequest, tlv(0x30, tlv(0x30, o(oidExtKeyUsages), tlv(4))))
	for name, der := range map[string][]byte{
		"nothing":                          nil,
		"text":                             []byte("MAA="),
		"trailing":                         append(tlv(0x30), 0),
		"oversize":                         append(tlv(0x30, bytes.Repeat(tlv(0x30, []byte{6, 1, 1}, tlv(0x31, tlv(4, make([]byte, 100)))), 520)), make([]byte, maxCSRAttrs)...),
		"many":                             tlv(0x30, bytes.Repeat([]byte{6, 1, 1}, maxWanted+1)),
		"72: two extensionRequests":        tlv(0x30, request, request),
		"72: two values":                   tlv(0x30, attr(oidExtensionRequest, tlv(0x30, tlv(0x30, o(oidExtKeyUsages), tlv(4))), tlv(0x30, tlv(0x30, o(oidSubjectAltNames), tlv(4))))),
		"72: an extension twice":           tlv(0x30, attr(oidExtensionRequest, tlv(0x30, tlv(0x30, o(oidExtKeyUsages), tlv(4)), tlv(0x30, o(oidExtKeyUsages), tlv(4))))),
		"72: not Extensions":               tlv(0x30, attr(oidExtensionRequest, o(oidExtKeyUsages))),
		"72: no value outside a template":  tlv(0x30, attr(oidExtensionRequest, tlv(0x30, san))),
		"73: two curves":                   tlv(0x30, attr(oidECKey, o(p256), o(p384))),
		"73: RSA with a curve":             tlv(0x30, attr(oidRSAKey, o(p256))),
		"73: RSA of no bits":               tlv(0x30, attr(oidRSAKey, []byte{2, 1, 0})),
		"73: RSA of very many bits":        tlv(0x30, attr(oidRSAKey, []byte{2, 3, 1, 0, 0})),
		"74: version 1":                    tlv(0x30, template([]byte{2, 1, 1}, tlv(0xa1))),
		"74: no attributes":                tlv(0x30, template(zero)),
		"74: two templates":                tlv(0x30, template(zero, tlv(0xa1)), template(zero, tlv(0xa1))),
		"74: both kinds of extensions":     tlv(0x30, template(zero, tlv(0xa1, request, attr(oidExtensionTemplate, tlv(0x30, san))))),
		"74: two templates of extensions":  tlv(0x30, template(zero, tlv(0xa1, attr(oidExtensionTemplate, tlv(0x30, san)), attr(oidExtensionTemplate, tlv(0x30, san))))),
		"74: no value in extensionRequest": tlv(0x30, template(zero, tlv(0xa1, attr(oidExtensionRequest, tlv(0x30, san))))),
		"an empty RDN":                     tlv(0x30, template(zero, tlv(0x30, tlv(0x31)), tlv(0xa1))),
		"a key without algorithm":          tlv(0x30, template(zero, tlv(0xa0), tlv(0xa1))),
		"a placeholder that is none":       tlv(0x30, template(zero, tlv(0xa0, tlv(0x30, o(oidRSAKey)), tlv(3, []byte{0, 1})), tlv(0xa1))),
		"after the template":               tlv(0x30, template(zero, tlv(0xa1), tlv(0xa1))),
	} {
		if a, err := ParseCSRAttrs(der); err == nil || !reflect.DeepEqual(a, CSRAttrs{}) {
			t.Errorf("%s: %+v, %v", name, a, err)
		}
	}
}

// Whatever a server sends is read or refused, within bounds.
func FuzzCSRAttrs(f *testing.F) {
	f.Add([]byte{0x30, 0})
	for _, c := range wantsCases {
		der, err := encodeCSRAttrs(c.wants, c.link)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(der)
	}
	f.Fuzz(func(t *testing.T, der []byte) {
		a, err := ParseCSRAttrs(der)
		if err != nil {
			if !reflect.DeepEqual(a, CSRAttrs{}) {
				t.Fatalf("%+v with %v", a, err)
			}
			return
		}
		if len(a.Elements) > maxWanted || len(a.Subject) > maxWanted || len(a.Extensions) > maxWanted || a.FromTemplate && len(a.Keys) > 1 {
			t.Fatalf("%+v", a)
		}
		seen := make(map[string]bool)
		for _, e := range a.Extensions {
			if seen[e.Type.String()] {
				t.Fatalf("extension %v twice", e.Type)
			}
			seen[e.Type.String()] = true
		}
		for _, k := range a.Keys {
			if k.Bits < 0 || k.Bits > maxModulus {
				t.Fatalf("%+v", k)
			}
		}
	})
}
