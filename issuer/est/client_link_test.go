package est

import (
	"bufio"
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"mintmark/internal/cms"
	"mintmark/internal/pkcs10"
	"mintmark/internal/pkitest"
)

// linkServer issues certificates for requests that are linked to their
// connection, and counts those that are and are not.
type linkServer struct {
	*httptest.Server
	ca               *testCA
	announces        bool // challengePassword in csrattrs
	attrs            int  // status of csrattrs if it announces nothing
	challenge        bool // asks for the password first
	pending          atomic.Int32
	linked, unlinked atomic.Int32
}

func newLinkServer(t *testing.T) *linkServer {
	s := &linkServer{ca: newCA(t, "Linked Root", nil), attrs: 204}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/csrattrs") {
			if !s.announces {
				w.WriteHeader(s.attrs)
				return
			}
			w.Header().Set("Content-Type", "application/csrattrs")
			io.WriteString(w, "MAsGCSqGSIb3DQEJBw==") // SEQUENCE { challengePassword }
			return
		}
		body, _ := io.ReadAll(r.Body)
		if _, _, ok := r.BasicAuth(); s.challenge && !ok {
			w.Header().Set("WWW-Authenticate", `Digest realm="x", nonce="y"`)
			w.Header().Add("WWW-Authenticate", `basic realm="x"`)
			w.WriteHeader(401)
			return
		}
		der, _ := base64.StdEncoding.DecodeString(string(body))
		attributes, err := pkcs10.ParseAttributes(der)
		if err != nil {
			t.Error(err)
		}
		if attributes.Linked {
			value := r.TLS.TLSUnique
			if r.TLS.Version == tls.VersionTLS13 {
				value, _ = r.TLS.ExportKeyingMaterial("EXPORTER-Channel-Binding", nil, 32)
			}
			if attributes.ChallengePassword != base64.StdEncoding.EncodeToString(value) || len(value) == 0 || r.ProtoMajor != 1 {
				http.Error(w, "not linked to this connection", 400)
				return
			}
			s.linked.Add(1)
		} else {
			s.unlinked.Add(1)
		}
		if s.pending.Add(-1) >= 0 {
			w.Header().Set("Retry-After", "7")
			w.WriteHeader(202)
			return
		}
		csr, err := x509.ParseCertificateRequest(der)
		if err != nil || csr.CheckSignature() != nil {
			t.Errorf("request: %v", err)
			return
		}
		certificate := sign(t, s.ca, &x509.Certificate{SerialNumber: newSerial(), Subject: csr.Subject}, csr.PublicKey)
		answer, err := cms.CertsOnly([]*x509.Certificate{certificate})
		if err != nil {
			t.Error(err)
		}
		w.Header().Set("Content-Type", "application/pkcs7-mime; smime-type=certs-only")
		io.WriteString(w, base64.StdEncoding.EncodeToString(answer))
	}))
	s.EnableHTTP2 = true
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

func (s *linkServer) client() *Client {
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	return &Client{URL: s.URL, RootCAs: roots, User: "u", Password: "p"}
}

// isOf reports whether a certificate is of the key.
func isOf(key crypto.Signer, certificate *x509.Certificate) bool {
	return key.Public().(*ecdsa.PublicKey).Equal(certificate.PublicKey)
}

// request is one that Link decides about.
func request(t *testing.T, link Link) Request {
	return Request{Template: &x509.CertificateRequest{Subject: named("linked"), DNSNames: []string{"linked.test"}}, Key: newKey(t), Link: link}
}

func TestClientLink(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		for _, c := range []struct {
			name   string
			link   Link
			setup  func(*linkServer)
			linked bool
		}{
			{"always", LinkAlways, func(*linkServer) {}, true},
			{"never", LinkNever, func(s *linkServer) { s.announces = true }, false},
			{"announced", LinkAuto, func(s *linkServer) { s.announces = true }, true},
			{"announced, by default", "", func(s *linkServer) { s.announces = true }, true},
			{"nothing announced", LinkAuto, func(*linkServer) {}, false},
			{"no csrattrs", LinkAuto, func(s *linkServer) { s.attrs = 404 }, false},
			{"no csrattrs yet", LinkAuto, func(s *linkServer) { s.attrs = 501 }, false},
			{"password asked for", LinkAlways, func(s *linkServer) { s.challenge = true }, true},
		} {
			s := newLinkServer(t)
			c.setup(s)
			client := s.client()
			client.MaxVersion, client.OnChallenge = version, s.challenge
			r := request(t, c.link)
			certificate, err := client.EnrollRequest(t.Context(), r)
			if err != nil {
				t.Errorf("%s: %v", c.name, err)
				continue
			}
			if !isOf(r.Key, certificate) {
				t.Errorf("%s: certificate of another key", c.name)
			}
			if got := s.linked.Load() == 1; got != c.linked || s.linked.Load()+s.unlinked.Load() != 1 {
				t.Errorf("%s: %d linked, %d not", c.name, s.linked.Load(), s.unlinked.Load())
			}
		}
	}
	// A repeated request is linked to its own connection.
	s := newLinkServer(t)
	s.pending.Store(2)
	r := request(t, LinkAlways)
	for n := range 3 {
		_, err := s.client().ReenrollRequest(t.Context(), r)
		var pending *PendingError
		if want := n < 2; errors.As(err, &pending) != want || !want && err != nil {
			t.Errorf("attempt %d: %v", n, err)
		}
	}
	if s.linked.Load() != 3 {
		t.Errorf("%d of 3 requests were linked", s.linked.Load())
	}
	if _, err := s.client().EnrollRequest(t.Context(), request(t, "sometimes")); err == nil {
		t.Error("link that does not exist: accepted")
	}
	if _, err := s.client().EnrollRequest(t.Context(), Request{Link: LinkAlways}); err == nil {
		t.Error("request without key: accepted")
	}
	stranger := s.client()
	stranger.RootCAs = x509.NewCertPool()
	if _, err := stranger.EnrollRequest(t.Context(), request(t, LinkAlways)); !errors.As(err, new(*tls.CertificateVerificationError)) {
		t.Errorf("server of nobody: %v", err)
	}
	// Too busy to say whether it wants links is no leave to go without.
	s.attrs = 503
	if _, err := s.client().EnrollRequest(t.Context(), request(t, LinkAuto)); err == nil {
		t.Error("csrattrs answered 503, and the request went without link")
	}
}

// TestClientTunnel sends a linked request through a proxy. ProxyFromEnvironment
// reads the environment once, and never uses a proxy for this host itself, so that
// the tunnel is called as the client calls it.
func TestClientTunnel(t *testing.T) {
	s := newLinkServer(t)
	target := strings.TrimPrefix(s.URL, "https://")
	proxy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { proxy.Close() })
	heads := make(chan string, 2)
	go func() {
		for _, answer := range []string{"HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 407 Who are you\r\nContent-Length: 0\r\n\r\n"} {
			conn, err := proxy.Accept()
			if err != nil {
				return
			}
			var head strings.Builder
			in := bufio.NewReader(conn)
			for line := ""; line != "\r\n"; head.WriteString(line) {
				if line, err = in.ReadString('\n'); err != nil {
					break
				}
			}
			heads <- head.String()
			io.WriteString(conn, answer)
			if strings.Contains(answer, "407") {
				conn.Close()
				return
			}
			upstream, err := net.Dial("tcp", target)
			if err != nil {
				t.Error(err)
				return
			}
			go func() { io.Copy(upstream, in); upstream.Close() }()
			go func() { io.Copy(conn, upstream); conn.Close() }()
		}
	}()
	dial := func() (net.Conn, error) {
		conn, err := net.Dial("tcp", proxy.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		u := &url.URL{Scheme: "http", Host: proxy.Addr().String(), User: url.UserPassword("user", "pass")}
		return conn, tunnel(t.Context(), conn, u, target)
	}
	conn, err := dial()
	if err != nil {
		t.Fatal(err)
	}
	if head := <-heads; !strings.HasPrefix(head, "CONNECT "+target+" HTTP/1.1\r\nHost: "+target+"\r\n") || !strings.Contains(head, "Proxy-Authorization: Basic dXNlcjpwYXNz\r\n") {
		t.Errorf("the proxy was asked %q", head)
	}
	config := s.client().tls()
	config.ServerName = "127.0.0.1"
	if err := tls.Client(conn, config).HandshakeContext(t.Context()); err != nil {
		t.Errorf("TLS through the proxy: %v", err)
	}
	if _, err := dial(); err == nil || !strings.Contains(err.Error(), "407") {
		t.Errorf("a proxy that refuses: %v", err)
	}
}

// serverFiles writes the key pair of a TLS server for other programs.
func serverFiles(t *testing.T, root *testCA) (dir string, pool *x509.CertPool) {
	t.Helper()
	dir = t.TempDir()
	leaf := root.server(t)
	key, err := x509.MarshalPKCS8PrivateKey(leaf.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	var certificates []byte
	for _, der := range leaf.Certificate {
		certificates = append(certificates, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	for name, content := range map[string][]byte{"cert.pem": certificates, "key.pem": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pool = x509.NewCertPool()
	pool.AddCert(root.certificate)
	return dir, pool
}

// other starts a program that is a TLS server, and returns its output and input.
func other(t *testing.T, dir, name string, args ...string) (*bufio.Reader, io.Writer) {
	t.Helper()
	pkitest.Tool(t, name)
	c := exec.CommandContext(t.Context(), name, args...)
	c.Dir = dir
	var complaints bytes.Buffer
	c.Stderr = &complaints
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Process.Kill()
		c.Wait()
		if t.Failed() {
			t.Log(complaints.String())
		}
	})
	return bufio.NewReader(out), in
}

// until reads lines up to one that matches, and returns its group.
func until(t *testing.T, out *bufio.Reader, pattern string) string {
	t.Helper()
	expression := regexp.MustCompile(pattern)
	var seen strings.Builder
	for {
		line, err := out.ReadString('\n')
		seen.WriteString(line)
		if found := expression.FindStringSubmatch(line); found != nil {
			return found[len(found)-1]
		}
		if err != nil {
			t.Fatalf("no line matches %s in:\n%s", pattern, seen.String())
		}
	}
}

// TestClientLinkOpenSSL holds the value that the client puts into its request
// against what OpenSSL exports from the same connection.
func TestClientLinkOpenSSL(t *testing.T) {
	dir, pool := serverFiles(t, newCA(t, "Root", nil))
	out, in := other(t, dir, "openssl", "s_server", "-accept", "127.0.0.1:0", "-cert", "cert.pem", "-cert_chain", "cert.pem", "-key", "key.pem",
		"-tls1_3", "-keymatexport", "EXPORTER-Channel-Binding", "-keymatexportlen", "32", "-naccept", "1")
	address := until(t, out, `^ACCEPT (\S+)`)
	client := &Client{URL: "https://" + address, RootCAs: pool}
	done := make(chan error)
	go func() {
		_, err := client.EnrollRequest(t.Context(), request(t, LinkAlways))
		done <- err
	}()
	exported := until(t, out, `Keying material: ([0-9A-F]+)`)
	length, err := strconv.Atoi(until(t, out, `^Content-Length: (\d+)`))
	if err != nil {
		t.Fatal(err)
	}
	until(t, out, `^(\r\n)`)
	body := make([]byte, length)
	if _, err := io.ReadFull(out, body); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(in, "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	var status *StatusError
	if err := <-done; !errors.As(err, &status) || status.Code != 403 {
		t.Fatal(err)
	}
	checkLinked(t, string(body), exported)
}

// tlsUnique is a server that tells the tls-unique of its only connection.
const tlsUnique = `
import http.server, ssl
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        print("UNIQUE", self.connection.get_channel_binding("tls-unique").hex(), flush=True)
        print(body.decode(), flush=True)
        self.send_response(403)
        self.send_header("Content-Length", "0")
        self.end_headers()
    def log_message(self, *args): pass
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.maximum_version = ssl.TLSVersion.TLSv1_2
context.load_cert_chain("cert.pem", "key.pem")
server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
server.socket = context.wrap_socket(server.socket, server_side=True)
print("ACCEPT", server.server_port, flush=True)
server.handle_request()
`

// TestClientLinkPython does the same for tls-unique, which the openssl command
// does not print.
func TestClientLinkPython(t *testing.T) {
	dir, pool := serverFiles(t, newCA(t, "Root", nil))
	out, _ := other(t, dir, "python3", "-c", tlsUnique)
	port := until(t, out, `^ACCEPT (\d+)`)
	client := &Client{URL: "https://127.0.0.1:" + port, RootCAs: pool}
	done := make(chan error)
	go func() {
		_, err := client.EnrollRequest(t.Context(), request(t, LinkAlways))
		done <- err
	}()
	unique := until(t, out, `^UNIQUE ([0-9a-f]{24})`)
	body := until(t, out, `^(MII[A-Za-z0-9+/=]+)`)
	var status *StatusError
	if err := <-done; !errors.As(err, &status) || status.Code != 403 {
		t.Fatal(err)
	}
	checkLinked(t, body, unique)
}

func checkLinked(t *testing.T, body, hexadecimal string) {
	t.Helper()
	der, err := base64.StdEncoding.DecodeString(body)
	if err != nil {
		t.Fatal(err)
	}
	attributes, err := pkcs10.ParseAttributes(der)
	if err != nil {
		t.Fatal(err)
	}
	value, err := hex.DecodeString(hexadecimal)
	if err != nil {
		t.Fatal(err)
	}
	if want := base64.StdEncoding.EncodeToString(value); !attributes.Linked || attributes.ChallengePassword != want {
		t.Errorf("challengePassword %q, want %q", attributes.ChallengePassword, want)
	}
}
