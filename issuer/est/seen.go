package est

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"sync/atomic"

	"mintmark/issuer"
)

// Seen is an exchange that succeeded with a client that has presented a certificate, for
// whoever notes which devices have followed a change of CA.
type Seen struct {
	Label, Issuer string // as configured
	// Client is what the client has presented, and Above the certificates that it sent
	// with it. TLS has proved that the client holds the key; nothing else was checked.
	Client *x509.Certificate
	Above  []*x509.Certificate
	// Given is what cacerts answered with; nil for every other operation. Anchors says
	// that it is meant for a trust store, and not to be presented.
	Given   []*x509.Certificate
	Anchors bool
	// Shown is what the server has authenticated with in the handshake of this connection;
	// nil if it has not, because the session was resumed.
	Shown *tls.Certificate
}

// connection is what one connection was shown.
type connection struct {
	shown atomic.Pointer[tls.Certificate]
}

type connectionKey struct{}

// ConnContext is for http.Server.ConnContext of a server with TLSConfig: without it
// Seen.Shown is nil.
func ConnContext(ctx context.Context, _ net.Conn) context.Context {
	return context.WithValue(ctx, connectionKey{}, new(connection))
}

// showing notes with which certificate a handshake is answered.
func showing(hello *tls.ClientHelloInfo, c *tls.Certificate) {
	if ctx := hello.Context(); ctx != nil {
		if n, ok := ctx.Value(connectionKey{}).(*connection); ok {
			n.shown.Store(c)
		}
	}
}

// tell reports an exchange that was answered. RFC 9110, Section 9.3.2: HEAD gives nothing.
func (h *Handler) tell(x *exchange, a response) {
	if h.seen == nil || x.client == nil || x.unsent || a.status != http.StatusOK || x.r.Method == http.MethodHead {
		return
	}
	s := Seen{
		Label: x.label.Name, Issuer: x.label.Issuer, Client: x.client, Above: x.r.TLS.PeerCertificates[1:],
		Given: x.given, Anchors: x.given != nil && x.label.CACerts != CACertsPath,
	}
	// TLS 1.2 picks a certificate also for a session that it then resumes.
	if n, ok := x.r.Context().Value(connectionKey{}).(*connection); ok && !x.r.TLS.DidResume {
		s.Shown = n.shown.Load()
	}
	h.seen(s)
}

// notOurs reports whether an error of Holder says that a certificate authenticates no
// device of ours.
func notOurs(err error) bool {
	var r *issuer.Refusal
	return errors.Is(err, issuer.ErrForeign) || errors.As(err, &r) && (r.Kind == issuer.Unauthenticated || r.Kind == issuer.Forbidden)
}
