package admin

import (
	"context"
	"net/http"
	"strconv"
	"time"
)

// CRL is the latest certificate revocation list of an authority.
type CRL struct {
	Issuer string `json:"issuer"`
	// Shard is the part of the authority's CRLs that it is; 0 for the full one.
	Shard      int       `json:"shard,omitempty"`
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

// ShardCRL returns the latest CRL of one shard of an authority.
func (c *Client) ShardCRL(ctx context.Context, authority string, shard int) (CRL, error) {
	return call[CRL](ctx, c, http.MethodGet, shardPath(authority, shard), nil, nil)
}

// PublishShardCRL has the next CRL of one shard of an authority signed now.
func (c *Client) PublishShardCRL(ctx context.Context, authority string, shard int) (CRL, error) {
	return call[CRL](ctx, c, http.MethodPost, shardPath(authority, shard), nil, nil)
}

func shardPath(authority string, shard int) string {
	return authorityPath(authority) + "/crl?shard=" + strconv.Itoa(shard)
}

// CRLPlace is how it stands with one place that CRLs are put into.
type CRLPlace struct {
	Name string `json:"name"`
	// Complete is when it was last seen to have everything; left out for never.
	Complete *time.Time `json:"complete,omitempty"`
	// Behind is how many files it lacks, or has an older one of.
	Behind   int      `json:"behind"`
	Problems []string `json:"problems,omitempty"`
}

// PublishCRL has the next CRL of an authority signed now, and those of all its shards. It
// returns the full one.
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
