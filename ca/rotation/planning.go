package rotation

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"mintmark/internal/access"
	"mintmark/internal/ledger"
	"mintmark/internal/reconcile"
)

// Plan examines a rotation, and records it in state PLANNED: nothing is changed but that.
// *Refused says what stands against it.
func (m *Machine) Plan(ctx context.Context, spec Spec, actor string) (ledger.Rotation, Plan, error) {
	r, p, err := m.examine(ctx, spec.withDefaults(), actor)
	if err != nil {
		return ledger.Rotation{}, Plan{}, err
	}
	if r.Plan, err = p.encode(); err != nil {
		return ledger.Rotation{}, Plan{}, err
	}
	r.Version = 1
	entry := ledger.RotationEntry{At: r.At, Actor: actor, State: r.State, Step: "plan", Event: done, Text: "the plan's hash is " + PlanHash(r)}
	switch err := m.world.Records.PutRotation(ctx, r, entry, false); {
	case errors.Is(err, ledger.ErrTaken):
		return ledger.Rotation{}, Plan{}, refused("rotation-overlap", "another rotation was planned meanwhile: mintmark rotate list shows it")
	case err != nil:
		return ledger.Rotation{}, Plan{}, fmt.Errorf("recording a plan: %w", err)
	}
	return r, p, nil
}

// examine asks everybody concerned, and writes the plan.
func (m *Machine) examine(ctx context.Context, spec Spec, actor string) (ledger.Rotation, Plan, error) {
	none := ledger.Rotation{}
	if texts := spec.check(); len(texts) > 0 {
		return none, Plan{}, &Refused{"rotation-spec", texts}
	}
	kept, err := m.alone(ctx, spec)
	if err != nil {
		return none, Plan{}, err
	}
	principals, err := m.world.Officers(ctx)
	if err != nil {
		return none, Plan{}, fmt.Errorf("reading who is an officer: %w", err)
	}
	if have := len(access.Signers(principals)); have < spec.Gates.Officers {
		return none, Plan{}, refused("rotation-officers", "%d officers must sign, each with a key of their own, and %s: mintmark officer add takes in another", spec.Gates.Officers, a(have, "officer has one", "officers have one"))
	}
	found, err := m.world.Authorities.Examine(ctx, spec)
	switch {
	case err != nil:
		return none, Plan{}, fmt.Errorf("examining %s and %s: %w", spec.Old, spec.New, err)
	case len(found.Refused) > 0:
		return none, Plan{}, &Refused{"rotation-authorities", found.Refused}
	}
	// With a key that is gone nobody is led from an old root to a new one, and an old issuing
	// CA signs no CRL until its last certificate is over: better known now.
	if err := m.world.Authorities.SignsNow(ctx, spec.Old); err != nil && !spec.Emergency && !errors.Is(err, ErrElsewhere) {
		return none, Plan{}, refused("rotation-key", "the key of %s does not sign now, and it is needed until the rotation is over: %v", spec.Old, err)
	}

	now := m.world.Now().UTC().Truncate(time.Second)
	r := ledger.Rotation{ID: newID(), Kind: spec.Kind, Old: spec.Old, New: spec.New, Emergency: spec.Emergency, State: string(Planned), Since: now,
		Issue: ledger.IssueOld, Canary: spec.Canary, Kept: kept, At: now, Actor: actor}
	spec.NewSHA256 = found.NewSHA256
	p := Plan{Version: planVersion, ID: r.ID, Spec: spec, Made: now, Affected: cleaned(found.Affected), Warned: cleaned(found.Warned)}
	if len(spec.Canary.Labels) == 0 && spec.Canary.Percent == 0 {
		p.Warned = append(p.Warned, "the canary names no label and no percentage: nobody is served by the new CA before all are")
	}
	if kept {
		p.Warned = append(p.Warned, fmt.Sprintf("an earlier rotation has left %s with devices and with the clouds: it is looked for there again on the way to %s, and put back where it is gone", spec.New, CloudActiveBoth))
	}
	p.Warned = append(p.Warned, lax(spec)...)
	// The others read from the record whose devices have to move.
	if r.Plan, err = p.encode(); err != nil {
		return none, Plan{}, err
	}
	counts, err := m.fleet(ctx, r)
	if err != nil {
		return none, Plan{}, err
	}
	p.Devices = total(counts)
	outside, targets, unplanned, err := m.outside(ctx, r)
	if err != nil {
		return none, Plan{}, err
	}
	p.Targets, p.Warned = targets, append(p.Warned, unplanned...)
	if spec.Emergency {
		p.Warned = append(p.Warned, emergencyWarning(spec, counts))
	}
	for _, state := range States[1:] {
		step := PlanStep{State: state, Sign: state.Signed(), Gate: gateWords(state, spec), Changes: ownChanges(state, spec, p.Devices)}
		for _, c := range found.Changes {
			if stateOf(c) == state {
				step.Changes = append(step.Changes, planned(where(c), c))
			}
		}
		step.Changes = append(step.Changes, outside[state]...)
		p.Steps = append(p.Steps, step)
	}
	return r, p, nil
}

// alone refuses to begin beside another rotation: an enrollment group of DPS has two slots.
// It reports whether one of the same two that was taken back has left the new CA with the
// clouds, for devices that have something of it: then this one must not take it away either.
func (m *Machine) alone(ctx context.Context, spec Spec) (kept bool, err error) {
	list, err := m.world.Records.Rotations(ctx)
	if err != nil {
		return false, fmt.Errorf("reading rotations: %w", err)
	}
	for _, other := range list {
		if other.Kind == spec.Kind && other.Old == spec.Old && other.New == spec.New { // the last one says what is left
			kept = other.Kept && State(other.State) == RolledBack
		}
		if !State(other.State).Frees() {
			return false, refused("rotation-overlap", "rotation %s from %s to %s is in state %s, and only one runs at a time: take it to %s, or mintmark rotate rollback %s",
				other.ID, other.Old, other.New, other.State, TrustRemoved, other.ID)
		}
	}
	return kept, nil
}

// outside asks every cloud target what each stage changes there. What two stages in a row
// have in common is listed once. A target that is away or stands against it does not keep an
// emergency from being planned, which shuts the old CA out of the others: the texts warn of it.
func (m *Machine) outside(ctx context.Context, r ledger.Rotation) (changes map[State][]PlanChange, targets []PlanTarget, warned []string, err error) {
	changes = make(map[State][]PlanChange)
	var against []string
targets:
	for _, cloud := range m.concerned(r) {
		targets = append(targets, PlanTarget{Name: cloud.Name(), Has: cleaned(cloud.Has(r))})
		var before []reconcile.Change
		at := StageOf(r)
		for _, state := range States[1:] {
			next := r
			next.State = string(state)
			stage := StageOf(next)
			if stage == at {
				continue
			}
			at = stage
			plan, err := cloud.Plan(ctx, r, stage)
			if err != nil && r.Emergency {
				warned = append(warned, clean(fmt.Sprintf("%s was not planned (on the way to %s: %v): the old CA is shut out there once the target can be reached, together with what else has drifted", cloud.Name(), state, err)))
				continue targets
			}
			if err != nil {
				return nil, nil, nil, fmt.Errorf("%s: planning %s: %w", cloud.Name(), stage, err)
			}
			for _, c := range plan.Refused() {
				if text := fmt.Sprintf("%s, on the way to %s: %s", cloud.Name(), state, describe(c)); !slices.Contains(against, text) {
					against = append(against, text)
				}
			}
			for _, c := range plan.Changes {
				if c.Action != reconcile.None && !slices.Contains(before, c) {
					changes[state] = append(changes[state], planned(cloud.Name(), c))
				}
			}
			before = plan.Changes
		}
	}
	switch {
	case len(against) == 0:
	case !r.Emergency:
		return nil, nil, nil, &Refused{"rotation-cloud", against}
	default:
		for _, text := range against {
			warned = append(warned, clean("this stands against it, and the rotation will wait there: "+text))
		}
	}
	return changes, targets, warned, nil
}

// lax warns of gates that are met by hardly anything. An emergency waits for nothing.
func lax(spec Spec) (warned []string) {
	const usual = 9500
	g := spec.Gates
	if spec.Emergency {
		return nil
	}
	if spec.Kind == ledger.RotateRoot && g.Trusting < usual {
		warned = append(warned, fmt.Sprintf("the switch asks for %s %% of the devices only: the others can be cut off by it", hundredths(g.Trusting)))
	}
	if g.Moved < usual {
		warned = append(warned, fmt.Sprintf("the end of trust in %s asks for %s %% of the devices only: the others are cut off by it", spec.Old, hundredths(g.Moved)))
	}
	for _, floor := range []struct {
		of    State
		least time.Duration
		asked bool
	}{{Distributing, g.Distribute, spec.Kind == ledger.RotateRoot}, {Canaried, g.Watch, true}, {Draining, g.Drain, true}} {
		if floor.asked && floor.least == 0 {
			warned = append(warned, fmt.Sprintf("%s may be left at once: no time is asked for", floor.of))
		}
	}
	return warned
}

// emergencyWarning says what an emergency costs, in devices.
func emergencyWarning(spec Spec, counts map[ledger.AnchorClass]int) string {
	n := total(counts)
	if spec.Kind == ledger.RotateIssuing {
		n -= counts[ledger.AnchorMoved]
		return fmt.Sprintf("at %s everything that %s has signed is revoked: of the %s under it now, each that has not moved by then has to enroll anew, as for the first time", TrustRemoved, spec.Old, a(n, "device", "devices"))
	}
	n -= counts[ledger.AnchorMoved] + counts[ledger.AnchorTrusts]
	return fmt.Sprintf("no path leads from %s to %s, whose key would have to be vouched for by one in wrong hands: of the %s without the anchors of %s now, each that has not got them by %s will refuse this server from then on", spec.Old, spec.New, a(n, "device", "devices"), spec.New, Switched)
}

func planned(where string, c reconcile.Change) PlanChange {
	if c.Action == reconcile.None {
		c.Before, c.After = "", c.Before
	}
	return PlanChange{Where: clean(where), What: clean(describe(c)), Before: clean(c.Before), After: clean(c.After)}
}

// where tells what EST gives out from the rest of our own.
func where(c reconcile.Change) string {
	if stateOf(c) == Distributing {
		return "est"
	}
	return "mintmark"
}

// stateOf is the state under which the plan lists one of our own changes.
func stateOf(c reconcile.Change) State {
	switch c.Kind {
	case "key", "authority":
		return KeyGenerated
	case "est", "cacerts", "anchors":
		return Distributing
	case "canary":
		return Canaried
	case "serve", "label", "path", "tls":
		return Switched
	case "crl", "revocation":
		return TrustRemoved
	}
	return Certified
}

// cleaned is never nil: a list in a plan is written as one.
func cleaned(texts []string) []string {
	out := make([]string, 0, len(texts))
	for _, text := range texts {
		out = append(out, clean(text))
	}
	return out
}

// newID is ten characters that nobody mistakes for a name of an authority in a command.
func newID() string {
	var b [8]byte
	rand.Read(b[:])
	return strings.ToLower(base32.StdEncoding.EncodeToString(b[:])[:10])
}
