package issuer_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509/pkix"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
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

// keys is a key store in memory. The real one is internal/keystore's to prove;
// what it does to keep a passphrase safe would take most of the tests' time.
type keys struct {
	mu   sync.Mutex
	made map[string]crypto.Signer
}

func newKeys(testing.TB) issuer.KeyStore { return &keys{made: make(map[string]crypto.Signer)} }

func (k *keys) Create(_ context.Context, uri, algorithm string) (string, crypto.Signer, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.made[uri] != nil {
		return "", nil, keystore.ErrExists
	}
	kind, parameter, _ := strings.Cut(algorithm, "-")
	var err error
	if kind == "RSA" {
		var bits int
		if bits, err = strconv.Atoi(parameter); err == nil {
			k.made[uri], err = rsa.GenerateKey(rand.Reader, bits)
		}
	} else {
		curve := map[string]elliptic.Curve{"256": elliptic.P256(), "384": elliptic.P384(), "521": elliptic.P521()}[parameter]
		k.made[uri], err = ecdsa.GenerateKey(curve, rand.Reader)
	}
	return uri, k.made[uri], err
}

func (k *keys) Signer(_ context.Context, uri string, _ crypto.PublicKey) (crypto.Signer, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.made[uri] == nil {
		return nil, keystore.ErrNotFound
	}
	return k.made[uri], nil
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
		Authorize: issuer.Trusted, Profile: "device", Issuer: "issuing", Requester: password,
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
