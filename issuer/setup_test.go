package issuer_test

import (
	"context"
	"crypto"
	"crypto/x509/pkix"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"mintmark/ca"
	"mintmark/internal/audit"
	"mintmark/internal/keystore"
	"mintmark/internal/ledger"
	"mintmark/internal/ledger/sqldb"
	"mintmark/internal/pkitest"
	"mintmark/issuer"
)

// newLedger opens a real ledger with its log in a directory of its own.
func newLedger(t testing.TB) ledger.Ledger {
	t.Helper()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "log"), 0o700); err != nil {
		t.Fatal(err)
	}
	log, err := audit.Open(filepath.Join(dir, "log"), audit.Config{Server: "test"})
	if err != nil {
		t.Fatal(err)
	}
	store, err := sqldb.Open(t.Context(), sqldb.Config{Path: filepath.Join(dir, "ledger.db"), Log: log, Migrate: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		store.Close()
		log.Close()
	})
	return store
}

// newKeys opens a real key store.
func newKeys(t testing.TB) *keystore.Store {
	t.Helper()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "keys"), 0o700); err != nil {
		t.Fatal(err)
	}
	keys, err := keystore.Open(keystore.Config{Dir: dir, Passphrase: func() ([]byte, error) { return []byte("correct horse"), nil }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { keys.Close() })
	return keys
}

func profile(t testing.TB, name string, c issuer.ProfileConfig) *issuer.Profile {
	t.Helper()
	p, err := issuer.NewProfile(name, c, "http://ca.example:8080")
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// newRA returns a registration authority over l with profiles and without
// authorities.
func newRA(t testing.TB, l ledger.Ledger, change func(*issuer.Config)) *issuer.RA {
	t.Helper()
	config := issuer.Config{
		Ledger: l, Server: "test", Logger: slog.New(slog.DiscardHandler), PublicURL: "http://ca.example:8080",
		EpochTTL: time.Hour, // nobody extends it here, and the race detector is slow
		Profiles: map[string]*issuer.Profile{
			"device": profile(t, "device", issuer.ProfileConfig{Preset: "device"}),
			"server": profile(t, "server", issuer.ProfileConfig{Preset: "server"}),
			"fixed": profile(t, "fixed", issuer.ProfileConfig{Preset: "aws-jitp", Subject: map[string]issuer.Attribute{
				"country": {Value: "DE"}, "organization": {Value: "Example"}, "commonName": {Pattern: `dev-[0-9]+`},
			}}),
		},
	}
	if change != nil {
		change(&config)
	}
	if config.Keys == nil {
		config.Keys = newKeys(t)
	}
	ra, err := issuer.New(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	return ra
}

var admin = ledger.Requester{Kind: "admin", Name: "test"}

// withHierarchy creates a root and an issuing CA.
func withHierarchy(t testing.TB, ra *issuer.RA) *issuer.RA {
	t.Helper()
	one, zero := 1, 0
	for _, spec := range []issuer.AuthoritySpec{
		{Spec: ca.Spec{Name: "root", Subject: pkix.Name{CommonName: "Test Root"}, Validity: 20 * 365 * 24 * time.Hour, PathLen: &one}, Key: ca.P256},
		{Spec: ca.Spec{Name: "issuing", Subject: pkix.Name{CommonName: "Test Issuing"}, Validity: 10 * 365 * 24 * time.Hour, PathLen: &zero}, Key: ca.P256, Issuer: "root"},
	} {
		if _, err := ra.CreateAuthority(t.Context(), spec, admin); err != nil {
			t.Fatal(err)
		}
	}
	return ra
}

var password = ledger.Requester{Kind: "password", Name: "line-1"}

// enroll asks for a certificate of the device profile.
func enroll(ctx context.Context, t testing.TB, ra *issuer.RA, key crypto.Signer, name string) (issuer.Answer, error) {
	t.Helper()
	return ra.Enroll(ctx, issuer.Request{
		Profile: "device", Issuer: "issuing", Requester: password,
		CSR: pkitest.CSR(t, key, pkix.Name{CommonName: name}),
	})
}

// mustEnroll is enroll that must succeed.
func mustEnroll(t testing.TB, ra *issuer.RA, key crypto.Signer, name string) issuer.Answer {
	t.Helper()
	answer, err := enroll(t.Context(), t, ra, key, name)
	if err != nil {
		t.Fatal(err)
	}
	return answer
}

// count returns how many serials of end entities stand in each state.
func count(t testing.TB, l ledger.Ledger) map[ledger.State]int {
	t.Helper()
	states := make(map[ledger.State]int)
	page, err := l.Certificates(t.Context(), ledger.Query{Purpose: ledger.ForDevice, Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range page.Certificates {
		states[c.State]++
	}
	return states
}
