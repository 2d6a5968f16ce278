package admin

import (
	"context"
	"net/http"
	"time"
)

// AzureDrift is what a comparison of the ledger with the enrollments at Azure found
// and did.
type AzureDrift struct {
	Target string `json:"target"`
	// At is absent if this server has made no comparison yet.
	At *time.Time `json:"at,omitempty"`
	// Devices counts those of the ledger that were looked at.
	Devices int `json:"devices"`
	// Repaired were brought to what they should be, Promoted are devices whose new
	// certificate is the primary one now, Left is for a person to decide.
	Repaired []AzureFinding `json:"repaired"`
	Promoted []string       `json:"promoted"`
	Left     []AzureFinding `json:"left"`
	// Unknown are registration ids of enrollments there that are not ours, the first
	// 1000 of UnknownCount.
	Unknown      []string `json:"unknown"`
	UnknownCount int      `json:"unknown_count"`
}

// AzureFinding is one device that is not as it should be.
type AzureFinding struct {
	Device string `json:"device"`
	What   string `json:"what"`
}

// AzureReconcile asks for a comparison now.
type AzureReconcile struct{}

// AzureDrift returns what the last comparison found. It makes no call to Azure.
func (c *Client) AzureDrift(ctx context.Context, target string) (AzureDrift, error) {
	return call[AzureDrift](ctx, c, http.MethodGet, azurePath(target)+"/drift", nil, nil)
}

// AzureReconcile compares a target with the ledger now, repairs what it may, and
// returns when that is done: at 1000 operations a minute, a while.
func (c *Client) AzureReconcile(ctx context.Context, target string) (AzureDrift, error) {
	return call[AzureDrift](ctx, c, http.MethodPost, azurePath(target)+"/reconcile", nil, AzureReconcile{})
}
