package dpsreg

import (
	"context"
	"errors"
	"time"
)

// Drift is what a comparison of the devices at a target with the ledger found.
type Drift struct {
	Target   string    `json:"target"`
	At       time.Time `json:"at"`
	Devices  int       `json:"devices"`  // looked at in the ledger
	Repaired []Finding `json:"repaired"` // brought to what they should be
	Promoted []string  `json:"promoted"` // devices whose new certificate is the primary one now
	Left     []Finding `json:"left"`     // could not be repaired, and why
	Unknown  []string  `json:"unknown"`  // enrollments there that are not ours, the first 1000
	// UnknownCount counts all of these.
	UnknownCount int `json:"unknown_count"`
}

// Finding is one device that is not as it should be.
type Finding struct {
	Device string `json:"device"`
	What   string `json:"what"`
}

// Reconcile compares every individual enrollment at the target with the ledger, both
// ways, repairs what differs, promotes new certificates of devices that have
// registered since they got them, and returns what it found.
func (r *Registrar) Reconcile(ctx context.Context, t Target) (Drift, error) {
	return Drift{}, errors.New("not built yet")
}
