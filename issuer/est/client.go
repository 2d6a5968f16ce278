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
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"mintmark/internal/cms"
)

// Client is the device's side of EST. Its fields must not change once a method
// has been called; the methods may then be called concurrently.
type Client struct {
	URL   string // the server, as in https://ca.example:8443; must be set
	Label string // empty for the paths without a label

	// RootCAs are the trust anchors for the server's certificate; nil takes
	// the system's.
	RootCAs *x509.CertPool
	// Certificate authenticates to the server; nil for none. Reenroll needs
	// the certificate that is being renewed.
	Certificate *tls.Certificate
	// User and Password are sent with every enrollment if either is set.
	User, Password string

	once sync.Once
	http *http.Client
}

// maxAnswer bounds what a server may answer.
const maxAnswer = 1 << 20

// clientTimeout bounds one request when the context does not.
const clientTimeout = 2 * time.Minute

// CACerts fetches the trust anchors and intermediate certificates: RFC 7030,
// Section 4.1. They may be trusted as far as the server that sent them.
func (c *Client) CACerts(ctx context.Context) ([]*x509.Certificate, error) {
	certificates, err := c.do(ctx, http.MethodGet, "cacerts", nil)
	if err != nil {
		return nil, fmt.Errorf("fetching CA certificates: %w", err)
	}
	return certificates, nil
}

// Enroll sends the DER of a certification request: RFC 7030, Section 4.2.1.
func (c *Client) Enroll(ctx context.Context, csr []byte) (*x509.Certificate, error) {
	certificate, err := c.enroll(ctx, "simpleenroll", csr)
	if err != nil {
		return nil, fmt.Errorf("enrolling: %w", err)
	}
	return certificate, nil
}

// Reenroll renews Certificate, or re-keys it if the request holds a new key:
// RFC 7030, Section 4.2.2. The request must repeat its subject and its
// subject alternative names.
func (c *Client) Reenroll(ctx context.Context, csr []byte) (*x509.Certificate, error) {
	certificate, err := c.enroll(ctx, "simplereenroll", csr)
	if err != nil {
		return nil, fmt.Errorf("re-enrolling: %w", err)
	}
	return certificate, nil
}

func (c *Client) enroll(ctx context.Context, op string, der []byte) (*x509.Certificate, error) {
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil, fmt.Errorf("parsing certification request: %w", err)
	}
	certificates, err := c.do(ctx, http.MethodPost, op, der)
	if err != nil {
		return nil, err
	}
	// RFC 7030, Section 4.2.3: the answer holds only the certificate that was
	// issued. Servers that add their chain are forgiven.
	for _, certificate := range certificates {
		if bytes.Equal(certificate.RawSubjectPublicKeyInfo, csr.RawSubjectPublicKeyInfo) {
			return certificate, nil
		}
	}
	return nil, errors.New("server answered without a certificate for the request's key")
}

func (c *Client) do(ctx context.Context, method, op string, der []byte) ([]*x509.Certificate, error) {
	c.once.Do(c.connect)
	target, err := c.target(op)
	if err != nil {
		return nil, err
	}
	var body io.Reader
	if der != nil {
		body = strings.NewReader(base64.StdEncoding.EncodeToString(der))
	}
	request, err := http.NewRequestWithContext(ctx, method, target, body)
	if err != nil {
		return nil, err
	}
	if der != nil {
		request.Header.Set("Content-Type", mediaTypePKCS10)
		request.Header.Set("Content-Transfer-Encoding", "base64")
		// The server has authenticated itself in TLS by now, so the password
		// need not wait for a challenge (RFC 7030, Section 3.2.3).
		if c.User != "" || c.Password != "" {
			request.SetBasicAuth(c.User, c.Password)
		}
	}
	answer, err := c.http.Do(request)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	content, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer+1))
	if err != nil {
		return nil, fmt.Errorf("reading answer: %w", err)
	}
	if len(content) > maxAnswer {
		return nil, fmt.Errorf("server answered with more than %d bytes", maxAnswer)
	}
	if err := checkAnswer(answer, content); err != nil {
		return nil, err
	}
	// RFC 8951, Section 3: base64, whatever Content-Transfer-Encoding says.
	der, err = decodeBase64(content)
	if err != nil {
		return nil, fmt.Errorf("decoding answer: %w", err)
	}
	return cms.ParseCertsOnly(der)
}

func (c *Client) connect() {
	config := &tls.Config{RootCAs: c.RootCAs, MinVersion: tls.VersionTLS12}
	if c.Certificate != nil {
		config.Certificates = []tls.Certificate{*c.Certificate}
	}
	c.http = &http.Client{
		Transport: &http.Transport{
			Proxy:             http.ProxyFromEnvironment,
			TLSClientConfig:   config,
			ForceAttemptHTTP2: true,
			IdleConnTimeout:   30 * time.Second,
		},
		Timeout: clientTimeout,
		// RFC 7030, Section 3.2.1 wants the user asked before another origin
		// is followed, and there is no user to ask.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// target is the URL of an operation: RFC 7030, Section 3.2.2.
func (c *Client) target(op string) (string, error) {
	u, err := url.Parse(c.URL)
	if err != nil {
		return "", fmt.Errorf("parsing server URL: %w", err)
	}
	if u.Scheme != "https" || u.Host == "" || strings.Trim(u.Path, "/") != "" {
		return "", fmt.Errorf("server URL %q must be https://HOST or https://HOST:PORT, without a path", c.URL)
	}
	segments := []string{".well-known", "est", op}
	if c.Label != "" {
		segments = []string{".well-known", "est", c.Label, op}
	}
	return (&url.URL{Scheme: u.Scheme, Host: u.Host}).JoinPath(segments...).String(), nil
}
