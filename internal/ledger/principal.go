package ledger

import (
	"context"
	"time"
)

// Principal is someone who may use the administrative API. Roles are package
// access's.
type Principal struct {
	Name  string
	Roles []string
	// Key is the DER of the SubjectPublicKeyInfo by which the principal signs
	// approvals and authenticates over TLS; empty for none.
	Key []byte
	// UnixUser is the local user whose processes act as the principal over the
	// socket; empty for none.
	UnixUser string
	AddedAt  time.Time
	AddedBy  string
	// RemovedAt is zero while the principal is in force. Names are not used
	// again for someone else: what is removed stays on record.
	RemovedAt time.Time
}

// ApprovalState is where a proposal stands.
type ApprovalState string

const (
	Pending  ApprovalState = "pending"
	Approved ApprovalState = "approved" // signed, not carried out yet
	Rejected ApprovalState = "rejected"
	Running  ApprovalState = "running" // being carried out, or cut off while it was
	Done     ApprovalState = "done"
)

// Approval is something that two people must agree on.
type Approval struct {
	ID        string
	Operation string
	Words     string // what will be done, for people
	Plan      []byte // exactly what will be done
	Proposer  string
	At        time.Time
	ExpiresAt time.Time // of the proposal and of the approval

	State     ApprovalState
	DecidedBy string // who approved or rejected it
	DecidedAt time.Time
	Signature []byte // over the statement, by DecidedBy's key
	RunBy     string
	RunAt     time.Time
	Outcome   string // how the last run ended, empty for well or never
}

// Principals is the part that keeps people and what they have agreed on.
type Principals interface {
	// PutPrincipal inserts or replaces the record of that name. ErrTaken if
	// another principal in force has the same key or Unix user.
	PutPrincipal(ctx context.Context, principal Principal, now time.Time) error

	// Principals lists all, removed ones included, by name.
	Principals(ctx context.Context) ([]Principal, error)

	// Propose records a pending approval. ErrTaken for a known ID.
	Propose(ctx context.Context, approval Approval) error

	// Approval returns ErrNotFound for an unknown one.
	Approval(ctx context.Context, id string) (Approval, error)

	// Approvals lists the newest first; an empty state lists all.
	Approvals(ctx context.Context, state ApprovalState, limit int) ([]Approval, error)

	// MoveApproval changes the state of an approval and takes over what else
	// differs in next; what was proposed cannot change. ErrMoved unless it is in
	// the state from: of two who decide or carry out at once, one succeeds.
	// ErrNotFound for an unknown one.
	MoveApproval(ctx context.Context, from ApprovalState, next Approval, now time.Time) error
}
