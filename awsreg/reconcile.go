package awsreg

import (
	"context"
	"errors"
	"time"

	"mintmark/internal/ledger"
)

// Drift is what Reconcile found and did.
type Drift struct {
	Target  string
	At      time.Time
	Checked int // certificates that both sides know, or that one of them should
	// Repaired were brought to the state that the ledger gives them, and read back.
	Repaired []Difference
	// Adopted were revoked here because AWS had them REVOKED.
	Adopted []Difference
	// Left is what only a person can decide.
	Left []Difference
}

// Difference is one certificate on which the two sides disagree.
type Difference struct {
	CertificateID string
	Serial        ledger.Serial // empty if the ledger does not know it
	Device        string
	Here, There   string // the states
	Text          string // what was done, or what to do
}

// Reconcile compares every device certificate under the target's CAs, both ways:
// what AWS lists by CA, and what the ledger says should be there. It brings AWS
// to the ledger's state (REVOKED, INACTIVE while held, back to ACTIVE after) and
// reports what AWS has that the ledger does not know, which means that the CA key
// may be compromised. It may run at the same time as Deliver.
func (r *Registrar) Reconcile(ctx context.Context, t Target, adopt bool) (Drift, error) {
	return Drift{}, errors.ErrUnsupported
}

// TellAll delivers everything there is to tell a target: certificates under its
// CAs that are in force or revoked, work orders for its fleets with their claims
// and lists, and devices that are held. It returns how much that was. All of it
// may be told again.
func (r *Registrar) TellAll(ctx context.Context, t Target) (int, error) {
	return 0, errors.ErrUnsupported
}
