package est

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"testing"

	"mintmark/internal/pkitest"
)

// The numbers are those of the conformance checklist in docs/rfc.md.

func TestTransport(t *testing.T) {
	f := newFixture(t)
	cacerts := rawRequest{method: http.MethodGet, path: "/.well-known/est/cacerts"}

	t.Run("1 HTTPS only", func(t *testing.T) {
		conn, err := net.Dial("tcp", f.address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		io.WriteString(conn, cacerts.text("Connection: close"))
		answer, _ := io.ReadAll(conn)
		if !strings.HasPrefix(string(answer), "HTTP/1.0 400 ") {
			t.Errorf("plain HTTP at the TLS port: %q", answer)
		}
		// The handler itself, if somebody puts it behind a plain listener.
		w := httptest.NewRecorder()
		f.handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, cacerts.path, nil))
		if w.Code != http.StatusForbidden {
			t.Errorf("plain HTTP at the handler: %d", w.Code)
		}
	})

	t.Run("2 TLS versions", func(t *testing.T) {
		for version, accepted := range map[uint16]bool{tls.VersionTLS10: false, tls.VersionTLS11: false, tls.VersionTLS12: true, tls.VersionTLS13: true} {
			conn, err := tls.Dial("tcp", f.address, &tls.Config{RootCAs: f.roots, ServerName: "est.test", MinVersion: version, MaxVersion: version})
			if (err == nil) != accepted {
				t.Errorf("%s: %v", tls.VersionName(version), err)
			}
			if err == nil {
				conn.Close()
			}
		}
	})

	t.Run("3 no insecure cipher suites", func(t *testing.T) {
		openssl := tool(t, "openssl")
		for _, suites := range []string{"eNULL:@SECLEVEL=0", "aNULL:@SECLEVEL=0", "3DES:@SECLEVEL=0", "RC4:@SECLEVEL=0", "kRSA:@SECLEVEL=0"} {
			out, err := exec.Command(openssl, "s_client", "-connect", f.address, "-tls1_2", "-cipher", suites).CombinedOutput()
			if err == nil {
				t.Errorf("%s: accepted\n%s", suites, out)
			}
		}
	})

	t.Run("4 server certificate names the host", func(t *testing.T) {
		conn := f.dial(t, cacerts)
		if err := conn.VerifyHostname("est.test"); err != nil {
			t.Error(err)
		}
	})

	t.Run("5 resumption, with the client certificate checked again", func(t *testing.T) {
		certificate := f.authority.own(t, "resumed", nil)
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			r := reenroll(t, certificate)
			cache := tls.NewLRUClientSessionCache(4)
			r.edit = func(c *tls.Config) { c.ClientSessionCache, c.MaxVersion = cache, version }
			f.authority.remember(certificate.Leaf, "device", nil)
			if m := f.raw(t, r); m.status != http.StatusOK || m.resumed {
				t.Errorf("first: status %d, resumed %t: %s", m.status, m.resumed, m.body)
			}
			if m := f.raw(t, r); m.status != http.StatusOK || !m.resumed {
				t.Errorf("second: status %d, resumed %t: %s", m.status, m.resumed, m.body)
			}
			f.authority.revoke(certificate)
			if m := f.raw(t, r); m.status != http.StatusForbidden || !m.resumed {
				t.Errorf("revoked: status %d, resumed %t: %s", m.status, m.resumed, m.body)
			}
		}
	})

	t.Run("6 client certificate", func(t *testing.T) {
		if m := f.raw(t, reenroll(t, f.authority.own(t, "certified", nil))); m.status != http.StatusOK {
			t.Errorf("status %d: %s", m.status, m.body)
		}
	})

	t.Run("7 handshake without client certificate", func(t *testing.T) {
		if m := f.raw(t, cacerts); m.status != http.StatusOK {
			t.Errorf("status %d: %s", m.status, m.body)
		}
	})

	t.Run("8 secure renegotiation only", func(t *testing.T) {
		cmd := exec.Command(tool(t, "openssl"), "s_client", "-connect", f.address, "-tls1_2")
		out, err := cmd.CombinedOutput() // no standard input: leaves after the handshake
		if err != nil || !strings.Contains(string(out), "Secure Renegotiation IS supported") {
			t.Errorf("%v\n%s", err, out)
		}
	})

	t.Run("9 keep-alive and close", func(t *testing.T) {
		conn := f.dial(t, cacerts)
		r := bufio.NewReader(conn)
		for range 3 {
			io.WriteString(conn, cacerts.text())
			if m := next(t, conn, r); m.status != http.StatusOK {
				t.Fatalf("status %d", m.status)
			}
		}
		// A refused enrollment leaves the connection usable: clients that wait
		// for the challenge send the password on the same one.
		e := enroll(t, "keep-alive")
		password := e.header[1]
		e.header = e.header[:1]
		io.WriteString(conn, e.text())
		if m := next(t, conn, r); m.status != http.StatusUnauthorized {
			t.Fatalf("status %d", m.status)
		}
		io.WriteString(conn, e.text(password, "Connection: close"))
		if m := next(t, conn, r); m.status != http.StatusOK {
			t.Fatalf("status %d: %s", m.status, m.body)
		}
		if _, err := r.ReadByte(); err != io.EOF {
			t.Errorf("connection is open after Connection: close: %v", err)
		}
	})

	t.Run("10 HTTP/2", func(t *testing.T) {
		conn := f.dial(t, rawRequest{edit: func(c *tls.Config) { c.NextProtos = []string{"h2", "http/1.1"} }})
		if p := conn.ConnectionState().NegotiatedProtocol; p != "h2" {
			t.Fatalf("negotiated %q", p)
		}
		client := f.client("", f.authority.own(t, "two", nil), false)
		key := newKey(t)
		if _, err := client.Enroll(context.Background(), newCSR(t, key, "two")); err != nil {
			t.Error(err)
		}
		answer, err := client.http.Get("https://" + f.address + cacerts.path)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		if answer.ProtoMajor != 2 || answer.ContentLength <= 0 {
			t.Errorf("%s, Content-Length %d", answer.Proto, answer.ContentLength)
		}
		answer, err = client.http.Post("https://"+f.address+"/.well-known/est/line-a/simplereenroll", mediaTypePKCS10, strings.NewReader("AAAA"))
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		if answer.StatusCode != http.StatusBadRequest {
			t.Errorf("status %d", answer.StatusCode)
		}
	})

	t.Run("93 94 TLS 1.2 without and with odd server names", func(t *testing.T) {
		for _, name := range []string{"", "127.0.0.1", "::1", "other.example"} {
			r := cacerts
			r.edit = func(c *tls.Config) {
				c.MaxVersion, c.InsecureSkipVerify, c.ServerName = tls.VersionTLS12, true, name
			}
			if m := f.raw(t, r); m.status != http.StatusOK {
				t.Errorf("server name %q: status %d", name, m.status)
			}
		}
	})
}

// Go's client never sends an address as a server name, as libest does.
func TestServerNameAddress(t *testing.T) {
	for name, want := range map[string]string{"192.0.2.1": "", "2001:db8::1": "", "est.test": "est.test", "": ""} {
		var got string
		config := TLSConfig(func(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
			got = h.ServerName
			return nil, nil
		})
		if _, err := config.GetCertificate(&tls.ClientHelloInfo{ServerName: name}); err != nil || got != want {
			t.Errorf("server name %q: got %q, %v", name, got, err)
		}
	}
}

// recordConn notes the sizes of the TLS records that carry data. With TLS 1.2
// their type stands in clear.
type recordConn struct {
	net.Conn
	stream []byte
}

func (c *recordConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.stream = append(c.stream, p[:n]...)
	return n, err
}

func (c *recordConn) data() (sizes []int) {
	for b := c.stream; len(b) >= 5; {
		n := int(binary.BigEndian.Uint16(b[3:5]))
		if b[0] == 23 {
			sizes = append(sizes, n)
		}
		b = b[min(5+n, len(b)):]
	}
	return sizes
}

func TestOneRecord(t *testing.T) {
	f := newFixture(t)
	plain, err := net.Dial("tcp", f.address)
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	recorded := &recordConn{Conn: plain}
	conn := tls.Client(recorded, &tls.Config{RootCAs: f.roots, ServerName: "est.test", MaxVersion: tls.VersionTLS12})
	io.WriteString(conn, rawRequest{method: http.MethodGet, path: "/.well-known/est/cacerts"}.text("Connection: close"))
	answer, err := io.ReadAll(conn)
	if err != nil {
		t.Fatal(err)
	}
	t.Run("86 one write, one record", func(t *testing.T) {
		if sizes := recorded.data(); len(sizes) != 1 || sizes[0] < len(answer) {
			t.Errorf("an answer of %d bytes came in records of %v", len(answer), sizes)
		}
	})
}

// tool returns the path of a program, or skips the test.
func tool(t testing.TB, name string) string {
	t.Helper()
	return pkitest.Tool(t, name)
}
