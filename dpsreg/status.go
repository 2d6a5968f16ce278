package dpsreg

import (
	"context"
	"errors"
	"time"
)

// Status is what DPS has of a target, beside what is wanted.
type Status struct {
	Target string     `json:"target"`
	CAs    []CAStatus `json:"cas"`
	// Groups are those that are configured.
	Groups []GroupStatus `json:"groups"`
	// CertificateSlots and GroupSlots say how much of the service's limits is used.
	CertificateSlots int      `json:"certificate_slots"` // of 25
	GroupSlots       int      `json:"group_slots"`       // of 100
	Unknown          []string `json:"unknown"`           // CAs and groups there that are not ours
}

// CAStatus is one CA.
type CAStatus struct {
	Authority string    `json:"authority"`
	Name      string    `json:"name"`
	SHA256    string    `json:"sha256"`
	There     bool      `json:"there"`
	Verified  bool      `json:"verified"`
	Expires   time.Time `json:"expires"`
	// Live counts the certificates in force below it, of devices; -1 if not asked for.
	Live int `json:"live"`
}

// GroupStatus is one group.
type GroupStatus struct {
	ID       string         `json:"id"`
	There    bool           `json:"there"`
	Disabled bool           `json:"disabled"`
	Anchors  []string       `json:"anchors"`  // as they are there: our authorities' names, or the SHA-256 of a stranger
	Live     map[string]int `json:"live"`     // certificates in force below each anchor; nil if not asked for
	Labels   []string       `json:"labels"`   // whose devices come here
	Orders   []string       `json:"orders"`   // open work orders whose devices come here
	Assigned int            `json:"assigned"` // registrations that are assigned; -1 if not asked for
}

// Status reads a target. With count it also counts live certificates and
// registrations, page by page.
func (r *Registrar) Status(ctx context.Context, t Target, count bool) (Status, error) {
	return Status{}, errors.New("not built yet")
}
