package rotation

import (
	"context"
	"crypto/x509"
	"time"

	"mintmark/internal/ledger"
	"mintmark/internal/reconcile"
)

// World is everything outside that a rotation changes and measures. All of it must be
// set; what there is none of is an empty list.
type World struct {
	Records     Records
	Authorities Authorities
	Clouds      []Cloud
	Fleet       Fleet
	// Officers are the principals whose keys may sign, by name, as they are now.
	Officers func(ctx context.Context) ([]ledger.Principal, error)
	Now      func() time.Time
	// Leases, with Holder, the name of this server in it, keeps servers of one ledger from
	// moving rotations at the same time. nil where there is only this one.
	Leases ledger.Leases
	Holder string
	// Settle is how long other servers may take until they go by a record: so long the
	// switch must have lasted before clouds let nobody in by the old CA. Zero where there
	// are none.
	Settle time.Duration
}

// Records is the part of the ledger that holds rotations; see ledger.Rotations.
type Records interface {
	ledger.Rotations
}

// Authorities is what the registration authority does for a rotation. Every method may be
// called again after it was cut off, and then finds what it did.
type Authorities interface {
	// Examine says what stands against the rotation of these two, and describes what will
	// be made, for the plan. It opens no key.
	Examine(ctx context.Context, spec Spec) (Findings, error)
	// SignsNow has the key of an authority sign something that is thrown away: nil if it
	// can, ErrElsewhere if its key is not here.
	SignsNow(ctx context.Context, authority string) error
	// Make makes the new CA, if it is not there, or says by *Waiting what must be brought
	// from where the keys are.
	Make(ctx context.Context, r ledger.Rotation, spec Spec) error
	// Certify makes the certificates between the two, and of RotateRoot the twins, which it
	// returns; *Waiting if a key is elsewhere and what it signs was not brought.
	Certify(ctx context.Context, r ledger.Rotation, spec Spec) ([]ledger.Twin, error)
	// Bring takes certificates that a ceremony has made: the new root, what leads between
	// the two, twins. It checks each like a stranger's, records it, and says in words what
	// it was; Make and Certify find it there.
	Bring(ctx context.Context, r ledger.Rotation, spec Spec, certificates []*x509.Certificate, actor string) ([]string, error)
	// VerifyPaths builds and checks, for every trust store of old, both and new, every path
	// that is or will be shown: of device certificates and of this server's own. It returns
	// one line for each, and an error if one is not as it should be.
	VerifyPaths(ctx context.Context, r ledger.Rotation) ([]string, error)
	// Distribute has EST give out, with the anchors, what leads from one root to the other.
	// Nothing of RotateIssuing, whose devices keep their root.
	Distribute(ctx context.Context, r ledger.Rotation) error
	// Adopt has the authorities below a root stand under the path that the rotation says,
	// for good (IssueNew), or takes that back (IssueOld). Only of RotateRoot.
	Adopt(ctx context.Context, r ledger.Rotation) error
	// EndBridges stops giving out what leads from one root to the other, and the root that
	// the record does not issue by: the old one once trust in it is taken away (IssueNew),
	// the new one when a rotation is taken back (IssueOld).
	EndBridges(ctx context.Context, r ledger.Rotation) error
	// LeftBelow counts the certificates in force that the CA named Old has signed, those of
	// devices that were waived apart. A rollback asks it with Old and New exchanged.
	LeftBelow(ctx context.Context, r ledger.Rotation) (Left, error)
	// Revoke revokes the certificate of the old CA's own (where another has signed it) and,
	// of RotateIssuing, everything in force that it has signed.
	Revoke(ctx context.Context, r ledger.Rotation, reason ledger.Reason, actor string) error
	// Refresh has this server, at once, and the others, within seconds, serve by the record.
	Refresh(ctx context.Context) error
}

// Findings are what Examine says.
type Findings struct {
	// Changes are ours: keys, certificates, what EST gives out. Under which state the plan
	// lists one is said by its Kind; see stateOf.
	Changes []reconcile.Change
	Refused []string // why it cannot begin; empty if it can
	Warned  []string // what an officer should know
	// Affected are the issuing CAs whose devices have to move.
	Affected []string
	// NewSHA256 is Spec.NewSHA256: of the new CA's certificate, if it is there.
	NewSHA256 string
}

// Left is what still stands under the old CA, in certificates.
type Left struct {
	Devices    int       // of devices that were not waived
	Waived     int       // of devices that were
	Others     int       // of anything else: servers, officers, CAs
	LastExpiry time.Time // of all of them; zero if there are none
}

// Stage is how far a cloud target is taken.
type Stage string

const (
	StageBefore Stage = "before"  // as configured, without the new CA
	StageCutOff Stage = "cut-off" // of an emergency: the old one lets no new device in; the new one is not there yet
	// In an emergency the old one lets no new device in at these two, either.
	StageRegistered  Stage = "registered"   // the new CA is there, and lets nobody in
	StageBoth        Stage = "both"         // both let devices in
	StageOldQuiet    Stage = "old-quiet"    // the old one lets no new device in
	StageOldInactive Stage = "old-inactive" // the old one is out of service
	StageOldRemoved  Stage = "old-removed"
)

// Cloud is one target at AWS or Azure.
type Cloud interface {
	Name() string // "aws/line-a"
	// Has names what the configuration of the target has of the rotation, such as "CA line-a";
	// empty for nothing. What names the new CA in the place of the old one counts as the old
	// one's where the plan takes that along: the file may follow early.
	Has(r ledger.Rotation) []string
	// Plan says what taking the target to a stage would change. In state PLANNED the new CA
	// need not exist: what is not known yet is named by its authority's name.
	Plan(ctx context.Context, r ledger.Rotation, stage Stage) (reconcile.Plan, error)
	// Advance takes the target to a stage and reads it back. It changes nothing but what the
	// rotation is about: an error says so where the target has drifted.
	Advance(ctx context.Context, r ledger.Rotation, stage Stage) (reconcile.Plan, error)
	// Remaining counts, by the cloud's own list, the devices that come in by the old CA
	// only, were not waived and are not out of service there; the text says how it was
	// counted. An error where that list and the ledger do not agree.
	Remaining(ctx context.Context, r ledger.Rotation) (n int, text string, err error)
}

// Fleet is who has followed.
type Fleet interface {
	// Count counts the devices of a rotation by class.
	Count(ctx context.Context, r ledger.Rotation) (map[ledger.AnchorClass]int, error)
	// Noted returns once what this server has given to devices until now is counted, too. Other
	// servers may be a second behind.
	Noted(ctx context.Context) error
}

// Waiting is the error of a step that needs a key which is elsewhere: a ceremony brings
// what it signs.
type Waiting struct {
	What string
	// Ceremony is the file for package ca/ceremony; Name is what to call it.
	Name     string
	Ceremony []byte
	// Inputs are the files that it names, public all, to be put beside it.
	Inputs map[string][]byte
}

func (w *Waiting) Error() string { return w.What }
