package hook

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"mintmark/internal/pkitest"
)

// pki is a root, an issuing CA under it and two devices of that, all by openssl:
// serial numbers 01, of a good one, and 02, of a revoked one.
type pki struct {
	t   testing.TB
	dir string
	w   *world
}

func newPKI(t testing.TB) *pki {
	t.Helper()
	pkitest.Tool(t, "openssl")
	p := &pki{t: t, dir: t.TempDir(), w: newWorld(t)}
	key := func(name string) []string {
		return []string{"-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", name + ".key"}
	}
	p.write("openssl.cnf", "[ca]\ndefault_ca = d\n[d]\ndatabase = index.txt\ncrlnumber = number\ndefault_md = sha256\n"+
		"[req]\ndistinguished_name = n\n[n]\n[v3]\nbasicConstraints = critical, CA:TRUE\nkeyUsage = keyCertSign, cRLSign\n"+
		"[ocsp]\nextendedKeyUsage = OCSPSigning\n[device]\nextendedKeyUsage = clientAuth\n")
	p.write("number", "01\n")
	far, past := time.Now().AddDate(1, 0, 0).UTC().Format("060102150405Z"), time.Now().Add(-time.Hour).UTC().Format("060102150405Z")
	p.write("index.txt", "V\t"+far+"\t\t01\tunknown\t/CN=good\nR\t"+far+"\t"+past+"\t02\tunknown\t/CN=bad\nV\t"+far+"\t\t10\tunknown\t/CN=Issuing\n")
	p.write("empty.txt", "")
	for _, root := range []string{"root", "stranger"} {
		p.openssl(append([]string{"req", "-x509", "-config", "openssl.cnf", "-extensions", "v3", "-subj", "/CN=Root", "-days", "30", "-out", root + ".pem"}, key(root)...)...)
	}
	issue := func(name, subject, serial, above, extensions string) {
		p.openssl(append([]string{"req", "-new", "-config", "openssl.cnf", "-subj", subject, "-out", name + ".csr"}, key(name)...)...)
		p.openssl("x509", "-req", "-in", name+".csr", "-CA", above+".pem", "-CAkey", above+".key", "-set_serial", serial, "-days", "20",
			"-extfile", "openssl.cnf", "-extensions", extensions, "-out", name+".pem")
	}
	issue("issuing", "/CN=Issuing", "0x10", "root", "v3")
	issue("good", "/CN=good", "0x01", "issuing", "device")
	issue("bad", "/CN=bad", "0x02", "issuing", "device")
	issue("responder", "/CN=responder", "0x30", "issuing", "ocsp")
	issue("forger", "/CN=forger", "0x31", "issuing", "device")
	p.w.now = time.Now()
	p.w.put(Head{PushedAt: p.w.now.Add(-time.Minute), Server: "a", MaxAge: 48 * time.Hour}.Item())
	return p
}

func (p *pki) write(name, text string) {
	p.t.Helper()
	if err := os.WriteFile(filepath.Join(p.dir, name), []byte(text), 0o600); err != nil {
		p.t.Fatal(err)
	}
}

func (p *pki) openssl(args ...string) {
	p.t.Helper()
	cmd := exec.Command("openssl", args...)
	cmd.Dir = p.dir
	if out, err := cmd.CombinedOutput(); err != nil {
		p.t.Fatalf("openssl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

func (p *pki) pem(names ...string) string {
	p.t.Helper()
	text := ""
	for _, name := range names {
		data, err := os.ReadFile(filepath.Join(p.dir, name+".pem"))
		if err != nil {
			p.t.Fatal(err)
		}
		text += string(data)
	}
	return text
}

func (p *pki) certificate(name string) *x509.Certificate {
	p.t.Helper()
	block, _ := pem.Decode([]byte(p.pem(name)))
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		p.t.Fatal(err)
	}
	return c
}

func (p *pki) id(name string) string { return id(sha256.Sum256(p.certificate(name).Raw)) }

// crl makes a revocation list, in DER.
func (p *pki) crl(ca, index string, args ...string) []byte {
	p.t.Helper()
	p.write("crl.cnf", "[ca]\ndefault_ca = d\n[d]\ndatabase = "+index+"\ncrlnumber = number\ndefault_md = sha256\n"+
		"[part]\nissuingDistributionPoint = critical, @idp\n[idp]\nonlyuser = TRUE\n[delta]\n2.5.29.27 = ASN1:INTEGER:1\n")
	if len(args) == 0 {
		args = []string{"-crlhours", "1"}
	}
	p.openssl(append([]string{"ca", "-gencrl", "-config", "crl.cnf", "-cert", ca + ".pem", "-keyfile", ca + ".key", "-out", "list.pem"}, args...)...)
	data, err := os.ReadFile(filepath.Join(p.dir, "list.pem"))
	if err != nil {
		p.t.Fatal(err)
	}
	block, _ := pem.Decode(data)
	return block.Bytes
}

// site serves revocation lists and counts.
type site struct {
	*httptest.Server
	files  map[string][]byte
	asked  atomic.Int64
	silent chan struct{} // closed at the end: /silent answers then
}

func newSite(t testing.TB) *site {
	s := &site{files: map[string][]byte{}, silent: make(chan struct{})}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.asked.Add(1)
		switch body, ok := s.files[r.URL.Path]; {
		case r.URL.Path == "/silent":
			<-s.silent
		case r.URL.Path == "/moved":
			http.Redirect(w, r, "/crl", http.StatusFound)
		case r.URL.Path == "/endless":
			for range maxCRL>>20 + 2 {
				if _, err := w.Write(make([]byte, 1<<20)); err != nil {
					return
				}
			}
		case !ok:
			http.NotFound(w, r)
		default:
			w.Write(body)
		}
	}))
	t.Cleanup(func() { close(s.silent); s.Close() })
	return s
}
