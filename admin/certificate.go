package admin

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// MaxPage is the most that one page of a list holds; DefaultPage is what it
// holds if no limit is given.
const (
	MaxPage     = 1000
	DefaultPage = 100
)

// Requester is who asked for a certificate.
type Requester struct {
	Kind    string `json:"kind"`
	Name    string `json:"name"`
	Address string `json:"address,omitempty"`
}

// Certificate is what is recorded of a serial number.
type Certificate struct {
	Serial    string    `json:"serial"`
	State     string    `json:"state"` // open, valid, revoked or void
	Issuer    string    `json:"issuer"`
	Profile   string    `json:"profile"`
	Label     string    `json:"label,omitempty"`
	Purpose   string    `json:"purpose"`
	Device    string    `json:"device,omitempty"`
	Order     string    `json:"order,omitempty"` // work order
	Subject   string    `json:"subject"`
	Requester Requester `json:"requester"`
	// Key is the SHA-256 of the SubjectPublicKeyInfo.
	Key       string     `json:"key"`
	NotBefore time.Time  `json:"not_before"`
	NotAfter  time.Time  `json:"not_after"`
	IssuedAt  *time.Time `json:"issued_at,omitempty"`
	RevokedAt *time.Time `json:"revoked_at,omitempty"`
	Reason    string     `json:"reason,omitempty"`
	RevokedBy string     `json:"revoked_by,omitempty"`
	// Revocation is left out of lists, and of what is not revoked.
	Revocation *RevokedWhere `json:"revocation,omitempty"`
	// PEM is left out of lists, and while there is no certificate.
	PEM string `json:"pem,omitempty"`
}

// Query selects certificates; empty fields do not restrict.
type Query struct {
	Device        string
	Profile       string
	Issuer        string
	Requester     string
	Order         string
	Purpose       string
	State         string // expired is not valid here
	Key           string
	ExpiresBefore time.Time
	After         string // the serial that the previous page ended with
	Limit         int    // at most MaxPage; DefaultPage if zero
	// Revoking selects what is revoked and not everywhere yet; nothing but Limit goes with it.
	Revoking bool
}

func (q Query) values() url.Values {
	v := make(url.Values)
	set := func(name, value string) {
		if value != "" {
			v.Set(name, value)
		}
	}
	set("device", q.Device)
	set("profile", q.Profile)
	set("issuer", q.Issuer)
	set("requester", q.Requester)
	set("order", q.Order)
	set("purpose", q.Purpose)
	set("state", q.State)
	set("key", q.Key)
	set("after", q.After)
	if !q.ExpiresBefore.IsZero() {
		v.Set("expires_before", q.ExpiresBefore.UTC().Format(time.RFC3339))
	}
	if q.Limit != 0 {
		v.Set("limit", strconv.Itoa(q.Limit))
	}
	if q.Revoking {
		v.Set("revoking", "true")
	}
	return v
}

// Certificates is one page of a list, in the order of serial numbers or, of what was asked for
// by its end alone, in the order of ends. Next, if not empty, is the After of the following page. More, of what is being revoked, says that there
// are others.
type Certificates struct {
	Certificates []Certificate `json:"certificates"`
	Next         string        `json:"next,omitempty"`
	More         bool          `json:"more,omitempty"`
}

// Certificates returns one page of what the query selects.
func (c *Client) Certificates(ctx context.Context, q Query) (Certificates, error) {
	return call[Certificates](ctx, c, http.MethodGet, "/v1/certificates", q.values(), nil)
}

// Certificate returns what is recorded of one serial number.
func (c *Client) Certificate(ctx context.Context, serial string) (Certificate, error) {
	return call[Certificate](ctx, c, http.MethodGet, "/v1/certificates/"+url.PathEscape(serial), nil, nil)
}
