package rotation

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

// Over reports whether nothing will move any more, and another rotation may begin.
func (s State) Over() bool { return s == Archived || s == RolledBack }
