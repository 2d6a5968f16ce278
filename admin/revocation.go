package admin

import (
	"context"
	"net/http"
)

// Revocation asks to revoke one certificate, or all valid ones of a device or
// under a work order.
type Revocation struct {
	Serial string `json:"serial,omitempty"`
	Device string `json:"device,omitempty"`
	Order  string `json:"order,omitempty"`
	// Reason is a name of RFC 5280, Section 5.3.1; unspecified if empty.
	Reason string `json:"reason,omitempty"`
	// Authority must be true to revoke the certificate of an authority, with
	// which everything below it is lost.
	Authority bool `json:"authority,omitempty"`
}

// Revoked says what was revoked.
type Revoked struct {
	// Serials are those that changed state: none if all were revoked before.
	Serials []string `json:"serials"`
	// Warning says what did not work although the revocation was recorded.
	Warning string `json:"warning,omitempty"`
}

// Revoke revokes certificates. When it returns they are on the CRL, or Warning
// says why not yet.
func (c *Client) Revoke(ctx context.Context, r Revocation) (Revoked, error) {
	return call[Revoked](ctx, c, http.MethodPost, "/v1/revocations", nil, r)
}
