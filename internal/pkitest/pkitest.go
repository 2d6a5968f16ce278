// Package pkitest holds what tests of several packages need: keys that are
// quick to have, certification requests, OpenSSL as an independent judge and
// a SoftHSM token. Only tests import it.
package pkitest

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"embed"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

//go:embed testdata/*.pem
var keyFiles embed.FS

// keys holds the keys that were read or made, by name.
var keys sync.Map

// Key returns a private key of the kind alg ("P-256", "P-384", "P-521",
// "RSA-2048", "RSA-3072", "RSA-4096"), the same one in every run. It is public
// knowledge: never use it outside of tests.
func Key(t testing.TB, alg string) crypto.Signer {
	t.Helper()
	return storedKey(t, alg)
}

// SecondKey returns another elliptic curve key of the kind alg, the same one in
// every run.
func SecondKey(t testing.TB, alg string) crypto.Signer {
	t.Helper()
	return storedKey(t, alg+"-2")
}

func storedKey(t testing.TB, name string) crypto.Signer {
	t.Helper()
	if k, ok := keys.Load(name); ok {
		return k.(crypto.Signer)
	}
	data, err := keyFiles.ReadFile("testdata/" + name + ".pem")
	if err != nil {
		t.Fatalf("there is no test key %q", name)
	}
	block, _ := pem.Decode(data)
	k, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		t.Fatalf("test key %q: %v", name, err)
	}
	keys.Store(name, k)
	return k.(crypto.Signer)
}

// NewKey returns a P-256 key that was not there before.
func NewKey(t testing.TB) crypto.Signer {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// CSR returns a DER certification request of key for subject and DNS names.
func CSR(t testing.TB, key crypto.Signer, subject pkix.Name, dns ...string) []byte {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: subject, DNSNames: dns}, key)
	if err != nil {
		t.Fatalf("making a certification request: %v", err)
	}
	return der
}

// PEM returns the PEM of DER blocks of one type, as in "CERTIFICATE".
func PEM(kind string, ders ...[]byte) []byte {
	var b bytes.Buffer
	for _, der := range ders {
		pem.Encode(&b, &pem.Block{Type: kind, Bytes: der})
	}
	return b.Bytes()
}

// WriteFile writes data to the named file in a directory of the test and
// returns its path.
func WriteFile(t testing.TB, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// Tool finds a program. Without it the test is skipped, or fails where
// MINTMARK_TOOLS is "required".
func Tool(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		lacking(t, name)
	}
	return path
}

// lacking skips a test for the lack of a tool, or fails it where none may be.
func lacking(t testing.TB, tool string) {
	t.Helper()
	if os.Getenv("MINTMARK_TOOLS") == "required" {
		t.Fatalf("%s is not installed", tool)
	}
	t.Skipf("%s is not installed", tool)
}

// OpenSSL runs openssl and returns its output. It fails the test with that
// output if openssl fails; without openssl it does as Tool does.
func OpenSSL(t testing.TB, args ...string) string {
	t.Helper()
	out, err := tryOpenSSL(t, args...)
	if err != nil {
		t.Fatalf("openssl %q: %v\n%s", args, err, out)
	}
	return out
}

// OpenSSLFails runs openssl, which must fail, and returns its output.
func OpenSSLFails(t testing.TB, args ...string) string {
	t.Helper()
	out, err := tryOpenSSL(t, args...)
	if err == nil {
		t.Fatalf("openssl %q succeeded:\n%s", args, out)
	}
	return out
}

func tryOpenSSL(t testing.TB, args ...string) (string, error) {
	t.Helper()
	out, err := exec.Command(Tool(t, "openssl"), args...).CombinedOutput()
	return string(out), err
}

// NoExpiry is the notAfter of a certificate without an expiry of its own
// (RFC 5280, Section 4.1.2.5).
var NoExpiry = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)

// ReadFile returns the content of the file path.
func ReadFile(t testing.TB, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
