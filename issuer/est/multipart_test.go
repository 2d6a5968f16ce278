package est

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"strings"
	"testing"

	"mintmark/internal/cms"
)

// answerOf assembles an answer of serverkeygen.
func answerOf(parts ...string) []byte {
	var b strings.Builder
	for _, part := range parts {
		b.WriteString("--x\r\n" + part + "\r\n")
	}
	return []byte(b.String() + "--x--\r\n")
}

func part(contentType, text string) string { return "Content-Type: " + contentType + "\r\n\r\n" + text }

func keygenParts(t testing.TB) (key, certificate string) {
	t.Helper()
	private, err := x509.MarshalPKCS8PrivateKey(newKey(t))
	if err != nil {
		t.Fatal(err)
	}
	certsOnly, err := cms.CertsOnly([]*x509.Certificate{newCA(t, "x", nil).certificate})
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(private), base64.StdEncoding.EncodeToString(certsOnly)
}

func TestParseKeygen(t *testing.T) {
	key, certificate := keygenParts(t)
	plain, secret := part("application/pkcs8", key), part("application/pkcs7-mime; smime-type=server-generated-key", key)
	issued := part("application/pkcs7-mime; smime-type=certs-only", certificate)
	const contentType = "multipart/mixed; boundary=x"
	for name, c := range map[string]struct {
		contentType string
		body        []byte
		encrypted   bool
	}{
		"key first":         {contentType, answerOf(plain, issued), false},
		"certificate first": {contentType, answerOf(issued, plain), false},
		"encrypted":         {contentType, answerOf(secret, issued), true},
		"RFC 7030's header": {"multipart/mixed ; boundary=x", answerOf(plain, issued), false},
		"quoted boundary":   {`multipart/mixed; boundary="x"`, answerOf(plain, issued), false},
		"other case":        {"Multipart/Mixed; Boundary=x", answerOf(part("Application/PKCS8", key), part("application/pkcs7-mime; smime-type=Certs-Only", certificate)), false},
		"no smime-type":     {contentType, answerOf(plain, part("application/pkcs7-mime", certificate)), false},
		"wrapped":           {contentType, answerOf(part("application/pkcs8", key[:40]+"\r\n"+key[40:]+"\r\n"), issued), false},
		"transfer encoding": {contentType, answerOf("Content-Transfer-Encoding: quoted-printable\r\n"+plain, issued), false},
		"preamble":          {contentType, append([]byte("Hello\r\n"), answerOf(plain, issued)...), false},
	} {
		a, err := parseKeygen(c.contentType, c.body)
		if err != nil || a.encrypted != c.encrypted || len(a.certificates) != 1 || base64.StdEncoding.EncodeToString(a.key) != key {
			t.Errorf("%s: %+v, %v", name, a, err)
		}
	}
	for name, c := range map[string]struct {
		contentType string
		body        []byte
	}{
		"another type":     {"application/pkcs7-mime", answerOf(plain, issued)},
		"no type":          {"", answerOf(plain, issued)},
		"no boundary":      {"multipart/mixed", answerOf(plain, issued)},
		"another boundary": {"multipart/mixed; boundary=y", answerOf(plain, issued)},
		"no parts":         {contentType, answerOf()},
		"no body":          {contentType, nil},
		"key alone":        {contentType, answerOf(plain)},
		"certificate":      {contentType, answerOf(issued)},
		"two keys":         {contentType, answerOf(plain, secret)},
		"two certificates": {contentType, answerOf(issued, issued)},
		"three parts":      {contentType, answerOf(plain, issued, part("text/plain", "eA=="))},
		"unknown part":     {contentType, answerOf(plain, part("text/plain", certificate))},
		"typeless part":    {contentType, answerOf(plain, "\r\n"+certificate)},
		"empty key":        {contentType, answerOf(part("application/pkcs8", ""), issued)},
		"not base64":       {contentType, answerOf(part("application/pkcs8", "###"), issued)},
		"not certificates": {contentType, answerOf(plain, part("application/pkcs7-mime; smime-type=certs-only", key))},
		"cut off":          {contentType, answerOf(plain, issued)[:200]},
		"huge part":        {contentType, answerOf(part("application/pkcs8", strings.Repeat("AAAA", maxPart/4+1)), issued)},
	} {
		if a, err := parseKeygen(c.contentType, c.body); err == nil || a.key != nil || a.certificates != nil {
			t.Errorf("%s: %+v, %v", name, a, err)
		}
	}
}

// What the server writes is read to what it was made of; and whatever comes is
// read to a whole answer or to none.
func FuzzKeygenAnswer(f *testing.F) {
	key, certificate := keygenParts(f)
	plain, issued := part("application/pkcs8", key), part("application/pkcs7-mime; smime-type=certs-only", certificate)
	f.Add("multipart/mixed; boundary=x", answerOf(plain, issued))
	f.Add("multipart/mixed; boundary=x", answerOf(issued, part("application/pkcs7-mime; smime-type=server-generated-key", key)))
	f.Add("multipart/mixed; boundary=\"\"", answerOf(plain))
	f.Add("multipart/mixed; boundary=x", []byte("--x\r\n\r\n--x\r\n\r\n--x--"))
	f.Fuzz(func(t *testing.T, contentType string, body []byte) {
		a, err := parseKeygen(contentType, body)
		if err != nil {
			if a.key != nil || a.certificates != nil {
				t.Fatalf("%+v with %v", a, err)
			}
			return
		}
		if len(a.key) == 0 || len(a.certificates) == 0 {
			t.Fatalf("%+v", a)
		}
		certsOnly, err := cms.CertsOnly(a.certificates)
		if err != nil {
			t.Fatal(err)
		}
		keyType := mediaTypePKCS8
		if a.encrypted {
			keyType = mediaTypeKey
		}
		for _, agent := range []string{"", "libest"} {
			r := encodeKeygen(keyType, a.key, certsOnly, agent)
			b, err := parseKeygen(r.contentType, r.body)
			if err != nil || !bytes.Equal(a.key, b.key) || a.encrypted != b.encrypted || len(b.certificates) == 0 {
				t.Fatalf("%+v, %v", b, err)
			}
		}
	})
}
