package server

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"mintmark/awsreg"
	"mintmark/internal/ledger"
)

func awsTally(d awsreg.Drift) tally {
	return tally{at: d.At, counts: []int{len(d.Repaired), len(d.Adopted), len(d.Left), d.Unknown}}
}

// newAWSCollector shows what the last comparisons with AWS found.
func newAWSCollector(t *awsTargets) *foundCollector {
	return newFoundCollector("aws", "certificates",
		"Certificates that the last comparison of a target found different: repaired, adopted, left for a person, and of these unknown to the ledger.",
		t.Targets, []string{"repaired", "adopted", "left", "unknown"}, t.found.cached)
}

// Drift is what the last comparison of a target found; ok is false if this server
// has made none.
func (t *awsTargets) Drift(name string) (drift awsreg.Drift, ok bool, err error) {
	if _, err := t.find(name); err != nil {
		return awsreg.Drift{}, false, err
	}
	return t.found.last(name)
}

// Reconcile compares a target with the ledger and repairs what it may; one
// comparison of a target at a time. With adopt it revokes in the ledger what is
// REVOKED at AWS, up to limit certificates, as the actor.
func (t *awsTargets) Reconcile(ctx context.Context, name string, adopt bool, limit int, actor string) (awsreg.Drift, error) {
	target, err := t.find(name)
	if err != nil {
		return awsreg.Drift{}, err
	}
	comparing := &t.by[name].comparing
	if !comparing.TryLock() {
		return awsreg.Drift{}, errComparing
	}
	defer comparing.Unlock()
	ctx = context.WithValue(ctx, adoptionKey{}, &adoption{left: limit, actor: actor})
	drift, err := t.registrar.Reconcile(ctx, target, adopt)
	if err != nil {
		return drift, err
	}
	drift.Target = name
	if drift.At.IsZero() {
		drift.At = t.s.ra.Now()
	}
	t.report(drift)
	t.found.count(name, drift)
	if err := t.found.keep(name, drift); err != nil {
		t.s.log.Error("what the comparison with AWS found is not kept", "target", name, "error", err)
	}
	return drift, nil
}

// report logs what a comparison found.
func (t *awsTargets) report(drift awsreg.Drift) {
	log := t.s.log.With("target", drift.Target, "checked", drift.Checked, "repaired", len(drift.Repaired), "adopted", len(drift.Adopted), "left", len(drift.Left))
	switch n := drift.Unknown; {
	case n > 0:
		log.Error("AWS has certificates under our CAs that were never issued here: the key of a CA may be in other hands", "unknown", n)
	case len(drift.Left) > 0:
		log.Warn("AWS and the ledger differ, and a person must decide: mintmark aws drift shows it")
	default:
		log.Info("AWS was compared with the ledger")
	}
}

// adoption is how much one comparison may revoke in the ledger, and as whom.
type adoption struct {
	mu    sync.Mutex
	left  int
	actor string
}

// adoptionKey is the context key of the adoption of a comparison.
type adoptionKey struct{}

// adopt revokes in the ledger what was found REVOKED at AWS: device and claim
// certificates, and of one comparison no more than it may. Nothing is revoked
// if that is too little for all of them.
func (t *awsTargets) adopt(ctx context.Context, serials []ledger.Serial) error {
	a, ok := ctx.Value(adoptionKey{}).(*adoption)
	if !ok {
		return errors.New("no comparison asks for this")
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	var due []ledger.Serial
	for _, serial := range serials {
		c, err := t.s.ledger.Certificate(ctx, serial)
		if err != nil {
			return fmt.Errorf("looking up certificate %s: %w", serial, err)
		}
		if c.Purpose != ledger.ForDevice && c.Purpose != ledger.ForClaim {
			return fmt.Errorf("certificate %s is for %s, which no cloud decides about", serial, c.Purpose)
		}
		if c.State == ledger.Valid && !slices.Contains(due, serial) {
			due = append(due, serial)
		}
	}
	if len(due) > a.left {
		return fmt.Errorf("%d certificates are revoked at AWS and valid here, and %d may be revoked in one run (access.revoke_limit): find out who revoked them, and revoke them with mintmark cert revoke", len(due), a.left)
	}
	for _, serial := range due {
		if _, err := t.s.ra.Revoke(ctx, ledger.Selector{Serial: serial, Most: 1}, ledger.Unspecified, a.actor); err != nil {
			return fmt.Errorf("revoking certificate %s: %w", serial, err)
		}
		a.left--
	}
	return nil
}

// keepReconciled compares a target with the ledger at the configured interval,
// on the server that delivers to it.
func (t *awsTargets) keepReconciled(ctx context.Context, target awsreg.Target) {
	t.s.keepCompared(ctx, awsreg.TaskKind(target), t.s.config.AWS.Reconcile, &t.by[target.Name].ours, func(ctx context.Context) error {
		_, err := t.Reconcile(ctx, target.Name, t.s.config.AWS.Adopt, t.s.config.Access.RevokeLimit, "aws/"+target.Name)
		return err
	})
}
