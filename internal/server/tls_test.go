package server

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"slices"
	"testing"
	"time"

	"mintmark/internal/ledger"
	"mintmark/issuer"
	"mintmark/issuer/est"
)

// presented is the certificate that a server presents, verified for the name.
func presented(t *testing.T, dir, address, name string) (*x509.Certificate, error) {
	t.Helper()
	c, err := tls.Dial("tcp", address, &tls.Config{RootCAs: roots(t, dir), ServerName: name})
	if err != nil {
		return nil, err
	}
	defer c.Close()
	return c.ConnectionState().PeerCertificates[0], nil
}

func mustPresent(t *testing.T, dir, address, name string) *x509.Certificate {
	t.Helper()
	c, err := presented(t, dir, address, name)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestOwnCertificateNames changes tls.names: the next start issues another
// certificate, and starts after it keep that.
func TestOwnCertificateNames(t *testing.T) {
	dir := newState(t)
	before := ownCertificate(t, dir).Leaf
	server := serveLocal(t, dir, nil)
	if got := mustPresent(t, dir, server.est, "localhost"); !got.Equal(before) {
		t.Errorf("presents %v, not the stored certificate", got.SerialNumber)
	}
	if _, err := presented(t, dir, server.est, "ca.example"); err == nil {
		t.Error("presents a certificate for a name that it does not have")
	}
	server.stop()

	editConfig(t, dir, "    - \"localhost\"\n", "    - \"ca.example\"\n    - \"localhost\"\n")
	server = serveLocal(t, dir, nil)
	changed := mustPresent(t, dir, server.est, "ca.example")
	if !slices.Equal(changed.DNSNames, []string{"ca.example", "localhost"}) || len(changed.IPAddresses) != 1 {
		t.Errorf("names %v %v", changed.DNSNames, changed.IPAddresses)
	}
	r, err := server.ledger.Certificate(t.Context(), issuer.SerialOf(changed.SerialNumber))
	if err != nil || r.Purpose != ledger.ForServer || r.State != ledger.Valid {
		t.Errorf("in the ledger: %+v, %v", r, err)
	}
	server.stop()
	server = serveLocal(t, dir, nil)
	if again := mustPresent(t, dir, server.est, "ca.example"); !again.Equal(changed) {
		t.Error("a start without a change issued another certificate")
	}
}

// TestOwnCertificateRenewal moves the clock: the certificate is renewed when a
// third of its life is left, and when it is revoked; handshakes present the
// new one, resumed sessions and connections that are open go on.
func TestOwnCertificateRenewal(t *testing.T) {
	dir := newState(t)
	s := openLocal(t, dir, io.Discard)
	defer s.Close()
	clock := s.ra.Now
	at := func(d time.Duration) { s.ra.Now = func() time.Time { return clock().Add(d) } }
	const day = 24 * time.Hour

	own := newOwnTLS(s)
	own.file += ".new" // not the stored one
	if _, err := own.get(nil); err == nil {
		t.Error("a certificate before there is one")
	}
	// Issued 61 of its 90 days ago: the epoch must be in force now.
	at(-61 * day)
	if err := own.refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	listener, err := tls.Listen("tcp", "127.0.0.1:0", est.TLSConfig(own.get))
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			go func(c net.Conn) {
				defer c.Close()
				io.Copy(c, c)
			}(c)
		}
	}()
	address := listener.Addr().String()
	first := mustPresent(t, dir, address, "localhost")
	open, err := tls.Dial("tcp", address, &tls.Config{RootCAs: roots(t, dir), ServerName: "localhost"})
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()

	at(-2 * day) // two thirds are over in a day
	if err := own.refresh(t.Context()); err != nil || !mustPresent(t, dir, address, "localhost").Equal(first) {
		t.Errorf("renewed too early, or %v", err)
	}
	at(0)
	if err := own.refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	second := mustPresent(t, dir, address, "localhost")
	if second.Equal(first) {
		t.Fatal("not renewed with a third of its life left")
	}
	if !second.NotAfter.After(first.NotAfter.Add(50 * day)) {
		t.Errorf("renewed until %v, after %v", second.NotAfter, first.NotAfter)
	}
	if err := own.refresh(t.Context()); err != nil || !mustPresent(t, dir, address, "localhost").Equal(second) {
		t.Errorf("renewed twice, or %v", err)
	}
	if _, err := open.Write([]byte("x")); err != nil {
		t.Errorf("the open connection: %v", err)
	} else if _, err := io.ReadFull(open, make([]byte, 1)); err != nil {
		t.Errorf("the open connection: %v", err)
	}

	// What a restart loads is the new one.
	restarted := newOwnTLS(s)
	restarted.file = own.file
	if err := restarted.refresh(t.Context()); err != nil || !restarted.current.Load().Leaf.Equal(second) {
		t.Errorf("a restart presents another certificate, %v", err)
	}

	if _, err := s.ra.Revoke(t.Context(), ledger.Selector{Serial: issuer.SerialOf(second.SerialNumber)}, ledger.KeyCompromise, "test"); err != nil {
		t.Fatal(err)
	}
	if err := own.refresh(t.Context()); err != nil || mustPresent(t, dir, address, "localhost").Equal(second) {
		t.Errorf("a revoked certificate is presented, %v", err)
	}
}
