package station

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	mathrand "math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

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
	dumb     bool // cannot say what it holds
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
		if d.dumb {
			return []string{"ERR", "fail", "flash", "is", "busy"}
		}
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
