package server

import (
	"container/list"
	"context"
	"crypto/tls"
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
// for that, and gives it back with the first byte that the server writes: no client
// can hold it by being slow. What a TLS 1.2 client makes the server compute after
// that, one key agreement and one verification, it has had to compute itself before.
func (g *gate) hello(h *tls.ClientHelloInfo) (*tls.Config, error) { return nil, g.compute(h) }

// compute takes a place for a handshake, in the order of arrival, unless the
// connection has one.
func (g *gate) compute(h *tls.ClientHelloInfo) error {
	c, ok := h.Conn.(*gateConn)
	if !ok || c.computing.Load() {
		return nil
	}
	select {
	case g.handshakes <- struct{}{}:
	case <-c.closed:
		return net.ErrClosed
	case <-h.Context().Done():
		return h.Context().Err()
	}
	c.computing.Store(true)
	select {
	case <-c.closed: // in between, and Close may have looked before
		c.computed()
	default:
	}
	return nil
}

// certificate is tls.Config.GetCertificate, before the signature. After a
// HelloRetryRequest (RFC 8446, Section 4.1.4) the place of the handshake has been
// given back with that, and is taken anew.
func (g *gate) certificate(next func(*tls.ClientHelloInfo) (*tls.Certificate, error)) func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return func(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
		if err := g.compute(h); err != nil {
			return nil, err
		}
		return next(h)
	}
}

// computed gives back the place of a handshake, if the connection has one.
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
		if next := s.TLSConfig.GetCertificate; next != nil {
			s.TLSConfig.GetCertificate = g.certificate(next)
		}
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
	before := s.ConnContext
	s.ConnContext = func(ctx context.Context, n net.Conn) context.Context {
		if before != nil {
			ctx = before(ctx, n)
		}
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
