package webhook

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"mintmark/issuer"
)

// pipes is a network that connects to one server, or to nobody, without a word.
type pipes struct {
	mute  atomic.Bool
	conns chan net.Conn
	mu    sync.Mutex
	held  []net.Conn
}

func (p *pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	near, far := net.Pipe()
	if p.mute.Load() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.held = append(p.held, far)
		return near, nil
	}
	select {
	case p.conns <- far:
		return near, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (p *pipes) Accept() (net.Conn, error) {
	c, ok := <-p.conns
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}

func (p *pipes) Close() error   { return nil }
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)} }

// TestHungHandshakes: a service whose handshakes hang, as behind a proxy that
// accepts for it, keeps no connection from later questions. net/http dials
// apart from the context of the question, so that its deadline does not end
// the handshake.
func TestHungHandshakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := &pipes{conns: make(chan net.Conn)}
		own := certificate(t, x509.ExtKeyUsageServerAuth)
		server := &http.Server{Handler: decides(t, "allow", ""), TLSConfig: &tls.Config{Certificates: []tls.Certificate{*own}}}
		served := make(chan error, 1)
		go func() { served <- server.ServeTLS(network, "", "") }()
		roots := x509.NewCertPool()
		roots.AddCert(own.Leaf)
		client, err := New(Config{URL: "https://127.0.0.1/enroll", Roots: roots, Secret: secret})
		if err != nil {
			t.Fatal(err)
		}
		client.http.Transport.(*http.Transport).DialContext = network.dial

		network.mute.Store(true)
		var wait sync.WaitGroup
		for range 2 * maxAsking {
			wait.Go(func() {
				if v, err := client.Ask(t.Context(), asked); err == nil {
					t.Errorf("%+v of nobody", v)
				}
			})
		}
		wait.Wait()
		network.mute.Store(false)
		time.Sleep(timeout) // on the clock of the test
		synctest.Wait()
		network.mu.Lock()
		defer network.mu.Unlock()
		if len(network.held) < maxAsking {
			t.Errorf("%d connections hang, and %d could", len(network.held), maxAsking)
		}
		if v, err := client.Ask(t.Context(), asked); err != nil || v.Decision != issuer.Allow {
			t.Errorf("the service is there again: %+v, %v", v, err)
		}

		client.http.CloseIdleConnections()
		close(network.conns)
		<-served
		server.Close()
		for _, c := range network.held {
			c.Close()
		}
	})
}
