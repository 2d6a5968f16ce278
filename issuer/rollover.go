package issuer

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"

	"mintmark/ca"
	"mintmark/ca/rotation"
	"mintmark/internal/ledger"
)

// rollover is a rollover that runs, with its certificates.
type rollover struct {
	ledger.Rollover
	oldWithNew *x509.Certificate // nil after an emergency that was taken back
	newWithOld *x509.Certificate // nil of earlier versions, after a compromise of the old key
}

// Rollovers lists all rollovers, in the order in which they began.
func (ra *RA) Rollovers(ctx context.Context) ([]ledger.Rollover, error) {
	list, err := ra.Ledger.Rollovers(ctx)
	if err != nil {
		return nil, fmt.Errorf("loading rollovers: %w", err)
	}
	return list, nil
}

// BeginRollover certifies the key of each of two roots of ours with the other,
// through the same cycle as every certificate, and records the rollover. Errors are those of
// PlanRollover, or internal; one that was begun is never half recorded.
func (ra *RA) BeginRollover(ctx context.Context, old, new string, compromised bool, requester ledger.Requester) (ledger.Rollover, error) {
	return ra.BeginRolloverWith(ctx, old, new, compromised, BridgeFiles{}, requester)
}

// BeginRolloverWith is BeginRollover with certificates that were signed where the keys of the
// roots are: those are recorded instead of made.
func (ra *RA) BeginRolloverWith(ctx context.Context, old, new string, compromised bool, made BridgeFiles, requester ledger.Requester) (ledger.Rollover, error) {
	ra.making.Lock()
	defer ra.making.Unlock()
	turn, err := ra.takeTurn(ctx)
	if err != nil {
		return ledger.Rollover{}, err
	}
	defer turn.end(ctx)
	plan, err := ra.PlanRolloverWith(ctx, old, new, compromised, made)
	if err != nil {
		return ledger.Rollover{}, err
	}
	// Both keys before the first signature: half a rollover is none.
	if plan.first != nil {
		if err := signable(ctx, plan.New); err != nil {
			return ledger.Rollover{}, fmt.Errorf("certifying root %q: %w", old, err)
		}
	}
	if plan.second != nil {
		if err := signable(ctx, plan.Old); err != nil {
			return ledger.Rollover{}, fmt.Errorf("certifying root %q: %w", new, err)
		}
	}
	r := ledger.Rollover{Old: old, New: new, Actor: requester.Name}
	if r.OldWithNew, err = ra.signOrRecord(ctx, plan.New, plan.first, plan.OldWithNew, requester); err != nil {
		return ledger.Rollover{}, err
	}
	if r.NewWithOld, err = ra.signOrRecord(ctx, plan.Old, plan.second, plan.NewWithOld, requester); err != nil {
		return ledger.Rollover{}, err
	}
	r.At = ra.Now()
	if err := ra.putRollover(ctx, turn, r); err != nil {
		return ledger.Rollover{}, err
	}
	ra.log.Info("rollover begun", "old", old, "new", new, "actor", requester.Name)
	return r, nil
}

// signOrRecord runs the cycle for a certificate of a root, or records one that was made elsewhere.
func (ra *RA) signOrRecord(ctx context.Context, by *ca.Authority, prepared *ca.Prepared, made *x509.Certificate, requester ledger.Requester) ([]byte, error) {
	if prepared != nil {
		return ra.sign(ctx, by, prepared, requester)
	}
	return made.Raw, ra.recordCA(ctx, by, made, requester.Name)
}

// sign runs the cycle for a certificate of a root.
func (ra *RA) sign(ctx context.Context, by *ca.Authority, prepared *ca.Prepared, requester ledger.Requester) ([]byte, error) {
	t := prepared.Certificate()
	key, err := keyHash(t.PublicKey)
	if err != nil {
		return nil, err
	}
	certificate, _, err := ra.record(ctx, prepared, ledger.Intent{
		Epoch: ra.currentEpoch(), Serial: SerialOf(t.SerialNumber), Issuer: by.Name(), Profile: "ca", Purpose: ledger.ForCA,
		Subject: t.Subject.String(), Requester: requester, Key: key, TBS: prepared.TBS(),
		NotBefore: t.NotBefore, NotAfter: t.NotAfter, At: ra.Now(),
	})
	if err != nil {
		return nil, err
	}
	return certificate.Raw, nil
}

// EndRollover ends a rollover: its certificates are given out no more. They are
// not revoked, and no device forgets them by it. *Refusal if none runs.
func (ra *RA) EndRollover(ctx context.Context, old, new string, requester ledger.Requester) (ledger.Rollover, error) {
	ra.making.Lock()
	defer ra.making.Unlock()
	turn, err := ra.takeTurn(ctx)
	if err != nil {
		return ledger.Rollover{}, err
	}
	defer turn.end(ctx)
	r, err := ra.RunningRollover(ctx, old, new)
	if err != nil {
		return ledger.Rollover{}, err
	}
	r.EndedAt, r.EndedBy = ra.Now(), requester.Name
	if err := ra.putRollover(ctx, turn, r); err != nil {
		return ledger.Rollover{}, err
	}
	ra.log.Info("rollover ended", "old", old, "new", new, "actor", requester.Name)
	return r, nil
}

// rotating refuses to touch what leads between roots while a rotation of one of them goes by
// it: that begins it, and ends it when nobody needs it any more.
func (ra *RA) rotating(names ...string) error {
	ra.mu.RLock()
	defer ra.mu.RUnlock()
	for _, r := range ra.known.rotations {
		state := rotation.State(r.State)
		if r.Kind == ledger.RotateRoot && state == rotation.RolledBack && r.Kept && slices.Contains(names, r.Old) && slices.Contains(names, r.New) {
			return refuse(Conflict, "rollover-rotation", "rotation %s from %q to %q was rolled back, and devices that have something of %q need the rollover: mintmark rotate rollback %s ends it once no device has", r.ID, r.Old, r.New, r.New, r.ID)
		}
		if r.Kind != ledger.RotateRoot || state.Over() || state.From(rotation.TrustRemoved) || !slices.Contains(names, r.Old) && !slices.Contains(names, r.New) {
			continue
		}
		return refuse(Conflict, "rollover-rotation", "rotation %s from %q to %q is in state %s, and begins and ends the rollover itself: mintmark rotate run %s, or mintmark rotate rollback %s", r.ID, r.Old, r.New, r.State, r.ID, r.ID)
	}
	return nil
}

// RunningRollover finds a rollover that runs and may be ended; *Refusal if there is none, or if it
// is part of a rotation.
func (ra *RA) RunningRollover(ctx context.Context, old, new string) (ledger.Rollover, error) {
	if err := ra.rotating(old, new); err != nil {
		return ledger.Rollover{}, err
	}
	list, err := ra.Rollovers(ctx)
	if err != nil {
		return ledger.Rollover{}, err
	}
	for _, r := range list {
		if r.Old == old && r.New == new && r.EndedAt.IsZero() {
			return r, nil
		}
	}
	return ledger.Rollover{}, refuse(Conflict, "rollover-none", "no rollover from %q to %q runs: mintmark ca rollover list shows them", old, new)
}

// putRollover records a rollover and puts it to work.
func (ra *RA) putRollover(ctx context.Context, turn *turn, r ledger.Rollover) error {
	if err := turn.still(ctx); err != nil {
		return err
	}
	if err := ra.Ledger.PutRollover(ctx, r); err != nil {
		return fmt.Errorf("recording the rollover from %q to %q: %w", r.Old, r.New, err)
	}
	running, err := runningRollovers([]ledger.Rollover{r})
	if err != nil {
		return err
	}
	ra.mu.Lock()
	defer ra.mu.Unlock()
	ra.version++
	// Bridges and Refresh read the old list.
	var next []rollover
	for _, other := range ra.known.rollovers {
		if other.Old != r.Old || other.New != r.New {
			next = append(next, other)
		}
	}
	ra.known.rollovers = append(next, running...)
	return nil
}

// runningRollovers parses the certificates of what runs.
func runningRollovers(list []ledger.Rollover) (running []rollover, errs error) {
	for _, one := range list {
		if !one.EndedAt.IsZero() {
			continue
		}
		r := rollover{Rollover: one}
		var err error
		if r.oldWithNew, err = x509.ParseCertificate(one.OldWithNew); err == nil && len(one.NewWithOld) > 0 {
			r.newWithOld, err = x509.ParseCertificate(one.NewWithOld)
		}
		if err != nil {
			errs = errors.Join(errs, fmt.Errorf("rollover from %q to %q: parsing its certificates: %w", one.Old, one.New, err))
			continue
		}
		running = append(running, r)
	}
	return running, errs
}

// certificates are those that were issued for the rollover.
func (r rollover) certificates() []*x509.Certificate {
	return slices.DeleteFunc([]*x509.Certificate{r.oldWithNew, r.newWithOld}, func(c *x509.Certificate) bool { return c == nil })
}

// stolen reports whether an emergency has replaced a root: nobody is led to it any more, by what
// an earlier rotation has left, either.
func (h *hierarchy) stolen(root string) bool {
	return slices.ContainsFunc(h.rotations, func(r ledger.Rotation) bool {
		return r.Kind == ledger.RotateRoot && r.Emergency && r.Old == root && r.Issue == ledger.IssueNew
	})
}

// Bridges returns the certificates that lead from one root to another while a
// rollover of the root of that issuing CA runs: OldWithOld, NewWithNew,
// OldWithNew and NewWithOld (RFC 7030, Section 4.1.3); nil while none runs. What
// is revoked, or by a root that is, is left out; so is OldWithOld after a
// compromise of its key. In the emergency rotation of a root nothing leads from one to the
// other, and no rollover runs; once it was taken back, NewWithOld alone does.
func (ra *RA) Bridges(name string) []*x509.Certificate {
	ra.mu.RLock()
	defer ra.mu.RUnlock()
	a := ra.known.authorities[name]
	if a == nil {
		return nil
	}
	var list []*x509.Certificate
	add := func(certificates ...*x509.Certificate) {
		for _, c := range certificates {
			if c == nil || ra.revoked[SerialOf(c.SerialNumber)] {
				return // the last one is certified by those before it
			}
		}
		c := certificates[len(certificates)-1]
		for _, have := range list {
			if have.Equal(c) {
				return
			}
		}
		list = append(list, c)
	}
	for _, r := range ra.known.rollovers {
		from, to := ra.known.authorities[r.Old], ra.known.authorities[r.New]
		if from == nil || to == nil || !a.Root().Equal(from.Certificate()) && !a.Root().Equal(to.Certificate()) || ra.known.stolen(r.Old) {
			continue
		}
		if r.newWithOld != nil {
			add(from.Certificate())
		}
		add(to.Certificate())
		add(to.Certificate(), r.oldWithNew)
		add(from.Certificate(), r.newWithOld)
	}
	return list
}
