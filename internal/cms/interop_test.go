package cms

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"fmt"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mintmark/internal/pkitest"
)

// party is a key with a certificate.
type party struct {
	key         crypto.Signer
	certificate *x509.Certificate
}

func newParty(t testing.TB, kind string) party {
	t.Helper()
	key := pkitest.Key(t, kind)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: kind}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		SubjectKeyId: []byte("key of " + kind), BasicConstraintsValid: true, IsCA: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return party{key, certificate}
}

// variant is one way to encrypt.
type variant struct {
	name      string
	recipient Recipient
	key       any    // that decrypts
	party     string // kind of the key, empty for an AES key
}

// kek is an AES key of that many bytes.
func kek(n int) []byte {
	key := make([]byte, n)
	for i := range key {
		key[i] = byte(n + i)
	}
	return key
}

// variants are all kinds of recipients, with both ways to name them.
func variants(parties map[string]party) []variant {
	var list []variant
	for _, v := range []struct {
		name, kind          string
		encryption, wrap, c asn1.ObjectIdentifier
	}{
		{"oaep", "RSA-2048", RSAOAEP, nil, AES128CBC},
		{"v15", "RSA-2048", RSAEncryption, nil, AES256CBC},
		{"P-256", "P-256", ECDHSHA256, AES128Wrap, AES128CBC},
		{"P-384", "P-384", ECDHSHA384, AES256Wrap, AES256CBC},
	} {
		p := parties[v.kind]
		r := Recipient{Key: p.key.Public(), Certificate: p.certificate, Content: v.c, KeyEncryption: v.encryption, KeyWrap: v.wrap}
		list = append(list, variant{v.name, r, p.key, v.kind})
		r.Identifier = p.certificate.SubjectKeyId
		list = append(list, variant{v.name + "-ski", r, p.key, v.kind})
	}
	for n, wrap := range map[int]asn1.ObjectIdentifier{16: AES128Wrap, 24: AES192Wrap, 32: AES256Wrap} {
		list = append(list, variant{fmt.Sprintf("kek-%d", n), Recipient{Key: kek(n), Identifier: []byte("line-1"), Content: AES256CBC, KeyEncryption: wrap}, kek(n), ""})
	}
	return list
}

func newParties(t testing.TB, kinds ...string) map[string]party {
	parties := make(map[string]party)
	for _, kind := range kinds {
		parties[kind] = newParty(t, kind)
	}
	return parties
}

// write puts the keys and certificates of parties into a directory, in DER and PEM.
func write(t testing.TB, dir string, parties map[string]party) {
	t.Helper()
	for kind, p := range parties {
		key, err := x509.MarshalPKCS8PrivateKey(p.key)
		if err != nil {
			t.Fatal(err)
		}
		for name, content := range map[string][]byte{
			".key": key, ".cer": p.certificate.Raw,
			".key.pem": pkitest.PEM("PRIVATE KEY", key), ".pem": pkitest.PEM("CERTIFICATE", p.certificate.Raw),
		} {
			if err := os.WriteFile(filepath.Join(dir, kind+name), content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func read(t testing.TB, dir, name string) []byte {
	t.Helper()
	return pkitest.ReadFile(t, filepath.Join(dir, name))
}

// OpenSSL decrypts what we encrypt, and finds in it the versions and the kind of
// recipient that RFC 5652 wants.
func TestOpenSSLDecrypts(t *testing.T) {
	dir := t.TempDir()
	parties := newParties(t, "RSA-2048", "P-256", "P-384")
	write(t, dir, parties)
	at := func(name string) string { return filepath.Join(dir, name) }
	for _, v := range variants(parties) {
		// A content of whole blocks gets a block of padding.
		for _, content := range []string{"a private key", strings.Repeat("16 bytes of text", 5), ""} {
			der, err := Encrypt(Data, []byte(content), v.recipient)
			if err != nil {
				t.Fatalf("%s: %v", v.name, err)
			}
			put(t, at("message"), der)
			args := []string{"cms", "-decrypt", "-binary", "-inform", "DER", "-in", at("message"), "-out", at("content")}
			if v.party == "" {
				args = append(args, "-secretkey", hex.EncodeToString(v.key.([]byte)), "-secretkeyid", hex.EncodeToString([]byte("line-1")))
			} else {
				args = append(args, "-inkey", at(v.party+".key.pem"), "-recip", at(v.party+".pem"))
			}
			pkitest.OpenSSL(t, args...)
			if got := string(read(t, dir, "content")); got != content {
				t.Errorf("%s: %q", v.name, got)
			}
		}
		out := pkitest.OpenSSL(t, "cms", "-cmsout", "-print", "-noout", "-inform", "DER", "-in", at("message"))
		ski := strings.HasSuffix(v.name, "-ski")
		want := map[string]string{"oaep": "d.ktri", "v15": "d.ktri", "P-256": "d.kari", "P-384": "d.kari"}[strings.TrimSuffix(v.name, "-ski")]
		versions := []string{"2", "3"}
		switch {
		case want == "d.ktri" && ski:
			versions = []string{"2", "2"}
		case want == "d.ktri":
			versions = []string{"0", "0"}
		case want == "":
			want, versions = "d.kekri", []string{"2", "4"}
		}
		var found []string
		for line := range strings.Lines(out) {
			if text, ok := strings.CutPrefix(strings.TrimSpace(line), "version: "); ok {
				found = append(found, strings.Fields(text)[0])
			}
		}
		if !strings.Contains(out, want) || strings.Join(found, " ") != strings.Join(versions, " ") {
			t.Errorf("%s: versions %v of %s, want %v in\n%s", v.name, found, want, versions, out)
		}
		// DER: OpenSSL encodes the same values to the same bytes.
		pkitest.OpenSSL(t, "cms", "-cmsout", "-inform", "DER", "-in", at("message"), "-outform", "DER", "-out", at("again"))
		if string(read(t, dir, "again")) != string(read(t, dir, "message")) {
			t.Errorf("%s: OpenSSL writes other bytes", v.name)
		}
	}
}

// We decrypt what OpenSSL encrypts, streamed and not.
func TestOpenSSLEncrypts(t *testing.T) {
	dir := t.TempDir()
	parties := newParties(t, "RSA-2048", "P-256", "P-384")
	write(t, dir, parties)
	at := func(name string) string { return filepath.Join(dir, name) }
	put(t, at("content"), []byte("from OpenSSL"))
	oaep := []string{"-keyopt", "rsa_padding_mode:oaep"}
	for name, c := range map[string]struct {
		key  any
		args []string
	}{
		"v1.5":        {parties["RSA-2048"].key, []string{"-aes128", "-recip", at("RSA-2048.pem")}},
		"v1.5, keyid": {parties["RSA-2048"].key, []string{"-aes192", "-keyid", "-recip", at("RSA-2048.pem")}},
		"OAEP, SHA-1": {parties["RSA-2048"].key, append([]string{"-aes256", "-recip", at("RSA-2048.pem")}, oaep...)},
		"OAEP":        {parties["RSA-2048"].key, append(append([]string{"-aes256", "-recip", at("RSA-2048.pem")}, oaep...), "-keyopt", "rsa_oaep_md:sha256", "-keyopt", "rsa_mgf1_md:sha256")},
		"OAEP, mixed": {parties["RSA-2048"].key, append(append([]string{"-aes256", "-recip", at("RSA-2048.pem")}, oaep...), "-keyopt", "rsa_oaep_md:sha512")},
		"P-256":       {parties["P-256"].key, []string{"-aes128", "-recip", at("P-256.pem"), "-keyopt", "ecdh_kdf_md:sha256"}},
		"P-384":       {parties["P-384"].key, []string{"-aes256", "-keyid", "-recip", at("P-384.pem"), "-keyopt", "ecdh_kdf_md:sha384", "-aes256-wrap"}},
		"KEK":         {kek(32), []string{"-aes128", "-secretkey", hex.EncodeToString(kek(32)), "-secretkeyid", "6b"}},
		"several":     {parties["P-256"].key, []string{"-aes128", "-secretkey", hex.EncodeToString(kek(16)), "-secretkeyid", "6b", "-recip", at("RSA-2048.pem"), "-recip", at("P-256.pem"), "-keyopt", "ecdh_kdf_md:sha256"}},
		"beside one with an unknown OAEP": {parties["P-256"].key, append(append([]string{"-aes128", "-recip", at("RSA-2048.pem")}, oaep...),
			"-keyopt", "rsa_oaep_md:sha224", "-recip", at("P-256.pem"), "-keyopt", "ecdh_kdf_md:sha256")},
	} {
		for _, streamed := range []bool{false, true} {
			args := append([]string{"cms", "-encrypt", "-binary", "-in", at("content"), "-outform", "DER", "-out", at("message")}, c.args...)
			if streamed {
				args = append(args, "-stream")
			}
			pkitest.OpenSSL(t, args...)
			contentType, content, err := Decrypt(read(t, dir, "message"), c.key)
			if err != nil || string(content) != "from OpenSSL" || !contentType.Equal(Data) {
				t.Errorf("%s, streamed %v: %v %q %v", name, streamed, contentType, content, err)
			}
		}
	}
}

// OpenSSL verifies what we sign, and the other way round.
func TestOpenSSLSigned(t *testing.T) {
	dir := t.TempDir()
	parties := newParties(t, "RSA-2048", "P-256", "P-384", "P-521")
	write(t, dir, parties)
	at := func(name string) string { return filepath.Join(dir, name) }
	put(t, at("input"), []byte("from OpenSSL"))
	for kind, p := range parties {
		for _, contentType := range []asn1.ObjectIdentifier{Data, AsymmetricKeyPackage} {
			message, err := Sign(Signed{ContentType: contentType, Content: []byte("signed"), Signer: p.certificate, SigningTime: time.Now()}, p.key)
			if err != nil {
				t.Fatalf("%s: %v", kind, err)
			}
			der, err := ContentInfo(SignedData, message)
			if err != nil {
				t.Fatal(err)
			}
			put(t, at("message"), der)
			pkitest.OpenSSL(t, "cms", "-verify", "-binary", "-inform", "DER", "-in", at("message"), "-CAfile", at(kind+".pem"), "-purpose", "any", "-out", at("content"))
			if got := string(read(t, dir, "content")); got != "signed" {
				t.Errorf("%s: %q", kind, got)
			}
			out := pkitest.OpenSSL(t, "cms", "-cmsout", "-print", "-noout", "-inform", "DER", "-in", at("message"))
			version := "version: 3"
			if contentType.Equal(Data) {
				version = "version: 1"
			}
			for _, want := range []string{version, "signingTime", "messageDigest", "issuerAndSerialNumber"} {
				if !strings.Contains(out, want) {
					t.Errorf("%s: no %q in\n%s", kind, want, out)
				}
			}
		}
		for _, more := range [][]string{nil, {"-keyid"}, {"-md", "sha512"}, {"-econtent_type", AsymmetricKeyPackage.String()}, {"-stream"}} {
			args := append([]string{"cms", "-sign", "-nodetach", "-binary", "-in", at("input"), "-signer", at(kind + ".pem"), "-inkey", at(kind + ".key.pem"), "-outform", "DER", "-out", at("message")}, more...)
			pkitest.OpenSSL(t, args...)
			s, err := Verify(read(t, dir, "message"))
			if err != nil || string(s.Content) != "from OpenSSL" || !s.Signer.Equal(p.certificate) || time.Since(s.SigningTime).Abs() > time.Hour {
				t.Errorf("%s %v: %+v, %v", kind, more, s, err)
			}
		}
	}
}

// BouncyCastle reads what we write, and we read what it writes: in DER, and in
// the BER of indefinite lengths that it prefers.
func TestBouncyCastle(t *testing.T) {
	java, javac := pkitest.Tool(t, "java"), pkitest.Tool(t, "javac")
	jars, _ := filepath.Glob("/usr/share/java/bc*.jar")
	if len(jars) == 0 {
		if os.Getenv("MINTMARK_TOOLS") == "required" {
			t.Fatal("no BouncyCastle in /usr/share/java")
		}
		t.Skip("no BouncyCastle in /usr/share/java")
	}
	dir := t.TempDir()
	parties := newParties(t, "RSA-2048", "P-256", "P-384")
	write(t, dir, parties)
	list := variants(parties)
	want := make(map[string]bool)
	for _, v := range list {
		der, err := Encrypt(Data, []byte("for BouncyCastle"), v.recipient)
		if err != nil {
			t.Fatal(err)
		}
		put(t, filepath.Join(dir, "ours-"+v.name), der)
		want["ours-"+v.name+" for BouncyCastle"] = true
	}
	for kind, p := range parties {
		message, err := Sign(Signed{ContentType: AsymmetricKeyPackage, Content: []byte("signed"), Signer: p.certificate}, p.key)
		if err != nil {
			t.Fatal(err)
		}
		der, err := ContentInfo(SignedData, message)
		if err != nil {
			t.Fatal(err)
		}
		put(t, filepath.Join(dir, "ours-signed-"+kind), der)
		want["ours-signed-"+kind+" true "+AsymmetricKeyPackage.String()] = true
	}
	for _, n := range []int{16, 24, 32} {
		put(t, filepath.Join(dir, fmt.Sprintf("kek-%d", n)), kek(n))
	}
	path := strings.Join(append(jars, dir), ":")
	source, err := filepath.Abs("testdata/Cms.java")
	if err != nil {
		t.Fatal(err)
	}
	command := func(name string, args ...string) string {
		t.Helper()
		out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput()
		if err != nil {
			t.Fatalf("%s %v: %v\n%s", name, args, err, out)
		}
		return string(out)
	}
	command(javac, "-nowarn", "-cp", path, "-d", dir, source)
	out := command(java, "-XX:TieredStopAtLevel=1", "-cp", path, "Cms", dir)
	for line := range strings.Lines(out) {
		line = strings.TrimSpace(line)
		if !want[line] {
			t.Errorf("unexpected line %q", line)
		}
		delete(want, line)
	}
	for line := range want {
		t.Errorf("no line %q in\n%s", line, out)
	}
	for name, key := range map[string]any{
		"oaep": parties["RSA-2048"].key, "v15": parties["RSA-2048"].key, "v15-ski": parties["RSA-2048"].key,
		"P-256": parties["P-256"].key, "P-384": parties["P-384"].key, "kek-16": kek(16), "kek-24": kek(24), "kek-32": kek(32),
	} {
		contentType, content, err := Decrypt(read(t, dir, "theirs-"+name), key)
		if err != nil || string(content) != "from BouncyCastle: theirs-"+name || !contentType.Equal(Data) {
			t.Errorf("%s: %v %q %v", name, contentType, content, err)
		}
	}
	for kind, p := range parties {
		s, err := Verify(read(t, dir, "theirs-signed-"+kind))
		if err != nil || string(s.Content) != "from BouncyCastle: "+kind || !s.Signer.Equal(p.certificate) {
			t.Errorf("%s: %+v, %v", kind, s, err)
		}
	}
}
