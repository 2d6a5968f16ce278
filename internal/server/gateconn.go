package server

import (
	"container/list"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// connState is what a connection is about: a closed set, in metrics.
type connState int

const (
	fresh     connState = iota // no request yet: in the handshake, or in the first header
	reading                    // the body of a request, or one that changes nothing
	answering                  // at least one request that has arrived and may be on record
	idle                       // between requests
	connStates
)

func (s connState) String() string {
	return [...]string{"new", "reading", "answering", "idle"}[s]
}

// gateConn is a connection that a gate has let in.
type gateConn struct {
	net.Conn
	gate   *gate
	source netip.Addr // zero for a station

	// Guarded by gate.mu.
	state     connState
	since     time.Time     // of the last success, or of the start
	place     *list.Element // nil when it has left
	answering int           // requests that may be on record and are not answered; several with HTTP/2

	computing atomic.Bool // holds one of gate.handshakes
	closed    chan struct{}
	closing   sync.Once
}

// Close also runs when the gate evicts the connection while net/http reads it.
func (c *gateConn) Close() error {
	err := c.Conn.Close()
	c.closing.Do(func() { close(c.closed) })
	c.computed()
	// Last, so that nobody takes its place before it is free.
	c.gate.mu.Lock()
	c.gate.leave(c)
	c.gate.mu.Unlock()
	return err
}

// abort closes an evicted connection so that nothing of it stays, not even in the
// kernel.
func (c *gateConn) abort() {
	if t, ok := c.Conn.(*net.TCPConn); ok {
		t.SetLinger(0)
	}
	c.Close()
}

// Write is also the moment at which the server's part of a handshake is computed.
func (c *gateConn) Write(p []byte) (int, error) {
	c.computed()
	return c.Conn.Write(p)
}

// CloseWrite is for net/http, which ends an answer with it when it will not read
// the rest of the request.
func (c *gateConn) CloseWrite() error {
	if t, ok := c.Conn.(*net.TCPConn); ok {
		return t.CloseWrite()
	}
	return nil
}

// hello is tls.Config.GetConfigForClient: a ClientHello is there as a whole, and
// the costly part begins, key agreement and signature. It takes one of the places
// for that, in the order of arrival, and gives it back with the first byte that the
// server writes: no client can hold it by being slow. What a TLS 1.2 client makes the
// server compute after that, one key agreement and one verification, it has had to
// compute itself before.
func (g *gate) hello(h *tls.ClientHelloInfo) (*tls.Config, error) {
	c, ok := h.Conn.(*gateConn)
	if !ok {
		return nil, nil
	}
	select {
	case g.handshakes <- struct{}{}:
	case <-c.closed:
		return nil, net.ErrClosed
	case <-h.Context().Done():
		return nil, h.Context().Err()
	}
	c.computing.Store(true)
	select {
	case <-c.closed: // in between, and Close may have looked before
		c.computed()
	default:
	}
	return nil, nil
}

// computed gives back the place of a handshake, once.
func (c *gateConn) computed() {
	if c.computing.CompareAndSwap(true, false) {
		<-c.gate.handshakes
	}
}

// become changes the state of a connection that has not left.
func (c *gateConn) become(s connState) {
	if c.place != nil && c.state != s {
		c.gate.metrics.leave(c.state)
		c.gate.metrics.enter(s)
	}
	c.state = s
}

// track makes a server tell the gate what its connections are about.
func (g *gate) track(s *http.Server) {
	if s.TLSConfig != nil {
		s.TLSConfig.GetConfigForClient = g.hello
	}
	s.ConnState = func(n net.Conn, state http.ConnState) {
		c := unwrap(n)
		if c == nil {
			return
		}
		g.mu.Lock()
		defer g.mu.Unlock()
		switch {
		case c.answering > 0:
		case state == http.StateActive:
			c.become(reading)
		case state == http.StateIdle:
			c.become(idle)
		}
	}
	s.ConnContext = func(ctx context.Context, n net.Conn) context.Context {
		if c := unwrap(n); c != nil {
			ctx = context.WithValue(ctx, gateKey{}, c)
		}
		return ctx
	}
	s.Handler = g.answer(s.Handler)
}

type gateKey struct{}

func unwrap(n net.Conn) *gateConn {
	if t, ok := n.(*tls.Conn); ok {
		n = t.NetConn()
	}
	c, _ := n.(*gateConn)
	return c
}

// answer marks the connection of a request as answering from when the request has
// arrived, body included, until it is answered. A request that changes nothing
// (RFC 9110, Section 9.2.1) does not protect its connection: any number of
// strangers could have such requests answered, and read the answers as slowly as
// they like.
func (g *gate) answer(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, ok := r.Context().Value(gateKey{}).(*gateConn)
		if !ok || r.Method != http.MethodPost {
			next.ServeHTTP(w, r)
			return
		}
		request := &arrival{conn: c, body: r.Body, left: r.ContentLength}
		answer := &outcome{ResponseWriter: w}
		defer func() { request.done(answer.success()) }()
		if r.Body == nil || r.ContentLength == 0 {
			request.arrived()
		} else {
			r.Body = request
		}
		next.ServeHTTP(answer, r)
	})
}

// arrival is the body of a request, and notes its end.
type arrival struct {
	conn *gateConn
	body io.ReadCloser
	left int64 // of the body; negative if its length is unknown
	once sync.Once
	all  bool // guarded by gate.mu
}

func (a *arrival) Read(p []byte) (int, error) {
	n, err := a.body.Read(p)
	if a.left > 0 {
		a.left = max(0, a.left-int64(n))
	}
	// Who decodes what it reads may never ask for the end.
	if err != nil || a.left == 0 {
		a.arrived()
	}
	return n, err
}

func (a *arrival) Close() error { return a.body.Close() }

// arrived also follows a body that broke off: the answer says so.
func (a *arrival) arrived() {
	a.once.Do(func() {
		c := a.conn
		c.gate.mu.Lock()
		defer c.gate.mu.Unlock()
		a.all = true
		c.answering++
		c.become(answering)
	})
}

// done ends the protection of a request. Success puts the connection among the
// young ones: it has been of use.
func (a *arrival) done(success bool) {
	a.once.Do(func() {}) // not afterwards
	c := a.conn
	g := c.gate
	g.mu.Lock()
	defer g.mu.Unlock()
	if !a.all {
		return // an answer to half a request is none that counts
	}
	if c.answering--; c.answering == 0 {
		c.become(reading) // until net/http says that it is idle
	}
	if !success {
		return
	}
	c.since = g.now()
	if c.place != nil {
		g.conns.MoveToBack(c.place)
	}
}

