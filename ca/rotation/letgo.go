package rotation

import (
	"context"
	"fmt"

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
	next := m.r
	next.Kept = false
	text, err := m.measureKept(ctx, &next)
	switch {
	case err != nil:
		return stays, err
	case next.Kept:
		return stays, refused("rotation-kept", "%s. mintmark rotate devices %s lists them", text, m.r.ID)
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
