package keystore

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"mintmark/internal/pkitest"
)

var background = context.Background()

const passphrase = "correct horse battery"

func words(s string) func() ([]byte, error) {
	return func() ([]byte, error) { return []byte(s), nil }
}

func open(t *testing.T, cfg Config) *Store {
	t.Helper()
	s, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("closing the store: %v", err)
		}
	})
	return s
}

// signs checks that signer signs for the public key pub.
func signs(t *testing.T, signer crypto.Signer, pub crypto.PublicKey) {
	t.Helper()
	if !signer.Public().(interface{ Equal(crypto.PublicKey) bool }).Equal(pub) {
		t.Fatal("the signer has another public key")
	}
	message := []byte("message")
	sum := sha256.Sum256(message)
	signature, err := signer.Sign(rand.Reader, sum[:], crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	alg := x509.ECDSAWithSHA256
	if algOf(pub) == "RSA" {
		alg = x509.SHA256WithRSA
	}
	if err := (&x509.Certificate{PublicKey: pub}).CheckSignature(alg, message, signature); err != nil {
		t.Error(err)
	}
}

func algOf(pub crypto.PublicKey) string {
	if _, ok := pub.(interface{ Size() int }); ok {
		return "RSA"
	}
	return "EC"
}

// asInProduction lets a test that is not parallel write key files with all rounds.
func asInProduction(t *testing.T) {
	t.Helper()
	fewRounds.Store(false)
	t.Cleanup(SpareRounds)
}

func TestFile(t *testing.T) {
	asInProduction(t)
	dir := t.TempDir()
	s := open(t, Config{Dir: dir, Passphrase: words(passphrase)})
	for _, alg := range []string{"P-256", "RSA-2048"} {
		name := "keys/" + alg + ".pem"
		uri, made, err := s.Create(background, "softkms:path="+name, alg)
		if err != nil {
			t.Fatal(err)
		}
		opened, err := s.Signer(background, uri, nil)
		if err != nil {
			t.Fatal(err)
		}
		signs(t, opened, made.Public())
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("mode %v, %v", info.Mode(), err)
		}
	}
	entries, err := os.ReadDir(filepath.Join(dir, "keys"))
	if err != nil || len(entries) != 2 {
		t.Errorf("the directory holds %v: temporary files were left", entries)
	}

	// OpenSSL opens the file with the passphrase, and not without.
	file := filepath.Join(dir, "keys/P-256.pem")
	pkitest.OpenSSL(t, "pkey", "-in", file, "-passin", "pass:"+passphrase, "-noout")
	pkitest.OpenSSLFails(t, "pkey", "-in", file, "-passin", "pass:wrong", "-noout")
	text := pkitest.OpenSSL(t, "asn1parse", "-in", file)
	for _, want := range []string{"PBKDF2", "hmacWithSHA256", "aes-256-cbc", "0927C0"} { // 600,000
		if !strings.Contains(text, want) {
			t.Errorf("the file lacks %s:\n%s", want, text)
		}
	}

	// Never overwritten, and the other forms of the URI name the same file.
	before := pkitest.ReadFile(t, file)
	for _, uri := range []string{"softkms:keys/P-256.pem", "softkms:path=keys/P-256.pem", "softkms:" + file, "softkms:path=keys/../keys/P-256.pem"} {
		if _, _, err := s.Create(background, uri, "P-256"); !errors.Is(err, ErrExists) {
			t.Errorf("creating %s again: %v", uri, err)
		}
	}
	if _, err := s.Signer(background, "softkms:"+file, nil); err != nil {
		t.Error(err)
	}
	if !bytes.Equal(before, pkitest.ReadFile(t, file)) {
		t.Error("the key file was overwritten")
	}
}

func TestDestroyFile(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Config{Dir: dir, Passphrase: words(passphrase)})
	_, made, err := s.Create(background, "softkms:path=k.pem", "P-256")
	if err != nil {
		t.Fatal(err)
	}
	// Another name of the same file shows what was done to its bytes.
	path, link := filepath.Join(dir, "k.pem"), filepath.Join(dir, "link")
	if err := os.Link(path, link); err != nil {
		t.Fatal(err)
	}
	size := len(pkitest.ReadFile(t, path))
	if err := s.Destroy(background, "softkms:path=k.pem", made.Public()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the file is still there: %v", err)
	}
	if !bytes.Equal(pkitest.ReadFile(t, link), make([]byte, size)) {
		t.Error("the bytes of the file are still there")
	}
}

func TestCreateRace(t *testing.T) {
	s := open(t, Config{Dir: t.TempDir(), Passphrase: words(passphrase)})
	var wg sync.WaitGroup
	won := make(chan crypto.Signer, 3)
	for range 3 {
		wg.Go(func() {
			_, signer, err := s.Create(background, "softkms:path=k.pem", "P-256")
			if err == nil {
				won <- signer
			} else if !errors.Is(err, ErrExists) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if len(won) != 1 {
		t.Fatalf("%d of 3 created the same key", len(won))
	}
	signer, err := s.Signer(background, "softkms:path=k.pem", nil)
	if err != nil {
		t.Fatal(err)
	}
	signs(t, signer, (<-won).Public())
}

func TestFileRefused(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, data []byte) {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	der, err := x509.MarshalPKCS8PrivateKey(pkitest.Key(t, "P-256"))
	if err != nil {
		t.Fatal(err)
	}
	write("plain.pem", pkitest.PEM("PRIVATE KEY", der))
	write("text.pem", []byte("hello"))
	write("cert.pem", pkitest.PEM("CERTIFICATE", der))
	write("old.pem", pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Headers: map[string]string{"Proc-Type": "4,ENCRYPTED"}, Bytes: der}))
	good := open(t, Config{Dir: dir, Passphrase: words(passphrase)})
	if _, _, err := good.Create(background, "softkms:path=good.pem", "P-256"); err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(pkitest.ReadFile(t, filepath.Join(dir, "good.pem")))
	for cut := range 3 {
		// Cut in the ciphertext, with and without lengths that fit.
		write("cut"+string(rune('0'+cut))+".pem", pkitest.PEM(block.Type, block.Bytes[:len(block.Bytes)-1-cut*40]))
	}
	for _, tt := range []struct {
		name, uri, want string
		is              error
		cfg             Config
	}{
		{"wrong passphrase", "softkms:path=good.pem", "passphrase is wrong", ErrPassphrase, Config{Dir: dir, Passphrase: words("wrong horse")}},
		{"no passphrase", "softkms:path=good.pem", "no passphrase is configured", nil, Config{Dir: dir}},
		{"empty passphrase", "softkms:path=good.pem", "is empty", nil, Config{Dir: dir, Passphrase: words("")}},
		{"missing", "softkms:path=none.pem", "none.pem", ErrNotFound, good.cfg},
		{"not encrypted", "softkms:path=plain.pem", "is not encrypted", nil, good.cfg},
		{"old encryption", "softkms:path=old.pem", "is weak", nil, good.cfg},
		{"not PEM", "softkms:path=text.pem", "not a PEM file", nil, good.cfg},
		{"certificate", "softkms:path=cert.pem", `a "CERTIFICATE"`, nil, good.cfg},
		{"directory", "softkms:path=.", "not a key file", nil, good.cfg},
		{"cut", "softkms:path=cut0.pem", "cut0.pem", nil, good.cfg},
		{"cut more", "softkms:path=cut2.pem", "cut2.pem", nil, good.cfg},
		{"outside", "softkms:path=../good.pem", "leaves the key directory", nil, good.cfg},
		{"no directory", "softkms:path=good.pem", "no key directory", nil, Config{Passphrase: words(passphrase)}},
		{"no path", "softkms:", "names no file", nil, good.cfg},
		{"no scheme", "good.pem", "URI such as", nil, good.cfg},
		{"cloud", "awskms:key-id=", "is empty", nil, good.cfg},
		{"TPM", "tpmkms:name=x", "key-x.tpmobj", ErrNotFound, good.cfg},
		{"other", "http://x", "unknown scheme", nil, good.cfg},
	} {
		s := open(t, tt.cfg)
		signer, err := s.Signer(background, tt.uri, nil)
		if err == nil || signer != nil || !strings.Contains(err.Error(), tt.want) || tt.is != nil && !errors.Is(err, tt.is) {
			t.Errorf("%s: error %v, want %q", tt.name, err, tt.want)
		}
	}
	if _, _, err := good.Create(background, "softkms:path=x.pem", "Ed25519"); err == nil || !strings.Contains(err.Error(), "unknown key algorithm") {
		t.Errorf("creating an unknown kind of key: %v", err)
	}
	short := open(t, Config{Dir: dir, Passphrase: words("short")})
	if _, _, err := short.Create(background, "softkms:path=x.pem", "P-256"); err == nil || !strings.Contains(err.Error(), "shorter than") {
		t.Errorf("creating with a short passphrase: %v", err)
	}
	canceled, cancel := context.WithCancel(background)
	cancel()
	if _, err := good.Signer(canceled, "softkms:path=good.pem", nil); !errors.Is(err, context.Canceled) {
		t.Errorf("in a canceled context: %v", err)
	}
	// Another key than the one that is wanted is neither opened nor destroyed.
	stranger := pkitest.Key(t, "P-256").Public()
	if _, err := good.Signer(background, "softkms:path=good.pem", stranger); !errors.Is(err, ErrMismatch) {
		t.Errorf("another key: %v", err)
	}
	if err := good.Destroy(background, "softkms:path=good.pem", stranger); !errors.Is(err, ErrMismatch) {
		t.Errorf("destroying another key: %v", err)
	}
	if err := good.Destroy(background, "softkms:path=none.pem", stranger); !errors.Is(err, ErrNotFound) {
		t.Errorf("destroying no key: %v", err)
	}
	if err := good.Destroy(background, "softkms:path=good.pem", nil); err == nil {
		t.Error("a key was destroyed whatever it is")
	}
	good.Close()
	if _, err := good.Signer(background, "softkms:path=good.pem", nil); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

// What Passphrase returns is wiped.
func TestPassphraseIsWiped(t *testing.T) {
	var given [][]byte
	s := open(t, Config{Dir: t.TempDir(), Passphrase: func() ([]byte, error) {
		p := []byte(passphrase)
		given = append(given, p)
		return p, nil
	}})
	if _, _, err := s.Create(background, "softkms:path=k.pem", "P-256"); err != nil {
		t.Fatal(err)
	}
	for _, p := range given {
		if !bytes.Equal(p, make([]byte, len(p))) {
			t.Errorf("%q is left in memory", p)
		}
	}
}

func TestPassphraseFile(t *testing.T) {
	path := pkitest.WriteFile(t, "passphrase", []byte(passphrase+"\r\n"))
	if p, err := PassphraseFile(path)(); err != nil || string(p) != passphrase {
		t.Errorf("%q, %v", p, err)
	}
	for _, mode := range []os.FileMode{0o640, 0o604, 0o620, 0o666} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		if _, err := PassphraseFile(path)(); err == nil || !strings.Contains(err.Error(), "chmod 400") {
			t.Errorf("mode %v: %v", mode, err)
		}
	}
	if _, err := PassphraseFile(pkitest.WriteFile(t, "empty", []byte("\n")))(); err == nil || !strings.Contains(err.Error(), "is empty") {
		t.Errorf("empty file: %v", err)
	}
	if _, err := PassphraseFile(pkitest.WriteFile(t, "long", bytes.Repeat([]byte("x"), 5000)))(); err == nil || !strings.Contains(err.Error(), "longer than") {
		t.Errorf("long file: %v", err)
	}
	if _, err := PassphraseFile(t.TempDir())(); err == nil {
		t.Error("a directory was read")
	}

	dir := t.TempDir()
	t.Setenv("CREDENTIALS_DIRECTORY", dir)
	if PassphraseCredential() != nil {
		t.Error("a credential that is not there")
	}
	if err := os.WriteFile(filepath.Join(dir, "mintmark-passphrase"), []byte(passphrase), 0o440); err != nil {
		t.Fatal(err)
	}
	if p, err := PassphraseCredential()(); err != nil || string(p) != passphrase {
		t.Errorf("credential: %q, %v", p, err)
	}
}

func TestRedact(t *testing.T) {
	for uri, want := range map[string]string{
		"softkms:path=keys/x.pem":                       "softkms:path=keys/x.pem",
		"pkcs11:token=a;object=b?pin-value=1234":        "pkcs11:token=a;object=b?pin-value=redacted",
		"pkcs11:token=a?pin-value=1234&module-path=/x":  "pkcs11:token=a?pin-value=redacted&module-path=/x",
		"pkcs11:token=a;pin-value=1234;object=b":        "pkcs11:token=a;pin-value=redacted;object=b",
		"pkcs11:token=a;PIN-Value=1234":                 "pkcs11:token=a;pin-value=redacted",
		"pkcs11:token=a;pin%2dvalue=1234":               "pkcs11:token=a;pin-value=redacted",
		"pkcs11:token=a?x=1?pin-value=1234":             "pkcs11:token=a?x=redacted&pin-value=redacted",
		"pkcs11:token=a?pin-value%3D1234":               "pkcs11:token=a?pin-value=redacted",
		"pkcs11:token=a,pin-value=1234":                 "pkcs11:token=redacted",
		"pkcs11:token=a%3Bpin-value%3d1234":             "pkcs11:token=redacted",
		"pkcs11:token=a?1234":                           "pkcs11:token=a?redacted",
		"pkcs11:token=a;p%3Bin=1234":                    "pkcs11:token=a;redacted",
		"pkcs11:token=a;token%3Dx=1234":                 "pkcs11:token=a;token=redacted",
		"pkcs11:token=a%3Db;object=c":                   "pkcs11:token=a%3Db;object=c",
		"awskms:key-id=x;secret-access-key=1234":        "awskms:key-id=x;secret-access-key=redacted",
		"azurekms:vault=a;client_secret=1234":           "azurekms:vault=a;client_secret=redacted",
		"softkms:/srv/keys/x.pem":                       "softkms:/srv/keys/x.pem",
		"cloudkms:projects/p/cryptoKeys/k?hsm=false":    "cloudkms:projects/p/cryptoKeys/k?hsm=false",
		"pin-value=1234":                                "redacted",
		"keys/x.pem":                                    "keys/x.pem",
		"pkcs11:token=%zz?pin-value=1234":               "pkcs11:token=%zz?pin-value=redacted",
		"pkcs11:object=a;id=%a1%02?pin-source=/etc/pin": "pkcs11:object=a;id=%a1%02?pin-source=/etc/pin",
		"azurekms:vault=a;client-secret=1234;name=b":    "azurekms:vault=a;client-secret=redacted;name=b",
		"yubikey:slot-id=9c;Management-Key=1234":        "yubikey:slot-id=9c;management-key=redacted",
	} {
		if got := Redact(uri); got != want {
			t.Errorf("Redact(%q) = %q, want %q", uri, got, want)
		}
	}
	// No error and no log line repeats it.
	var log bytes.Buffer
	s := open(t, Config{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	for _, uri := range []string{"pkcs11:token=%zz?pin-value=1234", "pkcs11:module-path=/none;token=a;object=b?pin-value=1234", "softkms:%zz?pin-value=1234"} {
		if _, err := s.Signer(background, uri, nil); err == nil || strings.Contains(err.Error()+log.String(), "1234") {
			t.Errorf("%v", err)
		}
	}
}

// TestSpareRounds: nothing but tests writes key files with few rounds.
func TestSpareRounds(t *testing.T) {
	root := os.DirFS("../..")
	read := 0
	err := fs.WalkDir(root, ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := fs.ReadFile(root, path)
		if n := bytes.Count(text, []byte("SpareRounds")); n > 0 && path != "internal/keystore/sealed.go" {
			t.Errorf("%s speaks of SpareRounds", path)
		}
		read++
		return err
	})
	if err != nil || read < 100 {
		t.Errorf("%d files read: %v", read, err)
	}

	sealed, err := encryptPKCS8(make([]byte, 32), []byte(passphrase))
	if err != nil || checkSealed(sealed) != nil {
		t.Fatalf("%v, %v", err, checkSealed(sealed))
	}
	if !bytes.Contains(sealed, []byte{0x02, 0x01, 100}) {
		t.Errorf("this is not sealed with 100 rounds: %x", sealed)
	}
}
