package dpssim

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestTrustAnchorKept: a client that trusts the first run trusts the next one, also at
// another name; once the trust anchor has expired, or a file of it is gone, there is a
// new one.
func TestTrustAnchorKept(t *testing.T) {
	dir := t.TempDir()
	first := startSim(t, func(c *Config) { c.StateDir = dir })
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(first.RootPEM())
	key := filepath.Join(dir, rootKeyFile)
	if info, err := os.Stat(key); err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("%v %v", info, err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	next := startSim(t, func(c *Config) { c.StateDir, c.Service = dir, "another" })
	conn, err := tls.Dial("tcp", next.Addr(), &tls.Config{RootCAs: roots, ServerName: "another.azure-devices-provisioning.net"})
	if err != nil {
		t.Fatalf("the next run is not trusted: %v", err)
	}
	conn.Close()

	later := startSim(t, func(c *Config) {
		c.StateDir, c.Now = dir, func() time.Time { return time.Now().AddDate(21, 0, 0) }
	})
	if bytes.Equal(later.RootPEM(), first.RootPEM()) {
		t.Error("an expired trust anchor is used")
	}
	if err := os.Remove(key); err != nil {
		t.Fatal(err)
	}
	if s := startSim(t, func(c *Config) { c.StateDir = dir }); bytes.Equal(s.RootPEM(), later.RootPEM()) {
		t.Error("a trust anchor without its key is used")
	}
}

// TestTrustAnchorRefused: files that do not belong together, or are not the simulator's,
// are not overwritten.
func TestTrustAnchorRefused(t *testing.T) {
	for name, spoil := range map[string]func(s *Sim) (string, []byte){
		"another key": func(s *Sim) (string, []byte) {
			other, err := newTrustAnchor(s.now())
			if err != nil {
				t.Fatal(err)
			}
			b, err := other.keyPEM()
			if err != nil {
				t.Fatal(err)
			}
			return rootKeyFile, b
		},
		"no certificate": func(*Sim) (string, []byte) { return rootFile, []byte("hello") },
		"no key":         func(*Sim) (string, []byte) { return rootKeyFile, nil },
	} {
		dir := t.TempDir()
		s := startSim(t, func(c *Config) { c.StateDir = dir })
		file, content := spoil(s)
		if err := os.WriteFile(filepath.Join(dir, file), content, 0o600); err != nil {
			t.Fatal(err)
		}
		if again, err := Start(context.Background(), Config{StateDir: dir}); err == nil {
			again.Close()
			t.Errorf("%s: taken", name)
		}
		if left, err := os.ReadFile(filepath.Join(dir, file)); err != nil || !bytes.Equal(left, content) {
			t.Errorf("%s: overwritten: %v", name, err)
		}
	}
}
