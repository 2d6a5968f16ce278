package rotation

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"

	"mintmark/internal/ledger"
)

// mostSignature is more than the longest signature of a key that may sign, in bytes.
const mostSignature = 2048

// Sign adds an officer's signature for the gate that is next, once that misses nothing but
// signatures: what officers sign for is what they were shown. An emergency shows what it
// does not wait for, and is signed at once; once it has shut out the old CA, it can be signed
// for ROLLED_BACK too. *Refused if it does not count. Officers who sign at the same moment do
// not get in each other's way.
func (m *Machine) Sign(ctx context.Context, id string, gate State, officer string, signature []byte) (r ledger.Rotation, err error) {
	const tries = 5
	for range tries {
		if r, err = m.sign(ctx, id, gate, officer, signature); !errors.Is(err, ledger.ErrStale) {
			break
		}
	}
	return r, err
}

func (m *Machine) sign(ctx context.Context, id string, gate State, officer string, signature []byte) (ledger.Rotation, error) {
	r, err := m.open(ctx, id, officer, nil)
	if err != nil {
		return ledger.Rotation{}, err
	}
	reopens := false
	if gate == RolledBack {
		if reopens, err = r.reopens(ctx); err != nil {
			return r.r, err
		}
	}
	switch at := State(r.r.State); {
	case RollingBack(r.r):
		return r.r, refused("rotation-rollback", "rotation %s is %s", id, r.r.Paused)
	case reopens:
	case gate == RolledBack:
		return r.r, refused("rotation-gate", "nobody signs for %s of this rotation, in state %s: mintmark rotate rollback %s takes back what can be", gate, at, id)
	case !gate.Signed():
		return r.r, refused("rotation-gate", "nobody signs for %q", gate)
	case gate != at.Next():
		next := string(at.Next())
		if next == "" {
			next = "nothing"
		}
		return r.r, refused("rotation-gate", "rotation %s is in state %s, and next is %s: nobody signs for %s before it was measured", id, at, next, gate)
	}
	principals, err := m.world.Officers(ctx)
	if err != nil {
		return r.r, fmt.Errorf("reading who is an officer: %w", err)
	}
	who, why := signer(principals, officer)
	if why != "" {
		return r.r, refused("rotation-signer", "%s", why)
	}
	added := ledger.GateSignature{Gate: string(gate), Officer: officer, Signature: bytes.Clone(signature), At: r.now()}
	if len(signature) > mostSignature {
		return r.r, refused("rotation-signature", "a signature of %d bytes is longer than %d", len(signature), mostSignature)
	}
	if _, why := verify(principals, r.r, added); why != "" {
		return r.r, refused("rotation-signature", "%s", why)
	}
	if gate != RolledBack && !r.r.Emergency {
		if lacks := r.conditions(ctx, gate).missing; len(lacks) > 0 {
			return r.r, refused("rotation-early", "%s is signed for once it lacks nothing but signatures, and it lacks: %s", gate, strings.Join(lacks, "; "))
		}
	}
	next := r.r
	next.Signatures = nil
	for _, s := range r.r.Signatures {
		if s.Gate == string(gate) {
			p, why := verify(principals, r.r, s)
			if why == "" && (s.Officer == officer || bytes.Equal(p.Key, who.Key)) {
				return r.r, refused("rotation-signed", "%s has signed for %s already, with the same key", s.Officer, gate)
			}
			if s.Officer == officer {
				continue // by a key that the officer has no more
			}
		}
		next.Signatures = append(next.Signatures, s)
	}
	next.Signatures = append(next.Signatures, added)
	names, _ := signatures(principals, next, gate)
	text := fmt.Sprintf("%s signed for %s: %d of %d", officer, gate, len(names), r.plan.Spec.Gates.Officers)
	err = r.put(ctx, next, gate, "sign", noted, text)
	return r.r, err
}

// Pause stops a rotation where it is; an empty reason lets it go on.
func (m *Machine) Pause(ctx context.Context, id, reason, actor string) (ledger.Rotation, error) {
	r, err := m.open(ctx, id, actor, nil)
	if err != nil {
		return ledger.Rotation{}, err
	}
	if err := reasonable(reason); err != nil && reason != "" {
		return r.r, err
	}
	next := r.r
	next.Paused = reason
	switch at := State(r.r.State); {
	case at.Over():
		return r.r, refused("rotation-state", "rotation %s is in state %s: there is nothing to stop", id, at)
	case RollingBack(r.r):
		return r.r, refused("rotation-rollback", "rotation %s is %s, which is not stopped halfway", id, r.r.Paused)
	case reason == "" && r.r.Paused == "":
		return r.r, refused("rotation-state", "rotation %s is not paused: it is in state %s", id, at)
	case reason == r.r.Paused:
		return r.r, nil
	case reason == "":
		err = r.put(ctx, next, at, "resume", noted, "was paused: "+r.r.Paused)
	default:
		err = r.put(ctx, next, at, "pause", noted, reason)
	}
	return r.r, err
}

// reasonable refuses a reason that cannot stand in the record.
func reasonable(reason string) error {
	switch {
	case strings.TrimSpace(reason) == "":
		return refused("rotation-spec", "say why: a reason is kept in the journal")
	case len(reason) > mostText || !printable(reason):
		return refused("rotation-spec", "the reason has more than %d bytes or something in it that cannot be printed", mostText)
	case strings.HasPrefix(reason, rolledBackMark):
		return refused("rotation-spec", "a reason may not begin with %q", rolledBackMark)
	}
	return nil
}

// mostBrought is how many certificates a ceremony brings at most.
const mostBrought = 1000

// MayBring says by *Refused why certificates cannot be brought now, whatever is in them:
// only while the new CA and what leads to it are being made.
func (m *Machine) MayBring(ctx context.Context, id string, certificates []*x509.Certificate) error {
	r, err := m.open(ctx, id, "", nil)
	if err != nil {
		return err
	}
	return r.mayBring(certificates)
}

func (m *mover) mayBring(certificates []*x509.Certificate) error {
	switch at := State(m.r.State); {
	case RollingBack(m.r):
		return refused("rotation-rollback", "rotation %s is %s", m.r.ID, m.r.Paused)
	case at != Approved && at != KeyGenerated:
		return refused("rotation-state", "rotation %s is in state %s: certificates are brought in %s and %s", m.r.ID, at, Approved, KeyGenerated)
	case m.r.Paused != "":
		return refused("rotation-state", "rotation %s is paused: %s. mintmark rotate resume %s lets it go on", m.r.ID, m.r.Paused, m.r.ID)
	case len(certificates) == 0 || len(certificates) > mostBrought:
		return refused("rotation-spec", "%d certificates are not between 1 and %d", len(certificates), mostBrought)
	}
	return nil
}

// Bring takes certificates that a ceremony has made; see Authorities.Bring and MayBring.
func (m *Machine) Bring(ctx context.Context, id string, certificates []*x509.Certificate, actor string) ([]string, error) {
	r, err := m.open(ctx, id, actor, nil)
	if err != nil {
		return nil, err
	}
	if err := r.mayBring(certificates); err != nil {
		return nil, err
	}
	at := State(r.r.State)
	const step = "bring"
	if err := r.put(ctx, r.r, at, step, begun, a(len(certificates), "certificate", "certificates")); err != nil {
		return nil, err
	}
	words, err := m.world.Authorities.Bring(ctx, r.r, r.plan.Spec, certificates, actor)
	if err != nil {
		if refusal := new(Refused); errors.As(err, &refusal) {
			return nil, errors.Join(refusal, r.put(ctx, r.r, at, step, failed, refusal.Error()))
		}
		return nil, r.fail(ctx, at, step, err)
	}
	return words, r.put(ctx, r.r, at, step, done, strings.Join(words, "; "))
}
