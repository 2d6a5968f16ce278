package server

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"io"
	"log"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mintmark/internal/config"
)

// TestOwnCertificateNotStored has nowhere to store the server's certificate:
// it is used all the same, and not issued again at each try.
func TestOwnCertificateNotStored(t *testing.T) {
	dir := newState(t)
	s := openLocal(t, dir, io.Discard)
	defer s.Close()
	own := newOwnTLS(s)
	own.file = filepath.Join(dir, "root.pem", "server.pem") // below a file
	if err := own.refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	first, err := own.get(nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := own.refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	if second, err := own.get(nil); err != nil || second != first {
		t.Error("issued another one")
	}
}

// TestOwnCertificateSpelling configures an address in another spelling than
// the certificate's: it fits, and the next start keeps the certificate.
func TestOwnCertificateSpelling(t *testing.T) {
	dir := newState(t)
	editConfig(t, dir, "    - \"127.0.0.1\"\n", "    - \"127.0.0.1\"\n    - \"2001:0DB8::0001\"\n")
	s := openLocal(t, dir, io.Discard)
	defer s.Close()
	own := newOwnTLS(s)
	if err := own.refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	first := own.current.Load()
	if err := own.refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	if own.current.Load() != first {
		t.Error("issued another one")
	}
}

// TestOwnCertificateSignsKeys: a stored certificate whose key cannot sign what
// serverkeygen answers is not used where a label has serverkeygen.
func TestOwnCertificateSignsKeys(t *testing.T) {
	s := openLocal(t, newState(t), io.Discard)
	defer s.Close()
	own := newOwnTLS(s)
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	stored := append(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate})...)
	if err := os.WriteFile(own.file, stored, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := own.load(); err != nil {
		t.Errorf("without serverkeygen: %v", err)
	}
	s.config.Labels[0].Keygen = &config.Keygen{Plain: true}
	if _, err := own.load(); err == nil || !strings.Contains(err.Error(), "does not sign") {
		t.Errorf("with serverkeygen: %v", err)
	}
	if err := own.refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := own.load(); err != nil {
		t.Errorf("the next one: %v", err)
	}
}

// TestServerLog reads what net/http says of a panic where an operator looks.
func TestServerLog(t *testing.T) {
	var out strings.Builder
	errorLog := log.New(&serverLog{slog.New(slog.NewTextHandler(&out, nil))}, "", 0)
	errorLog.Print("http: TLS handshake error from 192.0.2.1:4711: EOF")
	if out.Len() != 0 {
		t.Errorf("a client that went away: %s", out.String())
	}
	errorLog.Print("http: panic serving 192.0.2.1:4711: boom\ngoroutine 1")
	if !strings.Contains(out.String(), "level=ERROR") || strings.Count(out.String(), "\n") != 1 {
		t.Errorf("a panic: %s", out.String())
	}
}
