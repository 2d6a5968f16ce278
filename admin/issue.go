package admin

import (
	"context"
	"net/http"
)

// Issue asks for one certificate.
type Issue struct {
	Profile string `json:"profile"`
	Issuer  string `json:"issuer"`
	CSR     string `json:"csr"` // PEM
	// Order is the work order that pays for it, within whose bounds the device
	// must be; empty for none.
	Order string `json:"order,omitempty"`
}

// Issued is a certificate that was issued.
type Issued struct {
	Certificate Certificate `json:"certificate"`
	// Chain is PEM: from the issuing CA to, but without, the trust anchor.
	Chain string `json:"chain"`
	// Prior is true when an earlier certificate answers a repeated request.
	Prior bool `json:"prior"`
}

// Issue has a certificate issued.
func (c *Client) Issue(ctx context.Context, i Issue) (Issued, error) {
	return call[Issued](ctx, c, http.MethodPost, "/v1/certificates", nil, i)
}
