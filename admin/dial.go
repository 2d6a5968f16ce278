package admin

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"
)

const (
	dialTimeout = 10 * time.Second
	idleTimeout = 30 * time.Second
)

// Dial returns a client of the server that listens on a Unix socket. It fails
// at once if none does: with fs.ErrNotExist or syscall.ECONNREFUSED if there is
// no server.
func Dial(socket string) (*Client, error) {
	var dialer net.Dialer
	c, err := dialer.Dial("unix", socket)
	if err != nil {
		return nil, fmt.Errorf("dialling the server: %w", err)
	}
	c.Close()
	return New(&http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, "unix", socket)
		},
		MaxIdleConns:    2,
		IdleConnTimeout: idleTimeout,
	}), nil
}

// DialTLS returns a client of the server at base, as in
// https://ca.example.org:8444. The configuration must hold the caller's
// certificate and, as RootCAs, the trust anchor of the server's; no proxy of the
// environment is used. It does not connect before the first call.
func DialTLS(base string, config *tls.Config) (*Client, error) {
	u, err := url.Parse(base)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.User != nil {
		return nil, fmt.Errorf("%q is not the address of a server as in https://ca.example.org:8444", base)
	}
	config = config.Clone()
	config.MinVersion = tls.VersionTLS12
	c := New(&http.Transport{
		DialContext:         (&net.Dialer{Timeout: dialTimeout}).DialContext,
		TLSClientConfig:     config,
		TLSHandshakeTimeout: dialTimeout,
		MaxIdleConns:        2,
		IdleConnTimeout:     idleTimeout,
		ForceAttemptHTTP2:   true,
	})
	c.base = "https://" + u.Host
	return c, nil
}
