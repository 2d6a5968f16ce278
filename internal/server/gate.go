package server

import (
	"container/list"
	"net"
	"net/netip"
	"sync"
	"time"
)

// gate is a listener that bounds what strangers can take of it: connections in
// all, connections of one address, and handshakes that are computed at the same
// time. Nothing on a connection is worth more than the chance of the next client
// but a request that may change something: at the bound, the connection that has
// been longest without success makes room. Success is what strangers cannot have:
// a POST with an answer of 2xx. A client that enrolls needs its room for a moment
// only; one that sends a byte per second loses it, and so does one that asks for
// what anyone may read, again and again or without reading it.
type gate struct {
	net.Listener
	most       int
	perAddress int
	stations   []netip.Prefix
	handshakes chan struct{} // one element for each handshake that is computed
	metrics    *gateMetrics
	now        func() time.Time

	mu      sync.Mutex
	conns   list.List // of *gateConn, the longest without success first
	address map[netip.Addr]int
	freed   chan struct{} // told when a connection has ended
	ended   chan struct{} // closed by Close
	closing sync.Once
}

// patienceWithPeer is how long a connection has for its next success before it
// may be evicted, as long as it can be avoided: a new connection waits at most that
// long for one that is older. Without it, clients that connect faster than anyone
// can enroll would evict everyone else's handshakes. Between requests there is
// nothing to be patient with.
const patienceWithPeer = 2 * time.Second

func newGate(l net.Listener, name string, most, perAddress, handshakes int, stations []netip.Prefix, m *gateMetrics) *gate {
	return &gate{
		Listener: l, most: most, perAddress: perAddress, stations: stations,
		handshakes: make(chan struct{}, handshakes), metrics: m.of(name), now: time.Now,
		address: make(map[netip.Addr]int), freed: make(chan struct{}, 1), ended: make(chan struct{}),
	}
}

// Accept returns the next connection that there is room for. While there is none
// it accepts nothing, so that clients wait in the kernel's queue, in their order.
func (g *gate) Accept() (net.Conn, error) {
	for {
		inner, err := g.Listener.Accept()
		if err != nil {
			return nil, err
		}
		c := &gateConn{Conn: inner, gate: g, closed: make(chan struct{})}
		c.source = g.source(inner.RemoteAddr())
		if reason := g.admit(c); reason != "" {
			g.metrics.refused.WithLabelValues(reason).Inc()
			inner.Close()
			if reason == refusedClosing {
				return nil, net.ErrClosed
			}
			continue
		}
		return c, nil
	}
}

// Close ends Accept, a wait for room included. Connections stay.
func (g *gate) Close() error {
	g.closing.Do(func() { close(g.ended) })
	return g.Listener.Close()
}

// Why a new connection is closed: a closed set.
const (
	refusedAddress = "address" // its address has its share, and all of it is in use
	refusedBusy    = "busy"    // every connection has a request that may be on record
	refusedClosing = "closing" // the server is shutting down
)

// admit makes room for a connection and enters it, or says why it does not.
func (g *gate) admit(c *gateConn) string {
	if !g.enter(c) {
		if g.full(c) {
			// Only its own address is made to pay, and nobody waits for it.
			if !g.evict(c.source, patienceWithPeer) {
				return refusedAddress
			}
		} else if reason := g.wait(); reason != "" {
			return reason
		}
		if !g.enter(c) {
			return refusedBusy
		}
	}
	return ""
}

// wait makes room for one connection: somebody goes, or has had time enough.
func (g *gate) wait() string {
	until := g.now().Add(patienceWithPeer)
	for {
		left := until.Sub(g.now())
		g.mu.Lock()
		room := g.conns.Len() < g.most
		g.mu.Unlock()
		age := patienceWithPeer
		if left <= 0 {
			age = 0
		}
		if room || g.evict(netip.Addr{}, age) {
			return ""
		}
		if left <= 0 {
			return refusedBusy
		}
		// Soon again: the eldest grows old, and others end requests.
		timer := time.NewTimer(max(time.Millisecond, min(left, 10*time.Millisecond)))
		select {
		case <-g.freed:
		case <-timer.C:
		case <-g.ended:
			timer.Stop()
			return refusedClosing
		}
		timer.Stop()
	}
}

// enter puts a connection among the others if there is room.
func (g *gate) enter(c *gateConn) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.conns.Len() >= g.most || c.source.IsValid() && g.address[c.source] >= g.perAddress {
		return false
	}
	if c.source.IsValid() {
		g.address[c.source]++
	}
	c.since = g.now()
	c.place = g.conns.PushBack(c)
	g.metrics.enter(c.state)
	return true
}

// full reports whether the address of a connection has its share.
func (g *gate) full(c *gateConn) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return c.source.IsValid() && g.address[c.source] >= g.perAddress
}

// evict closes the first connection that is between requests, or without success
// for age at least: of one address, or of all for the zero address. It reports
// whether there was one. A connection stays while what it asked for may be on
// record already.
func (g *gate) evict(of netip.Addr, age time.Duration) bool {
	g.mu.Lock()
	var victim *gateConn
	for e := g.conns.Front(); e != nil; e = e.Next() {
		c := e.Value.(*gateConn)
		if c.state == answering || of.IsValid() && c.source != of {
			continue
		}
		if c.state == idle || g.now().Sub(c.since) >= age {
			victim = c
			break
		}
	}
	if victim != nil {
		g.leave(victim)
	}
	g.mu.Unlock()
	if victim == nil {
		return false
	}
	g.metrics.evicted.Inc()
	victim.abort()
	return true
}

// leave takes a connection out; the lock is held.
func (g *gate) leave(c *gateConn) {
	if c.place == nil {
		return
	}
	g.conns.Remove(c.place)
	c.place = nil
	if c.source.IsValid() {
		if g.address[c.source]--; g.address[c.source] == 0 {
			delete(g.address, c.source)
		}
	}
	g.metrics.leave(c.state)
	select {
	case g.freed <- struct{}{}:
	default:
	}
}

// source is what counts as one address: of IPv6 the network of 64 bits, of which
// any host may use all. It is zero for a station, behind which a whole line may
// stand.
func (g *gate) source(a net.Addr) netip.Addr {
	t, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	address := t.AddrPort().Addr().Unmap().WithZone("")
	for _, p := range g.stations {
		if p.Contains(address) {
			return netip.Addr{}
		}
	}
	if p, err := address.Prefix(64); address.Is6() && err == nil {
		return p.Addr()
	}
	return address
}
