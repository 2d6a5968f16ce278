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

// CRLImport brings a CRL that was signed elsewhere.
type CRLImport struct {
	// Content is the complete CRL in PEM.
	Content string `json:"content"`
}

// CRLImported is what came of it.
type CRLImported struct {
	CRL
	// Revoked are the certificates known to the server that it revokes and that were not
	// revoked before.
	Revoked []string `json:"revoked"`
	// Warning says what is revoked at the server and not on the CRL.
	Warning string `json:"warning,omitempty"`
}

// ImportCRL brings the CRL of an authority whose key is elsewhere.
func (c *Client) ImportCRL(ctx context.Context, authority string, i CRLImport) (CRLImported, error) {
	return call[CRLImported](ctx, c, http.MethodPut, authorityPath(authority)+"/crl", nil, i)
}
