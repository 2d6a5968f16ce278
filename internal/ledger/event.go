package ledger

import "time"

// Event is one record of the issuance log.
type Event struct {
	Kind string // one of the Event constants
	At   time.Time
	// Exactly one of these is set, as Kind says.
	Intent     *Intent     `json:",omitempty"`
	Issued     *Issued     `json:",omitempty"`
	Voided     *Serial     `json:",omitempty"`
	Revocation *Revocation `json:",omitempty"`
	Authority  *Authority  `json:",omitempty"`
}

// The kinds of events.
const (
	EventIntent     = "intent"
	EventIssued     = "issued"
	EventVoided     = "voided"
	EventRevocation = "revocation"
	EventAuthority  = "authority"
)

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
