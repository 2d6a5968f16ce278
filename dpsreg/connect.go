package dpsreg

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"
)

const (
	// callTimeout bounds one call of Azure, its answer included.
	callTimeout = time.Minute
	// maxTrust bounds a file of trust anchors.
	maxTrust = 1 << 20
)

// httpClient returns the client for all calls of a target.
func (c Connect) httpClient() (*http.Client, error) {
	dialer := &net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}
	transport := &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            dialer.DialContext,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    10 * time.Second,
		ResponseHeaderTimeout:  callTimeout,
		ExpectContinueTimeout:  time.Second,
		IdleConnTimeout:        90 * time.Second,
		MaxIdleConnsPerHost:    8,
		MaxConnsPerHost:        32,
		MaxResponseHeaderBytes: 64 << 10,
	}
	if c.Address != "" {
		if _, _, err := net.SplitHostPort(c.Address); err != nil {
			return nil, fmt.Errorf("address %q is not host:port: %w", c.Address, err)
		}
		transport.Proxy = nil
		transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
			// Azure is on 443. A managed identity's endpoint is plain HTTP on this machine's
			// own network, and stays where it is.
			if _, port, _ := net.SplitHostPort(address); port == "443" {
				address = c.Address
			}
			return dialer.DialContext(ctx, network, address)
		}
	}
	if c.Trust != "" {
		roots, err := readTrust(c.Trust)
		if err != nil {
			return nil, err
		}
		transport.TLSClientConfig.RootCAs = roots
	}
	return &http.Client{
		Transport: transport,
		Timeout:   callTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse // the token would go along
		},
	}, nil
}

// readTrust reads the roots in a file of PEM certificates.
func readTrust(path string) (*x509.CertPool, error) {
	data, err := readTrustFile(path)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(data) {
		return nil, fmt.Errorf("%s holds no certificate that can be read", path)
	}
	return roots, nil
}

func readTrustFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("reading the trust anchors of Azure: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxTrust+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("reading the trust anchors of Azure: %w", err)
	case len(data) > maxTrust:
		return nil, fmt.Errorf("%s is larger than %d bytes", path, maxTrust)
	}
	return data, nil
}
