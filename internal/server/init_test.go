package server

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"

	"mintmark/internal/ledger"
	"mintmark/internal/pgtest"
)

// TestInitOfficerWithoutCertificate refuses an officer who could never come in,
// and whom nobody could therefore ask for a signature.
func TestInitOfficerWithoutCertificate(t *testing.T) {
	public, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	spki, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	o := InitOptions{Dir: filepath.Join(t.TempDir(), "state"), Names: []string{"localhost"}, Officers: []ledger.Principal{{Name: "alice", Key: spki}}}
	err = Init(t.Context(), o, slog.New(slog.DiscardHandler), io.Discard)
	if err == nil || !strings.Contains(err.Error(), `officer "alice" could never get a certificate`) {
		t.Errorf("init: %v", err)
	}
}

// TestInitInUse refuses a database that has a hierarchy, and the name of the
// server that has tried is free afterwards.
func TestInitInUse(t *testing.T) {
	database := pgtest.Start(t).NewDatabase(t)
	quiet := slog.New(slog.DiscardHandler)
	first := filepath.Join(t.TempDir(), "first")
	if err := Init(t.Context(), InitOptions{Dir: first, Server: "first", Names: []string{"localhost"}, Database: database}, quiet, io.Discard); err != nil {
		t.Fatal(err)
	}
	second := InitOptions{Dir: filepath.Join(t.TempDir(), "second"), Server: "second", Names: []string{"localhost"}, Database: database}
	if err := Init(t.Context(), second, quiet, io.Discard); !errors.Is(err, errInUse) {
		t.Fatalf("init: %v", err)
	}
	second.Bare = true
	if err := Init(t.Context(), second, quiet, io.Discard); err != nil {
		t.Fatal(err)
	}
	withServer(t, second.Dir, func(s *Server) {
		if len(s.ra.Authorities()) != 2 {
			t.Errorf("authorities: %v", s.ra.Authorities())
		}
	})
}
