package faults

import (
	"context"
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mintmark/ca"
	"mintmark/internal/keystore"
	"mintmark/internal/keystore/faults/shim"
	"mintmark/internal/pkitest"
)

// patience is how long a test waits for what must happen on a busy machine.
const patience = time.Minute

// soft is a SoftHSM2 in directories of its own, behind a module that can fail.
type soft struct {
	*shim.Module
	real, conf string // the module itself, its configuration
	tokens     string // where the tokens are
	pinFile    string
}

// newSoft makes one with an empty token "factory".
func newSoft(t testing.TB) *soft {
	t.Helper()
	pkitest.Tool(t, "gcc")
	module, _, pinFile := pkitest.SoftHSM(t)
	conf := os.Getenv("SOFTHSM2_CONF")
	return newModule(t, &soft{real: module, conf: conf, tokens: filepath.Join(filepath.Dir(conf), "tokens"), pinFile: pinFile})
}

func newModule(t testing.TB, s *soft) *soft {
	t.Helper()
	m, err := shim.New(filepath.Dir(s.conf), s.real, s.conf)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	s.Module = m
	return s
}

// copy returns another one with copies of the tokens: the same keys, as a second
// HSM has that was made from a backup.
func (s *soft) copy(t testing.TB) *soft {
	t.Helper()
	dir := t.TempDir()
	c := &soft{real: s.real, conf: filepath.Join(dir, "softhsm2.conf"), tokens: filepath.Join(dir, "tokens"), pinFile: s.pinFile}
	if err := os.CopyFS(c.tokens, os.DirFS(s.tokens)); err != nil {
		t.Fatal(err)
	}
	text := strings.Replace(string(pkitest.ReadFile(t, s.conf)), s.tokens, c.tokens, 1)
	if err := os.WriteFile(c.conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return newModule(t, c)
}

// uri names the token, with more attributes.
func (s *soft) uri(more string) string {
	return "pkcs11:module-path=" + s.Path + ";token=factory" + more
}

// leave takes the token away, with an empty directory in its place, and returns what
// brings it back.
func (s *soft) leave(t testing.TB) (back func()) {
	t.Helper()
	away := s.tokens + ".away"
	if err := os.Rename(s.tokens, away); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(s.tokens, 0o700); err != nil {
		t.Fatal(err)
	}
	return func() {
		t.Helper()
		if err := os.RemoveAll(s.tokens); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(away, s.tokens); err != nil {
			t.Fatal(err)
		}
	}
}

// world is a key store with one token and perhaps its spare, and authorities whose
// keys are there.
type world struct {
	*soft
	spare *soft
	cfg   keystore.Config
	store *keystore.Store
	log   *output
	uris  map[string]string // of the keys
	// device is the public key of the devices.
	device crypto.PublicKey
	cas    map[string]*ca.Authority
}

// newWorld makes the keys "issuing" and "second", with a spare if that is wanted, in a
// token whose configuration change may change.
func newWorld(t testing.TB, spare bool, change func(*keystore.TokenConfig)) *world {
	t.Helper()
	w := &world{soft: newSoft(t), log: &output{}, uris: make(map[string]string), cas: make(map[string]*ca.Authority), device: pkitest.Key(t, "P-256").Public()}
	tc := keystore.TokenConfig{Name: "factory", URI: w.uri(""), PIN: keystore.PIN{File: w.pinFile}}
	w.cfg = keystore.Config{
		Tokens: []keystore.TokenConfig{tc}, State: t.TempDir(),
		Logger: slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	t.Cleanup(func() {
		w.Mend() // what hangs
		w.close(t)
		if t.Failed() {
			text := w.log.String()
			t.Logf("the log, its end:\n%s", text[max(0, len(text)-6000):])
		}
	})
	w.reopen(t)
	w.make(t, "factory", "issuing")
	w.make(t, "factory", "second")
	w.close(t)
	if spare {
		w.spare = w.soft.copy(t)
		tc.Spare = &keystore.SpareConfig{URI: w.spare.uri(""), PIN: keystore.PIN{File: w.pinFile}}
	}
	if change != nil {
		change(&tc)
	}
	w.cfg.Tokens[0] = tc
	w.reopen(t)
	return w
}

// reopen is a restart of the server: another store, and authorities that have opened
// no key.
func (w *world) reopen(t testing.TB) {
	t.Helper()
	w.close(t)
	var err error
	if w.store, err = keystore.Open(w.cfg); err != nil {
		t.Fatal(err)
	}
	for name, a := range w.cas {
		w.cas[name] = w.named(t, name, a.Certificate())
	}
}

// close closes the store, if it is open.
func (w *world) close(t testing.TB) {
	t.Helper()
	if w.store == nil {
		return
	}
	if err := w.store.Close(); err != nil {
		t.Errorf("closing the store: %v", err)
	}
	w.store = nil
}

// named is the authority of a certificate, with its key in the store.
func (w *world) named(t testing.TB, name string, cert *x509.Certificate) *ca.Authority {
	t.Helper()
	store, uri := w.store, w.uris[name]
	a, err := ca.New(ca.Config{Name: name, Certificate: cert, Signer: func(ctx context.Context) (crypto.Signer, error) {
		return store.Signer(ctx, uri, cert.PublicKey)
	}})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// make makes a key in a token, and an authority of it.
func (w *world) make(t testing.TB, token, name string) {
	t.Helper()
	uri, signer, err := w.store.Create(t.Context(), "pkcs11:token="+token+";object="+name, "P-256")
	if err != nil {
		t.Fatal(err)
	}
	w.uris[name] = uri
	spec := ca.Spec{Name: name, Subject: pkix.Name{CommonName: "Works CA " + name}, Validity: 24 * 365 * time.Hour, Backdate: time.Hour}
	template, err := spec.Template(big.NewInt(1001), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	p, err := ca.PrepareRoot(template, signer)
	if err != nil {
		t.Fatal(err)
	}
	p.Recorded()
	cert, err := p.Issue(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	w.cas[name] = w.named(t, name, cert)
}

// id is the CKA_ID of a key, of which its URI has two digits and a percent sign for
// each byte.
func (w *world) id(t testing.TB, name string) []byte {
	t.Helper()
	_, rest, found := strings.Cut(w.uris[name], ";id=")
	encoded, _, _ := strings.Cut(rest, ";")
	id, err := url.PathUnescape(encoded)
	if !found || err != nil {
		t.Fatalf("the URI %s has no id", w.uris[name])
	}
	return []byte(id)
}

// serials are those of the certificates that tests issue.
var serials atomic.Int64

// issue issues a certificate as the issuance cycle does: it asks whether the key can
// sign before anything would be recorded, and refuses what does not verify.
func issue(ctx context.Context, a *ca.Authority, device crypto.PublicKey) (*x509.Certificate, error) {
	now := time.Now()
	serial := serials.Add(1)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1<<40 + serial),
		Subject:      pkix.Name{CommonName: fmt.Sprintf("press-%08d", serial)},
		NotBefore:    now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		CRLDistributionPoints: []string{"http://pki.example.com/devices.crl"},
		IssuingCertificateURL: []string{"http://pki.example.com/devices.cer"},
	}
	p, err := a.Prepare(template, device, ca.Rules{})
	if err != nil {
		return nil, err
	}
	if err := a.Open(ctx); err != nil {
		return nil, err
	}
	if err := a.Ready(); err != nil {
		return nil, err
	}
	p.Recorded()
	return p.Issue(ctx)
}

// must issues a certificate, which must work.
func (w *world) must(t testing.TB, name string) {
	t.Helper()
	cert, err := issue(t.Context(), w.cas[name], w.device)
	if err != nil {
		t.Fatalf("issuing under %s: %v", name, err)
	}
	if err := cert.CheckSignatureFrom(w.cas[name].Certificate()); err != nil {
		t.Fatalf("a certificate that does not verify came out: %v", err)
	}
}

// eventually polls until f holds, and says how long that took.
func eventually(t testing.TB, what string, f func() bool) time.Duration {
	t.Helper()
	start := time.Now()
	for !f() {
		if time.Since(start) > patience {
			t.Fatalf("not within %v: %s", patience, what)
		}
		time.Sleep(2 * time.Millisecond)
	}
	return time.Since(start)
}

// output gathers what is written while others read it.
type output struct {
	mu sync.Mutex
	b  strings.Builder
}

var _ io.Writer = (*output)(nil)

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}
