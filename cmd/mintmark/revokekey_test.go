package main

import (
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mintmark/internal/pkitest"
)

// TestKeyHash reads one key out of everything that may hold it.
func TestKeyHash(t *testing.T) {
	key := pkitest.NewKey(t)
	spki, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(spki)
	want := hex.EncodeToString(sum[:])
	request := pkitest.CSR(t, key, pkix.Name{CommonName: "press-1"})
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, c := range []struct {
		name    string
		content []byte
		ok      bool
	}{
		{"request.pem", pkitest.PEM("CERTIFICATE REQUEST", request), true},
		{"request.der", request, true},
		{"public.pem", pkitest.PEM("PUBLIC KEY", spki), true},
		{"public.der", spki, true},
		{"private.pem", pkitest.PEM("PRIVATE KEY", private), false},
		{"empty", nil, false},
		{"text", []byte("nothing"), false},
	} {
		file := filepath.Join(dir, c.name)
		if err := os.WriteFile(file, c.content, 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := keyHash(file)
		if c.ok && (err != nil || got != want) || !c.ok && err == nil {
			t.Errorf("%s: %q, %v", c.name, got, err)
		}
		if err != nil && strings.Contains(err.Error(), hex.EncodeToString(private)) {
			t.Errorf("%s: the error shows the key", c.name)
		}
	}
	for _, text := range []string{want, strings.ToUpper(want)} {
		if got, err := keyHash(text); err != nil || got != want {
			t.Errorf("the hash itself: %q, %v", got, err)
		}
	}
	if _, err := keyHash(want[2:]); err == nil {
		t.Error("a short hash was taken")
	}
}

// FuzzPublicKeyIn: whatever it returns is the DER of a SEQUENCE.
func FuzzPublicKeyIn(f *testing.F) {
	key := pkitest.NewKey(f)
	spki, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(spki)
	f.Add(pkitest.PEM("PUBLIC KEY", spki))
	f.Add(pkitest.CSR(f, key, pkix.Name{CommonName: "press-1"}))
	f.Add([]byte("-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----\n"))
	f.Fuzz(func(t *testing.T, content []byte) {
		got, err := publicKeyIn(content)
		if err == nil && (len(got) == 0 || got[0] != 0x30) { // a SEQUENCE
			t.Errorf("read %x", got)
		}
	})
}
