package webhook

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"mintmark/issuer"
)

// Config describes one service.
type Config struct {
	// URL is https; must be set.
	URL string
	// Roots are the trust anchors of the service; the system's if nil.
	Roots *x509.CertPool
	// Secret signs questions, at least 32 bytes. Either it or Certificate must be set.
	Secret []byte
	// Certificate returns our TLS client certificate, for each handshake anew.
	Certificate func() (*tls.Certificate, error)
	// Timeout is the deadline of a whole question; 2 s if zero.
	Timeout time.Duration
	// Now is the clock of signatures; time.Now if nil.
	Now func() time.Time
}

const (
	// timeout is short: the device waits, with an open connection.
	timeout = 2 * time.Second
	// maxAsking bounds the questions at the same time, and the connections.
	maxAsking = 32
	maxAnswer = 4 << 10
	minSecret = 32
)

// Client asks one service. It is safe for concurrent use.
type Client struct {
	config Config
	http   *http.Client
	asking chan struct{}
}

// New checks a configuration. It does not ask the service anything.
func New(c Config) (*Client, error) {
	u, err := url.Parse(c.URL)
	if err != nil || u.Scheme != "https" || u.Hostname() == "" || u.User != nil {
		return nil, errors.New("webhook: the URL must be https://host[:port]/path")
	}
	if (len(c.Secret) > 0) == (c.Certificate != nil) {
		return nil, errors.New("webhook: exactly one of a secret and a certificate must be set")
	}
	if c.Certificate == nil && len(c.Secret) < minSecret {
		return nil, fmt.Errorf("webhook: the secret has %d bytes, less than %d: head -c 32 /dev/urandom | base64 makes one", len(c.Secret), minSecret)
	}
	if c.Timeout == 0 {
		c.Timeout = timeout
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: c.Roots}
	if c.Certificate != nil {
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return c.Certificate() }
	}
	return &Client{
		config: c,
		asking: make(chan struct{}, maxAsking),
		http: &http.Client{
			Transport: &http.Transport{
				Proxy:           nil, // see the package comment
				TLSClientConfig: config,
				// net/http connects apart from the context of the question that needs
				// it: without these, what hangs would hold a connection of maxAsking
				// for ever.
				DialContext:            (&net.Dialer{Timeout: c.Timeout}).DialContext,
				TLSHandshakeTimeout:    c.Timeout,
				MaxConnsPerHost:        maxAsking,
				MaxIdleConnsPerHost:    maxAsking,
				IdleConnTimeout:        time.Minute,
				MaxResponseHeaderBytes: 8 << 10,
				DisableCompression:     true,
			},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}, nil
}

// Ask is issuer.Webhook.
func (c *Client) Ask(ctx context.Context, q issuer.Question) (issuer.Verdict, error) {
	if q.ID == "" {
		return issuer.Verdict{}, errors.New("webhook: a question without an id")
	}
	// One deadline for everything, the wait for a turn included.
	ctx, cancel := context.WithTimeout(ctx, c.config.Timeout)
	defer cancel()
	select {
	case c.asking <- struct{}{}:
		defer func() { <-c.asking }()
	case <-ctx.Done():
		return issuer.Verdict{}, fmt.Errorf("webhook: %d questions wait for an answer already: %w", maxAsking, ctx.Err())
	}
	v, err := c.ask(ctx, q)
	if err != nil {
		return issuer.Verdict{}, fmt.Errorf("webhook: %w", err)
	}
	return v, nil
}

func (c *Client) ask(ctx context.Context, q issuer.Question) (issuer.Verdict, error) {
	body, err := encode(q)
	if err != nil {
		return issuer.Verdict{}, err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.config.URL, bytes.NewReader(body))
	if err != nil {
		return issuer.Verdict{}, err
	}
	r.Header.Set("Content-Type", mediaType)
	r.Header.Set("Accept", mediaType)
	if c.config.Certificate == nil {
		r.Header.Set("Mintmark-Signature", sign(c.config.Secret, c.config.Now(), body))
	}
	answer, err := c.http.Do(r)
	if err != nil {
		// Not the URL, which may hold a token.
		var wrapped *url.Error
		if errors.As(err, &wrapped) {
			err = wrapped.Err
		}
		return issuer.Verdict{}, fmt.Errorf("asking the service: %w", err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return issuer.Verdict{}, fmt.Errorf("the service answers with status %d and not 200", answer.StatusCode)
	}
	if t, _, err := mime.ParseMediaType(answer.Header.Get("Content-Type")); err != nil || t != mediaType {
		return issuer.Verdict{}, fmt.Errorf("the service answers with Content-Type %.100q and not %s", answer.Header.Get("Content-Type"), mediaType)
	}
	data, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer+1))
	if err != nil {
		return issuer.Verdict{}, fmt.Errorf("reading the answer: %w", err)
	}
	return decode(data, q.ID)
}

// sign makes the header that shows a service who asks.
func sign(secret []byte, now time.Time, body []byte) string {
	t := strconv.FormatInt(now.Unix(), 10)
	h := hmac.New(sha256.New, secret)
	io.WriteString(h, t+".")
	h.Write(body)
	return "t=" + t + ",v1=" + hex.EncodeToString(h.Sum(nil))
}
