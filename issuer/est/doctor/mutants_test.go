package doctor

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"

	"mintmark/internal/ledger"
	"mintmark/internal/pkitest"
	"mintmark/issuer"
	"mintmark/issuer/est"
)

// rewritten lets fn change every answer before it is sent.
func rewritten(fn func(*http.Request, *httptest.ResponseRecorder)) func(*world, http.Handler) http.Handler {
	return func(_ *world, next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			a := httptest.NewRecorder()
			next.ServeHTTP(a, r)
			fn(r, a)
			send(w, a)
		})
	}
}

func send(w http.ResponseWriter, a *httptest.ResponseRecorder) {
	for name, values := range a.Header() {
		w.Header()[name] = values
	}
	if _, ok := w.Header()["Content-Length"]; ok {
		w.Header().Set("Content-Length", strconv.Itoa(a.Body.Len()))
	}
	w.WriteHeader(a.Code)
	w.Write(a.Body.Bytes())
}

// replace gives an answer another status and body, and no type.
func replace(a *httptest.ResponseRecorder, status int, body string) {
	a.Code = status
	a.Body.Reset()
	a.Body.WriteString(body)
	a.Header().Del("Content-Transfer-Encoding")
	a.Header()["Content-Type"] = []string{"text/plain"}
	a.Header().Set("Content-Length", strconv.Itoa(len(body)))
}

// before lets fn change a request, or answer it itself by returning true.
func before(fn func(*world, http.ResponseWriter, *http.Request) bool) func(*world, http.Handler) http.Handler {
	return func(world *world, next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !fn(world, w, r) {
				next.ServeHTTP(w, r)
			}
		})
	}
}

// body takes and puts back the body of a request.
func body(r *http.Request) []byte {
	content, _ := io.ReadAll(r.Body)
	setBody(r, content)
	return content
}

func setBody(r *http.Request, content []byte) {
	r.Body = io.NopCloser(strings.NewReader(string(content)))
	r.ContentLength = int64(len(content))
}

func isOp(r *http.Request, op string) bool { return strings.HasSuffix(r.URL.Path, "/"+op) }

// anonymous is a request with neither certificate nor password.
func anonymous(r *http.Request) bool {
	return len(r.TLS.PeerCertificates) == 0 && r.Header.Get("Authorization") == ""
}

// changedAuthority is our registration authority with some answers changed.
type changedAuthority struct {
	est.Authority
	enroll  func(context.Context, issuer.Request) (issuer.Answer, error)
	holder  func(context.Context, *x509.Certificate) (ledger.Certificate, error)
	anchors func(string) []*x509.Certificate
	bridges func(string) []*x509.Certificate
}

func (a changedAuthority) Enroll(ctx context.Context, r issuer.Request) (issuer.Answer, error) {
	if a.enroll != nil {
		return a.enroll(ctx, r)
	}
	return a.Authority.Enroll(ctx, r)
}

func (a changedAuthority) Holder(ctx context.Context, c *x509.Certificate) (ledger.Certificate, error) {
	if a.holder != nil {
		return a.holder(ctx, c)
	}
	return a.Authority.Holder(ctx, c)
}

func (a changedAuthority) Anchors(name string) []*x509.Certificate {
	if a.anchors != nil {
		return a.anchors(name)
	}
	return a.Authority.Anchors(name)
}

func (a changedAuthority) Bridges(name string) []*x509.Certificate {
	if a.bridges != nil {
		return a.bridges(name)
	}
	return a.Authority.Bridges(name)
}

// enrolls changes Enroll.
func enrolls(fn func(*world, est.Authority, context.Context, issuer.Request) (issuer.Answer, error)) func(*world, est.Authority) est.Authority {
	return func(w *world, a est.Authority) est.Authority {
		return changedAuthority{Authority: a, enroll: func(ctx context.Context, r issuer.Request) (issuer.Answer, error) { return fn(w, a, ctx, r) }}
	}
}

// holds changes Holder.
func holds(fn func(*world, est.Authority, context.Context, *x509.Certificate) (ledger.Certificate, error)) func(*world, est.Authority) est.Authority {
	return func(w *world, a est.Authority) est.Authority {
		return changedAuthority{Authority: a, holder: func(ctx context.Context, c *x509.Certificate) (ledger.Certificate, error) { return fn(w, a, ctx, c) }}
	}
}

// anyone takes a certificate for what it says of itself.
func anyone(c *x509.Certificate) ledger.Certificate {
	return ledger.Certificate{
		Serial: issuer.SerialOf(c.SerialNumber), Device: c.Subject.CommonName, Profile: "device", Purpose: ledger.ForDevice,
		State: ledger.Valid, NotBefore: c.NotBefore, NotAfter: c.NotAfter.AddDate(10, 0, 0),
	}
}

// trusting believes that the requester may have whatever the request says.
func trusting(_ *world, a est.Authority, ctx context.Context, r issuer.Request) (issuer.Answer, error) {
	r.Device, r.Renews, r.Holds, r.Requester = "", nil, nil, admin
	return a.Enroll(ctx, r)
}

// cacertsBody replaces the message of cacerts.
func cacertsBody(make func(list [][]byte) []byte) func(*world, http.Handler) http.Handler {
	return func(w *world, next http.Handler) http.Handler {
		return rewritten(func(r *http.Request, a *httptest.ResponseRecorder) {
			if isOp(r, "cacerts") && a.Code == http.StatusOK {
				a.Body.Reset()
				a.Body.WriteString(base64.StdEncoding.EncodeToString(make(raws(w.ra.Anchors("issuing")))))
			}
		})(w, next)
	}
}

// attributesBody replaces the content of csrattrs.
func attributesBody(list ...[]byte) func(*world, http.Handler) http.Handler {
	return rewritten(func(r *http.Request, a *httptest.ResponseRecorder) {
		if isOp(r, "csrattrs") {
			replace(a, http.StatusOK, base64.StdEncoding.EncodeToString(tlv(tagSequence, list...)))
			a.Header()["Content-Type"] = []string{"application/csrattrs"}
		}
	})
}

// chanListener hands on connections that somebody else accepted.
type chanListener struct {
	net.Listener
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
}

func (l *chanListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *chanListener) Close() error {
	l.once.Do(func() { close(l.done) })
	return l.Listener.Close()
}

type peekedConn struct {
	net.Conn
	r *bufio.Reader
}

func (c peekedConn) Read(b []byte) (int, error) { return c.r.Read(b) }

// alsoPlain serves plain HTTP on the port of TLS, too.
func alsoPlain(t *testing.T, l net.Listener, handler http.Handler) net.Listener {
	secure := &chanListener{Listener: l, conns: make(chan net.Conn), done: make(chan struct{})}
	plain := &chanListener{Listener: l, conns: make(chan net.Conn), done: make(chan struct{})}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.TLS = new(tls.ConnectionState)
		handler.ServeHTTP(w, r)
	})}
	go server.Serve(plain)
	t.Cleanup(func() { server.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				in := peekedConn{c, bufio.NewReader(c)}
				first, err := in.r.Peek(1)
				to := plain
				if err != nil || first[0] == recordHandshake {
					to = secure
				}
				select {
				case to.conns <- in:
				case <-to.done:
					c.Close()
				}
			}()
		}
	}()
	return secure
}

// withoutRenegotiationInfo strips the extension from every ServerHello.
func withoutRenegotiationInfo(_ *testing.T, l net.Listener, _ http.Handler) net.Listener {
	return strippingListener{l}
}

type strippingListener struct{ net.Listener }

func (l strippingListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	return &strippingConn{Conn: c}, err
}

type strippingConn struct {
	net.Conn
	done bool
}

func (c *strippingConn) Write(b []byte) (int, error) {
	if c.done || len(b) < 9 || b[0] != recordHandshake || b[5] != 2 {
		return c.Conn.Write(b)
	}
	c.done = true
	out := strings.Replace(string(b), "\xff\x01\x00\x01\x00", "", 1)
	if len(out) == len(b) {
		return c.Conn.Write(b)
	}
	shorter := []byte(out)
	binary.BigEndian.PutUint16(shorter[3:], binary.BigEndian.Uint16(b[3:])-5)
	size := uint32(b[6])<<16 | uint32(b[7])<<8 | uint32(b[8])
	shorter[6], shorter[7], shorter[8] = byte((size-5)>>16), byte((size-5)>>8), byte(size-5)
	at := 9 + 35 + int(b[9+34]) + 3 // where the length of the extensions stands
	binary.BigEndian.PutUint16(shorter[at:], binary.BigEndian.Uint16(b[at:])-5)
	if _, err := c.Conn.Write(shorter); err != nil {
		return 0, err
	}
	return len(b), nil
}

// opensslServer is an OpenSSL that offers what it should not.
func opensslServer(arguments ...string) func(*testing.T, *world) string {
	return func(t *testing.T, w *world) string {
		path := pkitest.Tool(t, "openssl")
		certificate, key := pemFiles(t, w.server)
		cmd := exec.Command(path, append([]string{"s_server", "-accept", "127.0.0.1:0", "-cert", certificate, "-key", key, "-www"}, arguments...)...)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if address, ok := strings.CutPrefix(lines.Text(), "ACCEPT "); ok {
				go io.Copy(io.Discard, out)
				return address
			}
		}
		t.Fatal("openssl does not say where it listens")
		return ""
	}
}

var errMutant = errors.New("a mutant refuses")
