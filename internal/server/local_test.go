package server

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"

	"mintmark/internal/config"
	"mintmark/internal/ledger"
	"mintmark/internal/pkitest"
	"mintmark/issuer"
)

// openLocal opens a state directory in this process.
func openLocal(t testing.TB, dir string, out io.Writer) *Server {
	t.Helper()
	c, err := config.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	s, err := Open(t.Context(), c, Options{Listen: "127.0.0.1:0", Logger: slog.New(slog.DiscardHandler), Out: out})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// local is a server in this process, for tests that look inside.
type local struct {
	*Server
	dir                string
	est, http, metrics string // addresses
	stop               func() // waits until it has ended
}

// serveLocal serves a state directory in this process until the test ends;
// prepare may do something to it before.
func serveLocal(t testing.TB, dir string, prepare func(*Server)) *local {
	t.Helper()
	reader, writer := io.Pipe()
	l := &local{Server: openLocal(t, dir, writer), dir: dir}
	if prepare != nil {
		prepare(l.Server)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		err := errors.Join(l.Serve(ctx), l.Close())
		writer.CloseWithError(io.EOF)
		ended <- err
	}()
	stopped := false
	l.stop = func() {
		t.Helper()
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("serving: %v", err)
		}
	}
	t.Cleanup(l.stop)
	for in := bufio.NewScanner(reader); l.est == "" && in.Scan(); {
		name, address, _ := strings.Cut(in.Text(), " listening on ")
		switch name {
		case "est":
			l.est = address
		case "http":
			l.http = address
		case "metrics":
			l.metrics = address
		}
	}
	if l.est == "" {
		l.stop()
		t.Fatal("the server did not start")
	}
	go io.Copy(io.Discard, reader)
	return l
}

// issue enrolls a device past the wire and returns what it authenticates with.
func issue(t testing.TB, s *Server, profile, name string) *tls.Certificate {
	t.Helper()
	d := newDevice(t, name)
	requester := ledger.Requester{Kind: "admin", Name: "test"}
	answer, err := s.ra.Enroll(t.Context(), issuer.Request{Authorize: issuer.Trusted, Profile: profile, Issuer: "issuing", CSR: d.csr, Requester: requester})
	if err != nil {
		t.Fatalf("issuing for %s: %v", name, err)
	}
	return held(d, answer.Certificate)
}

func held(d device, c *x509.Certificate) *tls.Certificate {
	return &tls.Certificate{PrivateKey: d.key, Certificate: [][]byte{c.Raw}, Leaf: c}
}

// ownCertificate is the server's own, key included.
func ownCertificate(t testing.TB, dir string) *tls.Certificate {
	t.Helper()
	data := pkitest.ReadFile(t, dir+"/tls/server.pem")
	c, err := tls.X509KeyPair(data, data)
	if err != nil {
		t.Fatal(err)
	}
	return &c
}
