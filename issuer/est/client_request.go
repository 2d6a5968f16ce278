package est

import (
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"

	"mintmark/internal/pkcs10"
)

// Request is a certification request that is signed when it is sent.
type Request struct {
	Template   *x509.CertificateRequest // names and extensions; must be set
	Key        crypto.Signer            // must be set
	Attributes pkcs10.Attributes        // ChallengePassword is set by Link
	Link       Link
}

// Link says whether a request carries a proof that its key and the TLS
// connection are in the same hands (RFC 7030, Section 3.5).
type Link string

const (
	// LinkAuto links if the server's csrattrs asks for it. The zero value does,
	// too. A server that does not offer csrattrs asks for nothing.
	LinkAuto   Link = "auto"
	LinkAlways Link = "always"
	LinkNever  Link = "never"
)

// EnrollRequest makes a certification request and enrolls with it. It links it
// to the connection if Link says so, anew at each call: what the server wants
// repeated is repeated by another call.
func (c *Client) EnrollRequest(ctx context.Context, r Request) (*x509.Certificate, error) {
	certificate, err := c.enrollRequest(ctx, "simpleenroll", r)
	if err != nil {
		return nil, fmt.Errorf("enrolling: %w", err)
	}
	return certificate, nil
}

// ReenrollRequest makes a certification request and renews Certificate with it,
// as EnrollRequest and Reenroll do.
func (c *Client) ReenrollRequest(ctx context.Context, r Request) (*x509.Certificate, error) {
	certificate, err := c.enrollRequest(ctx, "simplereenroll", r)
	if err != nil {
		return nil, fmt.Errorf("re-enrolling: %w", err)
	}
	return certificate, nil
}

func (c *Client) enrollRequest(ctx context.Context, op string, r Request) (certificate *x509.Certificate, err error) {
	err = c.linked(ctx, r, func(over *http.Client, csr []byte) error {
		certificate, err = c.enroll(ctx, over, op, csr)
		return err
	})
	return certificate, err
}

// linked calls fn with the request and with what it must be sent over.
func (c *Client) linked(ctx context.Context, r Request, fn func(over *http.Client, csr []byte) error) error {
	if r.Template == nil || r.Key == nil {
		return errors.New("a request needs a template and a key")
	}
	link, err := c.wantsLink(ctx, r.Link)
	if err != nil {
		return err
	}
	if !link {
		csr, err := pkcs10.Create(r.Template, r.Attributes, r.Key)
		if err != nil {
			return err
		}
		return fn(c.shared(), csr)
	}
	t, err := c.tie(ctx)
	if err != nil {
		return err
	}
	defer t.close()
	r.Attributes.Linked, r.Attributes.ChallengePassword = true, t.binding
	csr, err := pkcs10.Create(r.Template, r.Attributes, r.Key)
	if err != nil {
		return err
	}
	return fn(t.http, csr)
}

// wantsLink asks the server where Link leaves it open.
func (c *Client) wantsLink(ctx context.Context, link Link) (bool, error) {
	switch link {
	case LinkAlways:
		return true, nil
	case LinkNever:
		return false, nil
	case LinkAuto, "":
	default:
		return false, fmt.Errorf("link %q is none of %s, %s and %s", link, LinkAuto, LinkAlways, LinkNever)
	}
	wants, err := c.CSRAttrs(ctx)
	var status *StatusError
	switch {
	case errors.Is(err, ErrNone):
		return false, nil
	// RFC 7030, Section 4.5 leaves csrattrs to the server. Whatever else is
	// wrong, the request that follows will hear of it.
	case errors.As(err, &status) && status.Code != http.StatusServiceUnavailable && status.Code != http.StatusTooManyRequests:
		return false, nil
	case err != nil:
		return false, err
	}
	return wants.Link, nil
}
