package rotation

import (
	"errors"
	"time"

	"mintmark/internal/ledger"
)

// ErrElsewhere says that the key of an authority is not here.
var ErrElsewhere = errors.New("the key is elsewhere")

// Spec is what an officer asks for.
type Spec struct {
	Kind      ledger.RotationKind `json:"kind"`
	Old       string              `json:"old"`
	New       string              `json:"new"`
	Emergency bool                `json:"emergency,omitempty"`
	// How the new CA is made, if it is not there yet: empty fields are as the old one's.
	KeyURI       string `json:"key_uri,omitempty"`
	Key          string `json:"key,omitempty"` // p256, p384, rsa2048, ...
	CommonName   string `json:"common_name,omitempty"`
	ValidityDays int    `json:"validity_days,omitempty"`
	// Elsewhere: the key of the new root is made in a ceremony.
	Elsewhere bool `json:"elsewhere,omitempty"`

	Canary ledger.Canary `json:"canary"`
	Gates  Gates         `json:"gates"`
}

// Gates are the conditions of the moves that are measured, and how long the states before
// them last at least. Of an emergency the floors are zero and the shares are shown, not
// asked for.
type Gates struct {
	// Officers is how many must sign for each gate that asks for it; at least 2.
	Officers int `json:"officers"`
	// Trusting is the share of devices, in hundredths of a percent, that must have the new
	// anchors before the switch; 9950 if zero. Waived devices count as having them.
	Trusting int `json:"trusting"`
	// Moved is the same of devices that chain to the new CA, before trust in the old one is
	// taken away; 10000 if zero.
	Moved int `json:"moved"`
	// Distribute, Watch and Drain are the least times in DISTRIBUTING, CANARY and DRAINING.
	Distribute time.Duration `json:"distribute"`
	Watch      time.Duration `json:"watch"`
	Drain      time.Duration `json:"drain"`
	// Silent is after how long without a sign a device counts as silent; 30 days if zero.
	Silent time.Duration `json:"silent"`
}

// Plan is what officers sign: everything that will be done, and what must hold before.
type Plan struct {
	Version int        `json:"version"` // 1
	ID      string     `json:"id"`
	Spec    Spec       `json:"spec"`
	Made    time.Time  `json:"made"`
	Steps   []PlanStep `json:"steps"`
	Warned  []string   `json:"warned,omitempty"`
	// Affected are the issuing CAs whose devices have to move.
	Affected []string `json:"affected"`
	Devices  int      `json:"devices"` // that have to move, when it was made
}

// PlanStep is one move.
type PlanStep struct {
	State   State        `json:"state"`
	Sign    bool         `json:"sign,omitempty"` // officers sign for it
	Gate    string       `json:"gate,omitempty"` // what must hold, in words
	Changes []PlanChange `json:"changes,omitempty"`
}

// PlanChange is one thing that is done.
type PlanChange struct {
	Where  string `json:"where"` // mintmark, est, aws/NAME, azure/NAME
	What   string `json:"what"`
	Before string `json:"before,omitempty"`
	After  string `json:"after,omitempty"`
}
