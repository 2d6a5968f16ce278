package rotation

import (
	"context"
	"fmt"
	"slices"

	"mintmark/internal/ledger"
)

// takeNotes notes again which devices have the anchors of the new root since an earlier
// rotation to it, which was taken back and has left it with them: they are given it all the while,
// and have no reason to ask once more. Which path a device was given last is not taken over.
func (m *mover) takeNotes(ctx context.Context, r *ledger.Rotation) (string, error) {
	list, err := m.world.Records.Rotations(ctx)
	if err != nil {
		return "", fmt.Errorf("reading rotations: %w", err)
	}
	at := slices.IndexFunc(list, func(one ledger.Rotation) bool { return one.ID == r.ID })
	noted := 0
	for _, earlier := range list[:max(at, 0)] {
		if !TakenOver(earlier, []ledger.Rotation{*r}) {
			continue
		}
		for _, class := range []ledger.AnchorClass{ledger.AnchorMoved, ledger.AnchorTrusts, ledger.AnchorWaived} {
			n, err := m.takeClass(ctx, earlier, r.ID, class)
			if err != nil {
				return "", fmt.Errorf("noting again who has the anchors of %s: %w", r.New, err)
			}
			noted += n
		}
	}
	return fmt.Sprintf("%s the anchors of %s since an earlier rotation", a(noted, "device has", "devices have"), r.New), nil
}

// takeClass does that for the devices of one class.
func (m *mover) takeClass(ctx context.Context, earlier ledger.Rotation, id string, class ledger.AnchorClass) (n int, err error) {
	query, err := AnchorQuery(earlier, m.world.Now())
	if err != nil {
		return 0, err
	}
	query.Class, query.Limit = class, 1000
	for {
		devices, next, err := m.world.Records.Anchors(ctx, query)
		if err != nil {
			return n, err
		}
		var notes []ledger.AnchorNote
		for _, d := range devices {
			if !d.Trusts.IsZero() {
				notes = append(notes, ledger.AnchorNote{Device: d.Device, Trusts: d.Trusts, How: d.How})
			}
		}
		if len(notes) > 0 {
			if err := m.world.Records.NoteAnchors(ctx, id, notes); err != nil {
				return n, err
			}
		}
		n += len(notes)
		if query.After = next; next == "" {
			return n, nil
		}
	}
}
