package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func rootCertificate(t *testing.T) *x509.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	root, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return root
}

// TestStationTerminal: the line that says how a run goes is no wider than the terminal, or
// it could not be wiped.
func TestStationTerminal(t *testing.T) {
	dir := t.TempDir()
	root := certificatePEM(rootCertificate(t))
	for name, content := range map[string]string{
		"root.pem": string(root), "WO-117": "WO-117:secret", "in/x.csr": "hello",
		"station.yaml": "est: {url: 'https://127.0.0.1:1', label: a, ca: root.pem, secret_file: WO-117}\ndevice: {files: {requests: in, certificates: out}}\n",
	} {
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	person, terminal := pty(t)
	if err := unix.IoctlSetWinsize(int(terminal.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: 40}); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		ended <- run(t.Context(), []string{"station", "run", "--config", filepath.Join(dir, "station.yaml")}, &app{in: terminal, out: terminal, err: terminal})
	}()
	shown := await(t, person, "for being put back\r\n")
	if err := <-ended; err == nil || !strings.Contains(err.Error(), "1 of 1 devices failed") {
		t.Errorf("%v", err)
	}
	_, live, _ := strings.Cut(shown, "certificateRequest")
	live, _, found := strings.Cut(live[strings.Index(live, "\n")+1:], "\r\x1b[K")
	if !found || len(live) != 39 || !strings.HasPrefix(live, "WO-117  0 done  1 failed  0 waiting") {
		t.Errorf("the live line is %q, of %q", live, shown)
	}
}
