package hook

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestCallbackEventRefused(t *testing.T) {
	c := newAuthority(t, "x", nil).certificate
	text := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}))
	key := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("x")}))
	own := id(sha256.Sum256(c.Raw))
	event := func(principal string, chain ...string) []byte {
		data, err := json.Marshal(map[string]any{"connectionMetadata": map[string]any{"id": "1"}, "principalId": principal, "serverName": "s", "clientCertificateChain": chain})
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	if _, err := ParseCallbackEvent(event(own, text)); err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{
		"nothing": nil, "null": []byte("null"), "no chain": event(own), "no principal": event("", text), "no PEM": event(own, "x"),
		"a key": event(own, text, key), "no certificate": event(own, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")}))),
		"another's": event(idOf(1), text), "too many": event(own, strings.Repeat(text, maxChain+1)), "oversized": event(own, text, strings.Repeat(" ", 4*maxEvent)),
		"chain is text": fmt.Appendf(nil, `{"principalId":"x","clientCertificateChain":%q}`, text),
	} {
		if e, err := ParseCallbackEvent(data); err == nil || e.ClientCertificateChain != nil {
			t.Errorf("%s: %+v, %v", name, e, err)
		}
	}
	// One that was not parsed is refused all the same.
	w := newWorld(t)
	cb := &Callback{Dynamo: w.dynamo, Table: tableName}
	if cb.Handle(t.Context(), CallbackEvent{PrincipalID: own}).IsAuthenticated {
		t.Error("a connection without a certificate is allowed")
	}
}

func FuzzParseCallbackEvent(f *testing.F) {
	text := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: newAuthority(f, "x", nil).certificate.Raw}))
	seed, err := json.Marshal(map[string]any{"principalId": "x", "clientCertificateChain": []string{text}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	f.Add([]byte(`{"clientCertificateChain":[""]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := ParseCallbackEvent(data)
		if err != nil {
			if e.ClientCertificateChain != nil {
				t.Errorf("an error and an event: %+v", e)
			}
			return
		}
		if chain, err := e.chain(); err != nil || len(chain) == 0 || len(chain) > maxChain {
			t.Errorf("%d certificates, %v", len(chain), err)
		}
	})
}

func FuzzParseCRL(f *testing.F) {
	p := newPKI(f)
	f.Add(p.crl("issuing", "index.txt"))
	f.Add(p.crl("issuing", "empty.txt", "-crlhours", "1", "-crlexts", "part"))
	f.Add([]byte("-----BEGIN X509 CRL-----\n-----END X509 CRL-----\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		list, err := parseCRL(data)
		if err != nil {
			if list != nil {
				t.Error("an error and a list")
			}
			return
		}
		for _, e := range list.Extensions {
			if e.Critical {
				t.Errorf("critical %s accepted", e.Id)
			}
		}
	})
}

func FuzzParseOCSP(f *testing.F) {
	p := newPKI(f)
	p.openssl("ocsp", "-index", "index.txt", "-CA", "issuing.pem", "-rsigner", "responder.pem", "-rkey", "responder.key",
		"-issuer", "issuing.pem", "-cert", "good.pem", "-respout", "answer.der", "-no_nonce", "-noverify", "-nmin", "10")
	answer, err := os.ReadFile(filepath.Join(p.dir, "answer.der"))
	if err != nil {
		f.Fatal(err)
	}
	good, issuing, at := p.certificate("good"), p.certificate("issuing"), time.Now()
	f.Add(answer)
	f.Add([]byte{0x30, 0x03, 0x0a, 0x01, 0x06})
	f.Fuzz(func(t *testing.T, data []byte) {
		if r, err := parseOCSP(data, good, issuing, at); err == nil && !bytes.Equal(r.TBSResponseData, tbsOf(answer, good, issuing)) {
			t.Errorf("accepted %x", data)
		}
	})
}

// tbsOf is what the responder signed.
func tbsOf(answer []byte, c, issuer *x509.Certificate) []byte {
	r, err := parseOCSP(answer, c, issuer, time.Now())
	if err != nil {
		return nil
	}
	return r.TBSResponseData
}
