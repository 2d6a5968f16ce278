package doctor

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mintmark/ca"
	"mintmark/internal/audit"
	"mintmark/internal/keystore"
	"mintmark/internal/ledger"
	"mintmark/internal/ledger/sqldb"
	"mintmark/internal/pkitest"
	"mintmark/issuer"
	"mintmark/issuer/est"
)

// world is our registration authority over a ledger in a directory of the test,
// with the certificates that the doctor brings along.
type world struct {
	ra     *issuer.RA
	ledger ledger.Ledger
	offset atomic.Int64 // of the clock, in nanoseconds

	server, other, old *tls.Certificate // TLS certificates: right, of another host, expired
	roots              *x509.CertPool
	makers             *x509.CertPool
	maker, makerRSA    *tls.Certificate
	device, rsa        *tls.Certificate
	registrar          *tls.Certificate
	expired, revoked   *tls.Certificate
	shortRoot          *x509.Certificate // younger than the other roots, and ends before them
	dir                string
}

const (
	goodUser   = "line-1"
	goodSecret = "kX7dVbQ0mJ2sTz9h"
	sharedID   = "batch-7"
)

var (
	sharedKey = []byte("0123456789abcdef0123456789abcdef")
	admin     = ledger.Requester{Kind: "admin", Name: "test"}
)

// keys is a key store in memory.
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

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{dir: t.TempDir(), roots: x509.NewCertPool(), makers: x509.NewCertPool()}
	// Everything begins half an hour ago, so that something can have expired.
	w.offset.Store(int64(-30 * time.Minute))
	if err := os.Mkdir(filepath.Join(w.dir, "log"), 0o700); err != nil {
		t.Fatal(err)
	}
	log, err := audit.Open(filepath.Join(w.dir, "log"), audit.Config{Server: "test"})
	if err != nil {
		t.Fatal(err)
	}
	store, err := sqldb.Open(t.Context(), sqldb.Config{Path: filepath.Join(w.dir, "ledger.db"), Log: log, Migrate: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		store.Close()
		log.Close()
	})
	w.ledger = store
	profile := func(name string, c issuer.ProfileConfig) *issuer.Profile {
		p, err := issuer.NewProfile(name, c, "http://ca.example:8080")
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	names := issuer.SANConfig{DNS: `[a-z0-9.-]+`}
	w.ra, err = issuer.New(t.Context(), issuer.Config{
		Ledger: store, Keys: &keys{made: make(map[string]crypto.Signer)}, Server: "test", Logger: slog.New(slog.DiscardHandler),
		EpochTTL: 24 * time.Hour, Now: w.now,
		Profiles: map[string]*issuer.Profile{
			"device":    profile("device", issuer.ProfileConfig{Preset: "device", SAN: names}),
			"p256":      profile("p256", issuer.ProfileConfig{Preset: "device", Keys: []string{"P-256"}}),
			"short":     profile("short", issuer.ProfileConfig{Preset: "device", Validity: time.Minute, Repeat: new(time.Duration)}),
			"server":    profile("server", issuer.ProfileConfig{Preset: "server"}),
			"old":       profile("old", issuer.ProfileConfig{Preset: "server", Validity: time.Minute}),
			"registrar": profile("registrar", issuer.ProfileConfig{Preset: "registration-authority"}),
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	w.authority(t, "root", "", 20)
	w.authority(t, "issuing", "root", 10)
	w.authority(t, "root-a", "", 20)
	w.authority(t, "issuing-a", "root-a", 10)
	w.authority(t, "root-b", "", 25)
	if _, err := w.ra.BeginRollover(t.Context(), "root-a", "root-b", false, admin); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"issuing", "issuing-a"} {
		w.roots.AddCert(w.ra.Anchors(name)[0])
	}

	w.expired = w.issue(t, "short", pkitest.NewKey(t), &x509.CertificateRequest{Subject: pkix.Name{CommonName: "expired-1"}})
	host := &x509.CertificateRequest{DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	w.old = w.issue(t, "old", pkitest.NewKey(t), host)
	w.offset.Store(0)
	w.server = w.issue(t, "server", pkitest.NewKey(t), host)
	w.other = w.issue(t, "server", pkitest.NewKey(t), &x509.CertificateRequest{DNSNames: []string{"elsewhere.example"}})
	named := &x509.CertificateRequest{Subject: pkix.Name{CommonName: "device-1"}, DNSNames: []string{"a.example", "b.example"}}
	w.device = w.issue(t, "device", pkitest.NewKey(t), named)
	w.rsa = w.issue(t, "device", pkitest.Key(t, "RSA-2048"), &x509.CertificateRequest{Subject: pkix.Name{CommonName: "device-rsa"}})
	w.registrar = w.issue(t, "registrar", pkitest.NewKey(t), &x509.CertificateRequest{Subject: pkix.Name{CommonName: "Station 1"}})
	w.revoked = w.issue(t, "device", pkitest.NewKey(t), &x509.CertificateRequest{Subject: pkix.Name{CommonName: "revoked-1"}})
	if _, err := w.ra.Revoke(t.Context(), ledger.Selector{Serial: issuer.SerialOf(w.revoked.Leaf.SerialNumber)}, ledger.KeyCompromise, "test"); err != nil {
		t.Fatal(err)
	}
	w.makeMaker(t)
	return w
}

func (w *world) now() time.Time { return time.Now().Add(time.Duration(w.offset.Load())) }

func (w *world) authority(t *testing.T, name, above string, years time.Duration) {
	t.Helper()
	length := 0
	if above == "" {
		length = 2
	}
	spec := ca.Spec{Name: name, Subject: pkix.Name{CommonName: "Test " + name}, Validity: years * 365 * 24 * time.Hour, PathLen: &length}
	if _, err := w.ra.CreateAuthority(t.Context(), issuer.AuthoritySpec{Spec: spec, Key: ca.P256, Issuer: above}, admin); err != nil {
		t.Fatal(err)
	}
}

func (w *world) issue(t *testing.T, profile string, key crypto.Signer, template *x509.CertificateRequest) *tls.Certificate {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, template, key)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := w.ra.Enroll(t.Context(), issuer.Request{Authorize: issuer.Trusted, Profile: profile, Issuer: "issuing", CSR: der, Requester: admin})
	if err != nil {
		t.Fatalf("issuing for profile %s: %v", profile, err)
	}
	chain := [][]byte{answer.Certificate.Raw}
	for _, c := range answer.Chain {
		chain = append(chain, c.Raw)
	}
	return &tls.Certificate{Certificate: chain, PrivateKey: key, Leaf: answer.Certificate}
}

func (w *world) makeMaker(t *testing.T) {
	t.Helper()
	make := func(template, parent *x509.Certificate, key, by crypto.Signer) *x509.Certificate {
		template.SerialNumber = big.NewInt(time.Now().UnixNano())
		template.NotBefore, template.NotAfter = time.Now().Add(-time.Minute), time.Now().Add(24*time.Hour)
		der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), by)
		if err != nil {
			t.Fatal(err)
		}
		c, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	above := pkitest.NewKey(t)
	template := &x509.Certificate{Subject: pkix.Name{CommonName: "Maker CA"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	root := make(template, template, above, above)
	w.makers.AddCert(root)
	device := func(name string, key crypto.Signer, usage x509.KeyUsage) *tls.Certificate {
		leaf := make(&x509.Certificate{
			Subject: pkix.Name{CommonName: name, SerialNumber: name}, KeyUsage: x509.KeyUsageDigitalSignature | usage,
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, SubjectKeyId: []byte("key of " + name),
		}, root, key, above)
		return &tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: key, Leaf: leaf}
	}
	w.shortRoot = root
	w.maker = device("maker-0001", pkitest.NewKey(t), x509.KeyUsageKeyAgreement)
	w.makerRSA = device("maker-0002", pkitest.Key(t, "RSA-2048"), x509.KeyUsageKeyEncipherment)
}

// setting is a server and what the doctor is told of it.
type setting struct {
	label  func(*world, *est.Label)
	config func(*world, *Config)
}

// mutant is a change that breaks one point.
type mutant struct {
	name      string
	label     func(*est.Label)
	authority func(*world, est.Authority) est.Authority
	handler   func(*world, http.Handler) http.Handler
	tls       func(*world, *tls.Config)
	listen    func(*testing.T, net.Listener, http.Handler) net.Listener
	config    func(*world, *Config)
	alone     func(*testing.T, *world) string // another server entirely: its address
}

// start serves a setting, perhaps mutated, and returns what the doctor needs.
func (w *world) start(t *testing.T, s setting, m mutant) Config {
	t.Helper()
	c := Config{
		Label: "line", RootCAs: w.roots, HasPassword: true, User: goodUser, Password: goodSecret,
		Device: w.device, Maker: w.maker, RA: w.registrar, Expired: w.expired, Revoked: w.revoked, Enroll: true,
		Timeout: 20 * time.Second,
		sleep:   func(context.Context, time.Duration) error { return nil },
	}
	if m.alone != nil {
		c.URL = "https://" + m.alone(t, w)
		return c
	}
	label := est.Label{
		Profile: "device", Issuer: "issuing", Authorize: issuer.Trusted, Own: []string{"device", "short"}, RAs: []string{"registrar"},
		Passwords: []est.Password{{User: goodUser, SHA256: sha256.Sum256([]byte(goodSecret))}},
		Maker:     &est.Maker{Roots: w.makers, Device: "serialNumber"}, SecondKey: issuer.AllowSecondKey,
	}
	if s.label != nil {
		s.label(w, &label)
	}
	if m.label != nil {
		m.label(&label)
	}
	unlabelled := label
	label.Name = "line"
	authority := est.Authority(w.ra)
	if m.authority != nil {
		authority = m.authority(w, authority)
	}
	handler, err := est.NewHandler(est.Config{
		Authority: authority, Labels: []est.Label{unlabelled, label}, Logger: slog.New(slog.DiscardHandler), Now: w.now,
		Signer: func() (*tls.Certificate, error) { return w.server, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	served := http.Handler(handler)
	if m.handler != nil {
		served = m.handler(w, served)
	}
	config := est.TLSConfig(func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return w.server, nil })
	if m.tls != nil {
		m.tls(w, config)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	c.URL = "https://localhost:" + port
	if m.listen != nil {
		listener = m.listen(t, listener, served)
	}
	server := &http.Server{Handler: served, TLSConfig: config, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo)}
	done := make(chan struct{})
	go func() { defer close(done); server.ServeTLS(listener, "", "") }()
	t.Cleanup(func() { server.Close(); <-done })
	if s.config != nil {
		s.config(w, &c)
	}
	if m.config != nil {
		m.config(w, &c)
	}
	return c
}

// diagnose runs one point.
func diagnose(t *testing.T, c Config, number int) Result {
	t.Helper()
	c.Only = []int{number}
	var got Result
	if err := Run(t.Context(), c, func(_ Point, r Result) { got = r }); err != nil {
		t.Fatal(err)
	}
	return got
}

// decide approves and rejects what waits, as an operator does.
func (w *world) decide(approve, reject string) {
	ctx := context.Background()
	list, err := w.ledger.Enrollments(ctx, ledger.EnrollmentQuery{State: ledger.EnrollmentPending, Limit: 1000})
	if err != nil {
		panic(err)
	}
	for _, e := range list {
		if e.Device != approve && e.Device != reject {
			continue
		}
		if _, err := w.ledger.DecideEnrollment(ctx, e.ID, e.Device == approve, "test", "", w.now(), w.now().Add(time.Hour)); err != nil {
			panic(err)
		}
	}
}

// pemFiles writes a certificate and its key for OpenSSL.
func pemFiles(t *testing.T, c *tls.Certificate) (certificate, key string) {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	certificate = pkitest.WriteFile(t, "cert.pem", pkitest.PEM("CERTIFICATE", c.Certificate...))
	return certificate, pkitest.WriteFile(t, "key.pem", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

// message encodes a SignedData without signers, right or wrong.
func message(version byte, encap []byte, certificates [][]byte, more ...[]byte) []byte {
	if encap == nil {
		encap = tlv(tagSequence, encodeOID(oidData))
	}
	fields := append([][]byte{{tagInteger, 1, version}, tlv(tagSet), encap, tlv(0xa0, bytes.Join(certificates, nil))}, more...)
	fields = append(fields, tlv(tagSet))
	return tlv(tagSequence, encodeOID(oidSignedData), tlv(0xa0, tlv(tagSequence, fields...)))
}

// raws are the encodings of certificates, sorted as in DER.
func raws(list []*x509.Certificate) [][]byte {
	var found [][]byte
	for _, c := range list {
		found = append(found, c.Raw)
	}
	var sorted [][]byte
	e, _ := whole(sortedSet(tagSet, found), tagSet)
	children, _ := e.children()
	for _, child := range children {
		sorted = append(sorted, child.raw)
	}
	return sorted
}

// forge issues past every rule: for the subject and the key of a request.
func (w *world) forge(csr []byte) (issuer.Answer, error) {
	request, err := x509.ParseCertificateRequest(csr)
	if err != nil {
		return issuer.Answer{}, err
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), RawSubject: request.RawSubject, NotBefore: time.Now(), NotAfter: time.Now().Add(time.Hour),
	}, w.maker.Leaf, request.PublicKey, w.maker.PrivateKey)
	if err != nil {
		return issuer.Answer{}, err
	}
	c, err := x509.ParseCertificate(der)
	return issuer.Answer{Serial: "00", Certificate: c}, err
}
