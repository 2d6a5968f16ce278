package rotation

import (
	"context"
	"fmt"
	"strings"

	"mintmark/internal/ledger"
)

// Rollback takes everything back that was done, in the reverse order; nothing is deleted
// that a device may still need. Refused from TRUST_REMOVED on. It is journaled as a move
// forward is, and one that was cut off goes on with the next Rollback or Run. Of one that was
// taken back, and whose new CA was kept, it lets that go once no device has anything of it.
// What opens
// the old CA again whose key is in wrong hands takes the signatures of as many officers as
// any gate, for ROLLED_BACK.
func (m *Machine) Rollback(ctx context.Context, id, reason, actor string, progress Progress) (Result, error) {
	ctx, end, err := m.exclusive(ctx, id)
	if err != nil {
		return Result{}, err
	}
	defer end()
	r, err := m.open(ctx, id, actor, progress)
	if err != nil {
		return Result{}, err
	}
	at := State(r.r.State)
	switch {
	case RollingBack(r.r):
		return r.back(ctx)
	case at == RolledBack && r.r.Kept:
		return r.letGo(ctx, reason)
	case at.Over():
		return Result{Rotation: r.r}, refused("rotation-state", "rotation %s is in state %s: there is nothing to take back", id, at)
	case at.From(TrustRemoved):
		return Result{Rotation: r.r}, refused("rotation-state", "rotation %s is in state %s: trust in %s is gone, and only a new rotation leads on", id, at, r.r.Old)
	}
	if err := reasonable(reason); err != nil {
		return Result{Rotation: r.r}, err
	}
	if at == Draining && r.r.Emergency {
		gone, err := r.journaled(ctx, func(e ledger.RotationEntry) bool { return e.Step == revokeStep })
		if err != nil {
			return Result{Rotation: r.r}, err
		}
		if gone {
			return Result{Rotation: r.r}, refused("rotation-state", "the certificate of %s was or is being revoked, which nothing takes back: mintmark rotate run %s goes on", r.r.Old, id)
		}
	}
	reopens, err := r.reopens(ctx)
	if err != nil {
		return Result{Rotation: r.r}, err
	}
	if reopens {
		names, text, err := r.signed(ctx, RolledBack)
		if err != nil {
			return Result{Rotation: r.r}, err
		}
		if len(names) < r.need() {
			return Result{Rotation: r.r}, refused("rotation-unsigned", "this lets in again what %s has signed, whose key is in wrong hands: %s", r.r.Old, text)
		}
	}
	next := r.r
	next.Paused = rolledBackMark + reason
	if err := r.put(ctx, next, RolledBack, "rollback", begun, reason); err != nil {
		return Result{Rotation: r.r}, err
	}
	return r.back(ctx)
}

// reopens reports whether taking a rotation back lets in an old CA whose key is in wrong
// hands: an emergency shuts it out on the way to APPROVED, and nobody alone undoes that.
func (m *mover) reopens(ctx context.Context) (bool, error) {
	at := State(m.r.State)
	switch {
	case !m.r.Emergency || at.Over() || at.From(TrustRemoved) || RollingBack(m.r):
		return false, nil
	case at.From(Approved):
		return true, nil
	}
	return m.touched(ctx, at)
}

// back does what takes a rotation back, and ends it. The record still says from which
// state; what leads into the state behind it may have been begun.
func (m *mover) back(ctx context.Context) (Result, error) {
	err := m.undo(ctx)
	if err == nil {
		r := m.r
		reason := strings.TrimPrefix(r.Paused, rolledBackMark)
		r.Paused = ""
		text := "rolled back from " + r.State + ": " + reason
		if r.Kept {
			text += "; the new CA stays with the clouds and among the anchors: devices have something of it"
		}
		err = m.enter(ctx, RolledBack, r, text)
	}
	return Result{Rotation: m.r}, err
}

func (m *mover) undo(ctx context.Context) error {
	if err := m.refresh(ctx); err != nil {
		return err
	}
	reached, root := State(m.r.State), m.r.Kind == ledger.RotateRoot
	var works []work
	// 1. The old CA serves again.
	if reached.From(Distributing) {
		back := m.serve(ledger.IssueOld)
		mark := back.mark
		back.mark = func(r *ledger.Rotation) {
			// Whatever was served by the new CA last is on its way to a device now. In a canary
			// another server may serve by it until it has read the record, when all was measured.
			canary := r.Issue == ledger.IssueCanary && m.world.Settle > 0 && (len(r.Canary.Labels) > 0 || r.Canary.Percent > 0)
			r.Kept = r.Kept || r.Issue == ledger.IssueNew || canary
			mark(r)
		}
		works = append(works, back)
		if root && reached.From(Canaried) {
			works = append(works, work{step: "adopt", do: m.adopt})
		}
	}
	// 2. What devices have of the new CA by now decides what stays.
	if reached.From(CloudActiveBoth) {
		works = append(works, work{step: "measure", do: m.measureKept})
	}
	if err := m.take(ctx, works); err != nil {
		return err
	}
	works = nil
	// 3. What EST gives out.
	if root && reached.From(CloudActiveBoth) {
		if m.r.Kept {
			works = append(works, work{step: "distribute", do: m.distribute}) // what was ended on the way to TRUST_REMOVED
		} else if err := m.take(ctx, []work{
			{step: "end bridges", do: m.endBridges},
			// Until then devices could fetch the new anchors, and trust nothing else.
			{step: "measure again", do: m.measureKept},
		}); err != nil {
			return err
		} else if m.r.Kept {
			works = append(works, work{step: "distribute", do: m.distribute})
		}
	}
	// 4. The clouds.
	touched, err := m.touched(ctx, reached)
	if err != nil {
		return err
	}
	if touched {
		next := m.r
		next.State = string(RolledBack)
		works = append(works, m.advance(StageOf(next))...)
	}
	return m.take(ctx, works)
}

// touched reports whether a cloud may have been changed. A plan that nobody has carried out is
// forgotten without them: one that cannot be reached does not hold up the next rotation.
func (m *mover) touched(ctx context.Context, reached State) (bool, error) {
	next := m.r
	next.State = string(reached.Next())
	switch {
	case StageOf(m.r) != StageBefore:
		return true, nil
	case StageOf(next) == StageBefore:
		return false, nil
	}
	return m.journaled(ctx, func(e ledger.RotationEntry) bool { return e.State == next.State && e.Event == begun })
}

func (m *mover) take(ctx context.Context, works []work) error {
	_, err := m.do(ctx, RolledBack, works)
	return err
}

// measureKept finds out whether a device has something of the new CA: then it stays with
// the clouds and among the anchors.
func (m *mover) measureKept(ctx context.Context, r *ledger.Rotation) (string, error) {
	if err := m.world.Fleet.Noted(ctx); err != nil {
		return "", err
	}
	counts, err := m.fleet(ctx, *r)
	if err != nil {
		return "", err
	}
	// Who was waived may have had the new anchors by another way.
	have := counts[ledger.AnchorMoved] + counts[ledger.AnchorTrusts] + counts[ledger.AnchorWaived]
	text := a(have, "device has", "devices have") + " something of " + r.New
	if r.Kind == ledger.RotateIssuing {
		left, words, err := m.holds(ctx, *r)
		if err != nil {
			return "", err
		}
		have, text = have+left, text+", "+words
	}
	r.Kept = r.Kept || have > 0
	if !r.Kept {
		text += ": it is taken away"
	} else {
		text += ": it stays"
	}
	return text, nil
}

// holds counts the certificates in force that devices have of the new issuing CA. Those of this
// server's own and of people are replaced without anybody's doing.
func (m *mover) holds(ctx context.Context, r ledger.Rotation) (n int, text string, err error) {
	r.Old, r.New = r.New, r.Old
	left, err := m.world.Authorities.LeftBelow(ctx, r)
	if err != nil {
		return 0, "", fmt.Errorf("counting what is in force under %s: %w", r.Old, err)
	}
	n = left.Devices + left.Waived
	return n, fmt.Sprintf("%s of devices in force under it", a(n, "certificate", "certificates")), nil
}
