package server

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// gated is a server behind a gate, whose clock stands still unless a test moves
// it. Requests for /hold are answered when the test says so, those for /refused
// with 401, and those for /large with more than the kernel holds.
type gated struct {
	*gate
	t       *testing.T
	address string
	metrics *gateMetrics
	held    chan struct{} // told when a request for /hold is being answered
	release chan struct{}

	mu  sync.Mutex
	off time.Duration
}

func newGated(t *testing.T, most, perAddress, handshakes int, config *tls.Config, stations ...string) *gated {
	t.Helper()
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var prefixes []netip.Prefix
	for _, s := range stations {
		prefixes = append(prefixes, netip.MustParsePrefix(s))
	}
	g := &gated{t: t, address: inner.Addr().String(), metrics: newGateMetrics(), held: make(chan struct{}, 16), release: make(chan struct{})}
	g.gate = newGate(inner, "est", most, perAddress, handshakes, prefixes, g.metrics)
	start := time.Now()
	g.now = func() time.Time {
		g.mu.Lock()
		defer g.mu.Unlock()
		return start.Add(g.off)
	}
	server := &http.Server{TLSConfig: config, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/hold":
			// As a decoder does: all of the body, and not its end.
			io.ReadFull(r.Body, make([]byte, max(0, r.ContentLength)))
			g.held <- struct{}{}
			<-g.release
		case "/read":
			io.Copy(io.Discard, r.Body)
		case "/refused":
			w.WriteHeader(http.StatusUnauthorized)
		case "/large":
			w.Write(make([]byte, 32<<20))
		}
	})}
	g.track(server)
	ended := make(chan error, 1)
	go func() {
		if config != nil {
			ended <- server.ServeTLS(g, "", "")
		} else {
			ended <- server.Serve(g)
		}
	}()
	t.Cleanup(func() {
		close(g.release)
		server.Close()
		if err := <-ended; err != http.ErrServerClosed && !errors.Is(err, net.ErrClosed) {
			t.Errorf("serving: %v", err)
		}
		eventually(t, "all connections are gone", func() bool { return g.count() == 0 })
		for s := range connStates {
			if n := value(g.t, g.metrics.open.WithLabelValues("est", s.String())); n != 0 {
				t.Errorf("%v connections stay in state %s", n, s)
			}
		}
		if len(g.addresses()) != 0 {
			t.Error("addresses are remembered without a connection")
		}
	})
	return g
}

func (g *gated) addresses() map[netip.Addr]int {
	g.gate.mu.Lock()
	defer g.gate.mu.Unlock()
	return g.gate.address
}

func (g *gated) count() int {
	g.gate.mu.Lock()
	defer g.gate.mu.Unlock()
	return g.conns.Len()
}

// value reads a counter or a gauge.
func value(t *testing.T, c prometheus.Collector) float64 {
	t.Helper()
	registry := prometheus.NewRegistry()
	registry.MustRegister(c)
	families, err := registry.Gather()
	if err != nil || len(families) != 1 || len(families[0].Metric) != 1 {
		t.Fatalf("%v, %v", families, err)
	}
	m := families[0].Metric[0]
	return m.GetCounter().GetValue() + m.GetGauge().GetValue()
}

// in returns how many connections are in a state.
func (g *gated) in(s connState) int {
	return int(value(g.t, g.metrics.open.WithLabelValues("est", s.String())))
}

// pass moves the clock.
func (g *gated) pass(d time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.off += d
}

// peerConn is a client's connection.
type peerConn struct {
	net.Conn
	t *testing.T
	r *bufio.Reader
}

// dial connects from 127.0.0.host, and waits until the connection is let in.
func (g *gated) dial(host byte) *peerConn {
	g.t.Helper()
	c := g.knock(host)
	eventually(g.t, "the connection is in", func() bool { return g.has(c.LocalAddr().String()) })
	return c
}

// has reports whether a connection from an address is in. Others may come and go meanwhile.
func (g *gated) has(from string) bool {
	g.gate.mu.Lock()
	defer g.gate.mu.Unlock()
	for e := g.conns.Front(); e != nil; e = e.Next() {
		if e.Value.(*gateConn).RemoteAddr().String() == from {
			return true
		}
	}
	return false
}

// knock connects, and does not wait.
func (g *gated) knock(host byte) *peerConn {
	g.t.Helper()
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, host)}}
	conn, err := dialer.DialContext(context.Background(), "tcp", g.address)
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { conn.Close() })
	return &peerConn{conn, g.t, bufio.NewReader(conn)}
}

func (p *peerConn) send(text string) {
	p.t.Helper()
	if _, err := io.WriteString(p, text); err != nil {
		p.t.Fatal(err)
	}
}

// served makes a request, which is answered with success.
func (p *peerConn) served() {
	p.t.Helper()
	p.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
	p.answered()
}

func (p *peerConn) answered() {
	p.t.Helper()
	p.told(http.StatusOK)
}

// told reads an answer with that status.
func (p *peerConn) told(status int) {
	p.t.Helper()
	p.SetReadDeadline(time.Now().Add(patience))
	answer, err := http.ReadResponse(p.r, nil)
	if err != nil || answer.StatusCode != status {
		p.t.Fatalf("%v, %v", answer, err)
	}
	io.Copy(io.Discard, answer.Body)
}

// cut waits until the server has closed the connection.
func (p *peerConn) cut() {
	p.t.Helper()
	p.SetReadDeadline(time.Now().Add(patience))
	if n, err := p.Read(make([]byte, 1)); n != 0 || err == nil || isTimeout(err) {
		p.t.Fatalf("the connection lives: %d bytes, %v", n, err)
	}
}

func isTimeout(err error) bool {
	t, ok := err.(net.Error)
	return ok && t.Timeout()
}

// TestGateEvictsTheEldest: at the bound, who was longest without success goes; who
// has just had some stays.
func TestGateEvictsTheEldest(t *testing.T) {
	g := newGated(t, 3, 100, 1, nil)
	first, second, third := g.dial(1), g.dial(2), g.dial(3)
	g.pass(time.Second)
	first.served()
	eventually(t, "it is idle", func() bool { return g.in(idle) == 1 })
	g.pass(time.Second) // second and third: 2 s
	g.knock(4).served()
	second.cut()
	third.served()
	first.served()
	if n := value(g.t, g.metrics.evictedVec.WithLabelValues("est")); n != 1 {
		t.Errorf("%v were evicted", n)
	}
	if g.count() != 3 {
		t.Errorf("%d connections", g.count())
	}
}

// TestGateWaitsForPatience: who has just come is not evicted for the next; it
// waits, in the kernel's queue, and is served as soon as somebody leaves.
func TestGateWaitsForPatience(t *testing.T) {
	g := newGated(t, 2, 100, 1, nil)
	first, second := g.dial(1), g.dial(2)
	third := g.knock(3)
	second.send("POST /read HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nab")
	eventually(t, "a body", func() bool { return g.in(reading) == 1 })
	first.Close()
	third.served()
	second.send("c")
	second.answered()
	if n := value(g.t, g.metrics.evictedVec.WithLabelValues("est")); n != 0 {
		t.Errorf("%v were evicted", n)
	}
}

// TestGateKeepsAnswers: a connection whose request may be on record is never
// evicted, however long that takes, also when the handler has not asked for the end
// of the body; one whose request is still arriving is.
func TestGateKeepsAnswers(t *testing.T) {
	g := newGated(t, 3, 100, 1, nil)
	short, post, slow := g.dial(1), g.dial(2), g.dial(3)
	short.send("DELETE /hold HTTP/1.1\r\nHost: a\r\n\r\n")
	post.send("POST /hold HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab")
	<-g.held
	<-g.held
	slow.send("POST /read HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nab")
	eventually(t, "two answers, one body", func() bool { return g.in(answering) == 2 && g.in(reading) == 1 })
	g.pass(time.Hour)
	fourth := g.knock(4)
	slow.cut()
	fourth.send("POST /hold HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
	<-g.held
	// Nobody can go now: the next one is closed, after its patience.
	fifth := g.knock(5)
	for refused := false; !refused; {
		g.pass(patienceWithPeer)
		fifth.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
		_, err := fifth.Read(make([]byte, 1))
		refused = !isTimeout(err)
	}
	if n := value(g.t, g.metrics.refusedVec.WithLabelValues("est", refusedBusy)); n != 1 {
		t.Errorf("%v were refused as busy", n)
	}
	for range 3 {
		g.release <- struct{}{}
	}
	for _, p := range []*peerConn{short, post, fourth} {
		p.answered()
	}
}

// TestGateAddress: one address has its share, and only its own connections make
// room for more of it; behind a station there is no such share.
func TestGateAddress(t *testing.T) {
	g := newGated(t, 10, 2, 1, nil, "127.0.0.9/32")
	other := g.dial(1)
	g.pass(time.Hour) // the eldest of all, and it stays
	first, second := g.dial(2), g.dial(2)
	g.knock(2).cut()
	if n := value(g.t, g.metrics.refusedVec.WithLabelValues("est", refusedAddress)); n != 1 {
		t.Errorf("%v were refused for their address", n)
	}
	g.pass(patienceWithPeer)
	third := g.knock(2)
	first.cut()
	third.served()
	second.served()
	other.served()
	for range 4 {
		g.dial(9).served()
	}
}

func TestGateSource(t *testing.T) {
	g := &gate{stations: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("2001:db8::5/128")}}
	for address, want := range map[string]string{
		"192.0.2.1":         "192.0.2.1",
		"::ffff:192.0.2.1":  "192.0.2.1",
		"2001:db8:1:2:3::4": "2001:db8:1:2::",
		"2001:db8:1:2:9::9": "2001:db8:1:2::",
		"2001:db8::6":       "2001:db8::",
		"fe80::1%eth0":      "fe80::",
		"2001:db8::5":       "invalid IP",
		"10.1.2.3":          "invalid IP",
		"::ffff:10.1.2.3":   "invalid IP",
		"10.2.2.3":          "10.2.2.3",
	} {
		if got := g.source(net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(address), 5))).String(); got != want {
			t.Errorf("%s counts as %s, want %s", address, got, want)
		}
	}
}

// TestGateHTTP2: the requests of one connection count together, and the
// connection is idle when the last is answered.
func TestGateHTTP2(t *testing.T) {
	dir := newState(t)
	own := ownCertificate(t, dir)
	g := newGated(t, 2, 10, 4, &tls.Config{Certificates: []tls.Certificate{*own}, NextProtos: []string{"h2", "http/1.1"}})
	client := http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots(t, dir)}, ForceAttemptHTTP2: true}}
	defer client.CloseIdleConnections()
	url := "https://" + strings.Replace(g.address, "127.0.0.1", "localhost", 1)
	var wait sync.WaitGroup
	ask := func(path string) {
		answer, err := client.Post(url+path, "", nil)
		if err != nil || answer.ProtoMajor != 2 {
			t.Errorf("%v, %v", answer, err)
			return
		}
		answer.Body.Close()
	}
	ask("/")
	for range 3 {
		wait.Go(func() { ask("/hold") })
	}
	for range 3 {
		<-g.held
	}
	if g.count() != 1 || g.in(answering) != 1 {
		t.Errorf("%d connections, %d answering", g.count(), g.in(answering))
	}
	g.release <- struct{}{}
	g.release <- struct{}{}
	g.dial(2)
	g.pass(time.Hour)
	slow := g.knock(3) // evicts the one that says nothing, not the one with a request
	eventually(t, "somebody was evicted", func() bool { return value(g.t, g.metrics.evictedVec.WithLabelValues("est")) >= 1 })
	g.release <- struct{}{}
	wait.Wait()
	eventually(t, "it is idle", func() bool { return g.in(idle) == 1 })
	slow.Close()
}

// TestGateCloses: a wait for room ends with the server.
func TestGateCloses(t *testing.T) {
	g := newGated(t, 1, 10, 1, nil)
	held := g.dial(1)
	held.send("POST /hold HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
	<-g.held
	waiting := g.knock(2)
	if err := g.Close(); err != nil {
		t.Error(err)
	}
	waiting.cut()
	g.release <- struct{}{}
	held.answered()
}
