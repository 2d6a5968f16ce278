package sqldb

import (
	"context"
	"errors"
	"time"

	"mintmark/internal/ledger"
)

var errNotYet = errors.New("not built yet")

func (s *Store) QueueEnrollment(ctx context.Context, e ledger.Enrollment, most int) (ledger.Enrollment, error) {
	return ledger.Enrollment{}, errNotYet
}
func (s *Store) FindEnrollment(ctx context.Context, key [32]byte, subject string, now time.Time) (ledger.Enrollment, error) {
	return ledger.Enrollment{}, ledger.ErrNotFound
}
func (s *Store) Enrollment(ctx context.Context, id string) (ledger.Enrollment, error) {
	return ledger.Enrollment{}, errNotYet
}
func (s *Store) Enrollments(ctx context.Context, query ledger.EnrollmentQuery) ([]ledger.Enrollment, error) {
	return nil, errNotYet
}
func (s *Store) DecideEnrollment(ctx context.Context, id string, approve bool, actor, note string, now, expires time.Time) (ledger.Enrollment, error) {
	return ledger.Enrollment{}, errNotYet
}
func (s *Store) PutSecrets(ctx context.Context, secrets []ledger.DeviceSecret) error {
	return errNotYet
}
func (s *Store) DeviceSecret(ctx context.Context, device string) (ledger.DeviceSecret, error) {
	return ledger.DeviceSecret{}, ledger.ErrNotFound
}
func (s *Store) DropSecret(ctx context.Context, device, actor string, now time.Time) error {
	return errNotYet
}
func (s *Store) PutRollover(ctx context.Context, rollover ledger.Rollover) error { return errNotYet }
func (s *Store) Rollovers(ctx context.Context) ([]ledger.Rollover, error)        { return nil, nil }
