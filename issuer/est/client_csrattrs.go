package est

import (
	"context"
	"errors"
	"fmt"
	"net/http"
)

// ErrNone says that a server wants nothing in particular of certification
// requests, or does not offer to say.
var ErrNone = errors.New("server announces no attributes")

// CSRAttrs fetches what the server wants of certification requests: RFC 7030,
// Section 4.5. It returns ErrNone if that is nothing; if the server does not know the
// path, with the StatusError of its 404 beside it.
func (c *Client) CSRAttrs(ctx context.Context) (CSRAttrs, error) {
	attributes, err := c.csrAttrs(ctx)
	if err != nil && !errors.Is(err, ErrNone) {
		return CSRAttrs{}, fmt.Errorf("fetching CSR attributes: %w", err)
	}
	return attributes, err
}

func (c *Client) csrAttrs(ctx context.Context) (CSRAttrs, error) {
	a, err := c.do(ctx, c.shared(), ask{method: http.MethodGet, op: "csrattrs"})
	var status *StatusError
	switch {
	case errors.As(err, &status) && status.Code == http.StatusNoContent:
		return CSRAttrs{}, ErrNone
	case errors.As(err, &status) && status.Code == http.StatusNotFound:
		return CSRAttrs{}, fmt.Errorf("%w: %w", ErrNone, err)
	}
	if err != nil {
		return CSRAttrs{}, err
	}
	der, err := a.der(mediaTypeCSRAttrs, "")
	if err != nil {
		return CSRAttrs{}, err
	}
	if len(der) == 0 {
		return CSRAttrs{}, ErrNone // says the same as 204
	}
	attributes, err := ParseCSRAttrs(der)
	if err == nil && len(attributes.Elements) == 0 {
		err = ErrNone
	}
	return attributes, err
}
