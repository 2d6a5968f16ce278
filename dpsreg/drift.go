package dpsreg

import "time"

// Drift is what a comparison of the devices at a target with the ledger found. Of each
// list it has the first 1000; of those that are longer the last entry says how many
// more there are.
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
