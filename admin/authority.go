package admin

import (
	"context"
	"net/http"
	"net/url"
	"time"
)

// The states of an authority.
const (
	Ready     = "ready"   // it has a certificate in force and a key
	Waiting   = "waiting" // its request waits for a certificate
	Withdrawn = "revoked" // it or a CA above it is revoked: it issues nothing
	Anchor    = "anchor"  // its key is elsewhere: a trust anchor, not an issuer
	Expired   = "expired"
)

// Authority is one certification authority.
type Authority struct {
	Name  string `json:"name"`
	State string `json:"state"`
	// Root is true for a self-signed one.
	Root bool `json:"root"`
	// Subject and Issuer are names as text (RFC 4514); Serial is that of the
	// CA certificate. They and the times are left out while it waits.
	Subject   string     `json:"subject,omitempty"`
	Issuer    string     `json:"issuer,omitempty"`
	Serial    string     `json:"serial,omitempty"`
	Key       string     `json:"key,omitempty"` // its type, as in P-256
	NotBefore *time.Time `json:"not_before,omitempty"`
	NotAfter  *time.Time `json:"not_after,omitempty"`
	PathLen   *int       `json:"path_len,omitempty"`
	CreatedAt time.Time  `json:"created_at"`
	// KeyURI says where the key is, without secrets.
	KeyURI string `json:"key_uri,omitempty"`
	// Fingerprint is the SHA-256 of the certificate.
	Fingerprint string `json:"fingerprint,omitempty"`
	// Certificate and Chain are PEM and left out of lists. Chain leads from
	// the issuer of the certificate to the root.
	Certificate string `json:"certificate,omitempty"`
	Chain       string `json:"chain,omitempty"`
	// CRL is the latest, without its content; left out if there is none.
	CRL *CRL `json:"crl,omitempty"`
	// Rollovers are those that run and concern its root; left out of lists.
	Rollovers []Rollover `json:"rollovers,omitempty"`
	// Warning says what did not work although the authority was recorded.
	Warning string `json:"warning,omitempty"`
}

// Authorities is a list of them, in the order of their creation.
type Authorities struct {
	Authorities []Authority `json:"authorities"`
}

// Name is the subject of an authority. Attributes left empty are left out.
type Name struct {
	CommonName         string `json:"common_name,omitempty"`
	Organization       string `json:"organization,omitempty"`
	OrganizationalUnit string `json:"organizational_unit,omitempty"`
	Locality           string `json:"locality,omitempty"`
	Province           string `json:"province,omitempty"`
	Country            string `json:"country,omitempty"`
	SerialNumber       string `json:"serial_number,omitempty"`
}

// Names is a set of name constraints (RFC 5280, Section 4.2.1.10).
type Names struct {
	DNS   []string `json:"dns,omitempty"`
	IP    []string `json:"ip,omitempty"` // as in 10.0.0.0/8
	Email []string `json:"email,omitempty"`
	URI   []string `json:"uri,omitempty"`
}

// AuthoritySpec describes an authority to make.
type AuthoritySpec struct {
	Name string `json:"name"`
	// Issuer is the authority that certifies it; empty for a root.
	Issuer string `json:"issuer,omitempty"`
	// Key is the type of its key; P-256 if empty.
	Key string `json:"key,omitempty"`
	// KeyURI says where the key is made; empty for an encrypted file.
	KeyURI  string `json:"key_uri,omitempty"`
	Subject Name   `json:"subject"`
	// ValiditySeconds counts from now; NotAfter takes its place. One of them is
	// required, except for a certification request, which holds neither.
	ValiditySeconds int64      `json:"validity_seconds,omitempty"`
	NotAfter        *time.Time `json:"not_after,omitempty"`
	// PathLen limits the number of CA certificates below.
	PathLen *int  `json:"path_len,omitempty"`
	Permit  Names `json:"permit"`
	Exclude Names `json:"exclude"`
}

// AuthorityRequest is the certification request of an authority whose root is
// kept elsewhere.
type AuthorityRequest struct {
	Name string `json:"name"`
	CSR  string `json:"csr"` // PEM
}

// AuthorityImport completes an authority that waits, or brings one that exists.
type AuthorityImport struct {
	// Certificates is PEM: the CA certificate and every one above it, up to the
	// root, in any order.
	Certificates string `json:"certificates"`
	// KeyURI names the key. Empty for an authority that waits, and for a trust
	// anchor whose key is kept elsewhere.
	KeyURI string `json:"key_uri,omitempty"`
}

// Authorities lists the authorities.
func (c *Client) Authorities(ctx context.Context) ([]Authority, error) {
	list, err := call[Authorities](ctx, c, http.MethodGet, "/v1/authorities", nil, nil)
	return list.Authorities, err
}

// Authority returns one authority with certificate and chain.
func (c *Client) Authority(ctx context.Context, name string) (Authority, error) {
	return call[Authority](ctx, c, http.MethodGet, authorityPath(name), nil, nil)
}

// CreateAuthority makes a root, or an issuing CA under an authority.
func (c *Client) CreateAuthority(ctx context.Context, spec AuthoritySpec) (Authority, error) {
	return call[Authority](ctx, c, http.MethodPost, "/v1/authorities", nil, spec)
}

// RequestAuthority makes a key and returns the request for its certificate. For
// an authority that waits already it makes the request again, with the same key.
func (c *Client) RequestAuthority(ctx context.Context, spec AuthoritySpec) (AuthorityRequest, error) {
	return call[AuthorityRequest](ctx, c, http.MethodPost, authorityPath(spec.Name)+"/csr", nil, spec)
}

// ImportAuthority brings certificates for an authority.
func (c *Client) ImportAuthority(ctx context.Context, name string, i AuthorityImport) (Authority, error) {
	return call[Authority](ctx, c, http.MethodPut, authorityPath(name)+"/certificate", nil, i)
}

func authorityPath(name string) string { return "/v1/authorities/" + url.PathEscape(name) }
