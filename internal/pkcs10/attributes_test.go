package pkcs10

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"mintmark/internal/pkitest"
)

// tlv encodes an element of up to 64 KiB.
func tlv(tag byte, parts ...[]byte) []byte {
	content := bytes.Join(parts, nil)
	head := []byte{tag}
	switch n := len(content); {
	case n < 0x80:
		head = append(head, byte(n))
	case n < 0x100:
		head = append(head, 0x81, byte(n))
	default:
		head = append(head, 0x82, byte(n>>8), byte(n))
	}
	return append(head, content...)
}

func oid(t testing.TB, id asn1.ObjectIdentifier) []byte {
	t.Helper()
	der, err := asn1.Marshal(id)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// attr encodes an attribute.
func attr(t testing.TB, id asn1.ObjectIdentifier, values ...[]byte) []byte {
	return tlv(0x30, oid(t, id), tlv(0x31, values...))
}

// with is a certification request with these attributes and a signature of no
// meaning.
func with(attributes ...[]byte) []byte {
	info := tlv(0x30, []byte{2, 1, 0}, tlv(0x30), tlv(0x30), tlv(0xa0, attributes...))
	return tlv(0x30, info, tlv(0x30), tlv(3, []byte{0}))
}

func raw(t testing.TB, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(text, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func rdn(t testing.TB, name string) []byte {
	return tlv(0x31, tlv(0x30, oid(t, asn1.ObjectIdentifier{2, 5, 4, 3}), tlv(0x0c, []byte(name))))
}

func TestChallengePassword(t *testing.T) {
	for name, c := range map[string]struct {
		value []byte
		want  string
	}{
		"PrintableString": {tlv(0x13, []byte("ab+/=")), "ab+/="},
		"UTF8String":      {tlv(0x0c, []byte("größe")), "größe"},
		"IA5String":       {tlv(0x16, []byte("a_b")), "a_b"},
		"TeletexString":   {tlv(0x14, []byte("abc")), "abc"},
		"BMPString":       {tlv(0x1e, []byte{0, 'a', 0, 'b', 0x20, 0xac}), "ab€"},
		"empty":           {tlv(0x13), ""},
		"as long as may":  {tlv(0x13, bytes.Repeat([]byte("x"), 255)), strings.Repeat("x", 255)},
	} {
		a, err := ParseAttributes(with(attr(t, oidChallengePassword, c.value)))
		if err != nil || !a.Linked || a.ChallengePassword != c.want {
			t.Errorf("%s: %+v, %v", name, a, err)
		}
	}
	for name, value := range map[string][]byte{
		"too long":          tlv(0x13, bytes.Repeat([]byte("x"), 256)),
		"OCTET STRING":      tlv(0x04, []byte("abc")),
		"INTEGER":           tlv(0x02, []byte{1}),
		"UniversalString":   tlv(0x1c, []byte{0, 0, 0, 'a'}),
		"not UTF-8":         tlv(0x0c, []byte{0xff}),
		"not ASCII":         tlv(0x13, []byte("ä")),
		"T61 not ASCII":     tlv(0x14, []byte{0xe4}),
		"odd BMPString":     tlv(0x1e, []byte{0, 'a', 0}),
		"surrogate":         tlv(0x1e, []byte{0xd8, 0, 0xdc, 0}),
		"cut off":           {0x13, 5, 'a'},
		"no value":          nil,
		"two values":        append(tlv(0x13, []byte("a")), tlv(0x13, []byte("b"))...),
		"length not in DER": {0x13, 0x81, 1, 'a'},
	} {
		if a, err := ParseAttributes(with(attr(t, oidChallengePassword, value))); err == nil || !reflect.DeepEqual(a, Attributes{}) {
			t.Errorf("%s: %+v, %v", name, a, err)
		}
	}
}

// RFC 6402 leaves the two fields untagged, erratum 3943 tags the second; what
// encoders make of the tag is implicit or explicit.
func TestChangeSubjectName(t *testing.T) {
	name := tlv(0x30, rdn(t, "new"))
	dns := tlv(0x82, []byte("new.example"))
	names := tlv(0x30, dns)
	for what, c := range map[string]struct {
		fields  [][]byte
		subject []byte
		alt     []byte
	}{
		"subject":                 {[][]byte{name}, name, nil},
		"empty subject":           {[][]byte{tlv(0x30)}, tlv(0x30), nil},
		"untagged names":          {[][]byte{names}, nil, names},
		"tagged names":            {[][]byte{tlv(0xa1, dns)}, nil, names},
		"explicitly tagged names": {[][]byte{tlv(0xa1, names)}, nil, names},
		"both untagged":           {[][]byte{name, names}, name, names},
		"both, tagged":            {[][]byte{name, tlv(0xa1, dns)}, name, names},
		"both, explicitly tagged": {[][]byte{name, tlv(0xa1, names)}, name, names},
	} {
		a, err := ParseAttributes(with(attr(t, oidChangeSubjectName, tlv(0x30, c.fields...))))
		if err != nil || a.ChangeSubject == nil || !bytes.Equal(a.ChangeSubject.Subject, c.subject) || !bytes.Equal(a.ChangeSubject.SubjectAlt, c.alt) {
			t.Errorf("%s: %+v, %v", what, a.ChangeSubject, err)
		}
		if a.ChangeSubject != nil && ((a.ChangeSubject.Subject == nil) != (c.subject == nil) || (a.ChangeSubject.SubjectAlt == nil) != (c.alt == nil)) {
			t.Errorf("%s: %+v", what, a.ChangeSubject)
		}
	}
	for what, fields := range map[string][][]byte{
		"nothing":            nil,
		"two subjects":       {name, name},
		"names first":        {names, name},
		"three":              {name, names, names},
		"no names":           {tlv(0xa1)},
		"no explicit names":  {tlv(0xa1, tlv(0x30))},
		"no names, untagged": {name, tlv(0x30)},
		"universal name":     {tlv(0xa1, dns, tlv(0x0c))},
		"another tag":        {tlv(0xa2, dns)},
		"empty RDN":          {tlv(0x30, tlv(0x31))},
		"half an RDN":        {tlv(0x30, tlv(0x31, tlv(0x30, oid(t, oidChallengePassword))))},
		"many names":         {tlv(0xa1, bytes.Repeat(dns, 65))},
		"many attributes":    {tlv(0x30, bytes.Repeat(rdn(t, "x"), 65))},
		"after the SEQUENCE": {tlv(0xa1, names, dns)},
	} {
		if a, err := ParseAttributes(with(attr(t, oidChangeSubjectName, tlv(0x30, fields...)))); err == nil || a.ChangeSubject != nil {
			t.Errorf("%s: %+v, %v", what, a.ChangeSubject, err)
		}
	}
}

func TestOtherAttributes(t *testing.T) {
	aes := oid(t, asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 1, 42})
	huge := raw(t, "06 0c 69 8f ff ff ff ff ff ff ff ff ff 7f")
	a, err := ParseAttributes(with(
		tlv(0x30, huge, tlv(0x31)),
		attr(t, asn1.ObjectIdentifier{1, 2, 3}, tlv(2, []byte{1}), tlv(2, []byte{2})),
		attr(t, oidSMIMECapabilities, tlv(0x30, tlv(0x30, aes), tlv(0x30, huge), tlv(0x30, aes, []byte{2, 1, 7}))),
		attr(t, oidDecryptKeyID, tlv(4, []byte("line-1"))),
		attr(t, oidAsymmetricDecryptKey, tlv(4, []byte{0xde, 0xad})),
	))
	want := Attributes{
		Capabilities: []Capability{
			{asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 1, 42}, nil},
			{asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 1, 42}, []byte{2, 1, 7}},
		},
		DecryptKeyIdentifier: []byte("line-1"), AsymmetricDecryptKeyIdentifier: []byte{0xde, 0xad},
	}
	if err != nil || !reflect.DeepEqual(a, want) {
		t.Errorf("%+v, %v", a, err)
	}
	if a, err := ParseAttributes(with()); err != nil || !reflect.DeepEqual(a, Attributes{}) {
		t.Errorf("none: %+v, %v", a, err)
	}
	key := attr(t, oidDecryptKeyID, tlv(4, []byte("k")))
	for name, der := range map[string][]byte{
		"nothing":                nil,
		"garbage":                []byte("<html>"),
		"trailing":               append(with(), 0),
		"no attributes":          tlv(0x30, tlv(0x30, []byte{2, 1, 0}, tlv(0x30), tlv(0x30)), tlv(0x30), tlv(3, []byte{0})),
		"oversize":               with(tlv(0x30, bytes.Repeat([]byte{0}, 65000)), tlv(4, bytes.Repeat([]byte{0}, 1000))),
		"twice":                  with(key, key),
		"two values":             with(attr(t, oidDecryptKeyID, tlv(4, []byte("k")), tlv(4, []byte("l")))),
		"no value":               with(attr(t, oidDecryptKeyID)),
		"empty identifier":       with(attr(t, oidDecryptKeyID, tlv(4))),
		"long identifier":        with(attr(t, oidAsymmetricDecryptKey, tlv(4, bytes.Repeat([]byte("k"), 257)))),
		"identifier is no bytes": with(attr(t, oidAsymmetricDecryptKey, tlv(0x0c, []byte("k")))),
		"attribute is no SET":    with(tlv(0x30, oid(t, oidDecryptKeyID), tlv(0x30, tlv(4, []byte("k"))))),
		"attribute goes on":      with(tlv(0x30, oid(t, oidDecryptKeyID), tlv(0x31, tlv(4, []byte("k"))), tlv(5))),
		"attribute without type": with(tlv(0x30, tlv(0x31))),
		"many attributes":        with(bytes.Repeat(attr(t, asn1.ObjectIdentifier{1, 2, 3}), 65)),
		"many capabilities":      with(attr(t, oidSMIMECapabilities, tlv(0x30, bytes.Repeat(tlv(0x30, aes), 65)))),
		"capability is no OID":   with(attr(t, oidSMIMECapabilities, tlv(0x30, tlv(0x30, []byte{5, 0})))),
		"capability goes on":     with(attr(t, oidSMIMECapabilities, tlv(0x30, tlv(0x30, aes, []byte{5, 0, 5, 0})))),
		"capabilities are one":   with(attr(t, oidSMIMECapabilities, aes)),
	} {
		if a, err := ParseAttributes(der); err == nil || !reflect.DeepEqual(a, Attributes{}) {
			t.Errorf("%s: %+v, %v", name, a, err)
		}
	}
}

// What OpenSSL writes is read, each of the string types among it.
func TestOpenSSLWrites(t *testing.T) {
	key := pkitest.WriteFile(t, "key.pem", pkitest.PEM("PRIVATE KEY", pkcs8(t, "P-256")))
	for mask, want := range map[string]string{"utf8only": "geheim€", "MASK:2": "geheim=", "MASK:4": "geheim=", "MASK:0x800": "geheim€"} {
		config := pkitest.WriteFile(t, "req.cnf", fmt.Appendf(nil,
			"[req]\nprompt=no\nutf8=yes\nstring_mask=%s\ndistinguished_name=dn\nattributes=at\nreq_extensions=ext\n[dn]\nCN=device-1\n[at]\nchallengePassword=%s\nunstructuredName=x\n[ext]\nsubjectAltName=DNS:device-1\n", mask, want))
		out := filepath.Join(t.TempDir(), "req.der")
		pkitest.OpenSSL(t, "req", "-new", "-key", key, "-config", config, "-outform", "DER", "-out", out)
		der := pkitest.ReadFile(t, out)
		if a, err := ParseAttributes(der); err != nil || a.ChallengePassword != want {
			t.Errorf("%s: %+v, %v", mask, a, err)
		}
	}
}

func pkcs8(t testing.TB, kind string) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(pkitest.Key(t, kind))
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// What parses is written by Create, and that parses to the same.
func FuzzAttributes(f *testing.F) {
	f.Add(with())
	f.Add(with(attr(f, oidChallengePassword, tlv(0x1e, []byte{0, 'a'}))))
	f.Add(with(attr(f, oidChangeSubjectName, tlv(0x30, tlv(0x30, rdn(f, "new")), tlv(0x30, tlv(0x82, []byte("a")))))))
	f.Add(with(attr(f, oidSMIMECapabilities, tlv(0x30, tlv(0x30, []byte{6, 1, 1}, tlv(0x30))))))
	f.Add(with(attr(f, oidDecryptKeyID, tlv(4, []byte("k"))), attr(f, oidAsymmetricDecryptKey, tlv(4, []byte("k")))))
	key := pkitest.Key(f, "P-256")
	f.Fuzz(func(t *testing.T, der []byte) {
		a, err := ParseAttributes(der)
		if err != nil {
			if !reflect.DeepEqual(a, Attributes{}) {
				t.Fatalf("%+v with %v", a, err)
			}
			return
		}
		again, err := Create(&x509.CertificateRequest{Subject: pkix.Name{CommonName: "fuzzed"}}, a, key)
		if err != nil {
			t.Fatalf("%+v: %v", a, err)
		}
		if b, err := ParseAttributes(again); err != nil || !reflect.DeepEqual(a, b) {
			t.Fatalf("%+v\n%+v\n%v", a, b, err)
		}
	})
}
