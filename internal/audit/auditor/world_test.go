package auditor

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"fmt"
	"math/big"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mintmark/internal/access"
	"mintmark/internal/audit"
	"mintmark/internal/audit/heads"
	"mintmark/internal/ledger"
)

var start = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)

// ca is a certification authority of a world.
type ca struct {
	name        string
	key         crypto.Signer
	certificate *x509.Certificate
	chain       [][]byte
}

// A world is what one server writes: a log with its heads.
type world struct {
	t      testing.TB
	server string
	log    *audit.Log
	dir    string // of the log
	heads  string
	key    *heads.Key
	now    time.Time
	serial int
	prefix string
	last   audit.HeadRecord
}

func newWorld(t testing.TB, server string, maxSize int64) *world {
	t.Helper()
	dir := t.TempDir()
	w := &world{t: t, server: server, now: start, dir: filepath.Join(dir, "log"), heads: filepath.Join(dir, "heads")}
	sum := sha256.Sum256([]byte(t.Name() + server + dir))
	w.prefix = "1" + hex.EncodeToString(sum[:7])[1:]
	mkdir(t, w.dir)
	mkdir(t, w.heads)
	var err error
	if w.key, err = heads.OpenKey(filepath.Join(dir, "secrets", "audit-key"), server); err != nil {
		t.Fatal(err)
	}
	w.log, err = audit.Open(w.dir, audit.Config{Server: server, MaxSize: maxSize, Now: func() time.Time { return w.now }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.log.Close() })
	return w
}

func (w *world) append(events ...ledger.Event) {
	w.t.Helper()
	w.now = w.now.Add(time.Second)
	for i := range events {
		events[i].At = w.now
	}
	if _, err := w.log.Append(events); err != nil {
		w.t.Fatal(err)
	}
}

// head makes the next head, ten minutes later.
func (w *world) head() {
	w.t.Helper()
	w.now = w.now.Add(10 * time.Minute)
	r, err := w.log.AppendHead()
	if err != nil {
		w.t.Fatal(err)
	}
	signed, err := heads.Sign(r, w.key)
	if err == nil {
		err = heads.Folder(w.heads).Put(w.t.Context(), heads.FileName(w.server, r.Sequence), signed)
	}
	if err != nil {
		w.t.Fatal(err)
	}
	w.last = r
}

func (w *world) nextSerial() *big.Int {
	w.serial++
	n, _ := new(big.Int).SetString(fmt.Sprintf("%s%08x", w.prefix, w.serial), 16)
	return n
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// sign makes a certificate under an authority; nil stands for the subject
// itself.
func (w *world) sign(name string, above *ca, key crypto.Signer, isCA bool) *x509.Certificate {
	w.t.Helper()
	template := &x509.Certificate{
		SerialNumber: w.nextSerial(), Subject: pkix.Name{CommonName: name}, NotBefore: start, NotAfter: start.AddDate(10, 0, 0),
		BasicConstraintsValid: true, IsCA: isCA,
	}
	parent, signer := template, key
	if above != nil {
		parent, signer = above.certificate, above.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		w.t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

func serialOf(c *x509.Certificate) ledger.Serial {
	return ledger.Serial(hex.EncodeToString(c.SerialNumber.Bytes()))
}

func (w *world) intentOf(c *x509.Certificate, issuer string, purpose ledger.Purpose) ledger.Event {
	i := &ledger.Intent{
		Epoch: ledger.Epoch{Server: w.server, Number: 1}, Serial: serialOf(c), Issuer: issuer, Profile: "gateway", Purpose: purpose,
		Subject: c.Subject.String(), Requester: ledger.Requester{Kind: "admin", Name: "anna"}, TBS: c.RawTBSCertificate,
		NotBefore: c.NotBefore, NotAfter: c.NotAfter, At: w.now,
	}
	if purpose == ledger.ForDevice {
		i.Device = c.Subject.CommonName
	}
	return ledger.Event{Kind: ledger.EventIntent, Intent: i}
}

func issuedOf(c *x509.Certificate) ledger.Event {
	return ledger.Event{Kind: ledger.EventIssued, Issued: &ledger.Issued{Serial: serialOf(c), DER: c.Raw}}
}

func voidedOf(s ledger.Serial) ledger.Event {
	return ledger.Event{Kind: ledger.EventVoided, Voided: &s}
}

func revokedOf(s ledger.Serial) ledger.Event {
	return ledger.Event{Kind: ledger.EventRevocation, Revocation: &ledger.Revocation{Serial: s, Reason: ledger.Superseded, Actor: "anna"}}
}

func (c *ca) event() ledger.Event {
	return ledger.Event{Kind: ledger.EventAuthority, Authority: &ledger.Authority{
		Name: c.name, Certificate: c.certificate.Raw, Chain: c.chain, KeyURI: "file:" + c.name, CreatedAt: start,
	}}
}

// authority makes a CA as the server does: intent, certificate, record.
func (w *world) authority(name string, above *ca) *ca {
	w.t.Helper()
	c := &ca{name: name, key: newKey(w.t)}
	c.certificate = w.sign(name, above, c.key, true)
	issuer := name
	if above != nil {
		issuer = above.name
		c.chain = append([][]byte{above.certificate.Raw}, above.chain...)
	}
	w.append(w.intentOf(c.certificate, issuer, ledger.ForCA))
	w.append(issuedOf(c.certificate))
	w.append(c.event())
	return c
}

// device issues one certificate.
func (w *world) device(above *ca, name string) *x509.Certificate {
	w.t.Helper()
	c := w.sign(name, above, newKey(w.t), false)
	w.append(w.intentOf(c, above.name, ledger.ForDevice))
	w.append(issuedOf(c))
	return c
}

// person records a principal and returns the key to sign with.
func (w *world) person(name string, roles ...string) crypto.Signer {
	w.t.Helper()
	key := newKey(w.t)
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		w.t.Fatal(err)
	}
	w.append(ledger.Event{Kind: ledger.EventPrincipal, Principal: &ledger.Principal{Name: name, Roles: roles, Key: der, AddedAt: w.now, AddedBy: "init"}})
	return key
}

// proposal records a pending approval.
func (w *world) proposal(id, proposer string) ledger.Approval {
	w.t.Helper()
	a := ledger.Approval{
		ID: id, Operation: "order.raise", Words: "raise it", Plan: []byte(`{"quantity":2000}`), Proposer: proposer,
		At: w.now, ExpiresAt: w.now.Add(time.Hour), State: ledger.Pending,
	}
	w.approve(a, ledger.Pending, "", nil)
	return a
}

// approve records the next state of an approval.
func (w *world) approve(a ledger.Approval, state ledger.ApprovalState, by string, key crypto.Signer) ledger.Approval {
	w.t.Helper()
	a.State = state
	if key != nil {
		a.DecidedBy, a.DecidedAt = by, w.now
		var err error
		if a.Signature, err = access.Sign(key, access.Statement(a)); err != nil {
			w.t.Fatal(err)
		}
	}
	next := a
	w.append(ledger.Event{Kind: ledger.EventApproval, Approval: &next})
	return a
}

func (w *world) config() Config {
	w.t.Helper()
	keys, err := heads.Verifiers(w.key.Verifier())
	if err != nil {
		w.t.Fatal(err)
	}
	return Config{Logs: []string{w.dir}, Heads: []string{w.heads}, Keys: keys, AsOf: w.now, MaxAge: 9 * time.Minute}
}

func verify(t testing.TB, c Config) Report {
	t.Helper()
	report, err := Verify(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

// clean fails the test for every finding.
func clean(t testing.TB, c Config) Report {
	t.Helper()
	report := verify(t, c)
	for _, f := range report.Findings {
		t.Error(f)
	}
	return report
}

// finds fails the test unless exactly one thing is found, with these words.
func finds(t testing.TB, c Config, words string) {
	t.Helper()
	report := verify(t, c)
	if report.Found != 1 || len(report.Findings) != 1 || !strings.Contains(report.Findings[0].String(), words) {
		t.Errorf("found %v, want %q", report.Findings, words)
	}
}
