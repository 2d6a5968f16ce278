package doctor

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
)

var transportPoints = []Point{
	{1, Must, "RFC 7030, 3.3", "EST is served over TLS only", "asks for cacerts in plain HTTP, on the port and, beside port 443, on port 80: no answer may be a success", plainHTTP},
	{2, Must, "RFC 8996; RFC 7030, 3.3", "TLS 1.0 and 1.1 are refused, 1.2 and 1.3 accepted", "a ClientHello of each old version must not get a ServerHello; a handshake with each new one must succeed", versions},
	{3, Must, "RFC 7030, 3.2.3, 4.4, 6", "no cipher suite without encryption or authentication, of export strength, with DES or RC4", "a ClientHello that offers only such suites must not get a ServerHello", weak},
	{4, Must, "RFC 7030, 3.3.1, 3.6.1", "the server's certificate is valid and names the host, or is a registration authority's", "verifies path, dates and name as a client does", serverCertificate},
	{5, Should, "RFC 7030, 3.3", "TLS sessions can be resumed", "makes two connections in each version with a session cache", resumption},
	{6, Must, "RFC 7030, 3.3.2", "TLS client certificates are asked for", "looks for a CertificateRequest in the handshake", asksCertificate},
	{7, Must, "RFC 7030, 3.3.2, 4.1.2", "the handshake completes without a client certificate", "presents an empty certificate message and asks for cacerts", withoutCertificate},
	{8, Must, "RFC 7030, 3.5", "no insecure renegotiation", "the ServerHello of TLS 1.2 must hold renegotiation_info (RFC 5746)", renegotiation},
	{9, Must, "RFC 7030, 3.2", "HTTP/1.1, with connections that persist and that close", "two requests on one connection, and one that asks for the close", persistence},
	{10, Derived, "RFC 7030, 3.2", "the same over HTTP/2, where it is offered", "asks for cacerts, and enrolls without credentials, over ALPN h2", http2},
	{93, Interop, "measured: libest, strongSwan", "TLS 1.2 works", "asks for cacerts over TLS 1.2", tls12},
	{94, Interop, "measured: BouncyCastle, libest", "clients without a server name, or with an address as one, are served", "a handshake without SNI, and a ClientHello with an address in it", serverName},
}

func plainHTTP(ctx context.Context, p *probe) Result {
	addresses := []string{p.address}
	if _, port, _ := net.SplitHostPort(p.address); port == "443" {
		addresses = append(addresses, net.JoinHostPort(p.host, "80"))
	}
	var seen []string
	for _, address := range addresses {
		raw, stop, err := p.open(ctx, address)
		if err != nil {
			seen = append(seen, fmt.Sprintf("%s: no connection", address))
			continue
		}
		io.WriteString(raw, fmt.Sprintf("GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", p.path("cacerts"), p.authority))
		a, err := readAnswer(&reader{from: raw}, http.MethodGet)
		stop()
		raw.Close()
		switch {
		case err != nil:
			seen = append(seen, fmt.Sprintf("%s: no HTTP", address))
		case a.status >= 200 && a.status < 300:
			return fail("%s answers plain HTTP with %v", address, a)
		default:
			seen = append(seen, fmt.Sprintf("%s: %d", address, a.status))
		}
	}
	return pass("%s", strings.Join(seen, ", "))
}

// only restricts a connection to one TLS version.
func only(version uint16) func(*tls.Config) {
	return func(c *tls.Config) { c.MinVersion, c.MaxVersion = version, version }
}

// sni is the server name of a ClientHello: none for an address.
func (p *probe) sni() string {
	if net.ParseIP(p.host) != nil {
		return ""
	}
	return p.host
}

func versions(ctx context.Context, p *probe) Result {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		c, err := p.dial(ctx, nil, only(version))
		if err != nil {
			return fail("%s: %v", tls.VersionName(version), err)
		}
		c.Close()
	}
	var seen []string
	for _, version := range []uint16{tls.VersionTLS10, tls.VersionTLS11} {
		h, err := p.greet(ctx, helloSpec{version: version, suites: soundSuites, serverName: p.sni()})
		if err != nil {
			return fail("%s: %v", tls.VersionName(version), err)
		}
		if h.alert == "" {
			return fail("a ClientHello of %s got %v", tls.VersionName(version), h)
		}
		seen = append(seen, tls.VersionName(version)+": "+h.alert)
	}
	return pass("TLS 1.2 and 1.3 work; %s", strings.Join(seen, ", "))
}

func weak(ctx context.Context, p *probe) Result {
	var suites []uint16
	for suite := range weakSuites {
		suites = append(suites, suite)
	}
	slices.Sort(suites)
	for _, version := range []uint16{tls.VersionTLS10, tls.VersionTLS12} {
		h, err := p.greet(ctx, helloSpec{version: version, suites: suites, serverName: p.sni()})
		if err != nil {
			return fail("%v", err)
		}
		if h.chose(suites) {
			return fail("the server chose %s", suiteName(h.suite))
		}
		if h.alert == "" {
			return fail("the server answered %v, which was not offered", h)
		}
	}
	return pass("%d suites refused", len(suites))
}

func serverCertificate(ctx context.Context, p *probe) Result {
	c, err := p.dial(ctx, nil, nil)
	if err != nil {
		return fail("%v", err)
	}
	defer c.Close()
	leaf := c.ConnectionState().PeerCertificates[0]
	return pass("%s, valid until %s", leaf.Subject, leaf.NotAfter.UTC().Format("2006-01-02"))
}

func resumption(ctx context.Context, p *probe) Result {
	var works []string
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		cache := tls.NewLRUClientSessionCache(4)
		r := request{method: http.MethodGet, path: p.path("cacerts"), edit: func(c *tls.Config) {
			only(version)(c)
			c.ClientSessionCache = cache
		}}
		// The answer brings the ticket of TLS 1.3 with it.
		if _, err := p.do(ctx, r); err != nil {
			continue
		}
		a, err := p.do(ctx, r)
		if err != nil {
			return fail("the second connection of %s: %v", tls.VersionName(version), err)
		}
		if a.state.DidResume {
			works = append(works, tls.VersionName(version))
		}
	}
	if len(works) == 0 {
		return fail("the second connection made a full handshake in every version")
	}
	return pass("resumed: %s", strings.Join(works, ", "))
}

func asksCertificate(ctx context.Context, p *probe) Result {
	asked := false
	c, err := p.dial(ctx, nil, func(c *tls.Config) {
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			asked = true
			return new(tls.Certificate), nil
		}
	})
	if err != nil && !asked {
		return fail("%v", err)
	}
	if err == nil {
		c.Close()
	}
	if !asked {
		return fail("the handshake held no CertificateRequest")
	}
	return pass("CertificateRequest sent")
}

func withoutCertificate(ctx context.Context, p *probe) Result {
	a, err := p.get(ctx, "cacerts")
	if err != nil {
		return fail("%v", err)
	}
	if a.status != http.StatusOK {
		return fail("cacerts answered %v", a)
	}
	return pass("cacerts answered %v", a)
}

func renegotiation(ctx context.Context, p *probe) Result {
	h, err := p.greet(ctx, helloSpec{suites: soundSuites, serverName: p.sni(), renegotiation: true})
	if err != nil {
		return fail("%v", err)
	}
	if h.alert != "" {
		return na("the server does not speak TLS 1.2 (%s), and TLS 1.3 has no renegotiation", h.alert)
	}
	value, ok := h.extensions[extRenegotiation]
	if !ok {
		return fail("the ServerHello lacks renegotiation_info, so nothing keeps a renegotiation secure")
	}
	if len(value) != 1 || value[0] != 0 {
		return fail("renegotiation_info of a first handshake holds %x", value)
	}
	return pass("renegotiation_info present")
}

func persistence(ctx context.Context, p *probe) Result {
	c, err := p.dial(ctx, nil, nil)
	if err != nil {
		return fail("%v", err)
	}
	defer c.Close()
	r := request{method: http.MethodGet, path: p.path("cacerts"), keep: true}
	for i := range 3 {
		r.keep = i < 2
		a, err := p.exchange(c, r)
		if err != nil {
			return fail("request %d on the connection: %v", i+1, err)
		}
		if a.toEnd && r.keep {
			return fail("answer %d has neither length nor chunks, so that it ends the connection", i+1)
		}
	}
	var b [1]byte
	if n, err := c.Read(b[:]); n > 0 || err != io.EOF {
		return fail("after Connection: close the server did not close: %d bytes and %v", n, err)
	}
	return pass("three requests on one connection, then closed")
}

func http2(ctx context.Context, p *probe) Result {
	c, err := p.dial(ctx, nil, func(c *tls.Config) { c.NextProtos = []string{"h2", "http/1.1"} })
	if err != nil {
		return fail("%v", err)
	}
	protocol := c.ConnectionState().NegotiatedProtocol
	c.Close()
	if protocol != "h2" {
		return na("the server offers no HTTP/2")
	}
	config := &tls.Config{
		ServerName: p.host, MinVersion: tls.VersionTLS12, InsecureSkipVerify: true, NextProtos: []string{"h2"},
		VerifyConnection: func(state tls.ConnectionState) error { return p.verifyServer(state) },
	}
	protocols := new(http.Protocols)
	protocols.SetHTTP2(true)
	transport := &http.Transport{TLSClientConfig: config, Protocols: protocols, MaxResponseHeaderBytes: maxHead}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: p.Timeout, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	ask := func(method, op, body string) (*http.Response, []byte, error) {
		r, err := http.NewRequestWithContext(ctx, method, "https://"+p.address+p.path(op), strings.NewReader(body))
		if err != nil {
			return nil, nil, err
		}
		r.Header.Set("Content-Type", "application/pkcs10")
		answer, err := client.Do(r)
		if err != nil {
			return nil, nil, err
		}
		defer answer.Body.Close()
		content, err := io.ReadAll(io.LimitReader(answer.Body, maxBody))
		return answer, content, err
	}
	first, err := p.askCACerts(ctx)
	if err != nil {
		return fail("over HTTP/1.1: %v", err)
	}
	answer, content, err := ask(http.MethodGet, "cacerts", "")
	if err != nil {
		return fail("cacerts: %v", err)
	}
	if answer.StatusCode != first.status || string(content) != string(first.body) {
		return fail("cacerts answers %d and %d bytes, over HTTP/1.1 %d and %d bytes", answer.StatusCode, len(content), first.status, len(first.body))
	}
	answer, _, err = ask(http.MethodPost, "simpleenroll", "AAAA")
	if err != nil {
		return fail("simpleenroll: %v", err)
	}
	if answer.StatusCode < 400 || answer.StatusCode >= 500 {
		return fail("simpleenroll without credentials and with garbage answers %d", answer.StatusCode)
	}
	return pass("cacerts is the same, simpleenroll answers %d", answer.StatusCode)
}

func tls12(ctx context.Context, p *probe) Result {
	a, err := p.do(ctx, request{method: http.MethodGet, path: p.path("cacerts"), edit: only(tls.VersionTLS12)})
	if err != nil {
		return fail("%v", err)
	}
	if a.status != http.StatusOK {
		return fail("cacerts answered %v", a)
	}
	return pass("%s", tls.CipherSuiteName(a.state.CipherSuite))
}

func serverName(ctx context.Context, p *probe) Result {
	var with, without []byte
	c, err := p.dial(ctx, nil, nil)
	if err != nil {
		return fail("%v", err)
	}
	with = c.ConnectionState().PeerCertificates[0].Raw
	address, _, _ := net.SplitHostPort(c.RemoteAddr().String())
	c.Close()
	c, err = p.dial(ctx, nil, func(c *tls.Config) { c.ServerName = "" })
	if err != nil {
		return fail("without a server name: %v", err)
	}
	without = c.ConnectionState().PeerCertificates[0].Raw
	c.Close()
	if string(with) != string(without) {
		return fail("without a server name another certificate is presented")
	}
	h, err := p.greet(ctx, helloSpec{suites: soundSuites, serverName: address})
	if err != nil {
		return fail("with the server name %q: %v", address, err)
	}
	if h.alert != "" {
		return fail("with the server name %q: %s", address, h.alert)
	}
	return pass("without a name and with %q", address)
}
