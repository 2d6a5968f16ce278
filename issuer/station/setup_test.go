package station

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// ca is a root and an issuing CA that answer as a server does: the same key gets the same
// certificate, and each new one costs a unit.
type ca struct {
	root, issuing       *x509.Certificate
	rootKey, issuingKey crypto.Signer

	mu     sync.Mutex
	issued map[string]*x509.Certificate // by public key
	asked  int
	bare   bool                  // certificates have no subject
	fail   func(asked int) error // before a certificate is issued
	lose   func(asked int) error // after: the answer is lost
	gone   error                 // of CACerts
}

func generate(t testing.TB) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func sign(t testing.TB, template, parent *x509.Certificate, public crypto.PublicKey, key crypto.Signer) *x509.Certificate {
	t.Helper()
	var err error
	if template.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 100)); err != nil {
		t.Fatal(err)
	}
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour).Truncate(time.Second), time.Now().Add(24*time.Hour).Truncate(time.Second)
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func newCA(t testing.TB) *ca {
	t.Helper()
	c := &ca{rootKey: generate(t), issuingKey: generate(t), issued: make(map[string]*x509.Certificate)}
	template := &x509.Certificate{Subject: pkix.Name{CommonName: "Root"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	c.root = sign(t, template, template, c.rootKey.Public(), c.rootKey)
	below := &x509.Certificate{Subject: pkix.Name{CommonName: "Issuing"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	c.issuing = sign(t, below, c.root, c.issuingKey.Public(), c.rootKey)
	return c
}

func (c *ca) Enroll(_ context.Context, der []byte) (*x509.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked++
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil, err
	}
	if err := csr.CheckSignature(); err != nil {
		return nil, status{400, "refused by rule proof: " + err.Error(), 0}
	}
	if c.fail != nil {
		if err := c.fail(c.asked); err != nil {
			return nil, err
		}
	}
	one := c.issued[string(csr.RawSubjectPublicKeyInfo)]
	if one == nil {
		serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 100))
		if err != nil {
			return nil, err
		}
		template := &x509.Certificate{SerialNumber: serial, RawSubject: csr.RawSubject, DNSNames: csr.DNSNames, NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(20 * time.Hour)}
		if c.bare {
			template.RawSubject = []byte{0x30, 0}
		}
		signed, err := x509.CreateCertificate(rand.Reader, template, c.issuing, csr.PublicKey, c.issuingKey)
		if err != nil {
			return nil, err
		}
		if one, err = x509.ParseCertificate(signed); err != nil {
			return nil, err
		}
		c.issued[string(csr.RawSubjectPublicKeyInfo)] = one
	}
	if c.lose != nil {
		if err := c.lose(c.asked); err != nil {
			return nil, err
		}
	}
	return one, nil
}

func (c *ca) CACerts(context.Context) ([]*x509.Certificate, error) {
	return []*x509.Certificate{c.root, c.issuing}, c.gone
}

// status is an answer of the server, as package est has them.
type status struct {
	code  int
	text  string
	after time.Duration
}

func (s status) Error() string                        { return fmt.Sprintf("server answered %d: %s", s.code, s.text) }
func (s status) Status() (int, string, time.Duration) { return s.code, s.text, s.after }

// bench is a station with a serial line.
type bench struct {
	t      testing.TB
	ca     *ca
	dir    string
	serial *Serial
	wire   *wire
	events []Event
	change func(*Options)
	on     func(Event)
}

func newBench(t testing.TB) *bench {
	b := &bench{t: t, ca: newCA(t), dir: t.TempDir(), wire: &wire{device: func() *device { return nil }}}
	return b
}

func (b *bench) options() Options {
	b.serial = NewSerial(SerialConfig{Port: "test", Answer: 8 * time.Millisecond, Tries: 4})
	b.serial.pause = 2 * time.Millisecond
	b.serial.open = func() (port, error) { return b.wire, nil }
	limit := 5 * time.Second
	o := Options{
		Name: "pc-1", Order: "WO-1", Device: b.serial, Server: b.ca, Anchors: []*x509.Certificate{b.ca.root}, Dir: b.dir, Record: "record.csv", Format: CSV,
		Limits: Limits{limit, limit, limit, limit, limit}, Poll: time.Millisecond,
		Report: func(e Event) {
			b.events = append(b.events, e)
			if b.on != nil {
				b.on(e)
			}
		},
	}
	if b.change != nil {
		b.change(&o)
	}
	return o
}

func (b *bench) open() *Station {
	b.t.Helper()
	s, err := Open(b.options())
	if err != nil {
		b.t.Fatal(err)
	}
	return s
}

// run provisions count devices.
func (b *bench) run(count int) (Stats, error) {
	b.t.Helper()
	s := b.open()
	defer s.Close()
	defer s.Device.Close()
	ctx, cancel := context.WithTimeout(b.t.Context(), time.Minute)
	defer cancel()
	err := s.Run(ctx, count, make(chan struct{}))
	return s.Stats(), err
}

// lines are those of the record.
func (b *bench) lines() []Line {
	b.t.Helper()
	data, err := os.ReadFile(filepath.Join(b.dir, "record.csv"))
	if err != nil {
		b.t.Fatal(err)
	}
	var list []Line
	for i, text := range strings.Split(strings.TrimSuffix(string(data), "\n"), "\n") {
		if i == 0 {
			continue
		}
		l, err := CSV.parse([]byte(text))
		if err != nil {
			b.t.Fatalf("line %d of the record: %v: %s", i+1, err, text)
		}
		list = append(list, l)
	}
	return list
}

// provisioned fails unless the device holds the one certificate that was issued for it, and
// the record says so once.
func (b *bench) provisioned(d *device) {
	b.t.Helper()
	leaf := d.leaf()
	if leaf == nil {
		b.t.Fatalf("%s holds no certificate; %s", d.name, b.said())
	}
	done := 0
	for _, l := range b.lines() {
		if l.Device == d.name && l.Result == Done {
			done++
			if sum := fingerprint(leaf); l.Certificate != hex.EncodeToString(sum[:]) {
				b.t.Errorf("the record has another certificate of %s", d.name)
			}
		}
	}
	if done != 1 {
		b.t.Errorf("%d lines say that %s is done; %s", done, d.name, b.said())
	}
	units := 0
	for _, c := range b.ca.issued {
		if c.Subject.CommonName == d.name {
			units++
		}
	}
	if units != 1 {
		b.t.Errorf("%d certificates were issued for %s", units, d.name)
	}
	list, err := ReadQueue(filepath.Join(b.dir, queueDir))
	if err != nil {
		b.t.Error(err)
	}
	for _, e := range list {
		if e.Device == d.name {
			b.t.Errorf("%s is in the queue still: %s", d.name, e.State)
		}
	}
}

func (b *bench) said() string {
	var list []string
	for _, e := range b.events {
		list = append(list, fmt.Sprintf("%s %s: %s", e.Device, e.Outcome, e.Text))
	}
	return strings.Join(list, "\n")
}

func parsePEM(data []byte) ([]*x509.Certificate, error) {
	var ders [][]byte
	for {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			return parseAll(ders)
		}
		ders = append(ders, block.Bytes)
	}
}
