package ledger

import (
	"context"
	"time"
)

// Refused is a request that a rule refused.
type Refused struct {
	ID        int64 // set by the ledger; newer ones are greater
	At        time.Time
	Server    string
	Operation string // as in "est simpleenroll"
	Label     string
	Profile   string
	Order     string
	Rule      string
	Text      string // what the requester was told
	Device    string // as far as it was known
	Subject   string
	Key       [32]byte // SHA-256 of the SubjectPublicKeyInfo, zero if unread
	Requester Requester
}

// RefusalQuery selects refusals; zero fields do not restrict.
type RefusalQuery struct {
	Device    string
	Key       [32]byte
	Address   string
	Requester string
	Order     string
	Rule      string
	Since     time.Time
	Before    int64 // keyset: only identifiers less than this one
	Limit     int   // at most 1000; 0 means 100
}

// Refusals is the part that remembers what was refused. It is no part of the
// issuance log: strangers write it.
type Refusals interface {
	// Refuse records refusals and keeps the newest of them, to within a
	// hundredth of keep.
	Refuse(ctx context.Context, refused []Refused, keep int) error

	// Refusals lists the newest first.
	Refusals(ctx context.Context, query RefusalQuery) ([]Refused, error)
}
