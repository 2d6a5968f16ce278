package sqldb

import (
	"context"
	"errors"
	"time"

	"mintmark/internal/ledger"
)

// Being written; nothing of this file stays.
var errPending = errors.New("not written yet")

func (s *Store) ImportCertificates(context.Context, []ledger.Certificate, string, time.Time) ([]error, error) {
	return nil, errPending
}
func (s *Store) OpenImport(context.Context, ledger.Import) error { return errPending }
func (s *Store) StageDevices(context.Context, string, []ledger.Listing) error {
	return errPending
}
func (s *Store) CommitImport(context.Context, string, time.Time) (ledger.Import, error) {
	return ledger.Import{}, errPending
}
func (s *Store) DropImport(context.Context, string) error { return errPending }
func (s *Store) OpenImports(context.Context) ([]ledger.Import, error) {
	return nil, nil
}
func (s *Store) HoldDevice(context.Context, string, ledger.DeviceState, string, string, time.Time) (ledger.Device, error) {
	return ledger.Device{}, errPending
}
func (s *Store) CreateOrder(context.Context, ledger.Order) error { return errPending }
func (s *Store) Order(context.Context, string) (ledger.Order, error) {
	return ledger.Order{}, errPending
}
func (s *Store) Orders(context.Context, ledger.OrderQuery) ([]ledger.Order, error) {
	return nil, errPending
}
func (s *Store) ChangeOrder(context.Context, string, ledger.OrderChange, string, time.Time) (ledger.Order, error) {
	return ledger.Order{}, errPending
}
func (s *Store) OrderUsage(context.Context, string) (ledger.OrderUsage, error) {
	return ledger.OrderUsage{}, errPending
}
func (s *Store) Refuse(context.Context, []ledger.Refused, int) error { return nil }
func (s *Store) Refusals(context.Context, ledger.RefusalQuery) ([]ledger.Refused, error) {
	return nil, errPending
}
func (s *Store) PutPrincipal(context.Context, ledger.Principal, time.Time) error { return errPending }
func (s *Store) Principals(context.Context) ([]ledger.Principal, error)          { return nil, nil }
func (s *Store) Propose(context.Context, ledger.Approval) error                  { return errPending }
func (s *Store) Approval(context.Context, string) (ledger.Approval, error) {
	return ledger.Approval{}, errPending
}
func (s *Store) Approvals(context.Context, ledger.ApprovalState, int) ([]ledger.Approval, error) {
	return nil, errPending
}
func (s *Store) MoveApproval(context.Context, ledger.ApprovalState, ledger.Approval, time.Time) error {
	return errPending
}
