package admin

import "time"

// RotationSpec asks for the replacement of one CA by another. What is left out has a
// default that the plan shows.
type RotationSpec struct {
	// Kind is root or issuing; left out for what the old CA is.
	Kind string `json:"kind,omitempty"`
	Old  string `json:"old"`
	// New is the name of the CA that takes its place. It is made, like the old one, unless
	// it is there.
	New string `json:"new"`
	// Emergency: the old key is in wrong hands.
	Emergency    bool   `json:"emergency,omitempty"`
	KeyURI       string `json:"key_uri,omitempty"`
	Key          string `json:"key,omitempty"` // P-256, P-384, P-521, RSA-2048, RSA-3072, RSA-4096
	CommonName   string `json:"common_name,omitempty"`
	ValidityDays int    `json:"validity_days,omitempty"`
	// Elsewhere: the key of the new root is made in a ceremony.
	Elsewhere bool `json:"elsewhere,omitempty"`
	// CanaryLabels are EST labels, CanaryPercent is the share of devices, that the new CA
	// serves before all others.
	CanaryLabels  []string      `json:"canary_labels,omitempty"`
	CanaryPercent int           `json:"canary_percent,omitempty"`
	Gates         RotationGates `json:"gates,omitzero"`
}

// RotationGates are what must hold before a rotation goes on. Of an emergency the times
// are zero, and the shares are shown and not asked for.
type RotationGates struct {
	// Officers is how many must sign for each gate that asks for it; 2 if left out.
	Officers int `json:"officers,omitempty"`
	// Trusting is the share of devices, in hundredths of a percent, that must have the new
	// anchors before the switch; 9950 if left out.
	Trusting int `json:"trusting,omitempty"`
	// Moved is the same of devices that chain to the new CA, before trust in the old one is
	// taken away; 10000 if left out.
	Moved int `json:"moved,omitempty"`
	// The least times in DISTRIBUTING, CANARY and DRAINING, in seconds; 30, 7 and 30 days if
	// left out.
	DistributeSeconds *int64 `json:"distribute_seconds,omitempty"`
	WatchSeconds      *int64 `json:"watch_seconds,omitempty"`
	DrainSeconds      *int64 `json:"drain_seconds,omitempty"`
	// SilentSeconds is after how long without a sign a device counts as silent; 30 days if
	// left out.
	SilentSeconds int64 `json:"silent_seconds,omitempty"`
}

// Rotation is the replacement of one CA by another, as it stands.
type Rotation struct {
	ID        string    `json:"id"`
	Kind      string    `json:"kind"` // root or issuing
	Old       string    `json:"old"`
	New       string    `json:"new"`
	Emergency bool      `json:"emergency,omitempty"`
	State     string    `json:"state"`
	Since     time.Time `json:"since"`
	// Over: nothing will move any more.
	Over bool `json:"over"`
	// Paused says why nothing moves.
	Paused string `json:"paused,omitempty"`
	// RollingBack: a rollback has begun, and a run goes on with it.
	RollingBack bool `json:"rolling_back,omitempty"`
	// Serving is which CA serves: old, canary or new.
	Serving string `json:"serving"`
	// Kept, of one that was rolled back: devices have something of the new CA, which stays
	// where it was given out.
	Kept bool `json:"kept,omitempty"`
	// Hash is the SHA-256 of the plan that officers sign.
	Hash       string              `json:"hash"`
	Signatures []RotationSignature `json:"signatures"`
	At         time.Time           `json:"at"`
	Actor      string              `json:"actor"`
}

// RotationSignature says that an officer has signed for a gate.
type RotationSignature struct {
	Gate    string    `json:"gate"` // the state that may be entered
	Officer string    `json:"officer"`
	At      time.Time `json:"at"`
}

// Rotations is a list of them, in the order in which they began.
type Rotations struct {
	Rotations []Rotation `json:"rotations"`
}

// RotationStatus is a rotation with its plan, and with what its next gate measures.
type RotationStatus struct {
	Rotation Rotation `json:"rotation"`
	// Plan is exactly the text whose SHA-256 is Rotation.Hash; RotationPlan is its form.
	Plan string `json:"plan"`
	// Gate is the next one; left out if the rotation is over.
	Gate *RotationGate `json:"gate,omitempty"`
	// Blocked says what the next gate misses, one line each.
	Blocked []string `json:"blocked"`
	// Measured says what the next gate has found and does not miss.
	Measured []string `json:"measured"`
	// Counts are the devices by class; left out where nothing was counted.
	Counts map[string]int `json:"counts,omitempty"`
	// Waiting is what a ceremony must bring.
	Waiting *RotationWaiting `json:"waiting,omitempty"`
	// Rollback is what officers sign for before an emergency is taken back that has shut
	// out the old CA; left out where nobody does.
	Rollback *RotationGate `json:"rollback,omitempty"`
	// Failed are the steps that have failed in this state and were not done since, with when
	// and why.
	Failed []string `json:"failed,omitempty"`
	// End is the last line of the journal of a rotation that is over: from which state it
	// was rolled back, and why.
	End string `json:"end,omitempty"`
	// Next says what to type, one command each.
	Next []string `json:"next,omitempty"`
}

// RotationGate is the way into a state.
type RotationGate struct {
	State string `json:"state"`
	// Asks is what must hold, in words.
	Asks string `json:"asks,omitempty"`
	// Officers is how many must sign for it; 0 for nobody.
	Officers int `json:"officers,omitempty"`
	// Signed are those whose signatures count.
	Signed []string `json:"signed,omitempty"`
	// Statement is what they sign.
	Statement string `json:"statement,omitempty"`
}

// RotationWaiting is a step that needs a key which is elsewhere.
type RotationWaiting struct {
	What string `json:"what"`
	// Ceremony is the file for mintmark ceremony, and Name what to call it.
	Name     string `json:"name,omitempty"`
	Ceremony string `json:"ceremony,omitempty"`
	// Inputs are the files that it names, by their names: all of them public, and to be put
	// beside it.
	Inputs map[string][]byte `json:"inputs,omitempty"`
}

// RotationEntry is one line of the journal of a rotation.
type RotationEntry struct {
	Number int64     `json:"number"`
	At     time.Time `json:"at"`
	Actor  string    `json:"actor"`
	State  string    `json:"state"`
	Step   string    `json:"step"`
	Event  string    `json:"event"` // begin, done, failed or note
	Text   string    `json:"text,omitempty"`
}

// RotationJournal is a page of it, the oldest first.
type RotationJournal struct {
	Entries []RotationEntry `json:"entries"`
	// Next is the after of the next page; zero on the last.
	Next int64 `json:"next,omitempty"`
}

// RotationSign is an officer's signature over the statement of a gate.
type RotationSign struct {
	Gate string `json:"gate"`
	// Signature is in DER for ECDSA, as openssl writes it.
	Signature []byte `json:"signature"`
}

// RotationRun asks a rotation to go on.
type RotationRun struct {
	// To stops it in that state; empty for as far as it goes.
	To string `json:"to,omitempty"`
}

// RotationReason is why a rotation is paused or rolled back.
type RotationReason struct {
	Reason string `json:"reason"`
}

// RotationBring is what a ceremony has made.
type RotationBring struct {
	// Certificates in PEM: the new root, what leads between the two, twins.
	Certificates string `json:"certificates"`
}

// RotationBrought says what each certificate was.
type RotationBrought struct {
	Brought []string `json:"brought"`
}

// RotationDone is how far a rotation has come.
type RotationDone struct {
	RotationStatus
	// Moved: it is in another state than before.
	Moved bool `json:"moved"`
}

// RotationProgress is one line of the answer to a run or a rollback: a line of the
// journal, or as the last line where it has stopped, or why it failed. Exactly one field
// is set.
type RotationProgress struct {
	Entry *RotationEntry `json:"entry,omitempty"`
	Done  *RotationDone  `json:"done,omitempty"`
	Error *Error         `json:"error,omitempty"`
}
