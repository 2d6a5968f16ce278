package batch_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"mintmark/admin"
	"mintmark/admin/adminhttp"
	"mintmark/ca/rotation"
	"mintmark/internal/access"
	"mintmark/internal/audit"
	"mintmark/internal/keystore"
	"mintmark/internal/ledger"
	"mintmark/internal/ledger/sqldb"
	"mintmark/internal/pkitest"
	"mintmark/issuer"
	"mintmark/issuer/batch"
	"mintmark/issuer/batch/remote"
)

// factory is the administrative API over a real registration authority and a real ledger,
// with a root and an issuing CA.
type factory struct {
	ra      *issuer.RA
	ledger  ledger.Ledger
	handler http.Handler
	client  *admin.Client
	root    *x509.Certificate
	socket  string
}

func newFactory(t testing.TB) *factory {
	t.Helper()
	dir, err := os.MkdirTemp("", "batch") // t.TempDir may be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
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
	profile, err := issuer.NewProfile("device", issuer.ProfileConfig{Preset: "device"}, "http://ca.example:8080")
	if err != nil {
		t.Fatal(err)
	}
	quiet := slog.New(slog.DiscardHandler)
	f := &factory{ledger: store, socket: filepath.Join(dir, "admin.sock")}
	f.ra, err = issuer.New(t.Context(), issuer.Config{
		Ledger: store, Keys: &keys{made: make(map[string]crypto.Signer)}, Server: "test", EpochTTL: time.Hour, Logger: quiet,
		Profiles: map[string]*issuer.Profile{"device": profile},
	})
	if err != nil {
		t.Fatal(err)
	}
	nothing := func(context.Context, string) error { return nil }
	f.handler = adminhttp.New(adminhttp.Config{
		RA: f.ra, Ledger: store, Version: "test", Logger: quiet, PublishCRL: nothing,
		SignCRL:   func(context.Context, string, int) error { return nil },
		Rotations: rotation.New(rotation.World{Records: store, Authorities: f.ra.Rotations(), Officers: store.Principals, Now: f.ra.Now}),
		Actor: func(*http.Request) (access.Principal, bool, error) {
			return access.Principal{Name: "local:tester", Roles: access.Roles}, true, nil
		},
		Labels: map[string]adminhttp.Label{"line": {Profile: "device", Issuer: "issuing", Orders: true}},
	})
	f.client = admin.New(admin.InProcess(f.handler))
	for _, spec := range []admin.AuthoritySpec{
		{Name: "root", Subject: admin.Name{CommonName: "Test Root"}, ValiditySeconds: 20 * 365 * 86400},
		{Name: "issuing", Issuer: "root", Subject: admin.Name{CommonName: "Test Issuing"}, ValiditySeconds: 10 * 365 * 86400},
	} {
		if _, err := f.client.CreateAuthority(t.Context(), spec); err != nil {
			t.Fatal(err)
		}
	}
	root, err := f.ra.Authority("root")
	if err != nil {
		t.Fatal(err)
	}
	f.root = root.Certificate()
	return f
}

// listen serves the API to other processes.
func (f *factory) listen(t *testing.T) {
	t.Helper()
	l, err := net.Listen("unix", f.socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &httptest.Server{Listener: l, Config: &http.Server{Handler: f.handler}}
	server.Start()
	t.Cleanup(server.Close)
}

func (f *factory) certifier() remote.Certifier {
	return remote.Certifier{Client: f.client, Profile: "device", Issuer: "issuing"}
}

// order makes a work order for so many certificates.
func (f *factory) order(t testing.TB, id string, quantity int) {
	t.Helper()
	if _, err := f.client.CreateOrder(t.Context(), admin.OrderSpec{ID: id, Label: "line", Quantity: quantity, NotAfter: time.Now().Add(time.Hour)}); err != nil {
		t.Fatal(err)
	}
}

// certificates are all that the ledger has for devices.
func (f *factory) certificates(t testing.TB) []ledger.Certificate {
	t.Helper()
	var list []ledger.Certificate
	for q := (ledger.Query{Purpose: ledger.ForDevice, Limit: 1000}); ; {
		page, err := f.ledger.Certificates(context.Background(), q)
		if err != nil {
			t.Fatal(err)
		}
		if list = append(list, page.Certificates...); page.Next == "" {
			return list
		}
		q.After = page.Next
	}
}

// plan is one for names, with keys in the clear.
func (f *factory) plan() batch.Plan {
	return batch.Plan{Profile: "device", Issuer: "issuing", KeyType: "P-256", Format: batch.PEM, Pack: batch.Zip, Unencrypted: true, Root: f.root.Raw}
}

// create begins a batch in a new folder, in parts of that size.
func create(t testing.TB, plan batch.Plan, devices func(func(batch.Item, error) bool), size int) (string, *batch.Batch) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "batch")
	if _, err := batch.Create(dir, plan, devices, time.Now()); err != nil {
		t.Fatal(err)
	}
	return dir, reopen(t, dir, size)
}

func reopen(t testing.TB, dir string, size int) *batch.Batch {
	t.Helper()
	b, err := batch.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	b.SetStep(nil, size)
	return b
}

// requests are certification requests of new devices.
func requests(t testing.TB, names ...string) (list [][]byte) {
	t.Helper()
	for _, name := range names {
		list = append(list, pkitest.CSR(t, pkitest.NewKey(t), pkix.Name{CommonName: name}))
	}
	return list
}

// asked has requests as a source.
func asked(list [][]byte) func(func(batch.Item, error) bool) {
	return func(yield func(batch.Item, error) bool) {
		for _, der := range list {
			if !yield(batch.Item{CSR: der}, nil) {
				return
			}
		}
	}
}

// keys is a key store without files.
type keys struct {
	mu   sync.Mutex
	made map[string]crypto.Signer
}

func (k *keys) Create(_ context.Context, uri, _ string) (string, crypto.Signer, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.made[uri] != nil {
		return "", nil, keystore.ErrExists
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	k.made[uri] = key
	return uri, key, err
}

func (k *keys) Signer(_ context.Context, uri string, _ crypto.PublicKey) (crypto.Signer, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.made[uri] == nil {
		return nil, keystore.ErrNotFound
	}
	return k.made[uri], nil
}
