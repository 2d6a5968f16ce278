package rotation

import (
	"context"
	"crypto/x509"
	"errors"

	"mintmark/internal/ledger"
)

// Machine moves rotations. It may be used concurrently and by several servers: of two who
// move the same rotation one is told so (ledger.ErrStale).
type Machine struct{ world World }

// New returns a machine over a world.
func New(w World) *Machine { return &Machine{w} }

// Progress is told of each line of the journal as it is written.
type Progress func(ledger.RotationEntry)

// Result is where Run has stopped, and why.
type Result struct {
	Rotation ledger.Rotation
	// Blocked says what the next gate misses, one line each; empty if the rotation is over.
	Blocked []string
	// Waiting is what a ceremony must bring; nil if nothing.
	Waiting *Waiting
}

var errNotBuilt = errors.New("not built yet")

// Plan examines a rotation, and records it in state PLANNED. *Refused says what stands
// against it.
func (m *Machine) Plan(ctx context.Context, spec Spec, actor string) (ledger.Rotation, Plan, error) {
	return ledger.Rotation{}, Plan{}, errNotBuilt
}

// Statement is what officers sign for a gate: text that names the rotation, the gate and
// the hash of the plan.
func Statement(r ledger.Rotation, gate State) []byte { return nil }

// Sign adds an officer's signature for a gate.
func (m *Machine) Sign(ctx context.Context, id string, gate State, officer string, signature []byte) (ledger.Rotation, error) {
	return ledger.Rotation{}, errNotBuilt
}

// Bring takes what a ceremony has made; see Authorities.Bring.
func (m *Machine) Bring(ctx context.Context, id string, certificates []*x509.Certificate, actor string) ([]string, error) {
	return nil, errNotBuilt
}

// Run moves a rotation as far as its gates allow. to stops it in that state; empty for as
// far as it goes.
func (m *Machine) Run(ctx context.Context, id string, to State, actor string, progress Progress) (Result, error) {
	return Result{}, errNotBuilt
}

// Status measures the next gate and changes nothing.
func (m *Machine) Status(ctx context.Context, id string) (Result, error) {
	return Result{}, errNotBuilt
}

// Pause stops a rotation where it is; an empty reason lets it go on.
func (m *Machine) Pause(ctx context.Context, id, reason, actor string) (ledger.Rotation, error) {
	return ledger.Rotation{}, errNotBuilt
}

// Rollback takes everything back that was done, in the reverse order; nothing is deleted
// that a device may still need. Refused from TRUST_REMOVED on.
func (m *Machine) Rollback(ctx context.Context, id, reason, actor string, progress Progress) (Result, error) {
	return Result{}, errNotBuilt
}
