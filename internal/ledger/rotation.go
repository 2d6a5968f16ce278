package ledger

import (
	"context"
	"errors"
	"time"
)

// RotationKind is what is replaced.
type RotationKind string

const (
	RotateRoot    RotationKind = "root"    // a trust anchor; the issuing CAs below keep their keys
	RotateIssuing RotationKind = "issuing" // one issuing CA by another under the same root
)

// Rotation is the replacement of one CA by another, as it stands. What its states mean
// and how it moves is package ca/rotation's; the registration authority reads from it
// which of the two is issued from and given out.
type Rotation struct {
	ID       string
	Kind     RotationKind
	Old, New string // names of authorities; New exists from the state KEY_GENERATED on
	// Emergency: the old key is in wrong hands. It vouches for nothing new.
	Emergency bool
	// Plan is the canonical JSON of what officers sign, at most MostPlan bytes; it never
	// changes.
	Plan []byte
	// State is one of package ca/rotation; Since is when it was entered.
	State string
	Since time.Time
	// Paused says why nothing moves; empty while it may.
	Paused string
	// Issue says which of the two certificates are issued from (RotateIssuing), or which
	// of the two paths issuing CAs are given out under (RotateRoot).
	Issue Issue
	// Canary is who is served by the new one while Issue is IssueCanary.
	Canary Canary
	// Twins are the certificates, under the new root, of CAs that stood directly below the
	// old one, with their names, keys and subjects. Only of RotateRoot.
	Twins []Twin
	// Kept, of one that was rolled back: the new CA stays with the clouds and among the
	// anchors that are given out, because devices have something of it. A later rotation to
	// the same CA has it from the beginning.
	Kept bool
	// Signatures are those of officers, one an officer and gate.
	Signatures []GateSignature
	At         time.Time
	Actor      string
	// Version is 1 for a new record and rises by one with every change.
	Version int64
}

// MostPlan bounds a plan, in bytes.
const MostPlan = 1 << 20

// Issue is which of two CAs serves.
type Issue string

const (
	IssueOld    Issue = "old" // the zero value counts as it
	IssueCanary Issue = "canary"
	IssueNew    Issue = "new"
)

// Canary says for whom the new CA serves before it does for all.
type Canary struct {
	Labels []string `json:"labels,omitempty"` // EST labels
	// Percent of devices, chosen by a hash of their name and of the rotation, so that the
	// same ones stay chosen. Of devices that are not known, none.
	Percent int `json:"percent,omitempty"`
}

// Twin is one CA certificate under a new root.
type Twin struct {
	Authority string
	DER       []byte
}

// GateSignature is an officer's signature for one gate of a rotation.
type GateSignature struct {
	Gate      string // the state that may be entered
	Officer   string
	Signature []byte // over the statement of package ca/rotation
	At        time.Time
}

// RotationEntry is one line of the journal of a rotation.
type RotationEntry struct {
	Number int64 // from 1, without gaps; set by the ledger
	At     time.Time
	Actor  string
	State  string // that is entered or was
	Step   string // what is done, for example "aws/line-a register"
	Event  string // begin, done, failed or note
	Text   string // what was observed, or why it failed
}

// ErrStale says that a record was changed meanwhile: read it again.
var ErrStale = errors.New("the record was changed meanwhile")

// AnchorNote is what a server learned of one device's trust store and chain.
type AnchorNote struct {
	Device string
	// Trusts is when the device was given the new anchors, and by what way: fetched (it
	// asked EST), proved (it connected to a server that showed the new path only) or
	// reported (a person or another system says so). Zero for not learned.
	Trusts time.Time
	How    string
	// Chains is when the device was given a path under the new CA. Zero for not learned.
	Chains time.Time
	// Waived is when an officer took it out of the gates, WaivedBy that officer's name and
	// Why the reason. Zero for not.
	Waived   time.Time
	WaivedBy string
	Why      string
}

// AnchorClass is where a device stands in a rotation. Exactly one holds; the first that
// fits counts.
type AnchorClass string

const (
	AnchorMoved   AnchorClass = "moved"   // trusts the new anchors and chains to them
	AnchorWaived  AnchorClass = "waived"  // taken out of the gates by an officer
	AnchorTrusts  AnchorClass = "trusts"  // has the new anchors, chains to the old one still
	AnchorExpired AnchorClass = "expired" // every certificate that it has is over
	AnchorNever   AnchorClass = "never"   // has not come back since it got its first certificate
	AnchorSilent  AnchorClass = "silent"  // not heard of for longer than the query's Silent
	AnchorLeft    AnchorClass = "left"    // heard of lately, and without the new anchors
)

// AnchorDevice is one device in a rotation. Its newest certificate is that of the CAs in
// the query; those of others say nothing. A gateway that has a certificate of its own beside its
// CA certificate has moved once both have: the one that has not stands for it.
type AnchorDevice struct {
	AnchorNote
	Class    AnchorClass
	Issuer   string    // of its newest certificate
	Label    string    // EST label of its newest certificate; empty for none
	NotAfter time.Time // of its newest certificate
	LastSeen time.Time // the last certificate or note
}

// AnchorQuery selects devices of a rotation: those with a certificate of a device or
// gateway that is not revoked, by one of Issuers or by New.
type AnchorQuery struct {
	Rotation string
	Issuers  []string // whose devices have to move
	// New is the CA whose certificates mean that a device has moved (RotateIssuing); empty
	// where notes say it.
	New    string
	Now    time.Time
	Silent time.Duration // longer without a sign than this is AnchorSilent; 30 days if zero
	Class  AnchorClass   // empty for all; of AnchorCount ignored
	After  string        // keyset: devices after this one
	Limit  int           // at most 1000; 0 means 100
}

// Rotations is the part that keeps rotations and who has followed them.
type Rotations interface {
	// PutRotation inserts a rotation (Version 1), or replaces one whose stored version is
	// one less, and appends the entry to its journal in the same transaction. ErrStale if
	// the version is another; ErrTaken if a rotation that is not over stands in the way:
	// only one may run at a time, unless over says that this one runs no more. Kind, Old,
	// New, Plan and At never change. Paused is cut to 4000 bytes, the entry's text to 16000.
	PutRotation(ctx context.Context, rotation Rotation, entry RotationEntry, over bool) error
	// Rotations lists all, in the order in which they began.
	Rotations(ctx context.Context) ([]Rotation, error)
	// RotationJournal lists entries after a number, the oldest first.
	RotationJournal(ctx context.Context, id string, after int64, limit int) ([]RotationEntry, error)
	// NoteAnchors adds to what is known of devices: a time that is set already stays, with
	// what was said of it, unless the device has enrolled since by a credential other than
	// its certificate: what was seen of it before is void then. Any number of notes, of which each thousand is one transaction;
	// what was noted before costs no write. ErrNotFound for an unknown rotation.
	NoteAnchors(ctx context.Context, rotation string, notes []AnchorNote) error
	// Anchors lists devices by name.
	Anchors(ctx context.Context, query AnchorQuery) (devices []AnchorDevice, next string, err error)
	// AnchorCount counts the devices of a query by class, none where it names no CA. It
	// reads every one of them.
	AnchorCount(ctx context.Context, query AnchorQuery) (map[AnchorClass]int, error)
}
