package rotation

import (
	"slices"

	"mintmark/internal/ledger"
)

// StageOf is the stage at which every cloud target is while a rotation is in its state.
func StageOf(r ledger.Rotation) Stage {
	state := State(r.State)
	switch {
	case state == RolledBack && r.Kept:
		return StageBoth
	case state == RolledBack:
		return StageBefore
	case state.From(Retired):
		return StageOldRemoved
	case state.From(TrustRemoved):
		return StageOldInactive
	case state.From(Draining):
		return StageOldQuiet
	case state.From(CloudActiveBoth), r.Kept && state.From(Approved), r.Kept && !r.Emergency:
		return StageBoth // of Kept: since an earlier rotation to the same CA
	case state.From(CloudRegistered):
		return StageRegistered
	case state.From(Approved) && r.Emergency:
		return StageCutOff
	}
	return StageBefore
}

// From reports whether a rotation in state s has come as far as the other state.
func (s State) From(other State) bool {
	at, of := slices.Index(States, s), slices.Index(States, other)
	return at >= 0 && at >= of
}

// TakenOver reports whether one of the rotations that were planned after a rotation holds what
// that has left of the new CA: of two, only the last one says where the clouds are.
func TakenOver(r ledger.Rotation, later []ledger.Rotation) bool {
	return State(r.State) == RolledBack && r.Kept && slices.ContainsFunc(later, func(l ledger.Rotation) bool {
		return l.Kind == r.Kind && l.Old == r.Old && l.New == r.New && !(l.Emergency && State(l.State) == Planned)
	})
}
