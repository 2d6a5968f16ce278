package ledgertest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"mintmark/internal/ledger"
)

// ErrInjected is what a Faulty ledger fails with. It is not one of the
// ledger's sentinels: the caller does not know whether its write was done.
var ErrInjected = errors.New("injected failure")

// Mode says how a write fails.
type Mode int

const (
	// Pass lets the write through.
	Pass Mode = iota
	// NotPersist returns an error and writes nothing.
	NotPersist
	// ButPersist writes, and returns an error all the same.
	ButPersist
)

// Faulty is a ledger whose writes fail on command. Reads pass.
type Faulty struct {
	ledger.Ledger
	// Fail is asked before each write; op is the name of the method.
	Fail func(op string) Mode
}

// inject runs a write as Fail has decided.
func (f *Faulty) inject(op string, write func() error) error {
	switch f.Fail(op) {
	case NotPersist:
		return fmt.Errorf("%s: %w", op, ErrInjected)
	case ButPersist:
		if err := write(); err != nil {
			return err
		}
		return fmt.Errorf("%s: %w", op, ErrInjected)
	}
	return write()
}

// injectValue is inject for a write with a result, which an error hides.
func injectValue[T any](f *Faulty, op string, write func() (T, error)) (T, error) {
	var value T
	err := f.inject(op, func() (err error) {
		value, err = write()
		return err
	})
	if errors.Is(err, ErrInjected) {
		var none T
		return none, err
	}
	return value, err
}

func (f *Faulty) Begin(ctx context.Context, intents []ledger.Intent) ([]error, error) {
	return injectValue(f, "Begin", func() ([]error, error) { return f.Ledger.Begin(ctx, intents) })
}

func (f *Faulty) Finish(ctx context.Context, issued []ledger.Issued) ([]error, error) {
	return injectValue(f, "Finish", func() ([]error, error) { return f.Ledger.Finish(ctx, issued) })
}

func (f *Faulty) Join(ctx context.Context, server string, now time.Time, ttl time.Duration) (ledger.Epoch, error) {
	return injectValue(f, "Join", func() (ledger.Epoch, error) { return f.Ledger.Join(ctx, server, now, ttl) })
}

func (f *Faulty) Extend(ctx context.Context, epoch ledger.Epoch, now time.Time, ttl time.Duration) error {
	return f.inject("Extend", func() error { return f.Ledger.Extend(ctx, epoch, now, ttl) })
}

func (f *Faulty) Void(ctx context.Context, serial ledger.Serial, now time.Time) error {
	return f.inject("Void", func() error { return f.Ledger.Void(ctx, serial, now) })
}

func (f *Faulty) VoidLapsed(ctx context.Context, now time.Time) (int, error) {
	return injectValue(f, "VoidLapsed", func() (int, error) { return f.Ledger.VoidLapsed(ctx, now) })
}

func (f *Faulty) Revoke(ctx context.Context, selector ledger.Selector, reason ledger.Reason, actor string, now time.Time, tasks func(ledger.Certificate) []ledger.Task) ([]ledger.Serial, error) {
	return injectValue(f, "Revoke", func() ([]ledger.Serial, error) {
		return f.Ledger.Revoke(ctx, selector, reason, actor, now, tasks)
	})
}

func (f *Faulty) NextCRL(ctx context.Context, fence ledger.Fence, issuer string, shard int, now time.Time, period time.Duration) (ledger.CRLWork, error) {
	return injectValue(f, "NextCRL", func() (ledger.CRLWork, error) { return f.Ledger.NextCRL(ctx, fence, issuer, shard, now, period) })
}

func (f *Faulty) PutCRL(ctx context.Context, fence ledger.Fence, crl ledger.CRL) error {
	return f.inject("PutCRL", func() error { return f.Ledger.PutCRL(ctx, fence, crl) })
}

func (f *Faulty) PutAuthority(ctx context.Context, authority ledger.Authority) error {
	return f.inject("PutAuthority", func() error { return f.Ledger.PutAuthority(ctx, authority) })
}

func (f *Faulty) Acquire(ctx context.Context, job, holder string, now time.Time, ttl time.Duration) (ledger.Fence, error) {
	return injectValue(f, "Acquire", func() (ledger.Fence, error) { return f.Ledger.Acquire(ctx, job, holder, now, ttl) })
}

func (f *Faulty) Done(ctx context.Context, ids []int64) error {
	return f.inject("Done", func() error { return f.Ledger.Done(ctx, ids) })
}

func (f *Faulty) Retry(ctx context.Context, id int64, at time.Time, cause string) error {
	return f.inject("Retry", func() error { return f.Ledger.Retry(ctx, id, at, cause) })
}

func (f *Faulty) ImportCertificates(ctx context.Context, certificates []ledger.Certificate, actor string, now time.Time) ([]error, error) {
	return injectValue(f, "ImportCertificates", func() ([]error, error) {
		return f.Ledger.ImportCertificates(ctx, certificates, actor, now)
	})
}

func (f *Faulty) OpenImport(ctx context.Context, i ledger.Import) error {
	return f.inject("OpenImport", func() error { return f.Ledger.OpenImport(ctx, i) })
}

func (f *Faulty) StageDevices(ctx context.Context, id string, rows []ledger.Listing) error {
	return f.inject("StageDevices", func() error { return f.Ledger.StageDevices(ctx, id, rows) })
}

func (f *Faulty) CommitImport(ctx context.Context, id string, now time.Time, tasks ...ledger.Task) (ledger.Import, error) {
	return injectValue(f, "CommitImport", func() (ledger.Import, error) { return f.Ledger.CommitImport(ctx, id, now, tasks...) })
}

func (f *Faulty) DropImport(ctx context.Context, id string) error {
	return f.inject("DropImport", func() error { return f.Ledger.DropImport(ctx, id) })
}

func (f *Faulty) HoldDevice(ctx context.Context, id string, state ledger.DeviceState, actor, note string, now time.Time, tasks ...ledger.Task) (ledger.Device, error) {
	return injectValue(f, "HoldDevice", func() (ledger.Device, error) { return f.Ledger.HoldDevice(ctx, id, state, actor, note, now, tasks...) })
}

func (f *Faulty) HoldUnknown(ctx context.Context, id string, state ledger.DeviceState, actor, note string, now time.Time, tasks ...ledger.Task) (ledger.Device, error) {
	return injectValue(f, "HoldUnknown", func() (ledger.Device, error) { return f.Ledger.HoldUnknown(ctx, id, state, actor, note, now, tasks...) })
}

func (f *Faulty) CreateOrder(ctx context.Context, order ledger.Order, tasks ...ledger.Task) error {
	return f.inject("CreateOrder", func() error { return f.Ledger.CreateOrder(ctx, order, tasks...) })
}

func (f *Faulty) ChangeOrder(ctx context.Context, id string, change ledger.OrderChange, actor string, now time.Time, tasks ...ledger.Task) (ledger.Order, error) {
	return injectValue(f, "ChangeOrder", func() (ledger.Order, error) { return f.Ledger.ChangeOrder(ctx, id, change, actor, now, tasks...) })
}

func (f *Faulty) QueueEnrollment(ctx context.Context, e ledger.Enrollment, most int) (ledger.Enrollment, error) {
	return injectValue(f, "QueueEnrollment", func() (ledger.Enrollment, error) { return f.Ledger.QueueEnrollment(ctx, e, most) })
}

func (f *Faulty) DecideEnrollment(ctx context.Context, id string, approve bool, actor, note string, now, expires time.Time) (ledger.Enrollment, error) {
	return injectValue(f, "DecideEnrollment", func() (ledger.Enrollment, error) {
		return f.Ledger.DecideEnrollment(ctx, id, approve, actor, note, now, expires)
	})
}

func (f *Faulty) PutSecrets(ctx context.Context, secrets []ledger.DeviceSecret) error {
	return f.inject("PutSecrets", func() error { return f.Ledger.PutSecrets(ctx, secrets) })
}

func (f *Faulty) DropSecret(ctx context.Context, device, actor string, now time.Time) error {
	return f.inject("DropSecret", func() error { return f.Ledger.DropSecret(ctx, device, actor, now) })
}

func (f *Faulty) PutRollover(ctx context.Context, rollover ledger.Rollover) error {
	return f.inject("PutRollover", func() error { return f.Ledger.PutRollover(ctx, rollover) })
}

func (f *Faulty) Refuse(ctx context.Context, refused []ledger.Refused, keep int) error {
	return f.inject("Refuse", func() error { return f.Ledger.Refuse(ctx, refused, keep) })
}

func (f *Faulty) PutPrincipal(ctx context.Context, principal ledger.Principal, now time.Time) error {
	return f.inject("PutPrincipal", func() error { return f.Ledger.PutPrincipal(ctx, principal, now) })
}

func (f *Faulty) Propose(ctx context.Context, approval ledger.Approval) error {
	return f.inject("Propose", func() error { return f.Ledger.Propose(ctx, approval) })
}

func (f *Faulty) MoveApproval(ctx context.Context, from ledger.ApprovalState, next ledger.Approval, now time.Time) error {
	return f.inject("MoveApproval", func() error { return f.Ledger.MoveApproval(ctx, from, next, now) })
}

func (f *Faulty) PutRotation(ctx context.Context, rotation ledger.Rotation, entry ledger.RotationEntry, over bool) error {
	return f.inject("PutRotation", func() error { return f.Ledger.PutRotation(ctx, rotation, entry, over) })
}

func (f *Faulty) NoteAnchors(ctx context.Context, rotation string, notes []ledger.AnchorNote) error {
	return f.inject("NoteAnchors", func() error { return f.Ledger.NoteAnchors(ctx, rotation, notes) })
}
