package rotation

import "slices"

// State is where a rotation stands.
type State string

// The states in their order. A rotation is in a state once everything that leads into
// it is done and was read back.
const (
	Planned         State = "PLANNED"
	Approved        State = "APPROVED"          // officers have signed the hash of the plan
	KeyGenerated    State = "KEY_GENERATED"     // the new CA is there, and its key signs
	Certified       State = "CERTIFIED"         // NewWithOld, OldWithNew, issuing CAs under both roots
	PathsVerified   State = "PATHS_VERIFIED"    // every combination of trust and path was tried
	CloudRegistered State = "CLOUD_REGISTERED"  // the clouds have the new CA, and let nobody in by it
	CloudActiveBoth State = "CLOUD_ACTIVE_BOTH" // devices of either CA come in
	Distributing    State = "DISTRIBUTING"      // devices are given the new anchors
	Canaried        State = "CANARY"            // some are served by the new CA
	Switched        State = "SWITCHED"          // all are
	Draining        State = "DRAINING"          // the old CA signs CRLs and OCSP answers only; clouds let no new device in by it
	TrustRemoved    State = "TRUST_REMOVED"     // the old CA is given out no more, and inactive at the clouds
	Retired         State = "RETIRED"           // removed from the clouds
	Archived        State = "ARCHIVED"          // last leaf expired, last CRL signed, key destroyed or put away
	RolledBack      State = "ROLLED_BACK"
)

// States lists those that a rotation goes through, in order.
var States = []State{Planned, Approved, KeyGenerated, Certified, PathsVerified, CloudRegistered, CloudActiveBoth,
	Distributing, Canaried, Switched, Draining, TrustRemoved, Retired, Archived}

// Over reports whether nothing will move any more.
func (s State) Over() bool { return s == Archived || s == RolledBack }

// Frees reports whether another rotation may begin: the old CA lets nobody in any more, and
// the second slot of the clouds is free. From there to ARCHIVED it may be years, until the
// last certificate below the old CA has expired, and to RETIRED as long as a cloud lists a
// device that nobody waives: neither may stand in the way of an emergency.
func (s State) Frees() bool { return s == RolledBack || s.From(TrustRemoved) }

// Next is the state after s; empty after the last one, and for what is no state.
func (s State) Next() State {
	at := slices.Index(States, s)
	if at < 0 || at+1 == len(States) {
		return ""
	}
	return States[at+1]
}

// Signed reports whether officers sign for entering the state.
func (s State) Signed() bool {
	switch s {
	case Approved, Switched, TrustRemoved, Retired, Archived:
		return true
	}
	return false
}
