package awsreg

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"

	"mintmark/awsreg/hook"
	"mintmark/internal/ledger"
)

// TellAll delivers everything there is to tell a target: certificates under its
// CAs that are in force or revoked, work orders for its fleets with their claims
// and lists, and devices that are held or retired. It returns how much that was.
// All of it may be told again; what AWS shows as it should be is not called for
// once more.
//
// What fails does not keep the rest from being told. The error names some of it, and
// for it holds what Told says. TellAll gives up early if nothing at all succeeds any
// more.
func (r *Registrar) TellAll(ctx context.Context, t Target) (int, error) {
	if err := r.needRecords(); err != nil {
		return 0, err
	}
	if _, err := r.session(ctx, t, false); err != nil {
		return 0, fmt.Errorf("AWS target %q: telling all: %w", t.Name, err)
	}
	all := &telling{r: r, t: t}
	// What keeps devices out goes first.
	for _, tell := range []func(context.Context) error{all.templates, all.devices, all.orders, all.certificates, all.provided} {
		if err := tell(ctx); err != nil {
			all.failed(err)
		}
		if all.vain >= mostInVain || ctx.Err() != nil {
			break
		}
	}
	if err := all.err(); err != nil {
		return all.told, fmt.Errorf("AWS target %q: telling all: %w", t.Name, err)
	}
	if all.told > 0 {
		r.cfg.Logger.Info("told AWS of everything", "target", t.Name, "tasks", all.told)
	}
	return all.told, nil
}

const (
	// mostInVain is how many batches in a row of which nothing could be told end
	// TellAll: AWS, or the table, is away.
	mostInVain = 3
	// mostFailures bounds the failures that TellAll names.
	mostFailures = 10
)

// errInVain ends TellAll.
var errInVain = errors.New("giving up, nothing can be told")

// telling is one run of TellAll.
type telling struct {
	r       *Registrar
	t       Target
	pending []ledger.Task
	told    int
	vain    int // batches in a row of which nothing was told
	// What failed: before it was in the manifest, or after.
	unwritten, outstanding failures
}

// failures are some errors, and how many there are.
type failures struct {
	some []error
	n    int
}

func (f *failures) add(err error) {
	if f.n++; len(f.some) < mostFailures {
		f.some = append(f.some, err)
	}
}

func (f *failures) err() error {
	if more := f.n - len(f.some); more > 0 {
		return errors.Join(append(f.some, fmt.Errorf("and %d more", more))...)
	}
	return errors.Join(f.some...)
}

func (a *telling) failed(err error) {
	if Told(err) {
		a.outstanding.add(err)
	} else {
		a.unwritten.add(err)
	}
}

// err wraps ErrTold only if nothing else has failed.
func (a *telling) err() error {
	if a.unwritten.n > 0 {
		return a.unwritten.err()
	}
	return a.outstanding.err()
}

// add delivers tasks as soon as there are enough of them.
func (a *telling) add(ctx context.Context, settled func(push) bool, tasks ...ledger.Task) error {
	for _, task := range tasks {
		if task.Kind == TaskKind(a.t) || task.Kind == UrgentKind(a.t) {
			a.pending = append(a.pending, task)
		}
	}
	if len(a.pending) < BatchSize {
		return nil
	}
	return a.flush(ctx, settled)
}

func (a *telling) flush(ctx context.Context, settled func(push) bool) error {
	pending := a.pending
	a.pending = nil
	for batch := range slices.Chunk(pending, BatchSize) {
		a.vain++
		for _, err := range a.r.deliver(ctx, a.t, batch, settled) {
			if err == nil {
				a.told++
			} else {
				a.failed(err)
			}
			if Told(err) {
				a.vain = 0
			}
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if a.vain >= mostInVain {
			return errInVain
		}
	}
	return nil
}

// templates says what the provisioning templates are, and whose CAs there are.
func (a *telling) templates(ctx context.Context) error {
	s, err := a.r.session(ctx, a.t, false)
	if err != nil {
		return err
	}
	signers, err := a.r.signers(ctx, a.t)
	if err != nil {
		return err
	}
	items := a.t.templateItems()
	for _, signer := range signers {
		items = append(items, signer.Item())
	}
	if len(items) == 0 {
		return nil
	}
	return s.putItems(ctx, a.t.Manifest.table(), items...)
}

// devices tells of all that are held or retired: the marks of all of them first,
// in few calls, so that the functions know, and then their certificates.
func (a *telling) devices(ctx context.Context) error {
	s, err := a.r.session(ctx, a.t, false)
	if err != nil {
		return err
	}
	each := func(do func([]ledger.Device) error) error {
		for _, state := range []ledger.DeviceState{ledger.Held, ledger.Retired} {
			if err := a.r.eachDevice(ctx, ledger.DeviceQuery{State: state}, do); err != nil {
				return err
			}
		}
		return nil
	}
	if a.t.decides() {
		err := each(func(devices []ledger.Device) error {
			var marks []hook.Item
			for _, d := range devices {
				for _, thing := range a.t.thingsOf(d.ID) {
					marks = append(marks, hook.HeldItem(thing, d.ID))
				}
			}
			return s.putItems(ctx, a.t.Manifest.table(), marks...)
		})
		if err != nil {
			return err
		}
	}
	err = each(func(devices []ledger.Device) error {
		for _, d := range devices {
			if err := a.add(ctx, nil, TasksForDevice([]Target{a.t}, d.ID)...); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return a.flush(ctx, nil)
}

// eachDevice pages through devices.
func (r *Registrar) eachDevice(ctx context.Context, query ledger.DeviceQuery, do func([]ledger.Device) error) error {
	for query.Limit = 1000; ; {
		devices, err := r.cfg.Records.Devices(ctx, query)
		if err != nil {
			return fmt.Errorf("listing devices: %w", err)
		}
		if err := do(devices); err != nil {
			return err
		}
		if len(devices) < query.Limit {
			return nil
		}
		query.After = devices[len(devices)-1].ID
	}
}

// eachOrder calls do with the work orders for the target's fleets, and for those
// that it once had, as targetOrder gives them.
func (r *Registrar) eachOrder(ctx context.Context, t Target, do func(ledger.Order, Fleet) error) error {
	for query := (ledger.OrderQuery{Limit: 1000}); ; {
		orders, err := r.cfg.Records.Orders(ctx, query)
		if err != nil {
			return fmt.Errorf("listing work orders: %w", err)
		}
		for _, order := range orders {
			query.After = order.ID
			fleet, ok := t.fleetOf(order.Label)
			if !ok {
				fleet, order, ok = t.orphaned(order)
			}
			if !ok {
				continue
			}
			if err := do(order, fleet); err != nil {
				return err
			}
		}
		if len(orders) < query.Limit {
			return nil
		}
	}
}

// orders tells of the work orders for the target's fleets, and of their claims.
func (a *telling) orders(ctx context.Context) error {
	var claims []ledger.Task
	err := a.r.eachOrder(ctx, a.t, func(order ledger.Order, _ Fleet) error {
		ours, err := a.r.claimsOf(ctx, order.ID)
		if err != nil {
			return err
		}
		for _, c := range ours {
			if a.r.cfg.Now().Before(c.NotAfter) {
				claims = append(claims, TasksFor([]Target{a.t}, c)...)
			}
		}
		return a.add(ctx, nil, TasksForOrder([]Target{a.t}, order.ID)...)
	})
	if err != nil {
		return err
	}
	if err := a.flush(ctx, nil); err != nil {
		return err
	}
	a.pending = claims
	return a.flush(ctx, nil)
}

// certificates tells of every unexpired certificate under the target's CAs. For
// what AWS lists already as it should be, only the tables are written.
func (a *telling) certificates(ctx context.Context) error {
	s, err := a.r.session(ctx, a.t, false)
	if err != nil {
		return err
	}
	for _, ca := range a.t.CAs {
		if ca.other() {
			continue // listed with the authority's own
		}
		if err := a.under(ctx, s, ca); errors.Is(err, errInVain) || ctx.Err() != nil {
			return err
		} else if err != nil {
			a.failed(err)
		}
	}
	return nil
}

func (a *telling) under(ctx context.Context, s *session, ca CA) error {
	known, err := a.r.list(ctx, s, ca)
	if err != nil {
		return err
	}
	settled := func(p push) bool {
		if p.State == hook.Revoked {
			return known.status(p.CertificateID) == statusRevoked
		}
		_, is := known[hash(p.CertificateID)]
		return is
	}
	err = a.r.eachCertificate(ctx, ledger.Query{Issuer: ca.Issuer, Purpose: ledger.ForDevice}, func(c ledger.Certificate) error {
		if c.State != ledger.Valid && c.State != ledger.Revoked || !a.r.cfg.Now().Before(c.NotAfter) {
			return nil
		}
		return a.add(ctx, settled, TasksFor([]Target{a.t}, c)...)
	})
	if err != nil {
		return err
	}
	return a.flush(ctx, settled)
}

// provided tells of the revocations of what may have come by the certificate
// provider, under any issuer.
func (a *telling) provided(ctx context.Context) error {
	if a.t.Provider == nil {
		return nil
	}
	err := a.r.eachProvided(ctx, a.t, func(c ledger.Certificate) error {
		return a.add(ctx, nil, TasksFor([]Target{a.t}, c)...)
	})
	if err != nil {
		return err
	}
	return a.flush(ctx, nil)
}

// eachProvided calls do with the revoked and unexpired certificates of devices
// under issuers that are none of the target's CAs.
func (r *Registrar) eachProvided(ctx context.Context, t Target, do func(ledger.Certificate) error) error {
	query := ledger.Query{Purpose: ledger.ForDevice, State: ledger.Revoked, ExpiresAfter: r.cfg.Now()}
	return r.eachCertificate(ctx, query, func(c ledger.Certificate) error {
		if _, is := t.ca(c.Issuer); is || len(c.DER) == 0 {
			return nil
		}
		return do(c)
	})
}

// eachCertificate pages through certificates.
func (r *Registrar) eachCertificate(ctx context.Context, query ledger.Query, do func(ledger.Certificate) error) error {
	for query.Limit = 1000; ; {
		page, err := r.cfg.Records.Certificates(ctx, query)
		if err != nil {
			return fmt.Errorf("listing certificates: %w", err)
		}
		for _, c := range page.Certificates {
			if err := do(c); err != nil {
				return err
			}
		}
		if query.After = page.Next; page.Next == "" {
			return nil
		}
	}
}

// hash is the id as a listing has it; zero for none.
func hash(id string) (sum [sha256.Size]byte) {
	if len(id) == hex.EncodedLen(len(sum)) {
		_, _ = hex.Decode(sum[:], []byte(id))
	}
	return sum
}
