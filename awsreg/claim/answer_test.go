package claim

import (
	"bytes"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"
)

func serial(t *testing.T) *big.Int {
	t.Helper()
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 100))
	must(t, err)
	return n
}

// TestCreatedAnswers: a certificate that the device could not use is refused.
func TestCreatedAnswers(t *testing.T) {
	key, other := newKey(t), newKey(t)
	csr, err := x509.ParseCertificateRequest(request(t, key, "x"))
	must(t, err)
	text := func(c *x509.Certificate) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}))
	}
	mine, foreign := text(selfSigned(t, key, "x", time.Now().Add(time.Hour))), text(selfSigned(t, other, "x", time.Now().Add(time.Hour)))
	id := strings.Repeat("a", 64)
	for _, tt := range []struct{ name, id, cert, token, err string }{
		{"good", id, mine, "t", ""},
		{"with chain", id, mine + foreign, "t", ""},
		{"another key", id, foreign, "t", "another public key"},
		{"chain first", id, foreign + mine, "t", "another public key"},
		{"no certificate", id, "", "t", "certificatePem"},
		{"text after it", id, mine + "x", "t", "certificatePem"},
		{"too many", id, strings.Repeat(mine, 11), "t", "certificatePem"},
		{"key instead", id, "-----BEGIN PRIVATE KEY-----\nMA==\n-----END PRIVATE KEY-----\n", "t", "certificatePem"},
		{"id", "x", mine, "t", "certificateId"},
		{"no token", id, mine, "", "certificateOwnershipToken"},
		{"long token", id, mine, strings.Repeat("t", maxToken+1), "certificateOwnershipToken"},
	} {
		payload, err := json.Marshal(map[string]string{"certificateId": tt.id, "certificatePem": tt.cert, "certificateOwnershipToken": tt.token})
		must(t, err)
		out, err := parseCreated(payload, csr)
		if (err == nil) != (tt.err == "") || (out == nil) != (err != nil) || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%s: %+v %v", tt.name, out, err)
		}
	}
	for _, payload := range []string{"", "null", "[]", `"x"`, "{"} {
		if _, err := parseCreated([]byte(payload), csr); err == nil {
			t.Errorf("%q: accepted", payload)
		}
	}
}

func TestRegisteredAnswers(t *testing.T) {
	out, err := parseRegistered([]byte(`{"thingName":"a:b","deviceConfiguration":{"s":"x","n":1,"o":{"k":[]}}}`))
	if err != nil || out.thing != "a:b" || out.config["s"] != "x" || out.config["n"] != "1" || out.config["o"] != `{"k":[]}` {
		t.Errorf("%+v %v", out, err)
	}
	if out, err := parseRegistered([]byte(`{}`)); err != nil || out.thing != "" {
		t.Errorf("%+v %v", out, err)
	}
	for _, payload := range []string{``, `{"thingName":1}`, `{"thingName":"../x"}`, `{"deviceConfiguration":[]}`} {
		if _, err := parseRegistered([]byte(payload)); err == nil {
			t.Errorf("%q: accepted", payload)
		}
	}
	var refused *Rejection
	if err := parseRejection("op", []byte("garbage")); !errors.As(err, &refused) || refused.Temporary() {
		t.Errorf("a refusal that cannot be read: %v", err)
	}
	if err := parseRejection("op", []byte(`{"statusCode":429,"errorMessage":"`+strings.Repeat("x", 5000)+`"}`)); !errors.As(err, &refused) || !refused.Temporary() || len(err.Error()) > 2*maxAnswerText {
		t.Errorf("a long refusal: %d characters", len(err.Error()))
	}
}

// TestFrame: a packet that is too large is refused at its header.
func TestFrame(t *testing.T) {
	for _, tt := range []struct {
		name string
		in   []byte
		ok   bool
	}{
		{"connack", []byte{0x20, 2, 0, 0}, true},
		{"two packets", []byte{0x20, 2, 0, 0, 0xd0, 0, 0x30, 1, 'x'}, true},
		{"at the limit", []byte{0x30, 0x80, 0xa0, 0x08}, true}, // 135168
		{"over it", []byte{0x30, 0x81, 0xa0, 0x08}, false},
		{"256 MB", []byte{0x30, 0xff, 0xff, 0xff, 0x7f}, false},
		{"length without end", []byte{0x30, 0x80, 0x80, 0x80, 0x80}, false},
	} {
		for _, size := range []int{1, 2, len(tt.in)} {
			var f frame
			var err error
			for rest := tt.in; len(rest) > 0; rest = rest[min(size, len(rest)):] {
				if e := f.pass(rest[:min(size, len(rest))]); e != nil {
					err = e
				}
			}
			if (err == nil) != tt.ok {
				t.Errorf("%s, %d bytes at a time: %v", tt.name, size, err)
			}
		}
	}
	a, b := net.Pipe()
	defer a.Close()
	go func() {
		b.Write([]byte{0x30, 0xff, 0xff, 0xff, 0x7f, 0})
		b.Close()
	}()
	c := &framedConn{Conn: a}
	if _, err := io.ReadAll(c); !errors.Is(err, errPacketTooLarge) || !errors.Is(c.cause(), errPacketTooLarge) {
		t.Errorf("reading: %v, cause %v", err, c.cause())
	}
}

func TestBackoff(t *testing.T) {
	for n, want := range map[int]time.Duration{1: time.Second, 2: 2 * time.Second, 5: 16 * time.Second, 6: maxBackoff, 99: maxBackoff} {
		for range 100 {
			if d := backoff(time.Second, n); d > want || d < want*3/4 {
				t.Errorf("after %d failures %s, want about %s", n, d, want)
			}
		}
	}
}

func FuzzAnswers(f *testing.F) {
	f.Add([]byte(`{"certificateId":"a","certificatePem":"-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n","certificateOwnershipToken":"t"}`))
	f.Add([]byte(`{"thingName":"x","deviceConfiguration":{"a":"b","c":null}}`))
	f.Add([]byte(`{"statusCode":403,"errorCode":"ACCESS_DENIED","errorMessage":"no"}`))
	f.Fuzz(func(t *testing.T, payload []byte) {
		if out, err := parseCreated(payload, &x509.CertificateRequest{RawSubjectPublicKeyInfo: []byte{1}}); out != nil || err == nil {
			t.Errorf("%q is a certificate for no key", payload)
		}
		if out, err := parseRegistered(payload); (out == nil) == (err == nil) || out != nil && out.thing != "" && !thingName.MatchString(out.thing) {
			t.Errorf("%q: %+v %v", payload, out, err)
		}
		if err := parseRejection("op", payload); err == nil || len(err.Error()) > 8*maxAnswerText {
			t.Errorf("%q: %v", payload, err)
		}
	})
}

// FuzzFrame: however a stream is cut, the verdict is the same.
func FuzzFrame(f *testing.F) {
	f.Add([]byte{0x20, 2, 0, 0, 0x30, 0xff, 0xff, 0x7f}, 3)
	f.Add([]byte{0x30, 0x80, 0x80, 0x80, 0x80, 1}, 1)
	f.Fuzz(func(t *testing.T, stream []byte, size int) {
		if size < 1 {
			size = 1
		}
		var whole, parts frame
		want := whole.pass(bytes.Clone(stream))
		var got error
		for rest := stream; len(rest) > 0; rest = rest[min(size, len(rest)):] {
			if err := parts.pass(rest[:min(size, len(rest))]); err != nil {
				got = err
			}
		}
		if (got == nil) != (want == nil) || !whole.bad && whole != parts {
			t.Errorf("%x at once %v %+v, by %d %v %+v", stream, want, whole, size, got, parts)
		}
	})
}
