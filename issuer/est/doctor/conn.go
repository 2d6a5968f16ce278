package doctor

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"
)

// conn is a TLS connection to the server.
type conn struct {
	*tls.Conn
	records *recordConn
	held    []byte // read beyond the last answer
	stop    func() bool
}

func (c *conn) Close() error {
	c.stop()
	return c.Conn.Close()
}

// open makes a TCP connection that ends with ctx and the time of one exchange.
func (p *probe) open(ctx context.Context, address string) (net.Conn, func() bool, error) {
	raw, err := (&net.Dialer{Timeout: p.Timeout}).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, nil, err
	}
	raw.SetDeadline(time.Now().Add(p.Timeout))
	stop := context.AfterFunc(ctx, func() { raw.SetDeadline(time.Unix(1, 0)) })
	return raw, stop, nil
}

// dial makes a TLS connection that speaks HTTP/1.1. The server's certificate is
// always verified: what goes over the connection may hold a password.
func (p *probe) dial(ctx context.Context, certificate *tls.Certificate, edit func(*tls.Config)) (*conn, error) {
	raw, stop, err := p.open(ctx, p.address)
	if err != nil {
		return nil, err
	}
	config := &tls.Config{
		ServerName: p.host,
		MinVersion: tls.VersionTLS12,
		// VerifyConnection does it: the usual check knows nothing of registration
		// authorities (RFC 7030, Section 3.6.1).
		InsecureSkipVerify: true,
		VerifyConnection:   func(state tls.ConnectionState) error { return p.verifyServer(state) },
	}
	if certificate != nil {
		// Whatever CAs the server names: a point may want the wrong one presented.
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return certificate, nil }
	}
	if edit != nil {
		edit(config)
	}
	watched := &recordConn{Conn: raw}
	c := &conn{Conn: tls.Client(watched, config), records: watched, stop: stop}
	if err := c.HandshakeContext(ctx); err != nil {
		stop()
		raw.Close()
		return nil, fmt.Errorf("TLS handshake: %w", err)
	}
	return c, nil
}

// oidCMCRA is the extended key usage id-kp-cmcRA (RFC 6402, Section 2.10).
const oidCMCRA = "1.3.6.1.5.5.7.3.28"

// verifyServer is RFC 7030, Section 3.6.1: the path is valid, and either the name
// is the host's or the certificate is a registration authority's.
func (p *probe) verifyServer(state tls.ConnectionState) error {
	if len(state.PeerCertificates) == 0 {
		return errors.New("the server presented no certificate")
	}
	leaf, between := state.PeerCertificates[0], x509.NewCertPool()
	for _, c := range state.PeerCertificates[1:] {
		between.AddCert(c)
	}
	representative := slices.ContainsFunc(leaf.UnknownExtKeyUsage, func(id asn1.ObjectIdentifier) bool { return oidText(id) == oidCMCRA })
	options := x509.VerifyOptions{Roots: p.RootCAs, Intermediates: between}
	if representative {
		options.KeyUsages = []x509.ExtKeyUsage{x509.ExtKeyUsageAny}
	} else {
		options.DNSName = p.host
	}
	_, err := leaf.Verify(options)
	return err
}

// recordConn notes the sizes of the TLS records that carry application data.
type recordConn struct {
	net.Conn
	header []byte // of the record that begins, up to 5 bytes
	left   int    // bytes of the record to come
	sizes  []int  // of application data, as on the wire
}

const (
	recordHandshake = 22
	recordData      = 23
	recordAlert     = 21
	// maxRecords bounds what is noted; no answer that is read has as many.
	maxRecords = 4096
)

func (r *recordConn) Read(b []byte) (int, error) {
	n, err := r.Conn.Read(b)
	for rest := b[:n]; len(rest) > 0; {
		if r.left > 0 {
			skip := min(r.left, len(rest))
			r.left -= skip
			rest = rest[skip:]
			continue
		}
		r.header = append(r.header, rest[0])
		rest = rest[1:]
		if len(r.header) < 5 {
			continue
		}
		r.left = int(r.header[3])<<8 | int(r.header[4])
		if r.header[0] == recordData && len(r.sizes) < maxRecords {
			r.sizes = append(r.sizes, r.left)
		}
		r.header = r.header[:0]
	}
	return n, err
}
