package admin

import (
	"context"
	"net/http"
	"time"
)

// Status says who answers and what it has.
type Status struct {
	Version string    `json:"version"`
	Server  string    `json:"server"`
	Time    time.Time `json:"time"`
	// Actor is the principal that the caller is taken for.
	Actor string `json:"actor"`
	// Ledger is "ok", or why nothing can be recorded at the moment.
	Ledger string `json:"ledger"`
	// Unprotected says what one officer can do alone because no second one could
	// sign, or is empty.
	Unprotected string `json:"unprotected,omitempty"`
	// Authorities counts the authorities; Waiting those among them whose
	// request waits for a certificate.
	Authorities int `json:"authorities"`
	Waiting     int `json:"waiting"`
	// Profiles are the names of the profiles that can be issued.
	Profiles []string `json:"profiles"`
	// AWSTargets are the names of the configured AWS targets.
	AWSTargets []string `json:"aws_targets"`
	// AWSDrift says, for each target where a person must decide, what the last
	// comparison with AWS found.
	AWSDrift []string `json:"aws_drift,omitempty"`
	// AzureTargets and AzureDrift are the same for Azure.
	AzureTargets []string `json:"azure_targets"`
	AzureDrift   []string `json:"azure_drift,omitempty"`
	// Tokens says which PKCS#11 tokens are not ready to sign, in words.
	Tokens []string `json:"tokens,omitempty"`
	// Backlog counts what has not been told to the outside yet, by kind.
	Backlog map[string]int `json:"backlog"`
	// UnlistedRevocations counts, by authority, revocations that the latest
	// CRL does not show yet.
	UnlistedRevocations map[string]int `json:"unlisted_revocations"`
	// Outstanding says what was revoked, held or released and is not everywhere yet; where
	// nothing is, there is no entry.
	Outstanding []Outstanding `json:"outstanding,omitempty"`
	// Rotations are those that are not over, in the order in which they began.
	Rotations []RunningRotation `json:"rotations,omitempty"`
	// Replaced says where the configuration that the server runs by names a CA that a
	// rotation has replaced.
	Replaced []string `json:"replaced,omitempty"`
	// CRLs says what somebody must do about the CRLs of authorities whose key is elsewhere.
	CRLs []string `json:"crls,omitempty"`
	// CRLPlaces says of each place of crl.publish whether it has the latest CRLs, as far as
	// the server that answers has looked since its start.
	CRLPlaces []CRLPlace `json:"crl_places,omitempty"`
	// PendingEnrollments counts the requests that wait for a person; MaxPage
	// stands for that many and more.
	PendingEnrollments int `json:"pending_enrollments"`
	// PendingCauses counts the same by why they wait: label, webhook, second-key.
	PendingCauses map[string]int `json:"pending_causes"`
}

// RunningRotation says that a rotation runs, and where it stands.
type RunningRotation struct {
	ID        string    `json:"id"`
	Old       string    `json:"old"`
	New       string    `json:"new"`
	Emergency bool      `json:"emergency,omitempty"`
	State     string    `json:"state"`
	Since     time.Time `json:"since"`
	// Paused says why it is paused, or that it is being taken back; empty if neither.
	Paused string `json:"paused,omitempty"`
}

// Status asks for the state of the server.
func (c *Client) Status(ctx context.Context) (Status, error) {
	return call[Status](ctx, c, http.MethodGet, "/v1/status", nil, nil)
}
