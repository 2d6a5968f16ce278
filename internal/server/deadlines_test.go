package server

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// slowConn is the device's end of a link of 960 bytes a second, with 300 ms to the
// other side. It is slow by the clock of the test.
type slowConn struct{ net.Conn }

func (c slowConn) pass(n int) {
	time.Sleep(300*time.Millisecond + time.Duration(n)*time.Second/960)
}

func (c slowConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p[:min(len(p), 1460)])
	c.pass(n)
	return n, err
}

func (c slowConn) Write(p []byte) (int, error) {
	c.pass(len(p))
	return c.Conn.Write(p)
}

// oneConn is a listener with one connection.
type oneConn chan net.Conn

func (l oneConn) Accept() (net.Conn, error) {
	c, ok := <-l
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}
func (l oneConn) Close() error   { return nil }
func (l oneConn) Addr() net.Addr { return &net.TCPAddr{} }

// wide makes a self-signed certificate of as many bytes as a chain with RSA-4096
// keys has.
func wide(t *testing.T, size int) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "wide"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{"localhost"}, ExtraExtensions: []pkix.Extension{{Id: []int{1, 2, 3, 4}, Value: make([]byte, size)}},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// limited runs a server with the time limits of all listeners, and talks to it
// over one connection.
func limited(t *testing.T, talk func(net.Conn)) {
	synctest.Test(t, func(t *testing.T) {
		server := &http.Server{
			TLSConfig: &tls.Config{Certificates: []tls.Certificate{wide(t, 5000)}, ClientAuth: tls.RequestClientCert},
			Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				n, err := io.Copy(io.Discard, r.Body)
				fmt.Fprint(w, n, err)
			}),
		}
		limitTimes(server)
		l := make(oneConn)
		served := make(chan error, 1)
		go func() { served <- server.ServeTLS(l, "", "") }()
		near, far := net.Pipe()
		l <- far
		talk(near)
		near.Close()
		close(l)
		<-served
		server.Close()
	})
}

// TestDeadlinesSlowDevice: an honest device on a slow link ends its handshake and
// its request, although the handshake alone takes more than ten seconds.
func TestDeadlinesSlowDevice(t *testing.T) {
	limited(t, func(conn net.Conn) {
		start := time.Now()
		secure := tls.Client(slowConn{conn}, &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{wide(t, 5000)}})
		if err := secure.Handshake(); err != nil {
			t.Errorf("after %v: %v", time.Since(start), err)
			return
		}
		if took := time.Since(start); took < 10*time.Second {
			t.Errorf("the link is not slow: %v", took)
		}
		fmt.Fprintf(secure, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 20000\r\n\r\n%s", strings.Repeat("A", 20000))
		answer, err := http.ReadResponse(bufio.NewReader(secure), nil)
		if err != nil {
			t.Errorf("after %v: %v", time.Since(start), err)
			return
		}
		if got, err := io.ReadAll(answer.Body); err != nil || string(got) != "20000 <nil>" {
			t.Errorf("after %v: %q, %v", time.Since(start), got, err)
		}
	})
}

// TestDeadlinesDrip: a byte per second is cut off, also when nobody else wants
// the place.
func TestDeadlinesDrip(t *testing.T) {
	for name, text := range map[string]string{
		"handshake": "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + strings.Repeat("r", 501),
		"header":    "POST / HTTP/1.1\r\nHost: a\r\n" + strings.Repeat("X-A: b\r\n", 1000),
		"body":      "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n" + strings.Repeat("A", 1000),
	} {
		t.Run(name, func(t *testing.T) {
			limited(t, func(conn net.Conn) {
				to := conn
				if name != "handshake" {
					secure := tls.Client(conn, &tls.Config{InsecureSkipVerify: true})
					if err := secure.Handshake(); err != nil {
						t.Fatal(err)
					}
					to = secure
				}
				go io.Copy(io.Discard, to)
				for i := range len(text) {
					if _, err := io.WriteString(to, text[i:i+1]); err != nil {
						return
					}
					time.Sleep(time.Second)
				}
				t.Error("all of it was taken")
			})
		})
	}
}
