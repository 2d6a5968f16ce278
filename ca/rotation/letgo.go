package rotation

import (
	"context"
	"fmt"
	"slices"

	"mintmark/internal/ledger"
)

// letGo takes away what a rollback has left of the new CA, for devices that had something
// of it, once none has. If it is cut off, the next Rollback does it again: the record says
// that it is kept until all of it was taken away.
func (m *mover) letGo(ctx context.Context, reason string) (Result, error) {
	stays := Result{Rotation: m.r}
	if err := reasonable(reason); err != nil {
		return stays, err
	}
	list, err := m.world.Records.Rotations(ctx)
	if err != nil {
		return stays, fmt.Errorf("reading rotations: %w", err)
	}
	for _, other := range list {
		if !State(other.State).Frees() {
			return stays, refused("rotation-overlap", "rotation %s from %s to %s is in state %s: what %s has left is let go when none runs", other.ID, other.Old, other.New, other.State, m.r.ID)
		}
	}
	if i := slices.IndexFunc(list, func(r ledger.Rotation) bool { return r.ID == m.r.ID }); i >= 0 && TakenOver(list[i], list[i+1:]) {
		return stays, refused("rotation-state", "what rotation %s has left of %s was taken over by a later rotation from %s to %s: mintmark rotate list shows it", m.r.ID, m.r.New, m.r.Old, m.r.New)
	}
	text, err := m.needed(ctx, list)
	if err != nil {
		return stays, err
	}
	works := []work{{step: "measure", do: func(context.Context, *ledger.Rotation) (string, error) { return text, nil }}}
	if m.r.Kind == ledger.RotateRoot {
		works = append(works, work{step: "end bridges", do: m.endBridges})
	}
	for _, w := range m.advance(StageBefore) {
		do := w.do
		w.do = func(ctx context.Context, r *ledger.Rotation) (string, error) {
			without := *r
			without.Kept = false
			return do(ctx, &without)
		}
		works = append(works, w)
	}
	if err := m.take(ctx, works); err != nil {
		return Result{Rotation: m.r}, err
	}
	last := m.r
	last.Kept = false
	err = m.enter(ctx, RolledBack, last, "let go of "+last.New+": "+reason)
	return Result{Rotation: m.r}, err
}

// needed refuses to let the new CA go while a device needs it. Of an issuing CA that are those
// with a certificate of it; notes are of anchors, which are the same. Of a root, what rotations
// have noted that this one took over counts as well: it may have been taken back before takeNotes.
func (m *mover) needed(ctx context.Context, list []ledger.Rotation) (text string, err error) {
	if m.r.Kind == ledger.RotateIssuing {
		n, words, err := m.holds(ctx, m.r)
		if err == nil && n > 0 {
			err = refused("rotation-kept", "%s, %s. They go when their devices renew, by %s: mintmark cert revoke --issuer %s --superseded revokes what has a newer one", words, m.r.New, m.r.Old, m.r.New)
		}
		return words, err
	}
	for _, one := range list {
		if one.ID != m.r.ID && !TakenOver(one, []ledger.Rotation{m.r}) {
			continue
		}
		one.Kept = false
		if text, err = m.measureKept(ctx, &one); err != nil {
			return "", err
		}
		if one.Kept {
			return "", refused("rotation-kept", "%s. mintmark rotate devices %s lists them", text, one.ID)
		}
	}
	return text, nil
}
