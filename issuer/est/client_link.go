package est

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"
)

// tie is a TLS connection that is there before the request that it carries, so
// that the request can name it.
type tie struct {
	conn    *tls.Conn
	binding string       // for challengePassword
	http    *http.Client // sends over conn and no other
}

func (t *tie) close() {
	t.http.CloseIdleConnections()
	t.conn.Close()
}

// errTied says that the server closed the connection before it answered.
var errTied = errors.New("the server closed the connection that the request is linked to: repeat the request")

// tie connects to the server. What it sends goes in HTTP/1.1 over that one
// connection, whatever happens: RFC 7030, Section 3.5.
func (c *Client) tie(ctx context.Context) (*tie, error) {
	target, err := c.target("simpleenroll")
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, clientTimeout)
	defer cancel()
	plain, host, err := dialTarget(ctx, target)
	if err != nil {
		return nil, err
	}
	config := c.tls()
	config.ServerName = host
	config.NextProtos = []string{"http/1.1"}
	conn := tls.Client(plain, config)
	if err := conn.HandshakeContext(ctx); err != nil {
		plain.Close()
		return nil, err
	}
	binding, err := channelBinding(conn.ConnectionState())
	if err != nil {
		conn.Close()
		return nil, err
	}
	var taken sync.Once
	transport := &http.Transport{
		DialTLSContext: func(context.Context, string, string) (net.Conn, error) {
			err := errTied
			taken.Do(func() { err = nil })
			return conn, err
		},
		MaxConnsPerHost: 1,
		IdleConnTimeout: time.Minute,
	}
	return &tie{conn, binding, c.over(transport)}, nil
}

// channelBinding is what names a connection in challengePassword.
func channelBinding(state tls.ConnectionState) (string, error) {
	value := state.TLSUnique // RFC 7030, Section 3.5
	if state.Version >= tls.VersionTLS13 {
		// TLS 1.3 has no tls-unique. RFC 9266, Section 4.
		exported, err := state.ExportKeyingMaterial("EXPORTER-Channel-Binding", nil, 32)
		if err != nil {
			return "", fmt.Errorf("linking the request to the connection: %w", err)
		}
		value = exported
	}
	if len(value) == 0 {
		return "", errors.New("this TLS connection has no name that a request could be linked to")
	}
	return base64.StdEncoding.EncodeToString(value), nil
}

// dialTarget opens a TCP connection to the server of a URL, through a proxy if
// the environment names one, and returns the server's name.
func dialTarget(ctx context.Context, target string) (net.Conn, string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return nil, "", err
	}
	address := withPort(request.URL)
	proxy, err := http.ProxyFromEnvironment(request)
	if err != nil {
		return nil, "", fmt.Errorf("choosing a proxy: %w", err)
	}
	var dialer net.Dialer
	if proxy == nil {
		conn, err := dialer.DialContext(ctx, "tcp", address)
		return conn, request.URL.Hostname(), err
	}
	if proxy.Scheme != "http" {
		return nil, "", fmt.Errorf("a linked request goes through an http proxy or none, not through %s", proxy.Redacted())
	}
	conn, err := dialer.DialContext(ctx, "tcp", withPort(proxy))
	if err != nil {
		return nil, "", fmt.Errorf("connecting to the proxy: %w", err)
	}
	if err := tunnel(ctx, conn, proxy, address); err != nil {
		conn.Close()
		return nil, "", fmt.Errorf("connecting through %s: %w", proxy.Redacted(), err)
	}
	return conn, request.URL.Hostname(), nil
}

// tunnel asks a proxy for a connection: RFC 9110, Section 9.3.6.
func tunnel(ctx context.Context, conn net.Conn, proxy *url.URL, address string) error {
	defer context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })()
	request := &http.Request{Method: http.MethodConnect, URL: &url.URL{Opaque: address}, Host: address, Header: make(http.Header)}
	if proxy.User != nil {
		password, _ := proxy.User.Password()
		request.Header.Set("Proxy-Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(proxy.User.Username()+":"+password)))
	}
	if err := request.Write(conn); err != nil {
		return err
	}
	// The server speaks only when the client has, so nothing of it is in the
	// buffer that is thrown away.
	reply, err := http.ReadResponse(bufio.NewReader(&limited{conn, 16 << 10}), request)
	if err != nil {
		return err
	}
	if reply.StatusCode != http.StatusOK {
		return fmt.Errorf("the proxy answered %s", reply.Status)
	}
	return nil
}

// limited bounds the header that a proxy may answer.
type limited struct {
	net.Conn
	left int
}

func (l *limited) Read(p []byte) (int, error) {
	if l.left <= 0 {
		return 0, errors.New("its answer is too long")
	}
	n, err := l.Conn.Read(p[:min(len(p), l.left)])
	l.left -= n
	return n, err
}

// withPort is the address of a URL's server.
func withPort(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"https": "443", "http": "80"}[u.Scheme]
	}
	return net.JoinHostPort(u.Hostname(), port)
}
