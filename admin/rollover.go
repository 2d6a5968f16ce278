package admin

import (
	"context"
	"net/http"
	"time"
)

// Rollover is the change from one root CA to another. While it runs, devices
// are given the certificates that lead from either to the other.
type Rollover struct {
	Old string `json:"old"`
	New string `json:"new"`
	// Running is true until it is ended.
	Running bool `json:"running"`
	// Compromised is true if the old root's key is in wrong hands: it then
	// vouches for nothing new.
	Compromised bool       `json:"compromised"`
	At          time.Time  `json:"at"`
	Actor       string     `json:"actor"`
	EndedAt     *time.Time `json:"ended_at,omitempty"`
	EndedBy     string     `json:"ended_by,omitempty"`
	// OldWithNew is the old root's key certified by the new one, NewWithOld the
	// reverse (RFC 4210, Section 4.4), which a compromise leaves out.
	OldWithNew *Bridge `json:"old_with_new,omitempty"`
	NewWithOld *Bridge `json:"new_with_old,omitempty"`
}

// Bridge is a certificate that leads from one root to another.
type Bridge struct {
	Serial   string    `json:"serial"`
	State    string    `json:"state"` // valid or revoked
	NotAfter time.Time `json:"not_after"`
	PEM      string    `json:"pem"`
}

// Rollovers is a list of them, in the order in which they began.
type Rollovers struct {
	Rollovers []Rollover `json:"rollovers"`
}

// RolloverSpec names the roots of a rollover.
type RolloverSpec struct {
	Old         string `json:"old"`
	New         string `json:"new"`
	Compromised bool   `json:"compromised,omitempty"`
	// OldWithNew and NewWithOld are certificates in PEM that were signed where the key of the
	// new or the old root is. One that is left out is signed by the server.
	OldWithNew string `json:"old_with_new,omitempty"`
	NewWithOld string `json:"new_with_old,omitempty"`
}

// RolloverEnd names the rollover to end.
type RolloverEnd struct {
	Old string `json:"old"`
	New string `json:"new"`
}

// Rollovers lists all.
func (c *Client) Rollovers(ctx context.Context) ([]Rollover, error) {
	list, err := call[Rollovers](ctx, c, http.MethodGet, "/v1/rollovers", nil, nil)
	return list.Rollovers, err
}

// BeginRollover certifies each of two roots with the other.
func (c *Client) BeginRollover(ctx context.Context, spec RolloverSpec) (Rollover, error) {
	return call[Rollover](ctx, c, http.MethodPost, "/v1/rollovers", nil, spec)
}

// EndRollover ends one that runs.
func (c *Client) EndRollover(ctx context.Context, end RolloverEnd) (Rollover, error) {
	return call[Rollover](ctx, c, http.MethodPost, "/v1/rollovers/end", nil, end)
}
