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

// Sign adds an officer's signature for the gate that is next: nobody signs in advance for
// what was not measured yet. *Refused if it does not count. Officers who sign at the same
// moment do not get in each other's way.
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
	switch at := State(r.r.State); {
	case RollingBack(r.r):
		return r.r, refused("rotation-rollback", "rotation %s is %s", id, r.r.Paused)
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

// Bring takes certificates that a ceremony has made; see Authorities.Bring. Only while the
// new CA and what leads to it are being made.
func (m *Machine) Bring(ctx context.Context, id string, certificates []*x509.Certificate, actor string) ([]string, error) {
	r, err := m.open(ctx, id, actor, nil)
	if err != nil {
		return nil, err
	}
	at := State(r.r.State)
	switch {
	case RollingBack(r.r):
		return nil, refused("rotation-rollback", "rotation %s is %s", id, r.r.Paused)
	case at != Approved && at != KeyGenerated:
		return nil, refused("rotation-state", "rotation %s is in state %s: certificates are brought in %s and %s", id, at, Approved, KeyGenerated)
	case r.r.Paused != "":
		return nil, refused("rotation-state", "rotation %s is paused: %s. mintmark rotate resume %s lets it go on", id, r.r.Paused, id)
	case len(certificates) == 0 || len(certificates) > mostBrought:
		return nil, refused("rotation-spec", "%d certificates are not between 1 and %d", len(certificates), mostBrought)
	}
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
