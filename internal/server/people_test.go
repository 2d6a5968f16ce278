package server

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"mintmark/admin"
	"mintmark/internal/access"
	"mintmark/internal/config"
	"mintmark/internal/ledger"
	"mintmark/internal/pkitest"
	"mintmark/issuer"
)

// office is an opened state directory with two officers, whose administrative
// API is served over TLS.
type office struct {
	*Server
	t       *testing.T
	address string
	keys    map[string]crypto.Signer
	opened  map[string]crypto.Signer // keys of CAs: opening them is slow on purpose
}

func openOffice(t *testing.T) *office {
	t.Helper()
	o := &office{t: t, keys: make(map[string]crypto.Signer), opened: make(map[string]crypto.Signer)}
	dir := filepath.Join(t.TempDir(), "state")
	options := InitOptions{Dir: dir, Names: []string{"localhost", "127.0.0.1"}}
	for _, name := range []string{"alice", "bob"} {
		o.keys[name] = pkitest.NewKey(t)
		options.Officers = append(options.Officers, ledger.Principal{Name: name, Key: o.spki(o.keys[name])})
	}
	if err := Init(t.Context(), options, slog.New(slog.DiscardHandler), io.Discard); err != nil {
		t.Fatal(err)
	}
	o.Server = openLocal(t, dir, io.Discard)
	own := newOwnTLS(o.Server)
	if err := own.refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: o.admin(o.certified), TLSConfig: adminTLS(own.get), ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)}
	go server.ServeTLS(l, "", "")
	t.Cleanup(func() { server.Close(); o.Close() })
	o.address = "https://" + l.Addr().String()
	return o
}

func (o *office) spki(key crypto.Signer) []byte {
	o.t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		o.t.Fatal(err)
	}
	return der
}

// put changes who somebody is.
func (o *office) put(p ledger.Principal) {
	o.t.Helper()
	p.AddedAt, p.AddedBy = time.Now(), "test"
	if err := o.ledger.PutPrincipal(o.t.Context(), p, time.Now()); err != nil {
		o.t.Fatal(err)
	}
}

// enroll gets a certificate of a principal as the API does.
func (o *office) enroll(name string, key crypto.Signer) *tls.Certificate {
	o.t.Helper()
	csr := pkitest.CSR(o.t, key, pkix.Name{CommonName: name})
	answer, err := o.ra.EnrollOfficer(o.t.Context(), name, "officers", "officer", csr, o.spki(key), ledger.Requester{Kind: "admin", Name: "test"})
	if err != nil {
		o.t.Fatal(err)
	}
	return &tls.Certificate{PrivateKey: key, Certificate: [][]byte{answer.Certificate.Raw}, Leaf: answer.Certificate}
}

// forge signs a certificate with the key of a CA, past the issuance cycle.
func (o *office) forge(ca, name string, key crypto.Signer, from, until time.Time) *tls.Certificate {
	o.t.Helper()
	authority, err := o.ra.Authority(ca)
	if err != nil {
		o.t.Fatal(err)
	}
	number, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		o.t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: number.SetBit(number, 120, 1), Subject: pkix.Name{CommonName: name}, NotBefore: from, NotAfter: until}
	der, err := x509.CreateCertificate(rand.Reader, template, authority.Certificate(), key.Public(), o.signer(ca))
	if err != nil {
		o.t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		o.t.Fatal(err)
	}
	return &tls.Certificate{PrivateKey: key, Certificate: [][]byte{der}, Leaf: leaf}
}

// signer is the key of a CA.
func (o *office) signer(ca string) crypto.Signer {
	o.t.Helper()
	if o.opened[ca] == nil {
		signer, err := o.Server.keys.Signer(o.t.Context(), "softkms:path=keys/"+ca+".pem", nil)
		if err != nil {
			o.t.Fatal(err)
		}
		o.opened[ca] = signer
	}
	return o.opened[ca]
}

// record puts a forged certificate into the ledger.
func (o *office) record(c *tls.Certificate, issuerName string, purpose ledger.Purpose) *tls.Certificate {
	o.t.Helper()
	one := ledger.Certificate{
		Serial: issuer.SerialOf(c.Leaf.SerialNumber), Issuer: issuerName, Profile: "officer", Purpose: purpose,
		Subject: c.Leaf.Subject.String(), DER: c.Leaf.Raw, NotBefore: c.Leaf.NotBefore, NotAfter: c.Leaf.NotAfter,
	}
	results, err := o.ledger.ImportCertificates(o.t.Context(), []ledger.Certificate{one}, "test", time.Now())
	if err = errors.Join(append(results, err)...); err != nil {
		o.t.Fatal(err)
	}
	return c
}

// status asks over TLS who the caller is taken for.
func (o *office) status(c *tls.Certificate) (string, error) {
	o.t.Helper()
	config := &tls.Config{RootCAs: roots(o.t, o.config.Dir)}
	if c != nil {
		config.Certificates = []tls.Certificate{*c}
	}
	client, err := admin.DialTLS(o.address, config)
	if err != nil {
		o.t.Fatal(err)
	}
	defer client.Close()
	s, err := client.Status(o.t.Context())
	return s.Actor, err
}

// TestCertified tries every certificate that is not that of a principal in
// force; each is refused by its rule.
func TestCertified(t *testing.T) {
	o := openOffice(t)
	alice := o.enroll("alice", o.keys["alice"])
	if actor, err := o.status(alice); err != nil || actor != "alice" {
		t.Fatalf("alice is taken for %q, %v", actor, err)
	}
	now := time.Now()
	other := pkitest.NewKey(t)
	for _, c := range []struct {
		name, rule  string
		certificate func() *tls.Certificate
	}{
		{"a device's", "certificate-purpose", func() *tls.Certificate { return issue(t, o.Server, "device", "alice") }},
		{"the server's own", "certificate-purpose", func() *tls.Certificate { return ownCertificate(t, o.config.Dir) }},
		{"a claim's", "certificate-purpose", func() *tls.Certificate {
			order := ledger.Order{ID: "alice", Profile: "device", Label: "line", Quantity: 1, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour),
				State: ledger.OrderOpen, CreatedAt: now, CreatedBy: "test"}
			if err := o.ledger.CreateOrder(t.Context(), order); err != nil {
				t.Fatal(err)
			}
			csr := pkitest.CSR(t, o.keys["alice"], pkix.Name{CommonName: "alice"})
			answer, err := o.ra.EnrollClaim(t.Context(), order, "claims", "claim", csr, ledger.Requester{Kind: "admin", Name: "test"})
			if err != nil {
				t.Fatal(err)
			}
			return &tls.Certificate{PrivateKey: o.keys["alice"], Certificate: [][]byte{answer.Certificate.Raw}}
		}},
		{"one of another CA", "certificate-foreign", func() *tls.Certificate {
			return selfSigned(t, o.keys["alice"], alice.Leaf)
		}},
		{"one that the ledger does not know", "certificate-unknown", func() *tls.Certificate {
			return o.forge("officers", "alice", o.keys["alice"], now.Add(-time.Hour), now.Add(time.Hour))
		}},
		{"one of a CA that issues to devices", "certificate-issuer", func() *tls.Certificate {
			return o.record(o.forge("issuing", "alice", o.keys["alice"], now.Add(-time.Hour), now.Add(time.Hour)), "issuing", ledger.ForOfficer)
		}},
		{"an expired one", "certificate-expired", func() *tls.Certificate {
			return o.record(o.forge("officers", "alice", o.keys["alice"], now.Add(-2*time.Hour), now.Add(-time.Hour)), "officers", ledger.ForOfficer)
		}},
		{"one from tomorrow", "certificate-expired", func() *tls.Certificate {
			return o.record(o.forge("officers", "alice", o.keys["alice"], now.Add(24*time.Hour), now.Add(48*time.Hour)), "officers", ledger.ForOfficer)
		}},
		{"a revoked one", "certificate-revoked", func() *tls.Certificate {
			c := o.enroll("alice", o.keys["alice"])
			if _, err := o.ra.Revoke(t.Context(), ledger.Selector{Serial: issuer.SerialOf(c.Leaf.SerialNumber)}, ledger.Superseded, "test"); err != nil {
				t.Fatal(err)
			}
			return c
		}},
		{"that of nobody", "actor", func() *tls.Certificate { return o.enroll("mallory", other) }},
		{"one with a key that is not recorded", "principal-key", func() *tls.Certificate { return o.enroll("alice", other) }},
		{"one with a key that was replaced", "principal-key", func() *tls.Certificate {
			c := o.enroll("bob", o.keys["bob"])
			o.put(ledger.Principal{Name: "bob", Roles: []string{"officer"}, Key: o.spki(pkitest.NewKey(t))})
			return c
		}},
		{"that of someone who was removed", "actor", func() *tls.Certificate {
			key := pkitest.NewKey(t)
			carol := ledger.Principal{Name: "carol", Roles: []string{"officer"}, Key: o.spki(key)}
			o.put(carol)
			c := o.enroll("carol", key)
			if actor, err := o.status(c); err != nil || actor != "carol" {
				t.Fatalf("before: %q, %v", actor, err)
			}
			carol.RemovedAt = time.Now()
			o.put(carol)
			return c
		}},
		{"that of someone without a role", "role", func() *tls.Certificate {
			key := pkitest.NewKey(t)
			o.put(ledger.Principal{Name: "dora", Key: o.spki(key)})
			return o.enroll("dora", key)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := o.status(c.certificate())
			var refusal *admin.Error
			if !errors.As(err, &refusal) || refusal.Status != http.StatusForbidden || refusal.Rule != c.rule {
				t.Errorf("got %v, want a refusal by rule %s", err, c.rule)
			}
		})
	}
	t.Run("none", func(t *testing.T) {
		c, err := tls.Dial("tcp", strings.TrimPrefix(o.address, "https://"), &tls.Config{RootCAs: roots(t, o.config.Dir)})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		// In TLS 1.3 the server says it after the client is done; a client that
		// writes first may see its connection reset instead.
		if _, err := c.Read(make([]byte, 1)); err == nil || !strings.Contains(err.Error(), "certificate required") {
			t.Errorf("got %v, want a handshake that fails", err)
		}
	})
	t.Run("a stranger's long name", func(t *testing.T) {
		key := pkitest.NewKey(t)
		present := func(subject pkix.Name) error {
			template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: subject, NotBefore: now, NotAfter: now.Add(time.Hour)}
			der, err := x509.CreateCertificate(rand.Reader, template, &x509.Certificate{}, key.Public(), key)
			if err != nil {
				t.Fatal(err)
			}
			_, err = o.status(&tls.Certificate{PrivateKey: key, Certificate: [][]byte{der}})
			return err
		}
		// What many attributes cost in text is their square.
		crowded := pkix.Name{ExtraNames: slices.Repeat([]pkix.AttributeTypeAndValue{{Type: asn1.ObjectIdentifier{2, 5, 4, 46}, Value: "x"}}, 1000)}
		for _, subject := range []pkix.Name{{CommonName: strings.Repeat("x", 10_000)}, crowded} {
			err := present(subject)
			var refusal *admin.Error
			if !errors.As(err, &refusal) || refusal.Rule != "certificate-foreign" || len(refusal.Text) > 1000 || !strings.Contains(refusal.Text, "a name of ") {
				t.Errorf("got %d bytes: %.100s", len(err.Error()), err)
			}
		}
		// One that is larger than any honest one does not get that far.
		err := present(pkix.Name{CommonName: strings.Repeat("x", 20_000)})
		var refusal *admin.Error
		if err == nil || errors.As(err, &refusal) {
			t.Errorf("got %v, want a handshake that fails", err)
		}
	})
	t.Run("a connection outlives its principal", func(t *testing.T) {
		client, err := admin.DialTLS(o.address, &tls.Config{RootCAs: roots(t, o.config.Dir), Certificates: []tls.Certificate{*alice}})
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		if _, err := client.Status(t.Context()); err != nil {
			t.Fatal(err)
		}
		o.put(ledger.Principal{Name: "alice", Roles: []string{"officer"}, Key: o.spki(o.keys["alice"]), RemovedAt: time.Now()})
		var refusal *admin.Error
		if _, err := client.Status(t.Context()); !errors.As(err, &refusal) || refusal.Rule != "actor" {
			t.Errorf("the next request on the same connection: %v", err)
		}
	})
	t.Run("the CA is revoked", func(t *testing.T) {
		o.put(ledger.Principal{Name: "erin", Roles: []string{"officer"}, Key: o.spki(other)})
		erin := o.enroll("erin", other)
		authority, err := o.ra.Authority("officers")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := o.ra.Revoke(t.Context(), ledger.Selector{Serial: issuer.SerialOf(authority.Certificate().SerialNumber)}, ledger.KeyCompromise, "test"); err != nil {
			t.Fatal(err)
		}
		var refusal *admin.Error
		if _, err := o.status(erin); !errors.As(err, &refusal) || refusal.Rule != "certificate-issuer" {
			t.Errorf("got %v", err)
		}
	})
}

// selfSigned is a certificate with the names and the serial number of another.
func selfSigned(t *testing.T, key crypto.Signer, like *x509.Certificate) *tls.Certificate {
	t.Helper()
	ca, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	parent := &x509.Certificate{SerialNumber: big.NewInt(1), RawSubject: like.RawIssuer, IsCA: true, BasicConstraintsValid: true}
	template := &x509.Certificate{SerialNumber: like.SerialNumber, RawSubject: like.RawSubject, NotBefore: like.NotBefore, NotAfter: like.NotAfter}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), ca)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{PrivateKey: key, Certificate: [][]byte{der}}
}

// TestFirstPrincipal opens a state directory that knows nobody: its owner may
// everything, and that happens once.
func TestFirstPrincipal(t *testing.T) {
	dir := newState(t)
	s := openLocal(t, dir, io.Discard)
	people, err := s.ledger.Principals(t.Context())
	if err != nil || len(people) != 1 {
		t.Fatalf("there are %v, %v", people, err)
	}
	owner := people[0]
	if owner.UnixUser != unixUser(uint32(os.Getuid())) || owner.AddedBy != "init" || len(owner.Roles) != len(access.Roles) || len(owner.Key) != 0 {
		t.Errorf("the first principal is %+v", owner)
	}
	if words, err := s.unprotected(t.Context()); err != nil || !strings.Contains(words, "no officer has a key") {
		t.Errorf("unprotected: %q, %v", words, err)
	}
	client := admin.New(admin.InProcess(s.Admin()))
	if status, err := client.Status(t.Context()); err != nil || status.Actor != owner.Name || status.Unprotected == "" {
		t.Errorf("the owner is taken for %q, %v", status.Actor, err)
	}
	if _, ok, err := s.byUID(t.Context(), 4_000_000_000); ok || err == nil || !strings.Contains(err.Error(), "#4000000000") {
		t.Errorf("a stranger: %v, %v", ok, err)
	}

	owner.RemovedAt = time.Now()
	if err := s.ledger.PutPrincipal(t.Context(), owner, time.Now()); err != nil {
		t.Fatal(err)
	}
	var refusal *admin.Error
	if _, err := client.Status(t.Context()); !errors.As(err, &refusal) || refusal.Rule != "actor" {
		t.Errorf("the owner, removed: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openLocal(t, dir, io.Discard)
	defer s.Close()
	if people, err := s.ledger.Principals(t.Context()); err != nil || len(people) != 1 || people[0].RemovedAt.IsZero() {
		t.Errorf("after a restart there are %v, %v", people, err)
	}
}

// TestFirstOfficers refuses first principals that could not be told apart later.
func TestFirstOfficers(t *testing.T) {
	o := &office{t: t}
	key := o.spki(pkitest.NewKey(t))
	for name, list := range map[string][]ledger.Principal{
		"one name twice": {{Name: "alice", Key: key}, {Name: "alice", Key: o.spki(pkitest.NewKey(t))}},
		"one key twice":  {{Name: "alice", Key: key}, {Name: "bob", Key: key}},
		"a broken key":   {{Name: "alice", Key: []byte("key")}},
		"a broken name":  {{Name: "alice, approved by bob", Key: key}},
	} {
		dir := filepath.Join(t.TempDir(), "state")
		options := InitOptions{Dir: dir, Names: []string{"localhost"}, Officers: list}
		if err := Init(t.Context(), options, slog.New(slog.DiscardHandler), io.Discard); err == nil {
			t.Errorf("%s: nothing is wrong with it", name)
		}
		if _, err := os.Stat(dir); err == nil {
			t.Errorf("%s: a state directory is left behind", name)
		}
	}
}

// TestFirstOfficersCutOff makes a hierarchy in a ledger where an earlier init died
// between the first officer and the second: the second would be missing, and the
// first could do everything alone.
func TestFirstOfficersCutOff(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	if err := Init(t.Context(), InitOptions{Dir: dir, Names: []string{"localhost"}, Bare: true}, slog.New(slog.DiscardHandler), io.Discard); err != nil {
		t.Fatal(err)
	}
	c, err := config.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	o := &office{t: t}
	alice := ledger.Principal{Name: "alice", Roles: []string{"officer"}, Key: o.spki(pkitest.NewKey(t))}
	bob := ledger.Principal{Name: "bob", Roles: []string{"officer"}, Key: o.spki(pkitest.NewKey(t))}
	open := func(first ...ledger.Principal) error {
		t.Helper()
		s, err := Open(t.Context(), c, Options{Logger: slog.New(slog.DiscardHandler), Principals: first})
		if err == nil {
			err = s.Close()
		}
		return err
	}
	if err := open(alice); err != nil {
		t.Fatal(err)
	}
	if err := open(alice, bob); err == nil || !strings.Contains(err.Error(), `"bob"`) {
		t.Errorf("with bob, whom nobody has recorded: %v", err)
	}
	other := alice
	other.Key = bob.Key
	if err := open(other); err == nil || !strings.Contains(err.Error(), `"alice"`) {
		t.Errorf("with another key: %v", err)
	}
	for name, first := range map[string][]ledger.Principal{"the same": {alice}, "none": nil} {
		if err := open(first...); err != nil {
			t.Errorf("with %s: %v", name, err)
		}
	}
}

// TestPeer asks over the socket: the peer's uid decides, and that it is root or
// the server's own gives nothing.
func TestPeer(t *testing.T) {
	s := openLocal(t, newState(t), io.Discard)
	defer s.Close()
	l, err := listenAdmin(s.config.Dir)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: s.admin(s.peer), ConnContext: withPeer}
	go server.Serve(l)
	defer server.Close()
	client, err := admin.Dial(filepath.Join(s.config.Dir, Socket))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	user := unixUser(uint32(os.Getuid()))
	people, err := s.ledger.Principals(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	owner, ok := access.ByUnixUser(people, user)
	if !ok {
		t.Fatal("init made no principal of the owner")
	}
	if status, err := client.Status(t.Context()); err != nil || status.Actor != owner.Name {
		t.Errorf("taken for %q, %v", status.Actor, err)
	}
	owner.UnixUser = "somebody-else"
	if err := s.ledger.PutPrincipal(t.Context(), owner, time.Now()); err != nil {
		t.Fatal(err)
	}
	var refusal *admin.Error
	if _, err := client.Status(t.Context()); !errors.As(err, &refusal) || refusal.Rule != "actor" || !strings.Contains(refusal.Text, user) {
		t.Errorf("without a principal: %v", err)
	}
	// A request that came by neither way has no principal.
	if _, ok, err := s.peer((&http.Request{}).WithContext(context.Background())); ok || err != nil {
		t.Errorf("a request without a connection: %v, %v", ok, err)
	}
	if _, ok, err := s.certified(&http.Request{}); ok || err != nil {
		t.Errorf("a request without TLS: %v, %v", ok, err)
	}
}

// TestSocketMode opens the socket to the group of a state directory, and to
// nobody else.
func TestSocketMode(t *testing.T) {
	for mode, want := range map[os.FileMode]os.FileMode{0o700: 0o600, 0o710: 0o660, 0o750: 0o660, 0o705: 0o600} {
		dir := t.TempDir()
		if err := os.Chmod(dir, mode); err != nil {
			t.Fatal(err)
		}
		l, err := listenAdmin(dir)
		if err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(filepath.Join(dir, Socket))
		l.Close()
		if err != nil || info.Mode().Perm() != want {
			t.Errorf("the socket in a directory of mode %v has mode %v, want %v (%v)", mode, info.Mode().Perm(), want, err)
		}
	}
}
