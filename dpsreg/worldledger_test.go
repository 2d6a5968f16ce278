package dpsreg_test

import (
	"context"
	"crypto/sha256"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mintmark/dpsreg"
	"mintmark/internal/audit"
	"mintmark/internal/ledger"
	"mintmark/internal/ledger/sqldb"
	"mintmark/internal/reconcile"
)

// ledger is the world's ledger: the server's own, on SQLite.
func (w *world) ledger() *sqldb.Store {
	w.t.Helper()
	if w.books != nil {
		return w.books
	}
	dir := w.t.TempDir()
	w.ok(os.Mkdir(filepath.Join(dir, "log"), 0o700))
	log, err := audit.Open(filepath.Join(dir, "log"), audit.Config{Server: "test"})
	w.ok(err)
	w.books, err = sqldb.Open(w.t.Context(), sqldb.Config{Path: filepath.Join(dir, "ledger.db"), Log: log, Migrate: true})
	w.ok(err)
	w.t.Cleanup(func() { w.books.Close(); log.Close() })
	w.epoch, err = w.books.Join(w.t.Context(), "test", w.now(), 100*365*24*time.Hour)
	w.ok(err)
	return w.books
}

// record puts certificates into the ledger as the issuance cycle does.
func (w *world) record(devices ...device) {
	w.t.Helper()
	l := w.ledger()
	for from := 0; from < len(devices); from += 100 {
		batch := devices[from:min(from+100, len(devices))]
		intents, issued := make([]ledger.Intent, len(batch)), make([]ledger.Issued, len(batch))
		for i, d := range batch {
			intents[i] = ledger.Intent{
				Epoch: w.epoch, Serial: d.Serial, Issuer: d.Issuer, Profile: d.Profile, Label: d.Label, Purpose: d.Purpose,
				Device: d.Device, Order: d.Order, Subject: d.leaf.Subject.String(), Requester: d.Requester,
				Key: sha256.Sum256(d.leaf.RawSubjectPublicKeyInfo), TBS: d.leaf.RawTBSCertificate,
				NotBefore: d.NotBefore, NotAfter: d.NotAfter, At: d.IssuedAt, SecondKey: true,
			}
			issued[i] = ledger.Issued{Serial: d.Serial, DER: d.DER, At: d.IssuedAt}
		}
		errs, err := l.Begin(w.t.Context(), intents)
		w.ok(err)
		for _, err := range errs {
			w.ok(err)
		}
		errs, err = l.Finish(w.t.Context(), issued)
		w.ok(err)
		for _, err := range errs {
			w.ok(err)
		}
	}
}

// issue issues and records a device's certificate, as bootstrapped with a one-time
// secret unless change says otherwise.
func (w *world) issue(issuer, name string, change ...func(*ledger.Certificate)) device {
	w.t.Helper()
	d := w.certify(issuer, name, change...)
	w.record(d)
	return d
}

// renew issues and records a certificate that a device asked for by the one it has.
func (w *world) renew(old device, change ...func(*ledger.Certificate)) device {
	w.t.Helper()
	return w.issue(old.Issuer, old.Device, append([]func(*ledger.Certificate){func(c *ledger.Certificate) {
		c.Profile, c.Label, c.Order = old.Profile, old.Label, old.Order
		c.Requester = ledger.Requester{Kind: "certificate", Name: string(old.Serial)}
	}}, change...)...)
}

// revoke revokes a certificate in the ledger.
func (w *world) revoke(d device) {
	w.t.Helper()
	_, err := w.ledger().Revoke(w.t.Context(), ledger.Selector{Serial: d.Serial}, ledger.KeyCompromise, "test", w.now(), nil)
	w.ok(err)
}

// latest is the newest certificate in force of a device, as the ledger has it.
func (w *world) latest(id string) device {
	w.t.Helper()
	page, err := w.ledger().Certificates(w.t.Context(), ledger.Query{Device: id, State: ledger.Valid})
	w.ok(err)
	var newest device
	for _, c := range page.Certificates {
		if newest.Serial == "" || c.IssuedAt.After(newest.IssuedAt) {
			newest.Certificate = c
		}
	}
	return newest
}

// hold sets the state of a device in the ledger: ledger.Held, Retired, or Expected to
// release it.
func (w *world) hold(id string, state ledger.DeviceState) {
	w.t.Helper()
	_, err := w.ledger().HoldDevice(w.t.Context(), id, state, "test", "", w.now())
	w.ok(err)
}

// order creates an open work order.
func (w *world) order(id string, change ...func(*ledger.Order)) ledger.Order {
	w.t.Helper()
	now := w.now()
	order := ledger.Order{
		ID: id, Product: "pump", Profile: "device", Label: "line", Quantity: 100_000, State: ledger.OrderOpen,
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour), CreatedAt: now, CreatedBy: "test",
	}
	for _, f := range change {
		f(&order)
	}
	w.ok(w.ledger().CreateOrder(w.t.Context(), order))
	return order
}

// list imports a device list; what it says of a device replaces what an earlier one
// said.
func (w *world) list(id string, rows ...ledger.Listing) {
	w.t.Helper()
	l, ctx := w.ledger(), w.t.Context()
	w.ok(l.OpenImport(ctx, ledger.Import{ID: id, Update: true, File: "list.csv", Actor: "test", At: w.now(), Server: "test"}))
	for from := 0; from < len(rows); from += 1000 {
		batch := rows[from:min(from+1000, len(rows))]
		for i := range batch {
			batch[i].Row = from + i + 1
		}
		w.ok(l.StageDevices(ctx, id, batch))
	}
	_, err := l.CommitImport(ctx, id, w.now())
	w.ok(err)
}

// tell delivers the tasks of devices by a fresh process.
func (w *world) tell(target dpsreg.Target, devices ...string) {
	w.t.Helper()
	for i, err := range w.deliver(w.devices(), target, devices...) {
		if err != nil {
			w.t.Fatalf("telling of %s: %v", devices[i], err)
		}
	}
}

// deliver delivers one task for each device and returns one error for each.
func (w *world) deliver(ds *dpsreg.Devices, target dpsreg.Target, devices ...string) []error {
	w.t.Helper()
	return w.deliverIn(w.t.Context(), ds, target, devices...)
}

func (w *world) deliverIn(ctx context.Context, ds *dpsreg.Devices, target dpsreg.Target, devices ...string) []error {
	w.t.Helper()
	var tasks []ledger.Task
	for _, name := range devices {
		tasks = append(tasks, dpsreg.TasksForDevice([]dpsreg.Target{target}, name)...)
	}
	if len(tasks) != len(devices) {
		w.t.Fatalf("%d tasks for %d devices", len(tasks), len(devices))
	}
	return ds.Deliver(ctx, target, tasks)
}

// apply applies, agreeing to everything, and checks that nothing is left to do.
func (w *world) apply(target dpsreg.Target) {
	w.t.Helper()
	if _, err := w.registrar().Apply(w.t.Context(), target, reconcile.Agreed{Destructive: true}, nil); err != nil {
		w.t.Fatal(err)
	}
	w.settled(target)
}

// settled checks that nothing is left to do.
func (w *world) settled(target dpsreg.Target) {
	w.t.Helper()
	plan, err := w.registrar().Plan(w.t.Context(), target)
	w.ok(err)
	if !plan.Empty() {
		var b strings.Builder
		_ = plan.Render(&b)
		w.t.Fatalf("not settled:\n%s", b.String())
	}
}

// TestWorld: the world is what its comment says.
func TestWorld(t *testing.T) {
	w := newWorld(t)
	d := w.issue("line", "pump-1")
	n := w.renew(d)
	have, err := w.ledger().Certificate(t.Context(), n.Serial)
	w.ok(err)
	if have.Requester.Kind != "certificate" || have.Requester.Name != string(d.Serial) || have.State != ledger.Valid || string(have.DER) != string(n.DER) {
		t.Errorf("the ledger has %+v", have)
	}
	w.revoke(d)
	w.list("one", ledger.Listing{Device: "pump-1", Product: "pump"})
	w.hold("pump-1", ledger.Held)
	device, err := w.ledger().Device(t.Context(), "pump-1")
	w.ok(err)
	if device.State != ledger.Held || device.Product != "pump" {
		t.Errorf("the device is %+v", device)
	}
	w.order("order-1")
	if got := w.state(); len(got) == 0 {
		t.Error("the simulator shows no state")
	}
}
