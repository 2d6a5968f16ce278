package server

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"fmt"
	"io"
	"maps"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"mintmark/internal/ledger"
	"mintmark/internal/pkitest"
	"mintmark/issuer"
)

// weakKey is an RSA key whose primes Fermat's method finds. It signs by hand,
// because crypto/rsa may refuse such a key.
type weakKey struct {
	public rsa.PublicKey
	d      *big.Int
}

func newWeakKey(t *testing.T) *weakKey {
	t.Helper()
	p, err := rand.Prime(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	one, two := big.NewInt(1), big.NewInt(2)
	for q := new(big.Int).Add(p, two); ; q.Add(q, two) {
		if !q.ProbablyPrime(20) {
			continue
		}
		phi := new(big.Int).Mul(new(big.Int).Sub(p, one), new(big.Int).Sub(q, one))
		if d := new(big.Int).ModInverse(big.NewInt(65537), phi); d != nil {
			return &weakKey{rsa.PublicKey{N: new(big.Int).Mul(p, q), E: 65537}, d}
		}
	}
}

func (k *weakKey) Public() crypto.PublicKey { return &k.public }

// Sign is RFC 8017, Section 9.2, for SHA-256.
func (k *weakKey) Sign(_ io.Reader, digest []byte, _ crypto.SignerOpts) ([]byte, error) {
	info := append([]byte{0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20}, digest...)
	size := k.public.Size()
	padded := append([]byte{0, 1}, bytes.Repeat([]byte{0xff}, size-len(info)-3)...)
	padded = append(append(padded, 0), info...)
	return new(big.Int).Exp(new(big.Int).SetBytes(padded), k.d, k.public.N).FillBytes(make([]byte, size)), nil
}

// request makes a certification request out of a template.
func request(t *testing.T, key crypto.Signer, template x509.CertificateRequest) []byte {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, &template, key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func wire(der []byte) string { return base64.StdEncoding.EncodeToString(der) }

// TestRefusals sends what must be refused, over TLS and with real credentials:
// the status, the rule in text and metrics, no word about the inside, and
// nothing recorded.
func TestRefusals(t *testing.T) {
	dir := newState(t)
	editConfig(t, dir, "profiles:\n", "profiles:\n  brief:\n    preset: device\n    validity: 2h\n    repeat: 1h\n  line:\n    preset: device\n    validity: 30d\n")
	text := string(pkitest.ReadFile(t, filepath.Join(dir, "mintmark.yaml")))
	hash := regexp.MustCompile(`sha256: ([0-9a-f]{64})`).FindStringSubmatch(text)[1]
	editConfig(t, dir, "    own: [device]", "    own: [device, brief]\n  - name: line\n    profile: line\n    issuer: issuing\n    authorize: trusted\n    passwords: [{user: line, sha256: "+hash+"}]\n    own: [line]\n"+
		"  - name: strict\n    profile: device\n    issuer: issuing\n    authorize: trusted\n    passwords: [{user: factory, sha256: "+hash+"}]\n    second_key: refuse\n"+
		"  - name: own\n    profile: device\n    issuer: issuing\n    authorize: trusted\n    own: [device]\n    #")

	// The same keys, another ledger: what it issues, ours does not know.
	elsewhere := filepath.Join(t.TempDir(), "state")
	copyState(t, elsewhere, dir)
	thief := openLocal(t, elsewhere, io.Discard)
	stolen := issue(t, thief, "device", "press-1")
	if err := thief.Close(); err != nil {
		t.Fatal(err)
	}
	// Other keys under the same names: nothing of ours.
	foreignDir := filepath.Join(t.TempDir(), "foreign")
	if err := makePrototype(foreignDir); err != nil {
		t.Fatal(err)
	}
	stranger := openLocal(t, foreignDir, io.Discard)
	foreign := issue(t, stranger, "device", "press-1")
	if err := stranger.Close(); err != nil {
		t.Fatal(err)
	}

	var mine, revoked, expired, verification *tls.Certificate
	server := serveLocal(t, dir, func(s *Server) {
		mine, revoked = issue(t, s, "device", "press-1"), issue(t, s, "device", "press-2")
		clock := s.ra.Now
		s.ra.Now = func() time.Time { return clock().Add(-3 * time.Hour) }
		expired = issue(t, s, "brief", "press-3")
		s.ra.Now = clock
		d := newDevice(t, "0123456789abcdef")
		answer, err := s.ra.Enroll(t.Context(), issuer.Request{Authorize: issuer.Trusted, Profile: "verification", Issuer: "issuing", CSR: d.csr, Requester: ledger.Requester{Kind: "server", Name: "mintmark"}})
		if err != nil {
			t.Fatal(err)
		}
		verification = held(d, answer.Certificate)
		selector := ledger.Selector{Serial: issuer.SerialOf(revoked.Leaf.SerialNumber)}
		if _, err := s.ra.Revoke(t.Context(), selector, ledger.KeyCompromise, "test"); err != nil {
			t.Fatal(err)
		}
	})
	own := ownCertificate(t, dir)

	key := pkitest.NewKey(t)
	name := func(cn string) pkix.Name { return pkix.Name{CommonName: cn} }
	good := request(t, key, x509.CertificateRequest{Subject: name("press-9")})
	damaged := bytes.Clone(good)
	damaged[len(damaged)-3] ^= 1
	moved := bytes.Clone(good) // the signature is another request's
	if i := bytes.Index(moved, []byte("press-9")); i > 0 {
		moved[i+6] = '8'
	}
	p224, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, edwards, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	weak := newWeakKey(t)
	many := x509.CertificateRequest{Subject: name("press-9")}
	for i := range 33 {
		many.DNSNames = append(many.DNSNames, fmt.Sprintf("host-%d.example", i))
	}
	huge := x509.CertificateRequest{Subject: name("press-9"), DNSNames: []string{strings.Repeat("a", 17<<10)}}
	extension := func(id asn1.ObjectIdentifier, value ...byte) pkix.Extension {
		return pkix.Extension{Id: id, Value: value}
	}
	basic := asn1.ObjectIdentifier{2, 5, 29, 19}
	forDevice := func(cn string, extensions ...pkix.Extension) string {
		return wire(request(t, key, x509.CertificateRequest{Subject: name(cn), ExtraExtensions: extensions}))
	}
	twice := pkix.Name{ExtraNames: []pkix.AttributeTypeAndValue{
		{Type: asn1.ObjectIdentifier{2, 5, 4, 3}, Value: "press-9"}, {Type: asn1.ObjectIdentifier{2, 5, 4, 3}, Value: "press-1"},
	}}
	renewal := func(template x509.CertificateRequest) string {
		return wire(request(t, mine.PrivateKey.(crypto.Signer), template))
	}

	type attempt struct {
		name    string
		method  string // POST if empty
		op      string // simpleenroll if empty
		media   string // application/pkcs10 if empty
		body    string
		cert    *tls.Certificate
		user    string // with the right password unless wrong
		wrong   bool
		status  int
		rule    string
		headers map[string]string
	}
	attempts := []attempt{
		// The wire.
		{name: "method", method: "GET", user: "factory", status: 405, rule: "method", headers: map[string]string{"Allow": "POST"}},
		{name: "put", method: "PUT", user: "factory", body: wire(good), status: 405, rule: "method"},
		{name: "label", op: "nowhere/simpleenroll", user: "factory", body: wire(good), status: 404, rule: "label"},
		{name: "path", op: "nonsense", user: "factory", body: wire(good), status: 404, rule: "path"},
		{name: "path traversal", op: "..%2f..%2fmintmark.yaml", user: "factory", status: 404, rule: "path"},
		{name: "optional operation", op: "fullcmc", user: "factory", body: wire(good), status: 501, rule: "operation"},
		{name: "key generation", op: "serverkeygen", user: "factory", body: wire(good), status: 501, rule: "operation"},
		{name: "media type", media: "text/plain", user: "factory", body: wire(good), status: 415, rule: "media-type"},
		{name: "media type of an answer", media: "application/pkcs7-mime", user: "factory", body: wire(good), status: 415, rule: "media-type"},
		{name: "no body", user: "factory", status: 400, rule: "encoding"},
		{name: "not base64", user: "factory", body: "!!" + wire(good), status: 400, rule: "encoding"},
		{name: "base64 cut off", user: "factory", body: wire(good)[:101], status: 400, rule: "encoding"},
		{name: "raw DER", user: "factory", body: string(good), status: 400, rule: "encoding"},
		{name: "PEM of a certificate", user: "factory", body: string(pkitest.PEM("CERTIFICATE", mine.Leaf.Raw)), status: 400, rule: "encoding"},
		{name: "PEM of a key", user: "factory", body: string(pkitest.PEM("PRIVATE KEY", good)), status: 400, rule: "encoding"},
		{name: "body too large", user: "factory", body: strings.Repeat("A", 64<<10+4), status: 413, rule: "size"},

		// Credentials.
		{name: "none", body: wire(good), status: 401, rule: "no-credential", headers: map[string]string{"WWW-Authenticate": `Basic realm="mintmark"`}},
		{name: "wrong password", user: "factory", wrong: true, body: wire(good), status: 401, rule: "credential"},
		{name: "unknown user", user: "' OR 1=1 --", body: wire(good), status: 401, rule: "credential"},
		{name: "user of another label", op: "line/simpleenroll", user: "factory", body: wire(good), status: 401, rule: "credential"},
		{name: "password where there are none", op: "own/simpleenroll", user: "factory", body: wire(good), status: 403, rule: "no-certificate"},
		{name: "renewal by password", op: "simplereenroll", user: "factory", body: wire(good), status: 403, rule: "no-certificate"},
		{name: "foreign certificate", cert: foreign, body: forDevice("press-1"), status: 403, rule: "foreign-certificate"},
		{name: "certificate that the ledger does not know", cert: stolen, body: forDevice("press-1"), status: 403, rule: "certificate-unknown"},
		{name: "the same with a right password", cert: stolen, user: "factory", body: forDevice("press-1"), status: 403, rule: "certificate-unknown"},
		{name: "revoked certificate", cert: revoked, body: forDevice("press-2"), status: 403, rule: "certificate-revoked"},
		{name: "renewal of a revoked certificate", op: "simplereenroll", cert: revoked, body: forDevice("press-2"), status: 403, rule: "certificate-revoked"},
		{name: "expired certificate", op: "simplereenroll", cert: expired, body: forDevice("press-3"), status: 403, rule: "certificate-expired"},
		{name: "server certificate", cert: own, body: wire(good), status: 403, rule: "certificate-purpose"},
		{name: "verification certificate", cert: verification, body: wire(good), status: 403, rule: "certificate-purpose"},
		{name: "certificate of another label's profile", op: "line/simpleenroll", cert: mine, body: forDevice("press-1"), status: 403, rule: "own-profile"},
		{name: "certificate of another device", cert: mine, body: wire(good), status: 403, rule: "identity"},

		// Certification requests.
		{name: "garbage", user: "factory", body: wire([]byte("garbage")), status: 400, rule: "csr-attributes"},
		{name: "nested without end", user: "factory", body: wire(bytes.Repeat([]byte{0x30, 0x80}, 4000)), status: 400, rule: "csr-attributes"},
		{name: "a certificate", user: "factory", body: wire(mine.Leaf.Raw), status: 400, rule: "csr-attributes"},
		{name: "trailing bytes", user: "factory", body: wire(append(bytes.Clone(good), 0)), status: 400, rule: "csr-attributes"},
		{name: "cut off", user: "factory", body: wire(good[:len(good)/2]), status: 400, rule: "csr-attributes"},
		{name: "too large", user: "factory", body: wire(request(t, key, huge)), status: 400, rule: "csr-size"},
		{name: "damaged signature", user: "factory", body: wire(damaged), status: 400, rule: "csr-signature"},
		{name: "signature of another request", user: "factory", body: wire(moved), status: 400, rule: "csr-signature"},
		{name: "P-224", user: "factory", body: wire(request(t, p224, x509.CertificateRequest{Subject: name("press-9")})), status: 400, rule: "key-type"},
		{name: "Ed25519", user: "factory", body: wire(request(t, edwards, x509.CertificateRequest{Subject: name("press-9")})), status: 400, rule: "key-type"},
		{name: "RSA-1024", user: "factory", body: wire(request(t, small, x509.CertificateRequest{Subject: name("press-9")})), status: 400, rule: "key-type"},
		{name: "close primes", user: "factory", body: wire(request(t, weak, x509.CertificateRequest{Subject: name("press-9")})), status: 400, rule: "key-weak"},
		{name: "asks for a CA", user: "factory", body: forDevice("press-9", extension(basic, 0x30, 3, 1, 1, 0xff)), status: 403, rule: "csr-ca"},
		{name: "basicConstraints unreadable", user: "factory", body: forDevice("press-9", extension(basic, 0xff)), status: 403, rule: "csr-ca"},
		{name: "too many names", user: "factory", body: wire(request(t, key, many)), status: 400, rule: "san"},
		{name: "no name", user: "factory", body: forDevice(""), status: 400, rule: "subject"},
		{name: "two names", user: "factory", body: wire(request(t, key, x509.CertificateRequest{Subject: twice})), status: 400, rule: "subject"},
		{name: "name too long", user: "factory", body: forDevice(strings.Repeat("a", 65)), status: 400, rule: "subject"},
		{name: "name of a path", user: "factory", body: forDevice("../../etc/passwd"), status: 400, rule: "subject"},
		{name: "name of a statement", user: "factory", body: forDevice("x'); DROP TABLE certificates;--"), status: 400, rule: "subject"},
		{name: "name of two lines", user: "factory", body: forDevice("press-9\nlevel=ERROR"), status: 400, rule: "subject"},
		{name: "name with NUL", user: "factory", body: forDevice("press-1\x00"), status: 400, rule: "subject"},
		{name: "name that looks alike", user: "factory", body: forDevice("pres\u0455-1"), status: 400, rule: "subject"},
		{name: "clone", op: "strict/simpleenroll", user: "factory", body: forDevice("press-1"), status: 409, rule: "clone"},
		{name: "clone, for a person to decide", user: "factory", body: forDevice("press-1"), status: 202, rule: "approval-pending"},
		{name: "renewal in another name", op: "simplereenroll", cert: mine, body: renewal(x509.CertificateRequest{Subject: name("press-4")}), status: 400, rule: "renewal-subject"},
		{name: "renewal with more names", op: "simplereenroll", cert: mine, body: renewal(x509.CertificateRequest{
			Subject: name("press-1"), DNSNames: []string{"ca.example"}, IPAddresses: []net.IP{{127, 0, 0, 1}}, URIs: []*url.URL{{Scheme: "urn", Opaque: "x"}},
		}), status: 400, rule: "renewal-san"},
	}

	template := newClient(t, dir, server.est)
	before := listAll(t, server.ledger)
	for _, a := range attempts {
		t.Run(a.name, func(t *testing.T) {
			config := &tls.Config{RootCAs: roots(t, dir)}
			if a.cert != nil {
				config.Certificates = []tls.Certificate{*a.cert}
			}
			transport := &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}
			op, method, media := a.op, a.method, a.media
			if op == "" {
				op = "simpleenroll"
			}
			if method == "" {
				method = "POST"
			}
			if media == "" {
				media = "application/pkcs10"
			}
			r, err := http.NewRequest(method, "https://"+server.est+"/.well-known/est/"+op, strings.NewReader(a.body))
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Content-Type", media)
			if a.user != "" {
				secret := template.Password
				if a.wrong {
					secret = "wrong"
				}
				r.SetBasicAuth(a.user, secret)
			}
			counted := requests(t, server.Server)
			answer, err := transport.RoundTrip(r)
			if err != nil {
				t.Fatal(err)
			}
			defer answer.Body.Close()
			content, err := io.ReadAll(answer.Body)
			if err != nil {
				t.Fatal(err)
			}
			said := string(content)
			if answer.StatusCode != a.status {
				t.Fatalf("status %d %q, want %d", answer.StatusCode, said, a.status)
			}
			// A 401 has no text: a client shows its user a prompt. Nor has a 202:
			// BouncyCastle reads none.
			silent := a.status == 401 || a.status == 202
			if want := "refused by rule " + a.rule + ": "; !silent && !strings.HasPrefix(said, want) || silent && said != "" {
				t.Errorf("answer %q, want %q", said, want)
			}
			for name, want := range a.headers {
				if got := answer.Header.Get(name); got != want {
					t.Errorf("%s: %q, want %q", name, got, want)
				}
			}
			inside(t, said, dir)
			for key, n := range requests(t, server.Server) {
				if n != counted[key] && !strings.Contains(key, fmt.Sprintf("%d %s", a.status, a.rule)) {
					t.Errorf("counted as %q", key)
				}
			}
		})
	}
	after := listAll(t, server.ledger)
	if !maps.EqualFunc(before, after, func(a, b ledger.Certificate) bool { return a.State == b.State }) {
		t.Errorf("%d records before, %d after what was refused", len(before), len(after))
	}
	// The alarms were counted, and the server still serves.
	code, page := get(t, "http://"+server.metrics+"/metrics")
	if code != 200 || !strings.Contains(page, `mintmark_alarms_total{kind="certificate-unknown"} 2`) || !strings.Contains(page, `mintmark_alarms_total{kind="clone"} 2`) {
		t.Error("the alarms were not counted")
	}
	if _, err := template.Enroll(t.Context(), good); err != nil {
		t.Errorf("a good request after all that: %v", err)
	}
}

// insideText is what an answer must not hold: texts of the standard library,
// of the database, of stack traces.
var insideText = regexp.MustCompile(`(?i)\b(x509|asn1|crypto|ecdsa|rsa|base64|json|tls|sql|sqlite|sqldb|pkcs8|syscall|context|runtime|goroutine|panic|nil|errno|EOF): |illegal base64|\.go\b|0x[0-9a-f]|SELECT |INSERT `)

func inside(t *testing.T, text, dir string) {
	t.Helper()
	if found := insideText.FindString(text); found != "" || strings.Contains(text, dir) || strings.Contains(text, os.TempDir()) {
		t.Errorf("the answer speaks of the inside (%q): %q", found, text)
	}
}

// requests reads est_requests_total: by operation, label, status and rule.
func requests(t *testing.T, s *Server) map[string]float64 {
	t.Helper()
	families, err := s.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	counts := make(map[string]float64)
	for _, f := range families {
		if f.GetName() != "mintmark_est_requests_total" {
			continue
		}
		for _, m := range f.GetMetric() {
			labels := make(map[string]string)
			for _, l := range m.GetLabel() {
				labels[l.GetName()] = l.GetValue()
			}
			counts[labels["op"]+" "+labels["label"]+" "+labels["code"]+" "+labels["rule"]] = m.GetCounter().GetValue()
		}
	}
	return counts
}
