package sqldb

import (
	"context"
	"errors"
	"time"

	"mintmark/internal/ledger"
)

var errNotBuilt = errors.New("not built yet")

// PutRotation implements ledger.Rotations.
func (s *Store) PutRotation(ctx context.Context, rotation ledger.Rotation, entry ledger.RotationEntry, over bool) error {
	return errNotBuilt
}

// Rotations implements ledger.Rotations.
func (s *Store) Rotations(ctx context.Context) ([]ledger.Rotation, error) { return nil, nil }

// RotationJournal implements ledger.Rotations.
func (s *Store) RotationJournal(ctx context.Context, id string, after int64, limit int) ([]ledger.RotationEntry, error) {
	return nil, errNotBuilt
}

// NoteAnchors implements ledger.Rotations.
func (s *Store) NoteAnchors(ctx context.Context, rotation string, notes []ledger.AnchorNote) error {
	return errNotBuilt
}

// Anchors implements ledger.Rotations.
func (s *Store) Anchors(ctx context.Context, query ledger.AnchorQuery) (devices []ledger.AnchorDevice, next string, err error) {
	return nil, "", errNotBuilt
}

// AnchorCount implements ledger.Rotations.
func (s *Store) AnchorCount(ctx context.Context, query ledger.AnchorQuery) (map[ledger.AnchorClass]int, error) {
	return nil, errNotBuilt
}

// RenewalCurve implements ledger.Renewals.
func (s *Store) RenewalCurve(ctx context.Context, query ledger.RenewalQuery) ([]ledger.RenewalBucket, ledger.Overdue, error) {
	return nil, ledger.Overdue{}, errNotBuilt
}

// OverdueDevices implements ledger.Renewals.
func (s *Store) OverdueDevices(ctx context.Context, now time.Time, percent int, after string, limit int) ([]ledger.Certificate, error) {
	return nil, errNotBuilt
}

// RefusalsByRule implements ledger.Renewals.
func (s *Store) RefusalsByRule(ctx context.Context, since time.Time) (map[string]int, error) {
	return nil, errNotBuilt
}

// ChangedSince implements ledger.Revocations.
func (s *Store) ChangedSince(ctx context.Context, position string, limit int) (serials []ledger.Serial, next string, err error) {
	return nil, "", errNotBuilt
}

// Tasks implements ledger.Outbox.
func (s *Store) Tasks(ctx context.Context, key string) ([]ledger.Task, error) {
	return nil, errNotBuilt
}
