package est

import (
	"bufio"
	"bytes"
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"mintmark/internal/cms"
	"mintmark/issuer"
)

// What the fixture's labels admit.
const (
	goodUser   = "line-1"
	goodSecret = "kX7dVbQ0mJ2sTz9h"

	lonelySecret = "p2Gq8YwLr5NcXe1F" // of the empty user of label pin
)

// fixture is a server with labels of every kind.
type fixture struct {
	authority *authority
	maker     *testCA
	handler   *Handler
	address   string // host:port
	roots     *x509.CertPool
	log       *logBuffer
	clock     *clock
	disabled  *string
	context   func(context.Context, net.Conn) context.Context // of each connection; nil for as it is
}

// clock stands still until a test advances it.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// logBuffer collects what was logged.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// newHandler returns the fixture without a server. More labels can be added.
func newHandler(t testing.TB, edits ...func(*fixture, *Config)) *fixture {
	t.Helper()
	f := &fixture{authority: newAuthority(t), maker: newCA(t, "Maker CA", nil), log: new(logBuffer), clock: &clock{at: time.Now()}, disabled: new(string)}
	makers := f.makers()
	password := goodPasswords()
	own := []string{"device"}
	var err error
	config := Config{
		Authority: f.authority,
		Labels: []Label{
			{Profile: "device", Issuer: "issuing", Authorize: issuer.Trusted, Passwords: password, Own: own},
			{Name: "line-a", Profile: "device", Issuer: "issuing", Authorize: issuer.Trusted, Passwords: password, Own: own},
			{Name: "makers", Profile: "device", Issuer: "issuing", Authorize: issuer.Trusted, Own: own, Maker: &Maker{Roots: makers, Device: "serialNumber"}},
			{Name: "makers-cn", Profile: "device", Issuer: "issuing", Authorize: issuer.Trusted, Maker: &Maker{Roots: makers, Device: "commonName"}},
			{Name: "own", Profile: "device", Issuer: "issuing", Authorize: issuer.Trusted, Own: own},
			{Name: "pin", Profile: "device", Issuer: "issuing", Authorize: issuer.Trusted, Passwords: []Password{{"", sha256.Sum256([]byte(lonelySecret))}}},
			{Name: "nobody", Profile: "device", Issuer: "issuing", Authorize: issuer.Trusted},
			{Name: "new", Profile: "device", Issuer: "not-yet", Authorize: issuer.Trusted, Passwords: password},
			{Name: "order", Profile: "device", Issuer: "issuing", Authorize: issuer.ByOrder, Own: own},
			{Name: "off", Profile: "device", Issuer: "issuing", Authorize: issuer.Trusted, Passwords: password, Disabled: func() string { return *f.disabled }},
		},
		Realm:  "factory",
		Logger: slog.New(slog.NewTextHandler(f.log, nil)),
		Now:    f.clock.now,
	}
	for _, edit := range edits {
		edit(f, &config)
	}
	f.handler, err = NewHandler(config)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// makers is the trust in the fixture's maker.
func (f *fixture) makers() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(f.maker.certificate)
	return pool
}

// withLabels adds labels for the profile device, from trusted and own on.
func withLabels(labels ...Label) func(*fixture, *Config) {
	return func(f *fixture, c *Config) {
		for _, l := range labels {
			l.Issuer = "issuing"
			if l.Profile == "" {
				l.Profile = "device"
			}
			if l.Authorize == "" {
				l.Authorize = issuer.Trusted
			}
			if l.Maker != nil && l.Maker.Roots == nil {
				l.Maker.Roots = f.makers()
			}
			c.Labels = append(c.Labels, l)
		}
	}
}

// goodPasswords is the password that the fixture's labels take.
func goodPasswords() []Password { return []Password{{goodUser, sha256.Sum256([]byte(goodSecret))}} }

// newFixture serves the fixture until the test ends.
func newFixture(t testing.TB, edits ...func(*fixture, *Config)) *fixture {
	t.Helper()
	f := newHandler(t, edits...)
	f.serve(t)
	return f
}

// serve answers until the test ends.
func (f *fixture) serve(t testing.TB) {
	t.Helper()
	certificate := f.authority.root.server(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{
		Handler: f.handler, ConnContext: f.context,
		TLSConfig: TLSConfig(func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return certificate, nil }),
		ErrorLog:  slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo),
	}
	done := make(chan struct{})
	go func() { defer close(done); server.ServeTLS(listener, "", "") }()
	t.Cleanup(func() { server.Close(); <-done })
	f.address = listener.Addr().String()
	f.roots = x509.NewCertPool()
	f.roots.AddCert(f.authority.root.certificate)
}

// client returns an EST client for the fixture.
func (f *fixture) client(label string, certificate *tls.Certificate, password bool) *Client {
	c := &Client{URL: "https://" + f.address, Label: label, RootCAs: f.roots, Certificate: certificate}
	if password {
		c.User, c.Password = goodUser, goodSecret
	}
	return c
}

// message is an HTTP/1.1 answer as it stood on the wire.
type message struct {
	status  int
	header  string // all header lines
	body    []byte
	resumed bool
}

// field returns the value of a header that is spelled exactly so.
func (m message) field(t testing.TB, name string) string {
	t.Helper()
	for _, line := range strings.Split(m.header, "\r\n") {
		if value, ok := strings.CutPrefix(line, name+": "); ok {
			return value
		}
	}
	t.Errorf("no header %q in\n%s", name, m.header)
	return ""
}

// certificates decodes the body of a success.
func (m message) certificates(t testing.TB) []*x509.Certificate {
	t.Helper()
	if m.status != http.StatusOK {
		t.Fatalf("status %d, want 200: %s", m.status, m.body)
	}
	der, err := base64.StdEncoding.DecodeString(string(m.body))
	if err != nil {
		t.Fatal(err)
	}
	list, err := cms.ParseCertsOnly(der)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// rawRequest is one request in HTTP/1.1.
type rawRequest struct {
	method, path string
	header       []string
	body         string
	certificate  *tls.Certificate
	edit         func(*tls.Config)
}

// dial opens a TLS connection as a client of HTTP/1.1.
func (f *fixture) dial(t testing.TB, r rawRequest) *tls.Conn {
	t.Helper()
	config := &tls.Config{RootCAs: f.roots, ServerName: "est.test"}
	if r.certificate != nil {
		config.Certificates = []tls.Certificate{*r.certificate}
	}
	if r.edit != nil {
		r.edit(config)
	}
	conn, err := tls.Dial("tcp", f.address, config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// raw sends one request on a connection of its own and reads the answer to the
// end of the connection, without any HTTP library on this side.
func (f *fixture) raw(t testing.TB, r rawRequest) message {
	t.Helper()
	return over(t, f.dial(t, r), r)
}

// over is raw on a connection that is there already.
func over(t testing.TB, conn *tls.Conn, r rawRequest) message {
	t.Helper()
	if _, err := io.WriteString(conn, r.text("Connection: close")); err != nil {
		t.Fatal(err)
	}
	all, err := io.ReadAll(conn)
	if err != nil {
		t.Fatal(err)
	}
	head, body, ok := bytes.Cut(all, []byte("\r\n\r\n"))
	if !ok {
		t.Fatalf("not an HTTP answer: %q", all)
	}
	return parseMessage(t, string(head), body, conn)
}

func (r rawRequest) text(more ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: est.test\r\n", r.method, r.path)
	for _, line := range append(r.header, more...) {
		b.WriteString(line + "\r\n")
	}
	if r.body != "" || r.method == http.MethodPost {
		fmt.Fprintf(&b, "Content-Length: %d\r\n", len(r.body))
	}
	return b.String() + "\r\n" + r.body
}

func parseMessage(t testing.TB, head string, body []byte, conn *tls.Conn) message {
	t.Helper()
	line, header, _ := strings.Cut(head, "\r\n")
	m := message{header: header, body: body, resumed: conn.ConnectionState().DidResume}
	if _, err := fmt.Sscanf(line, "HTTP/1.1 %d ", &m.status); err != nil {
		t.Fatalf("status line %q: %v", line, err)
	}
	return m
}

// next reads one answer from a connection that stays open.
func next(t testing.TB, conn *tls.Conn, r *bufio.Reader) message {
	t.Helper()
	var head strings.Builder
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		if line == "\r\n" {
			break
		}
		head.WriteString(line)
	}
	m := parseMessage(t, strings.TrimSuffix(head.String(), "\r\n"), nil, conn)
	var length int
	fmt.Sscan(m.field(t, "Content-Length"), &length)
	m.body = make([]byte, length)
	if _, err := io.ReadFull(r, m.body); err != nil {
		t.Fatal(err)
	}
	return m
}

func basic(user, secret string) string {
	return "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+secret))
}

const typePKCS10 = "Content-Type: application/pkcs10"

// enroll returns a good request for a device name, by password.
func enroll(t testing.TB, name string) rawRequest {
	t.Helper()
	return rawRequest{
		method: http.MethodPost, path: "/.well-known/est/simpleenroll",
		header: []string{typePKCS10, basic(goodUser, goodSecret)},
		body:   base64.StdEncoding.EncodeToString(newCSR(t, newKey(t), name)),
	}
}

// reenroll returns a renewal of a certificate, with its own key.
func reenroll(t testing.TB, c *tls.Certificate) rawRequest {
	t.Helper()
	return rawRequest{
		method: http.MethodPost, path: "/.well-known/est/simplereenroll",
		header: []string{typePKCS10}, certificate: c,
		body: base64.StdEncoding.EncodeToString(newCSR(t, c.PrivateKey.(crypto.Signer), c.Leaf.Subject.CommonName, c.Leaf.DNSNames...)),
	}
}

func named(name string) pkix.Name { return pkix.Name{CommonName: name} }
