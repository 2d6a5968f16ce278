package station

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	mathrand "math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
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
	fail   func(asked int) error // before a certificate is issued
	lose   func(asked int) error // after: the answer is lost
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
	return []*x509.Certificate{c.root, c.issuing}, nil
}

// status is an answer of the server, as package est has them.
type status struct {
	code  int
	text  string
	after time.Duration
}

func (s status) Error() string                        { return fmt.Sprintf("server answered %d: %s", s.code, s.text) }
func (s status) Status() (int, string, time.Duration) { return s.code, s.text, s.after }

// device speaks the line protocol from the other side, as docs/station.md describes it.
type device struct {
	t     testing.TB
	name  string
	can   string // of HELLO
	key   crypto.Signer
	cert  []byte // PEM, with the chain
	roots []byte
	given crypto.Signer // by the station

	out      []byte // what is being read from it
	outName  string
	in       []byte // what is being written to it
	inName   string
	handled  int
	sets     int
	rebootAt int // the number of the line after which it boots
	deaf     int // lines that it does not hear
	busy     int // answers BUSY before it does something
	refuses  string
}

func newDevice(t testing.TB, name string) *device {
	return &device{t: t, name: name, can: "csr,proof,roots"}
}

// reboot forgets everything that is not in flash.
func (d *device) reboot() {
	d.out, d.in, d.outName, d.inName = nil, nil, "", ""
	d.deaf = 2
}

func (d *device) leaf() *x509.Certificate {
	block, _ := pem.Decode(d.cert)
	if block == nil {
		return nil
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		d.t.Error(err)
	}
	return c
}

// hear answers a line; nil for none.
func (d *device) hear(line []byte) []byte {
	f, ok := parseFrame(line)
	if !ok {
		return nil
	}
	d.handled++
	if d.rebootAt > 0 && d.handled == d.rebootAt {
		d.reboot()
		return []byte("\x00\xff*** booting, MM1 0000 OK\r\nversion 1.2\r\n")
	}
	if d.deaf > 0 {
		d.deaf--
		return nil
	}
	answer, err := frame{f.number, d.do(f.words)}.encode()
	if err != nil {
		d.t.Error(err)
	}
	return answer
}

func (d *device) ready(what string, body []byte) []string {
	d.outName, d.out = what, body
	sum := sha256.Sum256(body)
	return []string{"OK", strconv.Itoa(len(body)), hex.EncodeToString(sum[:])}
}

func (d *device) do(words []string) []string {
	if d.busy > 0 {
		d.busy--
		return []string{"BUSY"}
	}
	switch words[0] {
	case "HELLO":
		return []string{"OK", "id=" + d.name, "can=" + d.can, "data=96"}
	case "CSR":
		if d.key == nil {
			d.key = generate(d.t)
		}
		der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: d.name}}, d.key)
		if err != nil {
			d.t.Fatal(err)
		}
		return d.ready("csr", der)
	case "PROOF":
		if len(d.cert) == 0 {
			return []string{"ERR", "none"}
		}
		nonce, err := hex.DecodeString(words[1])
		if err != nil || len(nonce) != 32 || words[2] != d.name {
			return []string{"ERR", "id"}
		}
		sum := sha256.Sum256(d.leaf().Raw)
		body := sum[:]
		if strings.Contains(d.can, "proof") {
			digest := sha256.Sum256(Challenge{Nonce: [32]byte(nonce)}.Message(sum))
			signature, err := d.key.Sign(rand.Reader, digest[:], crypto.SHA256)
			if err != nil {
				d.t.Fatal(err)
			}
			body = append(body, signature...)
		}
		return d.ready("proof", body)
	case "GET":
		at, err := strconv.Atoi(words[2])
		n, err2 := strconv.Atoi(words[3])
		if d.outName != words[1] || errors.Join(err, err2) != nil || at >= len(d.out) {
			return []string{"ERR", "gone"}
		}
		return []string{"OK", words[2], base64.StdEncoding.EncodeToString(d.out[at:min(at+n, len(d.out))])}
	case "PUT":
		at, err := strconv.Atoi(words[2])
		data, err2 := base64.StdEncoding.DecodeString(words[3])
		if errors.Join(err, err2) != nil {
			return []string{"ERR", "bad"}
		}
		if at == 0 {
			d.inName, d.in = words[1], nil
		}
		switch {
		case d.inName != words[1] || at > len(d.in):
			return []string{"ERR", "offset", strconv.Itoa(len(d.in))}
		case at+len(data) <= len(d.in): // repeated
		default:
			d.in = append(d.in[:at], data...)
		}
		return []string{"OK", strconv.Itoa(at + len(data))}
	case "SET":
		return d.set(words)
	}
	return []string{"ERR", "bad", "no", "such", "command"}
}

func (d *device) set(words []string) []string {
	sum := sha256.Sum256(d.in)
	switch {
	case words[4] != d.name:
		return []string{"ERR", "id"}
	case d.inName != words[1]:
		return []string{"ERR", "offset", "0"}
	case hex.EncodeToString(sum[:]) != words[3]:
		return []string{"ERR", "sum"}
	case d.refuses != "":
		return []string{"ERR", d.refuses, "flash", "is", "full"}
	}
	d.sets++
	switch words[1] {
	case "roots":
		d.roots = bytes.Clone(d.in)
	case "key":
		block, _ := pem.Decode(d.in)
		key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
		if err != nil {
			d.t.Error(err)
			return []string{"ERR", "fail"}
		}
		d.key, d.given = key.(crypto.Signer), key.(crypto.Signer)
	case "cert":
		d.cert = bytes.Clone(d.in)
	}
	return []string{"OK"}
}

// wire is the serial line between: what is written to it is heard at once.
type wire struct {
	mu     sync.Mutex
	device func() *device // nil for none
	lines  splitter
	back   []byte
	noise  *mathrand.Rand // nil for a clean line
	share  float64        // of lines that are damaged
	after  func(lines int) error
	count  int
}

func (w *wire) damage(data []byte) []byte {
	if w.noise == nil || w.noise.Float64() > w.share {
		return data
	}
	data = bytes.Clone(data)
	switch w.noise.IntN(4) {
	case 0: // bits
		data[w.noise.IntN(len(data))] ^= 1 << w.noise.IntN(8)
	case 1: // bytes are lost
		at := w.noise.IntN(len(data))
		return append(data[:at], data[min(at+1+w.noise.IntN(40), len(data)):]...)
	case 2: // something between
		at := w.noise.IntN(len(data))
		return append(data[:at:at], append([]byte("\xfe\x00garbage\n"), data[at:]...)...)
	case 3: // nothing arrives
		return nil
	}
	return data
}

func (w *wire) Write(p []byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.count++
	if w.after != nil {
		if err := w.after(w.count); err != nil {
			return err
		}
	}
	d := w.device()
	if d == nil {
		return nil
	}
	w.lines.add(w.damage(p), func(line []byte) {
		if answer := d.hear(line); answer != nil {
			w.back = append(w.back, w.damage(answer)...)
		}
	})
	return nil
}

func (w *wire) Read(p []byte, wait time.Duration) (int, error) {
	w.mu.Lock()
	n := copy(p, w.back)
	w.back = w.back[n:]
	w.mu.Unlock()
	if n == 0 {
		time.Sleep(min(wait, 2*time.Millisecond)) // as a port does: nothing comes
	}
	return n, nil
}

func (w *wire) Close() error { return nil }

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
