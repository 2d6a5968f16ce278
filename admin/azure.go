package admin

import (
	"context"
	"net/http"
	"net/url"
	"time"
)

// AzureTargets are the configured Device Provisioning Services.
type AzureTargets struct {
	Places []AzurePlace `json:"places"`
}

// AzurePlace is where a target is, and what devices need to know of it.
type AzurePlace struct {
	Target         string `json:"target"`
	SubscriptionID string `json:"subscription_id"`
	ResourceGroup  string `json:"resource_group"`
	// Service is the name of the DPS instance.
	Service string `json:"service"`
	// IDScope is what devices name; empty if the configuration does not say it.
	IDScope string `json:"id_scope,omitempty"`
	// Labels are the EST labels whose devices come into a group, or have an
	// individual enrollment.
	Labels []string `json:"labels"`
}

// AzureStatus is what a target looks like now.
type AzureStatus struct {
	Target string       `json:"target"`
	CAs    []AzureCA    `json:"cas"`
	Groups []AzureGroup `json:"groups"`
	// CertificateSlots and GroupSlots say how much is used of what a service has: 25
	// CA certificates and 100 groups.
	CertificateSlots int `json:"certificate_slots"`
	GroupSlots       int `json:"group_slots"`
	// Unknown are CAs and groups there that are not ours.
	Unknown []string `json:"unknown"`
	// Warnings are about what will not do for long: a CA that expires, limits that
	// are nearly reached.
	Warnings []string `json:"warnings"`
	Plan     Plan     `json:"plan"`
}

// AzureCA is one CA of a target.
type AzureCA struct {
	Authority string `json:"authority"`
	// Name is that of the certificate at DPS.
	Name     string    `json:"name"`
	SHA256   string    `json:"sha256"`
	There    bool      `json:"there"`
	Verified bool      `json:"verified"`
	NotAfter time.Time `json:"not_after"`
	// Live counts the certificates in force of devices below it; absent unless it
	// was asked for.
	Live *int `json:"live,omitempty"`
	// Superseded counts those of Live whose device has a newer one that does not
	// stand below it.
	Superseded *int `json:"superseded,omitempty"`
}

// AzureGroup is one configured enrollment group.
type AzureGroup struct {
	ID       string `json:"id"`
	There    bool   `json:"there"`
	Disabled bool   `json:"disabled"`
	// Anchors are what it stands on: authorities of ours, or the SHA-256 of another
	// certificate.
	Anchors []string `json:"anchors"`
	// Live counts the certificates in force below each anchor; absent unless it was
	// asked for.
	Live map[string]int `json:"live,omitempty"`
	// Superseded counts those of Live whose device has a newer one that does not
	// stand below that anchor.
	Superseded map[string]int `json:"superseded,omitempty"`
	// Labels and Orders are the EST labels and the open work orders whose devices
	// come here.
	Labels []string `json:"labels"`
	Orders []string `json:"orders"`
	// Assigned counts the devices that have registered; absent unless it was asked
	// for.
	Assigned *int `json:"assigned,omitempty"`
}

// AzurePlaces lists the targets and where they are.
func (c *Client) AzurePlaces(ctx context.Context) ([]AzurePlace, error) {
	list, err := call[AzureTargets](ctx, c, http.MethodGet, "/v1/azure/targets", nil, nil)
	return list.Places, err
}

// AzurePlan says what AzureApply would do. It changes nothing.
func (c *Client) AzurePlan(ctx context.Context, target string) (Plan, error) {
	return call[Plan](ctx, c, http.MethodGet, azurePath(target)+"/plan", nil, nil)
}

// AzureApply makes CAs and groups of the target what they should be and returns what
// was done. Progress is called for each change as it is made, and may be nil. A plan
// that takes something out of service needs two persons: *Proposed.
func (c *Client) AzureApply(ctx context.Context, target string, apply Apply, progress func(Change)) (Plan, error) {
	return c.apply(ctx, azurePath(target), "azure plan", apply, progress)
}

// AzureStatus reads a target. It changes nothing. With count it also counts
// certificates in the ledger, and registrations at DPS page by page.
func (c *Client) AzureStatus(ctx context.Context, target string, count bool) (AzureStatus, error) {
	query := make(url.Values)
	if count {
		query.Set("count", "true")
	}
	return call[AzureStatus](ctx, c, http.MethodGet, azurePath(target)+"/status", query, nil)
}

func azurePath(target string) string { return "/v1/azure/targets/" + url.PathEscape(target) }
