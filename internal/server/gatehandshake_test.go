package server

import (
	"crypto/tls"
	"io"
	"net"
	"testing"
	"time"
)

// TestGateHandshakes: no more handshakes are computed at the same time than the
// bound says; a client that is slow holds none of these places, neither before its
// ClientHello is whole nor after the server's answer.
func TestGateHandshakes(t *testing.T) {
	dir := newState(t)
	own := ownCertificate(t, dir)
	t.Run("at once", func(t *testing.T) { testGateHandshakes(t, dir, own, nil) })
	// A group of which no client sends its share before it is asked to.
	t.Run("after a HelloRetryRequest", func(t *testing.T) { testGateHandshakes(t, dir, own, []tls.CurveID{tls.CurveP384}) })
}

func testGateHandshakes(t *testing.T, dir string, own *tls.Certificate, groups []tls.CurveID) {
	computing, next := make(chan string, 16), make(chan struct{})
	config := &tls.Config{CurvePreferences: groups, GetCertificate: func(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
		computing <- h.Conn.RemoteAddr().String()
		<-next
		return own, nil
	}}
	g := newGated(t, 10, 10, 1, config)
	half := g.dial(1)
	half.send("\x16\x03\x01\x02\x00\x01")
	handshake := func(host byte) (*peerConn, chan error) {
		conn, done := g.dial(host), make(chan error, 1)
		go func() {
			done <- tls.Client(conn.Conn, &tls.Config{RootCAs: roots(t, dir), ServerName: "localhost"}).Handshake()
		}()
		return conn, done
	}
	first, firstDone := handshake(2)
	if who := <-computing; who != first.LocalAddr().String() {
		t.Fatalf("%s computes", who)
	}
	_, secondDone := handshake(3)
	// What comes third sends a whole ClientHello and reads nothing ever.
	silent := g.dial(4)
	go tls.Client(&mute{Conn: silent.Conn, over: t.Context().Done()}, &tls.Config{InsecureSkipVerify: true}).Handshake()
	// A client that goes away while it waits takes no place with it.
	gone, goneDone := handshake(5)
	gone.Close()
	<-goneDone
	select {
	case who := <-computing:
		t.Fatalf("%s computes beside %s", who, first.LocalAddr())
	case err := <-firstDone:
		t.Fatal(err)
	case <-time.After(50 * time.Millisecond): // can only fail to see a fault
	}
	for {
		select {
		case next <- struct{}{}:
			continue
		case <-computing:
			continue
		case err := <-firstDone:
			if err != nil {
				t.Errorf("the first: %v", err)
			}
			firstDone = nil
		case err := <-secondDone:
			if err != nil {
				t.Errorf("the second: %v", err)
			}
			secondDone = nil
		case <-time.After(patience):
			t.Fatal("a slow client holds the place of others")
		}
		if firstDone == nil && secondDone == nil {
			break
		}
	}
	_, lastDone := handshake(6)
	for done := false; !done; {
		select {
		case next <- struct{}{}:
		case <-computing:
		case err := <-lastDone:
			if err != nil {
				t.Errorf("beside a silent and a slow client: %v", err)
			}
			done = true
		}
	}
	close(next)
	eventually(t, "no place is held", func() bool { return len(g.handshakes) == 0 })
}

// mute is a client's connection that never reads.
type mute struct {
	net.Conn
	over <-chan struct{}
}

func (m *mute) Read([]byte) (int, error) {
	<-m.over
	return 0, io.EOF
}
