package admin

import (
	"context"
	"net/http"
	"time"
)

// CRL is the latest certificate revocation list of an authority.
type CRL struct {
	Issuer     string    `json:"issuer"`
	Number     int64     `json:"number"`
	ThisUpdate time.Time `json:"this_update"`
	NextUpdate time.Time `json:"next_update"`
	// Size is that of the DER, in bytes.
	Size int `json:"size"`
	// Content is PEM; left out where only the number matters.
	Content string `json:"content,omitempty"`
}

// CRL returns the latest CRL of an authority.
func (c *Client) CRL(ctx context.Context, authority string) (CRL, error) {
	return call[CRL](ctx, c, http.MethodGet, authorityPath(authority)+"/crl", nil, nil)
}

// PublishCRL has the next CRL of an authority signed now.
func (c *Client) PublishCRL(ctx context.Context, authority string) (CRL, error) {
	return call[CRL](ctx, c, http.MethodPost, authorityPath(authority)+"/crl", nil, nil)
}
