package cms

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"encoding/pem"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"mintmark/internal/pkitest"
)

func newCertificate(t testing.TB, name string) *x509.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func names(list []*x509.Certificate) []string {
	var names []string
	for _, c := range list {
		names = append(names, c.Subject.CommonName)
	}
	slices.Sort(names)
	return names
}

func TestCertsOnly(t *testing.T) {
	a, b, c := newCertificate(t, "a"), newCertificate(t, "bb"), newCertificate(t, "ccc")
	der, err := CertsOnly([]*x509.Certificate{c, a, b, a})
	if err != nil {
		t.Fatal(err)
	}
	again, err := CertsOnly([]*x509.Certificate{b, a, c})
	if err != nil || !bytes.Equal(der, again) {
		t.Errorf("the order of the arguments shows in the DER: %v", err)
	}
	list, err := ParseCertsOnly(der)
	if err != nil || !slices.Equal(names(list), []string{"a", "bb", "ccc"}) {
		t.Errorf("%v, %v", names(list), err)
	}
	if !slices.IsSortedFunc(list, func(x, y *x509.Certificate) int { return bytes.Compare(x.Raw, y.Raw) }) {
		t.Error("the CertificateSet is not sorted")
	}
	if _, err := CertsOnly(nil); err == nil {
		t.Error("no certificates: encoded")
	}
	if _, err := CertsOnly([]*x509.Certificate{{}}); err == nil {
		t.Error("a certificate without DER: encoded")
	}
}

// The frame of the message, byte by byte: version 1, empty digestAlgorithms,
// data without content, certificates, no crls, empty signerInfos.
func TestCertsOnlyFrame(t *testing.T) {
	c := newCertificate(t, "framed")
	der, err := CertsOnly([]*x509.Certificate{c})
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(der, c.Raw)
	if at < 0 || !bytes.HasSuffix(der[at:], append(bytes.Clone(c.Raw), 0x31, 0x00)) {
		t.Fatalf("%x", der)
	}
	if want := "0201013100300b06092a864886f70d010701a082"; !strings.Contains(hex.EncodeToString(der[:at]), want) {
		t.Errorf("%x has no %s", der[:at], want)
	}
}

// OpenSSL reads what we write and we read what it writes.
func TestOpenSSL(t *testing.T) {
	openssl := pkitest.Tool(t, "openssl")
	dir := t.TempDir()
	list := []*x509.Certificate{newCertificate(t, "one"), newCertificate(t, "two")}
	ours, err := CertsOnly(list)
	if err != nil {
		t.Fatal(err)
	}
	var chain []byte
	for _, c := range list {
		chain = append(chain, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	put(t, filepath.Join(dir, "ours.p7"), ours)
	put(t, filepath.Join(dir, "chain.pem"), chain)
	run := func(args ...string) string {
		t.Helper()
		cmd := exec.Command(openssl, args...)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
		return string(out)
	}
	if out := run("pkcs7", "-inform", "DER", "-in", "ours.p7", "-print_certs", "-noout"); !strings.Contains(out, "CN = one") || !strings.Contains(out, "CN = two") {
		t.Error(out)
	}
	out := run("cms", "-cmsout", "-print", "-inform", "DER", "-in", "ours.p7")
	for _, want := range []string{"version: 1", "eContent: <ABSENT>", "crls:\n      <ABSENT>", "signerInfos:\n      <EMPTY>"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	// What OpenSSL encodes of the same values is the same.
	run("cms", "-cmsout", "-inform", "DER", "-in", "ours.p7", "-outform", "DER", "-out", "again.p7")
	if again, err := os.ReadFile(filepath.Join(dir, "again.p7")); err != nil || !bytes.Equal(again, ours) {
		t.Errorf("OpenSSL writes other bytes: %v", err)
	}
	run("crl2pkcs7", "-nocrl", "-certfile", "chain.pem", "-outform", "DER", "-out", "theirs.p7")
	theirs, err := os.ReadFile(filepath.Join(dir, "theirs.p7"))
	if err != nil {
		t.Fatal(err)
	}
	if parsed, err := ParseCertsOnly(theirs); err != nil || !slices.Equal(names(parsed), []string{"one", "two"}) {
		t.Errorf("%v, %v", names(parsed), err)
	}
}

func put(t *testing.T, name string, content []byte) {
	t.Helper()
	if err := os.WriteFile(name, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

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

// message assembles a ContentInfo from the fields of a SignedData.
func message(fields ...[]byte) []byte {
	contentType, err := asn1.Marshal(SignedData)
	if err != nil {
		panic(err)
	}
	return tlv(0x30, contentType, tlv(0xa0, tlv(0x30, fields...)))
}

func TestParseOthers(t *testing.T) {
	a, b := newCertificate(t, "a"), newCertificate(t, "bb")
	version, algorithms, signers := tlv(2, []byte{1}), tlv(0x31), tlv(0x31)
	data, err := asn1.Marshal(Data)
	if err != nil {
		t.Fatal(err)
	}
	content := tlv(0x30, data)
	ascending := tlv(0xa0, a.Raw, b.Raw)
	descending := tlv(0xa0, b.Raw, a.Raw)
	signer := tlv(0x31, tlv(0x30))

	for name, der := range map[string][]byte{
		"one order":                 message(version, algorithms, content, ascending, signers),
		"the other order":           message(version, algorithms, content, descending, signers),
		"empty crls":                message(version, algorithms, content, ascending, tlv(0xa1), signers),
		"a crl":                     message(version, algorithms, content, ascending, tlv(0xa1, tlv(0x30)), signers),
		"a digest algorithm and v3": message(tlv(2, []byte{3}), tlv(0x31, tlv(0x30, data)), content, ascending, signers),
	} {
		if list, err := ParseCertsOnly(der); err != nil || !slices.Equal(names(list), []string{"a", "bb"}) {
			t.Errorf("%s: %v, %v", name, names(list), err)
		}
	}
	good := message(version, algorithms, content, ascending, signers)
	for name, der := range map[string][]byte{
		"nothing":               nil,
		"garbage":               []byte("<html>"),
		"truncated":             good[:len(good)-1],
		"trailing":              append(bytes.Clone(good), 0),
		"data":                  tlv(0x30, data, tlv(0xa0, tlv(4, []byte("x")))),
		"version 0":             message(tlv(2, []byte{0}), algorithms, content, ascending, signers),
		"version 6":             message(tlv(2, []byte{6}), algorithms, content, ascending, signers),
		"huge version":          message(tlv(2, bytes.Repeat([]byte{1}, 20)), algorithms, content, ascending, signers),
		"no algorithms":         message(version, content, ascending, signers),
		"content":               message(version, algorithms, tlv(0x30, data, tlv(0xa0, tlv(4, []byte("x")))), ascending, signers),
		"no certificates":       message(version, algorithms, content, signers),
		"empty certificates":    message(version, algorithms, content, tlv(0xa0), signers),
		"not a certificate":     message(version, algorithms, content, tlv(0xa0, tlv(0x30)), signers),
		"attribute certificate": message(version, algorithms, content, tlv(0xa0, tlv(0xa2)), signers),
		"signed":                message(version, algorithms, content, ascending, signer),
		"no signerInfos":        message(version, algorithms, content, ascending),
		"after signerInfos":     message(version, algorithms, content, ascending, signers, signers),
	} {
		if list, err := ParseCertsOnly(der); err == nil || list != nil {
			t.Errorf("%s: parsed as %v", name, names(list))
		}
	}
}

// What parses is encoded to a message that parses to the same certificates,
// and encoding that gives the same bytes.
func FuzzParseCertsOnly(f *testing.F) {
	for n := range 3 {
		var list []*x509.Certificate
		for range n + 1 {
			list = append(list, newCertificate(f, "fuzzed"))
		}
		der, err := CertsOnly(list)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(der)
	}
	f.Add([]byte{0x30, 0x80})
	f.Fuzz(func(t *testing.T, der []byte) {
		list, err := ParseCertsOnly(der)
		if err != nil {
			if list != nil {
				t.Fatalf("%v, with certificates", err)
			}
			return
		}
		first, err := CertsOnly(list)
		if err != nil {
			t.Fatal(err)
		}
		again, err := ParseCertsOnly(first)
		if err != nil || len(again) > len(list) || len(again) == 0 {
			t.Fatalf("%d certificates of %d: %v", len(again), len(list), err)
		}
		second, err := CertsOnly(again)
		if err != nil || !bytes.Equal(first, second) {
			t.Fatalf("%x\n%x\n%v", first, second, err)
		}
	})
}
