package est

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Client is the device's side of EST, for any server. Its fields must not
// change once a method has been called; the methods may then be called
// concurrently.
//
// It authenticates by a certificate, by HTTP Basic, by both, or not at all.
// HTTP Digest and TLS-SRP it does not speak: no server is known that offers
// them and nothing else.
type Client struct {
	// URL is the server, as in https://ca.example:8443; must be set. If it has a
	// path, that is where the operations are, in place of /.well-known/est:
	// https://ca.example/press/.well-known/est for servers that want the label in
	// front.
	URL string
	// Label comes after the path; empty for none. It may have several segments,
	// as in domain/profile.
	Label string

	// RootCAs are the trust anchors for the server's certificate; nil takes
	// the system's.
	RootCAs *x509.CertPool
	// Certificate authenticates to the server, with the chain that it holds; nil
	// for none. Reenroll needs the certificate that is being renewed.
	Certificate *tls.Certificate
	// User and Password are for HTTP Basic, if either is set. They go with every
	// request for a certificate, and with others where the server asks for them.
	User, Password string
	// OnChallenge holds them back until the server asks for them.
	OnChallenge bool

	// MaxVersion is the highest version of TLS; zero for what Go speaks. Servers
	// that know only tls-unique link requests on TLS 1.2 and no later version.
	MaxVersion uint16

	once sync.Once
	http *http.Client
}

// maxAnswer bounds what a server may answer.
const maxAnswer = 1 << 20

// clientTimeout bounds one request when the context does not.
const clientTimeout = 2 * time.Minute

// connectTimeout bounds a connection attempt, and then its handshake: net/http
// goes on with both when the request that wanted them has been given up.
const connectTimeout = 30 * time.Second

// CACerts fetches the trust anchors and intermediate certificates: RFC 7030,
// Section 4.1. They may be trusted as far as the server that sent them.
func (c *Client) CACerts(ctx context.Context) ([]*x509.Certificate, error) {
	a, err := c.do(ctx, c.shared(), ask{method: http.MethodGet, op: "cacerts"})
	if err != nil {
		return nil, fmt.Errorf("fetching CA certificates: %w", err)
	}
	certificates, err := a.certificates()
	if err != nil {
		return nil, fmt.Errorf("fetching CA certificates: %w", err)
	}
	return certificates, nil
}

// Enroll sends the DER of a certification request as it is: RFC 7030, Section
// 4.2.1. EnrollRequest makes one that is linked to the connection.
func (c *Client) Enroll(ctx context.Context, csr []byte) (*x509.Certificate, error) {
	certificate, err := c.enroll(ctx, c.shared(), "simpleenroll", csr)
	if err != nil {
		return nil, fmt.Errorf("enrolling: %w", err)
	}
	return certificate, nil
}

// Reenroll renews Certificate, or re-keys it if the request holds a new key:
// RFC 7030, Section 4.2.2. The request must repeat its subject and its
// subject alternative names.
func (c *Client) Reenroll(ctx context.Context, csr []byte) (*x509.Certificate, error) {
	certificate, err := c.enroll(ctx, c.shared(), "simplereenroll", csr)
	if err != nil {
		return nil, fmt.Errorf("re-enrolling: %w", err)
	}
	return certificate, nil
}

func (c *Client) enroll(ctx context.Context, over *http.Client, op string, der []byte) (*x509.Certificate, error) {
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil, fmt.Errorf("parsing certification request: %w", err)
	}
	a, err := c.do(ctx, over, ask{method: http.MethodPost, op: op, contentType: mediaTypePKCS10, der: der})
	if err != nil {
		return nil, err
	}
	certificates, err := a.certificates()
	if err != nil {
		return nil, err
	}
	return certified(certificates, csr.RawSubjectPublicKeyInfo)
}

// certified finds the certificate for a key. RFC 7030, Section 4.2.3: the
// answer holds only the one that was issued. Servers that add their chain are
// forgiven.
func certified(certificates []*x509.Certificate, spki []byte) (*x509.Certificate, error) {
	for _, certificate := range certificates {
		if bytes.Equal(certificate.RawSubjectPublicKeyInfo, spki) {
			return certificate, nil
		}
	}
	return nil, errors.New("server answered without a certificate for the request's key")
}

// ask is one request.
type ask struct {
	method, op  string
	contentType string // empty for a request without body
	der         []byte
	anonymous   bool // never with the password
}

// do makes a request and returns the answer to it, which is a success.
func (c *Client) do(ctx context.Context, over *http.Client, q ask) (*answer, error) {
	hasPassword := (c.User != "" || c.Password != "") && !q.anonymous
	// The server has authenticated itself in TLS before it sees the password,
	// which therefore need not wait for a challenge (RFC 7030, Section 3.2.3).
	sent := hasPassword && q.method == http.MethodPost && !c.OnChallenge
	a, err := c.send(ctx, over, q, sent)
	if err != nil {
		return nil, err
	}
	if a.status == http.StatusUnauthorized && hasPassword && !sent && asksBasic(a.header) {
		if a, err = c.send(ctx, over, q, true); err != nil {
			return nil, err
		}
	}
	return a, a.check()
}

func (c *Client) send(ctx context.Context, over *http.Client, q ask, password bool) (*answer, error) {
	target, err := c.target(q.op)
	if err != nil {
		return nil, err
	}
	var body io.Reader
	if q.contentType != "" {
		body = strings.NewReader(base64.StdEncoding.EncodeToString(q.der))
	}
	request, err := http.NewRequestWithContext(ctx, q.method, target, body)
	if err != nil {
		return nil, err
	}
	if q.contentType != "" {
		request.Header.Set("Content-Type", q.contentType)
		request.Header.Set("Content-Transfer-Encoding", "base64")
	}
	if password {
		request.SetBasicAuth(c.User, c.Password)
	}
	return receive(over.Do(request))
}

// shared is the HTTP client of all requests that are not tied to a connection.
func (c *Client) shared() *http.Client {
	c.once.Do(func() {
		c.http = c.over(&http.Transport{
			Proxy:             http.ProxyFromEnvironment,
			TLSClientConfig:   c.tls(),
			ForceAttemptHTTP2: true,
			IdleConnTimeout:   30 * time.Second,
		})
	})
	return c.http
}

func (c *Client) tls() *tls.Config {
	config := &tls.Config{RootCAs: c.RootCAs, MinVersion: tls.VersionTLS12, MaxVersion: c.MaxVersion}
	if c.Certificate != nil {
		certificate := c.Certificate
		// Also if the server names other CAs in its request: what it accepts is
		// its decision, and its refusal says more than a silence of ours.
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return certificate, nil }
	}
	return config
}

func (c *Client) over(transport *http.Transport) *http.Client {
	transport.DialContext = (&net.Dialer{Timeout: connectTimeout}).DialContext
	transport.TLSHandshakeTimeout = connectTimeout
	return &http.Client{
		Transport: transport,
		Timeout:   clientTimeout,
		// RFC 7030, Section 3.2.1 wants the user asked before another origin
		// is followed, and there is no user to ask.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}
