package admin

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// The bounds of what is said of devices in a rotation.
const (
	// MaxWaived is how many devices one waiver may name; there is no bound on what it
	// selects by work order or class.
	MaxWaived = 10_000
	// MaxReported is how many devices one report may name.
	MaxReported = 5000
)

// AnchorClasses are where a device stands in a rotation, in the order in which the first
// that fits counts.
var AnchorClasses = []string{"moved", "waived", "trusts", "expired", "never", "silent", "left"}

// AnchorDevice is one device in a rotation.
type AnchorDevice struct {
	Device string `json:"device"`
	Class  string `json:"class"` // one of AnchorClasses
	// Issuer and NotAfter are those of its newest certificate.
	Issuer   string     `json:"issuer"`
	NotAfter time.Time  `json:"not_after"`
	LastSeen *time.Time `json:"last_seen,omitempty"`
	// Pinned: the label of its newest certificate gives out the old path only.
	Pinned bool   `json:"pinned,omitempty"`
	Label  string `json:"label,omitempty"`
	// Trusts is when it had the new anchors, and How that is known: fetched, proved or
	// reported. Chains is when it had a path under the new CA.
	Trusts *time.Time `json:"trusts,omitempty"`
	How    string     `json:"how,omitempty"`
	Chains *time.Time `json:"chains,omitempty"`
	// Waived is when an officer took it out of the gates.
	Waived   *time.Time `json:"waived,omitempty"`
	WaivedBy string     `json:"waived_by,omitempty"`
	Why      string     `json:"why,omitempty"`
}

// AnchorDevices is a page of them, by name.
type AnchorDevices struct {
	// Counts are all devices of the rotation by class, and Total is their sum; on the first
	// page only.
	Counts  map[string]int `json:"counts,omitempty"`
	Total   int            `json:"total,omitempty"`
	Devices []AnchorDevice `json:"devices"`
	Next    string         `json:"next,omitempty"`
}

// AnchorQuery selects devices of a rotation.
type AnchorQuery struct {
	Class string // empty for all
	After string
	Limit int
}

// Waiver takes devices out of the gates of a rotation, by exactly one of its first three
// fields.
type Waiver struct {
	Devices []string `json:"devices,omitempty"` // at most MaxWaived
	// Order is a work order: those of its devices that have not moved.
	Order string `json:"order,omitempty"`
	// Class is left, silent, never or expired.
	Class  string `json:"class,omitempty"`
	Reason string `json:"reason"`
}

// Waived says what a waiver did.
type Waived struct {
	Devices int `json:"devices"`
	// Hash is the SHA-256 of their names, sorted, a line each.
	Hash string `json:"hash"`
}

// AnchorReport is what another system knows of devices.
type AnchorReport struct {
	Devices []ReportedDevice `json:"devices"` // at most MaxReported
}

// ReportedDevice has the new anchors.
type ReportedDevice struct {
	Device string `json:"device"`
	// At is since when; left out for now.
	At *time.Time `json:"at,omitempty"`
	// Chains: it shows the path under the new root, too.
	Chains bool `json:"chains,omitempty"`
}

// AnchorReported says what became of a report.
type AnchorReported struct {
	Noted int `json:"noted"`
	// Unknown are names that no device of the rotation has; the first of them stand in Names.
	Unknown int      `json:"unknown"`
	Names   []string `json:"names,omitempty"`
}

// AnchorBundle are the certificates for a firmware image.
type AnchorBundle struct {
	Rotation     string              `json:"rotation"`
	Certificates []BundleCertificate `json:"certificates"`
	Warning      string              `json:"warning,omitempty"`
}

// BundleCertificate is one of them.
type BundleCertificate struct {
	// Kind is old-root, new-root, old-with-new or new-with-old.
	Kind     string    `json:"kind"`
	Subject  string    `json:"subject"`
	NotAfter time.Time `json:"not_after"`
	SHA256   string    `json:"sha256"`
	DER      []byte    `json:"der"`
}

// AnchorDevices lists the devices of a rotation.
func (c *Client) AnchorDevices(ctx context.Context, id string, q AnchorQuery) (AnchorDevices, error) {
	values := make(url.Values)
	for name, value := range map[string]string{"class": q.Class, "after": q.After} {
		if value != "" {
			values.Set(name, value)
		}
	}
	if q.Limit > 0 {
		values.Set("limit", strconv.Itoa(q.Limit))
	}
	return call[AnchorDevices](ctx, c, http.MethodGet, anchorPath(id)+"/devices", values, nil)
}

// WaiveDevices takes devices out of the gates of a rotation. It needs two persons: *Proposed.
func (c *Client) WaiveDevices(ctx context.Context, id string, in Waiver) (Waived, error) {
	return call[Waived](ctx, c, http.MethodPost, anchorPath(id)+"/waivers", nil, in)
}

// ReportAnchors says which devices have the new anchors. It needs two persons: *Proposed.
func (c *Client) ReportAnchors(ctx context.Context, id string, in AnchorReport) (AnchorReported, error) {
	return call[AnchorReported](ctx, c, http.MethodPost, anchorPath(id)+"/reports", nil, in)
}

// AnchorBundle returns the trust anchors for a firmware image: trust is old, both or new.
func (c *Client) AnchorBundle(ctx context.Context, id, trust string, bridges bool) (AnchorBundle, error) {
	values := url.Values{"trust": {trust}}
	if bridges {
		values.Set("bridges", "true")
	}
	return call[AnchorBundle](ctx, c, http.MethodGet, anchorPath(id)+"/bundle", values, nil)
}

func anchorPath(id string) string { return "/v1/rotations/" + url.PathEscape(id) }
