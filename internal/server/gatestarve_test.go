package server

import (
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// TestGateIdle: a connection between requests makes room at once, however young
// it is.
func TestGateIdle(t *testing.T) {
	g := newGated(t, 2, 100, 1, nil)
	first, second := g.dial(1), g.dial(2)
	first.served()
	eventually(t, "it is idle", func() bool { return g.in(idle) == 1 })
	g.knock(3).served()
	first.cut()
	second.served()
}

// TestGateCheapRequests: requests that anyone can have answered, also with a
// refusal, make no connection younger.
func TestGateCheapRequests(t *testing.T) {
	for name, c := range map[string]struct {
		request string
		status  int
		stays   bool
	}{
		"success":          {"POST / HTTP/1.1\r\nContent-Length: 0", 200, true},
		"with a body":      {"PUT /read HTTP/1.1\r\nContent-Length: 0", 200, true},
		"refused":          {"POST /refused HTTP/1.1\r\nContent-Length: 0", 401, false},
		"what anyone asks": {"GET / HTTP/1.1", 200, false},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGated(t, 2, 100, 1, nil)
			first := g.dial(1)
			g.pass(time.Second)
			second := g.dial(2)
			first.send(c.request + "\r\nHost: a\r\n\r\n")
			first.told(c.status)
			// No longer idle, and as far as the server is concerned not done.
			eventually(t, "it is idle", func() bool { return g.in(idle) == 1 })
			first.send("POST /read HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n")
			eventually(t, "it reads", func() bool { return g.in(reading) == 1 })
			g.pass(time.Second) // 2 s without success, 1 s for the second
			if c.stays {
				g.pass(time.Second)
			}
			g.pass(patienceWithPeer - 2*time.Second)
			g.knock(3).served()
			if c.stays {
				second.cut()
				first.send("x")
				first.answered()
			} else {
				first.cut()
				second.served()
			}
		})
	}
}

// TestGateUnread: who asks for what anyone may read, and does not read it, makes
// room for others.
func TestGateUnread(t *testing.T) {
	g := newGated(t, 2, 100, 1, nil)
	for host := range byte(2) {
		c := g.dial(host + 1)
		c.Conn.(*net.TCPConn).SetReadBuffer(4 << 10)
		c.send("GET /large HTTP/1.1\r\nHost: a\r\n\r\n")
	}
	eventually(t, "two requests", func() bool { return g.in(reading) == 2 })
	g.pass(patienceWithPeer)
	g.knock(3).served()
	if n := value(t, g.metrics.refusedVec.WithLabelValues("est", refusedBusy)); n != 0 {
		t.Errorf("%v were refused", n)
	}
}

// TestGateUnreadHTTP2: the same with a window of 0 bytes, which the client never
// opens.
func TestGateUnreadHTTP2(t *testing.T) {
	own := ownCertificate(t, newState(t))
	g := newGated(t, 1, 100, 1, &tls.Config{Certificates: []tls.Certificate{*own}, NextProtos: []string{"h2"}})
	c := tls.Client(g.dial(1).Conn, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
	io.WriteString(c, http2.ClientPreface)
	framer := http2.NewFramer(c, c)
	var headers strings.Builder
	encoder := hpack.NewEncoder(&headers)
	for _, h := range [][2]string{{":method", "GET"}, {":path", "/large"}, {":scheme", "https"}, {":authority", "a"}} {
		encoder.WriteField(hpack.HeaderField{Name: h[0], Value: h[1]})
	}
	framer.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
	if err := framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte(headers.String()), EndStream: true, EndHeaders: true}); err != nil {
		t.Fatal(err)
	}
	for begun := false; !begun; {
		frame, err := framer.ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		begun = frame.Header().Type == http2.FrameHeaders
	}
	if g.in(reading) != 1 {
		t.Error("it is not about a request")
	}
	g.pass(patienceWithPeer)
	client := http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}, Timeout: patience}
	answer, err := client.Post("https://"+g.address, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
}
