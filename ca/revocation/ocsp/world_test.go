package ocsp_test

import (
	"context"
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"errors"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	xocsp "golang.org/x/crypto/ocsp"

	"mintmark/ca"
	"mintmark/ca/revocation/ocsp"
	"mintmark/internal/audit"
	"mintmark/internal/keystore"
	"mintmark/internal/ledger"
	"mintmark/internal/ledger/sqldb"
	"mintmark/internal/pkitest"
	"mintmark/issuer"
)

// base is the address that certificates name; tests that are asked there change it.
var base = defaultBase

const defaultBase = "http://ca.example:8080"

// day as configuration writes it.
const day = 24 * time.Hour

// world is a registration authority over a ledger of its own, with a root, an issuing
// CA, and a responder.
type world struct {
	ledger    ledger.Ledger
	keys      *heldKeys
	ra        *issuer.RA
	responder *ocsp.Responder
	config    ocsp.Config
}

// heldKeys is a key store in memory whose keys can be taken away.
type heldKeys struct {
	mu   sync.Mutex
	made map[string]crypto.Signer
	kind string // of the test keys that are handed out
	away bool
}

func (k *heldKeys) Create(_ context.Context, uri, _ string) (string, crypto.Signer, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return uri, k.made[uri], nil
}

func (k *heldKeys) Signer(_ context.Context, uri string, _ crypto.PublicKey) (crypto.Signer, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.made[uri] == nil || k.away {
		return nil, keystore.ErrNotFound
	}
	return k.made[uri], nil
}

// hold says whether the keys are there.
func (k *heldKeys) hold(there bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.away = !there
}

// newWorld makes a hierarchy of keys of one kind over an SQLite ledger; change may
// alter the responder.
func newWorld(t testing.TB, kind string, change func(*world, *ocsp.Config)) *world {
	t.Helper()
	w := &world{ledger: openLedger(t, "test", ""), keys: &heldKeys{kind: kind, made: make(map[string]crypto.Signer)}}
	w.ra = w.newRA(t, "test")
	w.createBoth(t)
	w.responder = w.newResponder(change)
	return w
}

// openLedger opens the ledger of one server, in PostgreSQL if there is a URL.
func openLedger(t testing.TB, server, url string) ledger.Ledger {
	t.Helper()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "log"), 0o700); err != nil {
		t.Fatal(err)
	}
	log, err := audit.Open(filepath.Join(dir, "log"), audit.Config{Server: server})
	if err != nil {
		t.Fatal(err)
	}
	config := sqldb.Config{Log: log, Migrate: true, Server: server}
	if config.URL = url; url == "" {
		config.Path = filepath.Join(dir, "ledger.db")
	}
	store, err := sqldb.Open(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		store.Close()
		log.Close()
	})
	return store
}

// createBoth makes the root and the issuing CA, whose key is of the kind.
func (w *world) createBoth(t testing.TB) {
	t.Helper()
	one, zero := 1, 0
	w.create(t, issuer.AuthoritySpec{Spec: ca.Spec{Name: "root", Subject: pkix.Name{CommonName: "Test Root"}, Validity: 20 * 365 * day, PathLen: &one}}, pkitest.NewKey(t))
	w.create(t, issuer.AuthoritySpec{Spec: ca.Spec{Name: "issuing", Subject: pkix.Name{CommonName: "Test Issuing"}, Validity: 10 * 365 * day, PathLen: &zero}, Issuer: "root"}, pkitest.Key(t, w.keys.kind))
}

// newRA is a registration authority by another name over the same ledger and keys.
func (w *world) newRA(t testing.TB, server string) *issuer.RA {
	t.Helper()
	device, err := issuer.NewProfile("device", issuer.ProfileConfig{Preset: "device", OCSP: []string{base + ocsp.Path + "{issuer}"}}, base)
	if err != nil {
		t.Fatal(err)
	}
	ra, err := issuer.New(t.Context(), issuer.Config{
		Ledger: w.ledger, Keys: w.keys, Server: server, Logger: slog.New(slog.DiscardHandler), EpochTTL: 100 * 365 * day, // nobody extends it here
		Profiles: map[string]*issuer.Profile{"device": device},
	})
	if err != nil {
		t.Fatal(err)
	}
	return ra
}

// create makes an authority with a key of w.keys.
func (w *world) create(t testing.TB, spec issuer.AuthoritySpec, key crypto.Signer) {
	t.Helper()
	spec.KeyURI, spec.Key = "memory:"+spec.Name, ca.Algorithm(w.keys.kind)
	w.keys.made[spec.KeyURI] = key
	if _, err := w.ra.CreateAuthority(t.Context(), spec, admin); err != nil {
		t.Fatal(err)
	}
}

func (w *world) newResponder(change func(*world, *ocsp.Config)) *ocsp.Responder {
	config := ocsp.Config{
		Ledger: w.ledger, Authority: w.ra.Authority,
		Issue: func(ctx context.Context, authority string) (*x509.Certificate, crypto.Signer, error) {
			return w.ra.Responder(ctx, authority, 7*day)
		},
		Lifetime: day, Outage: 5 * time.Minute, Most: 1000, Now: time.Now, Logger: slog.New(slog.DiscardHandler),
	}
	if change != nil {
		change(w, &config)
	}
	w.config = config
	return ocsp.New(config)
}

var admin = ledger.Requester{Kind: "admin", Name: "test"}

// enroll issues a certificate for a device.
func (w *world) enroll(t testing.TB, name string) *x509.Certificate {
	t.Helper()
	answer, err := w.ra.Enroll(t.Context(), issuer.Request{
		Authorize: issuer.Trusted, Profile: "device", Issuer: "issuing", Requester: admin,
		CSR: pkitest.CSR(t, pkitest.NewKey(t), pkix.Name{CommonName: name}),
	})
	if err != nil {
		t.Fatal(err)
	}
	return answer.Certificate
}

// revoke revokes a certificate, of which the responder is not told.
func (w *world) revoke(t testing.TB, c *x509.Certificate, reason ledger.Reason) {
	t.Helper()
	serial := ledger.Serial(hex.EncodeToString(c.SerialNumber.Bytes()))
	if _, err := w.ledger.Revoke(t.Context(), ledger.Selector{Serial: serial}, reason, "test", time.Now(), nil); err != nil {
		t.Fatal(err)
	}
}

func (w *world) authority(t testing.TB, name string) *x509.Certificate {
	t.Helper()
	a, err := w.ra.Authority(name)
	if err != nil {
		t.Fatal(err)
	}
	return a.Certificate()
}

// run runs the responder's jobs until the test, or what is returned, ends them. It
// returns when changes are listed.
func run(t testing.TB, r *ocsp.Responder) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		r.Run(ctx)
	}()
	stop = sync.OnceFunc(func() { cancel(); <-ended })
	t.Cleanup(stop)
	eventually(t, "changes are listed", func() bool { return !r.Seen().IsZero() })
	return stop
}

func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !f(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not within ten seconds", what)
		}
	}
}

// ask asks by POST and has golang.org/x/crypto/ocsp judge the answer.
func ask(r http.Handler, c, issuer *x509.Certificate, options *xocsp.RequestOptions) (*xocsp.Response, error) {
	request, err := xocsp.CreateRequest(c, issuer, options)
	if err != nil {
		return nil, err
	}
	return xocsp.ParseResponseForCert(post(r, "issuing", request).Body.Bytes(), c, issuer)
}

// mustAsk is ask that must be answered by a status.
func mustAsk(t testing.TB, r http.Handler, c, issuer *x509.Certificate, want int) *xocsp.Response {
	t.Helper()
	answer, err := ask(r, c, issuer, nil)
	if err != nil {
		t.Fatal(err)
	}
	if answer.Status != want {
		t.Fatalf("status %d, not %d", answer.Status, want)
	}
	return answer
}

// wantStatus wants an answer that says nothing of a certificate.
func wantStatus(t testing.TB, r http.Handler, c, issuer *x509.Certificate, want xocsp.ResponseStatus) {
	t.Helper()
	answer, err := ask(r, c, issuer, nil)
	var refused xocsp.ResponseError
	if !errors.As(err, &refused) || refused.Status != want {
		t.Fatalf("answered by %+v, %v, not by %v", answer, err, want)
	}
}

func post(r http.Handler, name string, request []byte) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	r.ServeHTTP(w, httptest.NewRequest(http.MethodPost, ocsp.Path+name, reader(request)))
	return w
}

type pkixExtension = pkix.Extension

func nameOf(commonName string) pkix.Name { return pkix.Name{CommonName: commonName} }

func bigOf(t testing.TB, serial ledger.Serial) *big.Int {
	t.Helper()
	n, ok := new(big.Int).SetString(string(serial), 16)
	if !ok {
		t.Fatalf("serial number %q", serial)
	}
	return n
}

// mustAskStatus asks by a hash and returns what is said.
func mustAskStatus(t testing.TB, w *world, c, issuing *x509.Certificate, hash crypto.Hash) int {
	t.Helper()
	answer, err := ask(w.responder, c, issuing, &xocsp.RequestOptions{Hash: hash})
	if err != nil {
		t.Fatal(err)
	}
	return answer.Status
}

type (
	certificate = x509.Certificate
	signer      = crypto.Signer
)

// kept returns how many answers a responder keeps, as its metrics have it.
func kept(t testing.TB, r *ocsp.Responder) int {
	t.Helper()
	registry := prometheus.NewRegistry()
	registry.MustRegister(r.Metrics()...)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "ocsp_kept_answers" {
			return int(f.GetMetric()[0].GetGauge().GetValue())
		}
	}
	t.Fatal("there is no such metric")
	return 0
}
