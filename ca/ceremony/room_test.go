package ceremony

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha1"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"

	"mintmark/ca"
	"mintmark/internal/pkitest"
)

// keyring is a key store in memory, whose keys are the same in every run: those that
// Create makes are taken from spare.
type keyring struct {
	keys, spare map[string]crypto.Signer
	made        []string
}

func (k *keyring) Create(_ context.Context, uri, algorithm string) (string, crypto.Signer, error) {
	if _, ok := k.keys[uri]; ok {
		return "", nil, errors.New("there is such a key already")
	}
	key, ok := k.spare[algorithm]
	if !ok {
		return "", nil, fmt.Errorf("no key of the kind %q", algorithm)
	}
	k.keys[uri] = key
	k.made = append(k.made, uri)
	return uri, key, nil
}

func (k *keyring) Signer(_ context.Context, uri string, want crypto.PublicKey) (crypto.Signer, error) {
	key, ok := k.keys[uri]
	if !ok || want != nil && !sameKey(key.Public(), want) {
		return nil, errNoKey
	}
	return key, nil
}

func (k *keyring) Destroy(_ context.Context, uri string, want crypto.PublicKey) error {
	if key, ok := k.keys[uri]; !ok || !sameKey(key.Public(), want) {
		return errNoKey
	}
	delete(k.keys, uri)
	return nil
}

// room is a folder with everything that the ceremonies of the tests read.
type room struct {
	dir      string
	officers map[string]crypto.Signer
	vars     map[string]string // what stands for $name in a ceremony file
	old      *ca.Authority     // a root with a key identifier of the old kind
	oldKey   crypto.Signer
	online   crypto.Signer // key of the request
}

// newRoom makes the officers alice, bob and carol, an old RSA root with its first
// CRL, and a request for an issuing CA.
func newRoom(t testing.TB) *room {
	t.Helper()
	r := &room{dir: t.TempDir(), vars: map[string]string{}, oldKey: pkitest.Key(t, "RSA-2048"), online: pkitest.Key(t, "P-256")}
	_, carol, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	r.officers = map[string]crypto.Signer{"alice": pkitest.NewKey(t), "bob": pkitest.Key(t, "RSA-3072"), "carol": carol}
	for name, key := range r.officers {
		der, err := x509.MarshalPKIXPublicKey(key.Public())
		if err != nil {
			t.Fatal(err)
		}
		r.file(t, name+".pub", pkitest.PEM("PUBLIC KEY", der))
		r.vars[name] = hexHash(der)
	}
	r.old = oldRoot(t, r.oldKey)
	r.file(t, "old-root.pem", pkitest.PEM("CERTIFICATE", r.old.Certificate().Raw))
	if r.vars["oldkey"], err = keyHash(r.oldKey.Public()); err != nil {
		t.Fatal(err)
	}
	crl, err := r.old.SignCRL(background, ca.CRL{Number: big.NewInt(4), ThisUpdate: testNow.AddDate(0, -6, 0), NextUpdate: testNow.AddDate(0, 1, 0),
		Entries: []x509.RevocationListEntry{{SerialNumber: big.NewInt(0x1234), RevocationTime: testNow.AddDate(-1, 0, 0), ReasonCode: 4}}})
	if err != nil {
		t.Fatal(err)
	}
	r.file(t, "old.crl", crl)
	r.file(t, "line3.csr", pkitest.PEM("CERTIFICATE REQUEST", issuingRequest(t, r.online)))
	return r
}

// file writes an input, and its hash as $name.
func (r *room) file(t testing.TB, name string, data []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(r.dir, name), data, 0o644); err != nil {
		t.Fatal(err)
	}
	r.vars[name] = hexHash(data)
}

// issuingRequest is what mintmark ca csr makes.
func issuingRequest(t testing.TB, key crypto.Signer) []byte {
	t.Helper()
	der, err := ca.Spec{Subject: pkix.Name{Organization: []string{"Mint Works"}, CommonName: "Line 3"}, PathLen: new(int)}.Request(key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// oldRoot is a root whose subject key identifier is a SHA-1 (RFC 5280, Section
// 4.2.1.2, method 1), which Go does not compute any more.
func oldRoot(t testing.TB, key crypto.Signer) *ca.Authority {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	var info struct {
		Algorithm pkix.AlgorithmIdentifier
		Key       asn1.BitString
	}
	if _, err := asn1.Unmarshal(der, &info); err != nil {
		t.Fatal(err)
	}
	id := sha1.Sum(info.Key.Bytes)
	template, err := ca.Spec{Name: "old-root", Subject: pkix.Name{Organization: []string{"Mint Works"}, CommonName: "Mint Works Root"}, NotAfter: testNow.AddDate(5, 0, 0)}.
		Template(big.NewInt(0x77), testNow.AddDate(-10, 0, 0))
	if err != nil {
		t.Fatal(err)
	}
	template.SubjectKeyId = id[:]
	p, err := ca.PrepareRoot(template, key)
	if err != nil {
		t.Fatal(err)
	}
	p.Recorded()
	cert, err := p.Issue(background)
	if err != nil {
		t.Fatal(err)
	}
	a, err := ca.New(ca.Config{Name: "old-root", Certificate: cert, Signer: func(context.Context) (crypto.Signer, error) { return key, nil }})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// text fills in what $name stands for.
func (r *room) text(file string) string {
	return os.Expand(file, func(name string) string {
		value, ok := r.vars[name]
		if !ok {
			panic("no value for $" + name)
		}
		return value
	})
}

// config is for a ceremony with that key store; alice and bob are present.
func (r *room) config(t testing.TB, keys KeyStore) Config {
	t.Helper()
	return Config{
		Inputs: r.dir, Folder: filepath.Join(t.TempDir(), "ceremony"), Keys: keys, NotFound: errNoKey,
		Officers: map[string]crypto.Signer{"alice": r.officers["alice"], "bob": r.officers["bob"]},
		Networks: func() ([]string, error) { return nil, nil },
		Now:      func() time.Time { return testNow }, Version: "test",
	}
}

// hold parses, prepares and runs a ceremony, and returns its folder.
func (r *room) hold(t testing.TB, file string, cfg Config) *Transcript {
	t.Helper()
	f, err := Parse([]byte(r.text(file)))
	if err != nil {
		t.Fatal(err)
	}
	p, err := Prepare(background, f, cfg)
	if err != nil {
		t.Fatal(err)
	}
	transcript, err := p.Run(background, f.Hash())
	if err != nil {
		t.Fatal(err)
	}
	return transcript
}

// keysOf returns the public keys of the officers.
func (r *room) keysOf(names ...string) map[string]crypto.PublicKey {
	keys := map[string]crypto.PublicKey{}
	for _, name := range names {
		keys[name] = r.officers[name].Public()
	}
	return keys
}

func mustVerify(t testing.TB, folder string, officers map[string]crypto.PublicKey) *Report {
	t.Helper()
	report, err := Verify(folder, Trust{Officers: officers})
	if err != nil {
		t.Fatal(err)
	}
	if len(report.Findings) > 0 {
		t.Fatalf("findings in an honest folder: %q", report.Findings)
	}
	return report
}

const head = `ceremony: 1
name: root-2026
purpose: The new root of the factory, and what leads to it.
officers:
  threshold: 2
  people:
    - {name: alice, key: alice.pub, sha256: ${alice}}
    - {name: bob, key: bob.pub, sha256: ${bob}}
    - {name: carol, key: carol.pub, sha256: ${carol}}
`

const oldAuthority = `authorities:
  - name: old-root
    certificates: {file: old-root.pem, sha256: ${old-root.pem}}
    key: softkms:path=keys/old.pem
`

const rootStep = `  - name: root
    root:
      key: softkms:path=keys/root.pem
      algorithm: P-384
      subject: {organization: Mint Works, common_name: Mint Works Root 2}
      from: 2026-12-01T09:00:00Z
      until: 2046-12-01T09:00:00Z
      outputs: {certificate: root.pem}
`

const issuingStep = `  - name: line3
    issuing:
      by: root
      request: {file: line3.csr, sha256: ${line3.csr}}
      subject: {organization: Mint Works, common_name: Line 3}
      algorithm: P-256
      from: 2026-12-01T09:00:00Z
      until: 2036-12-01T09:00:00Z
      path_length: 0
      crl: ["http://pki.example.com/crl/root.crl"]
      ca_issuers: ["http://pki.example.com/ca/root.crt"]
      outputs: {certificate: line3.pem, chain: line3-chain.pem}
`

const crossSteps = `  - name: old-with-new
    cross:
      by: root
      of: old-root
      from: 2026-12-01T09:00:00Z
      until: 2031-12-01T09:00:00Z
      outputs: {certificate: old-with-new.pem, chain: old-with-new-chain.pem}
  - name: new-with-old
    cross:
      by: old-root
      of: root
      from: 2026-12-01T09:00:00Z
      until: 2031-12-01T09:00:00Z
      outputs: {certificate: new-with-old.pem, chain: new-with-old-chain.pem}
`

const crlSteps = `  - name: root-crl
    crl:
      by: root
      number: 1
      this_update: 2026-12-01T09:00:00Z
      next_update: 2027-12-01T09:00:00Z
      outputs: {pem: root.crl.pem, der: root.crl}
  - name: old-crl
    crl:
      by: old-root
      number: 5
      this_update: 2026-12-01T09:00:00Z
      next_update: 2031-12-01T09:00:00Z
      previous: {file: old.crl, sha256: ${old.crl}}
      entries:
        - {serial: "1234", revoked: 2025-12-01T09:30:00Z, reason: superseded}
        - {serial: 0a5b, revoked: 2026-11-30T00:00:00Z, reason: keyCompromise}
      outputs: {pem: old.crl.pem, der: old.crl}
`

const destroyStep = `  - name: farewell
    destroy:
      key: softkms:path=keys/old.pem
      sha256: ${oldkey}
      confirm: destroy
`

// everything is a ceremony with a step of each kind.
const everything = head + oldAuthority + "steps:\n" + rootStep + issuingStep + crossSteps + crlSteps + destroyStep

// ring has the old root's key, and a key for the new one.
func (r *room) ring(t testing.TB) *keyring {
	return &keyring{
		keys:  map[string]crypto.Signer{"softkms:path=keys/old.pem": r.oldKey},
		spare: map[string]crypto.Signer{"P-256": pkitest.SecondKey(t, "P-256"), "P-384": pkitest.Key(t, "P-384"), "RSA-2048": pkitest.Key(t, "RSA-4096")},
	}
}
