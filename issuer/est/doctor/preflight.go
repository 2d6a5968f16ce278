package doctor

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
)

// Preflight says in one sentence what is wrong with what the doctor was told, so
// that the points are not failed for it: nothing answers at the URL, it does not
// speak TLS or is not under the trust anchors, there is no such label, or the
// credential is not taken. Whatever else it meets is for the points to judge, and
// nil is returned. It asks for no certificate.
func Preflight(ctx context.Context, c Config) error {
	p, err := newProbe(c)
	if err != nil {
		return err
	}
	a, err := p.askCACerts(ctx)
	var dial *net.OpError
	var record tls.RecordHeaderError
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.As(err, &dial) && dial.Op == "dial":
		return fmt.Errorf("nothing answers at %s: %w", p.address, dial.Err)
	case errors.As(err, &record):
		return fmt.Errorf("what answers at %s does not speak TLS: is the port right?", p.address)
	case notTrusted(err):
		return fmt.Errorf("the server's certificate is not taken, with these trust anchors for the name %s: %w", p.host, errors.Unwrap(err))
	case err != nil:
		return nil
	case a.status == http.StatusNotFound && p.Label != "":
		return fmt.Errorf("%s answers cacerts with 404: there is no label %q, or EST is elsewhere on this server", p.authority, p.Label)
	case a.status == http.StatusNotFound:
		return fmt.Errorf("%s answers cacerts with 404: EST needs a label there, or is elsewhere on this server", p.authority)
	}
	who := p.enroller()
	if !p.Enroll || who == nil {
		return nil
	}
	// An empty body, which no server can take for a request.
	a, err = p.do(ctx, p.post("simpleenroll", who, nil, "Content-Type: application/pkcs10"))
	if err == nil && a.status == http.StatusUnauthorized {
		return fmt.Errorf("the server does not take %s to enroll: %v", who.kind, a)
	}
	return ctx.Err()
}

// notTrusted reports an error about the certificate of the server.
func notTrusted(err error) bool {
	var unknown x509.UnknownAuthorityError
	var host x509.HostnameError
	var invalid x509.CertificateInvalidError
	return errors.As(err, &unknown) || errors.As(err, &host) || errors.As(err, &invalid)
}
