package admin

import (
	"context"
	"net/http"
	"time"
)

// AWSDrift is what a comparison of the ledger with AWS found and did.
type AWSDrift struct {
	Target string `json:"target"`
	// At is absent if this server has made no comparison yet.
	At *time.Time `json:"at,omitempty"`
	// Checked counts the certificates that both sides know, or that one should.
	Checked int `json:"checked"`
	// Repaired were brought to the ledger's state, Adopted were revoked in the
	// ledger because they are at AWS, Left is for a person to decide.
	Repaired []AWSDifference `json:"repaired"`
	Adopted  []AWSDifference `json:"adopted"`
	Left     []AWSDifference `json:"left"`
	// Unknown counts those of Left that AWS has under our CAs and the ledger never
	// issued: the key of a CA may be in other hands.
	Unknown int `json:"unknown"`
}

// AWSDifference is one certificate on which the two sides disagree.
type AWSDifference struct {
	CertificateID string `json:"certificate_id"`
	Serial        string `json:"serial,omitempty"` // absent where it is not known
	Device        string `json:"device,omitempty"`
	Here          string `json:"here"`
	There         string `json:"there"`
	Text          string `json:"text"`
}

// AWSReconcile asks for a comparison now.
type AWSReconcile struct {
	// Adopt revokes in the ledger what is REVOKED at AWS, up to access.revoke_limit
	// certificates.
	Adopt bool `json:"adopt,omitempty"`
}

// AWSDrift returns what the last comparison found. It makes no call to AWS.
func (c *Client) AWSDrift(ctx context.Context, target string) (AWSDrift, error) {
	return call[AWSDrift](ctx, c, http.MethodGet, awsPath(target)+"/drift", nil, nil)
}

// AWSReconcile compares a target with the ledger now, repairs what it may, and
// returns when that is done: minutes for many certificates.
func (c *Client) AWSReconcile(ctx context.Context, target string, in AWSReconcile) (AWSDrift, error) {
	return call[AWSDrift](ctx, c, http.MethodPost, awsPath(target)+"/reconcile", nil, in)
}
