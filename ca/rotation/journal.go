package rotation

import (
	"context"
	"fmt"

	"mintmark/internal/ledger"
)

// eachEntry calls do with each entry of a journal, the oldest first, as long as it wants more.
func eachEntry(ctx context.Context, records ledger.Rotations, id string, do func(ledger.RotationEntry) (more bool)) error {
	const page = 1000
	for after := int64(0); ; {
		entries, err := records.RotationJournal(ctx, id, after, page)
		if err != nil {
			return fmt.Errorf("reading the journal of rotation %s: %w", id, err)
		}
		for _, e := range entries {
			if !do(e) {
				return nil
			}
			after = e.Number
		}
		if len(entries) == 0 {
			return nil
		}
	}
}

// journaled reports whether the journal has an entry like that.
func (m *mover) journaled(ctx context.Context, like func(ledger.RotationEntry) bool) (has bool, err error) {
	err = eachEntry(ctx, m.world.Records, m.r.ID, func(e ledger.RotationEntry) bool {
		has = like(e)
		return !has
	})
	return has, err
}
