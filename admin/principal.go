package admin

import (
	"context"
	"net/http"
	"net/url"
	"time"
)

// Principal is someone who may use this API.
type Principal struct {
	Name  string   `json:"name"`
	Roles []string `json:"roles"`
	// Key is the public key in PEM by which the principal signs approvals and
	// authenticates over TLS; Fingerprint is the SHA-256 of its
	// SubjectPublicKeyInfo.
	Key         string `json:"key,omitempty"`
	Fingerprint string `json:"fingerprint,omitempty"`
	// UnixUser is the local user whose processes act as the principal.
	UnixUser  string     `json:"unix_user,omitempty"`
	AddedAt   time.Time  `json:"added_at"`
	AddedBy   string     `json:"added_by"`
	RemovedAt *time.Time `json:"removed_at,omitempty"`
}

// Principals is a list of them, by name, with those that were removed.
// Unprotected says what one officer can do alone because no second one could
// sign, or is empty.
type Principals struct {
	Principals  []Principal `json:"principals"`
	Unprotected string      `json:"unprotected,omitempty"`
}

// PrincipalSpec says who a principal is to be. To change one, all of it is
// given: what is left out is taken away.
type PrincipalSpec struct {
	Name     string   `json:"name"`
	Roles    []string `json:"roles"`
	Key      string   `json:"key,omitempty"` // PEM
	UnixUser string   `json:"unix_user,omitempty"`
}

// PrincipalEnroll asks for the TLS certificate of a principal.
type PrincipalEnroll struct {
	CSR string `json:"csr"` // PEM, for the recorded key
}

// Principals lists who may do what.
func (c *Client) Principals(ctx context.Context) (Principals, error) {
	return call[Principals](ctx, c, http.MethodGet, "/v1/principals", nil, nil)
}

// Principal returns one of them.
func (c *Client) Principal(ctx context.Context, name string) (Principal, error) {
	return call[Principal](ctx, c, http.MethodGet, principalPath(name), nil, nil)
}

// AddPrincipal adds a principal.
func (c *Client) AddPrincipal(ctx context.Context, spec PrincipalSpec) (Principal, error) {
	return call[Principal](ctx, c, http.MethodPost, "/v1/principals", nil, spec)
}

// ChangePrincipal replaces roles, key and Unix user of a principal.
func (c *Client) ChangePrincipal(ctx context.Context, spec PrincipalSpec) (Principal, error) {
	return call[Principal](ctx, c, http.MethodPut, principalPath(spec.Name), nil, spec)
}

// RemovePrincipal removes a principal, for good: the name is not used again.
func (c *Client) RemovePrincipal(ctx context.Context, name string) (Principal, error) {
	return call[Principal](ctx, c, http.MethodDelete, principalPath(name), nil, nil)
}

// EnrollPrincipal has the TLS certificate of a principal issued.
func (c *Client) EnrollPrincipal(ctx context.Context, name string, in PrincipalEnroll) (Issued, error) {
	return call[Issued](ctx, c, http.MethodPost, principalPath(name)+"/certificate", nil, in)
}

func principalPath(name string) string { return "/v1/principals/" + url.PathEscape(name) }
