package doctor

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"net/http"

	oldtls "github.com/zmap/zcrypto/tls"
)

// submitResumed enrolls over a resumed session of TLS 1.2 without extended master
// secret, with the tls-unique of that connection. crypto/tls always asks for the
// extension, and so cannot do what this point is about; a client made for
// scanning can leave it out. The server is verified all the same, for the request
// may hold a password.
func (p *probe) submitResumed(ctx context.Context, s submission) (a *answer, err error) {
	// That library is not made for servers that mean harm to it, and this must not
	// end with one of them.
	defer func() {
		if r := recover(); r != nil {
			a, err = nil, fmt.Errorf("the handshake without extended master secret: %v", r)
		}
	}()
	config := &oldtls.Config{
		ServerName: p.host, InsecureSkipVerify: true,
		MinVersion: oldtls.VersionTLS12, MaxVersion: oldtls.VersionTLS12,
		ClientSessionCache: oldtls.NewLRUClientSessionCache(2),
	}
	if s.cred.certificate != nil {
		config.Certificates = []oldtls.Certificate{{Certificate: s.cred.certificate.Certificate, PrivateKey: s.cred.certificate.PrivateKey}}
	}
	one := func(send func(*oldtls.Conn) (request, error)) (*answer, error) {
		raw, stop, err := p.open(ctx, p.address)
		if err != nil {
			return nil, err
		}
		defer stop()
		defer raw.Close()
		c := oldtls.Client(raw, config)
		if err := c.Handshake(); err != nil {
			return nil, errNotAsked("the server makes no session without extended master secret: " + err.Error())
		}
		if err := p.verifyOld(c); err != nil {
			return nil, err
		}
		r, err := send(c)
		if err != nil {
			return nil, err
		}
		if _, err := c.Write(p.encode(r)); err != nil {
			return nil, err
		}
		return readAnswer(&reader{from: c}, r.method)
	}
	_, err = one(func(*oldtls.Conn) (request, error) {
		return request{method: http.MethodGet, path: p.path("cacerts")}, nil
	})
	if err != nil {
		return nil, err
	}
	return one(func(c *oldtls.Conn) (request, error) {
		if !c.ConnectionState().DidResume {
			return request{}, errNotAsked("the server resumes no session without extended master secret")
		}
		// RFC 5929, Section 3.1: tls-unique is the first Finished, which in a resumed
		// handshake is the server's. The library gives it no other way.
		log := c.GetHandshakeLog()
		if log == nil || log.ServerFinished == nil || len(log.ServerFinished.VerifyData) == 0 {
			return request{}, errNotAsked("the Finished message of the resumed handshake is not known")
		}
		s.csr.challenge = base64.StdEncoding.EncodeToString(log.ServerFinished.VerifyData)
		der, err := s.csr.der()
		return p.post(s.op, s.cred, encode(der)), err
	})
}

// verifyOld verifies the server's certificate with the usual library.
func (p *probe) verifyOld(c *oldtls.Conn) error {
	var state tls.ConnectionState
	for _, old := range c.ConnectionState().PeerCertificates {
		certificate, err := x509.ParseCertificate(old.Raw)
		if err != nil {
			return err
		}
		state.PeerCertificates = append(state.PeerCertificates, certificate)
	}
	return p.verifyServer(state)
}
