package ledger

import "time"

// Event is one record of the issuance log.
type Event struct {
	Kind string // one of the Event constants
	At   time.Time
	// Exactly one of these is set, as Kind says.
	Intent     *Intent
	Issued     *Issued
	Voided     *Serial
	Revocation *Revocation
	Imported   *Certificate
	CRL        *CRLIssued
	Authority  *Authority
	Import     *Import
	Listing    *Listings
	Device     *DeviceChange
	Order      *Order
	Principal  *Principal
	Approval   *Approval
	Enrollment *Enrollment
	Secrets    []DeviceSecret
	Rollover   *Rollover
	Rotation   *RotationChange
	Anchors    *AnchorNotes
}

// The kinds of events. Those of orders, principals, approvals, enrollments and
// rollovers hold the whole record as it is from then on.
const (
	EventIntent     = "intent"
	EventIssued     = "issued"
	EventVoided     = "voided"
	EventRevocation = "revocation"
	EventImported   = "imported" // Imported: a certificate from before mintmark
	EventCRL        = "crl"
	EventAuthority  = "authority"
	EventImport     = "import"  // Import: begun
	EventListing    = "listing" // Listing: rows of an import that is not in force yet
	EventListed     = "listed"  // Import: in force
	EventUnlisted   = "dropped" // Import: given up
	EventDevice     = "device"
	EventOrder      = "order"
	EventPrincipal  = "principal"
	EventApproval   = "approval"
	EventEnrollment = "enrollment"
	EventSecrets    = "secrets" // Secrets: recorded; one with a zero SHA256 is dropped
	EventRollover   = "rollover"
	EventRotation   = "rotation" // Rotation: the record as it is from then on, and the line of its journal
	EventAnchors    = "anchors"  // Anchors: what was learned of devices
)

// RotationChange is the event of a rotation's next line.
type RotationChange struct {
	Rotation Rotation
	Entry    RotationEntry
	Over     bool
}

// AnchorNotes are notes of one rotation.
type AnchorNotes struct {
	Rotation string
	Notes    []AnchorNote
}

// Listings are rows of an import.
type Listings struct {
	Import string
	Rows   []Listing
}

// DeviceChange is the event of a device's being held, released or retired.
type DeviceChange struct {
	Device string
	State  DeviceState
	Actor  string
	Note   string
	New    bool // nothing was known of the device before
}

// CRLIssued is the event of a CRL, which the log names by its hash.
type CRLIssued struct {
	Issuer     string
	Shard      int
	Number     int64
	ThisUpdate time.Time
	NextUpdate time.Time
	SHA256     [32]byte
}

// Revocation is the event of a certificate's revocation.
type Revocation struct {
	Serial Serial
	Reason Reason
	Actor  string
}

// Head is a position in an issuance log: the number of the last batch and the
// hash of the chain up to it.
type Head struct {
	Batch int64
	Hash  [32]byte
}

// Log is the issuance log as a back end writes it: every transaction's events
// are one batch, appended and durable before the transaction commits.
//
// A batch is confirmed by the one after it, so that at most the last batch of a
// log can be missing in the database: see internal/audit.
type Log interface {
	// Append writes one batch and returns after fdatasync. Not concurrent.
	Append(events []Event) (Head, error)
	// Abort marks the last batch as never committed.
	Abort() (Head, error)
	// Head is the position of the last batch.
	Head() Head
}
