package admin

import (
	"context"
	"net/http"
	"time"
)

// Revocation asks to revoke one certificate, or all valid ones that one of the fields up to
// Requester names; exactly one of these is set.
type Revocation struct {
	Serial string `json:"serial,omitempty"`
	Device string `json:"device,omitempty"`
	Order  string `json:"order,omitempty"`
	// Issuer names all that a CA has signed, but for CAs and its OCSP responder.
	Issuer string `json:"issuer,omitempty"`
	// Key is the SHA-256 of a SubjectPublicKeyInfo, in hexadecimal.
	Key string `json:"key,omitempty"`
	// Requester is the name of who asked for the certificates; RequesterKind, which may be
	// empty, how that was authenticated.
	Requester     string `json:"requester,omitempty"`
	RequesterKind string `json:"requester_kind,omitempty"`
	// Superseded leaves out, of what Issuer names, whatever is not a device's that has a newer
	// certificate in force by another CA: nobody is cut off.
	Superseded bool `json:"superseded,omitempty"`
	// Most, if it is not zero, is how many may be revoked: if there are more, none is.
	Most int `json:"most,omitempty"`
	// Reason is a name of RFC 5280, Section 5.3.1; unspecified if empty.
	Reason string `json:"reason,omitempty"`
	// Authority must be true to revoke the certificate of an authority, with
	// which everything below it is lost.
	Authority bool `json:"authority,omitempty"`
}

// Revoked says what was revoked.
type Revoked struct {
	// Serials are those that changed state: none if all were revoked before, the first
	// MaxPage if there are more.
	Serials []string `json:"serials"`
	// Count is how many changed state.
	Count int `json:"count"`
	// Warning says what did not work although the revocation was recorded.
	Warning string `json:"warning,omitempty"`
}

// Revoke revokes certificates. When it returns they are on the CRL, or Warning
// says why not yet. An error of the rule revocation-part says that some are revoked and some
// are not: asked again, it goes on.
func (c *Client) Revoke(ctx context.Context, r Revocation) (Revoked, error) {
	return call[Revoked](ctx, c, http.MethodPost, "/v1/revocations", nil, r)
}

// The states of what is told to one place.
const (
	ToldDone    = "done"
	ToldPending = "pending"
	// ToldUnknown: the process that answers has not looked there since its start.
	ToldUnknown = "unknown"
)

// Told is how it stands with one place that must know of a revocation, or of a hold.
type Told struct {
	Name  string `json:"name"`
	State string `json:"state"`
	// The rest is about what is pending: since when, how often it was tried, when it is
	// tried again, and why the last attempt failed.
	Since    *time.Time `json:"since,omitempty"`
	Attempts int        `json:"attempts,omitempty"`
	Next     *time.Time `json:"next_try,omitempty"`
	Error    string     `json:"error,omitempty"`
}

// The states of a revocation on its CRL.
const (
	CRLListed = "listed"
	CRLDue    = "due"
	// CRLElsewhere: it is not on the CRL, and the key that signs that is not here.
	CRLElsewhere = "elsewhere"
)

// RevokedCRL is how it stands with the CRL that a revoked certificate belongs on.
type RevokedCRL struct {
	Issuer string `json:"issuer"`
	Shard  int    `json:"shard,omitempty"`
	State  string `json:"state"`
	// Number and PublishedAt are those of the latest CRL; left out if there is none.
	Number      int64      `json:"number,omitempty"`
	PublishedAt *time.Time `json:"published_at,omitempty"`
	// Since is when it was revoked, of one that is not listed.
	Since *time.Time `json:"since,omitempty"`
}

// RevokedWhere says where a revocation has been seen to.
type RevokedWhere struct {
	// Complete: everywhere, as far as the server that answers knows.
	Complete bool       `json:"complete"`
	CRL      RevokedCRL `json:"crl"`
	// Places are those of crl.publish, OCSP the responder of the server that answers (left
	// out if there is none), and Targets those of the clouds that must be told.
	Places  []Told `json:"places,omitempty"`
	OCSP    *Told  `json:"ocsp,omitempty"`
	Targets []Told `json:"targets,omitempty"`
}

// Outstanding is how much of what was revoked, held or released is not at one place yet.
type Outstanding struct {
	Where string `json:"where"`
	Count int    `json:"count"`
	// Since is the oldest; as far back as the server that answers has seen it at least.
	Since time.Time `json:"since"`
}
