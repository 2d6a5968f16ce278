package awsreg

import (
	"context"
	"errors"
	"fmt"
	"time"

	"mintmark/internal/ledger"
)

// Drift is what Reconcile found and did.
type Drift struct {
	Target  string
	At      time.Time
	Checked int // certificates that both sides know, or that one of them should
	// Repaired were brought to the state that the ledger gives them, and read back.
	Repaired []Difference
	// Adopted were revoked here because AWS had them REVOKED.
	Adopted []Difference
	// Left is what only a person can decide.
	Left []Difference
	// Unknown counts those left that a CA of ours signed and the ledger never issued:
	// the CA's key may be in other hands.
	Unknown int
}

// Difference is one certificate on which the two sides disagree, or, without an id, a
// work order.
type Difference struct {
	CertificateID string
	Serial        ledger.Serial // empty if the ledger does not know it
	Device        string
	Here, There   string // the states
	Text          string // what was done, or what to do
}

const (
	notThere    = "not there"     // of a certificate that AWS does not have
	notRecorded = "not in ledger" // of one that the ledger does not have
	// mostDifferences bounds each list of a Drift; the last entry then says how many
	// more there are.
	mostDifferences = 1000
)

// Reconcile compares every device certificate under the target's CAs, both ways:
// what AWS lists by CA, and what the ledger says should be there; and the claim
// certificates of the target's fleets. It brings AWS to the ledger's state
// (REVOKED, INACTIVE while held or once a newer one is in use, back to ACTIVE after a
// release that was cut off, registered where mintmark registers) and reports what
// AWS has that the ledger does not know, which means that the CA key may be
// compromised. What somebody set INACTIVE at AWS stays so and is reported, and so
// does what a newer ledger than this one has held or killed. With adopt, what
// somebody set REVOKED there is revoked here too.
//
// It may run at the same time as Deliver: before it changes anything it reads the
// ledger again. It takes as long as the quota of listing takes, some 2,500
// certificates a second, and 60 bytes of memory for each certificate of one CA. It
// ends early with ctx, and returns what it has done by then with the error.
func (r *Registrar) Reconcile(ctx context.Context, t Target, adopt bool) (Drift, error) {
	run := &reconciling{r: r, adopt: adopt, drift: Drift{Target: t.Name, At: r.cfg.Now()}, extra: make(map[*[]Difference]int)}
	err := r.needRecords()
	if err == nil {
		run.s, err = r.session(ctx, t, false)
	}
	if err != nil {
		return run.drift, err
	}
	for _, step := range []func(context.Context) error{run.findHeld, run.cas, run.claims, run.holds, run.revokeHere} {
		if err = step(ctx); err != nil {
			err = fmt.Errorf("AWS target %q: reconciling: %w", t.Name, err)
			break
		}
	}
	run.summarize()
	return run.drift, err
}

// reconciling is one run of Reconcile.
type reconciling struct {
	r       *Registrar
	s       *session
	adopt   bool
	drift   Drift
	held    map[string]bool // devices that were held or retired when the run began
	repairs []repair
	adopted []Difference
	extra   map[*[]Difference]int // what did not fit into a list of drift
}

// repair is a difference, and the task that ends it when it is delivered.
type repair struct {
	Difference
	task ledger.Task
}

func (d *reconciling) report(list *[]Difference, difference Difference) {
	if len(*list) < mostDifferences {
		*list = append(*list, difference)
	} else {
		d.extra[list]++
	}
}

func (d *reconciling) summarize() {
	for list, n := range d.extra {
		*list = append(*list, Difference{Text: fmt.Sprintf("and %d more", n)})
	}
}

// fix has a difference repaired by the delivery of tasks, which reads the ledger
// again and reads AWS back.
func (d *reconciling) fix(ctx context.Context, difference Difference, tasks ...ledger.Task) error {
	for _, task := range tasks {
		d.repairs = append(d.repairs, repair{difference, task})
	}
	if len(d.repairs) < BatchSize {
		return nil
	}
	return d.repair(ctx)
}

func (d *reconciling) repair(ctx context.Context) error {
	tasks := make([]ledger.Task, len(d.repairs))
	for i, one := range d.repairs {
		tasks[i] = one.task
	}
	for i, err := range d.r.Deliver(ctx, d.s.target, tasks) {
		one := d.repairs[i].Difference
		if err != nil {
			one.Text = fmt.Sprintf("repairing it failed: %v", err)
			d.report(&d.drift.Left, one)
			continue
		}
		d.report(&d.drift.Repaired, one)
	}
	d.repairs = nil
	return ctx.Err()
}

func (d *reconciling) findHeld(ctx context.Context) error {
	d.held = make(map[string]bool)
	for _, state := range []ledger.DeviceState{ledger.Held, ledger.Retired} {
		err := d.r.eachDevice(ctx, ledger.DeviceQuery{State: state}, func(devices []ledger.Device) error {
			for _, device := range devices {
				d.held[device.ID] = true
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (d *reconciling) cas(ctx context.Context) error {
	for _, ca := range d.s.target.CAs {
		if ca.other() {
			continue // listed with the authority's own
		}
		if err := d.ca(ctx, ca); err != nil {
			return err
		}
		if err := d.repair(ctx); err != nil {
			return err
		}
	}
	return nil
}

// ca compares the certificates of one CA. AWS is listed first: whatever it has by
// then, the ledger had before.
func (d *reconciling) ca(ctx context.Context, ca CA) error {
	have, err := d.r.list(ctx, d.s, ca)
	if err != nil {
		return err
	}
	inactive := pages{do: func(page []ledger.Certificate) error { return d.inactive(ctx, ca, page) }}
	rotating := pages{do: func(page []ledger.Certificate) error { return d.replaced(ctx, page) }}
	err = d.r.eachCertificate(ctx, ledger.Query{Issuer: ca.Issuer}, func(c ledger.Certificate) error {
		if len(c.DER) == 0 {
			return nil
		}
		id := hash(CertificateID(c.DER))
		there, listed := have[id]
		delete(have, id)
		if c.Purpose != ledger.ForDevice {
			return nil
		}
		d.drift.Checked++
		if !listed && ca.Use == UseRegister && ca.Mode != ModeNone {
			// It may have been registered without the CA, before that was registered.
			description, err := d.s.describe(ctx, CertificateID(c.DER))
			if err == nil {
				there, listed = statuses[description.Status], true
			} else if !errors.Is(err, errUnknown) {
				return err
			}
		}
		inForce := listed && c.State == ledger.Valid && d.r.cfg.Now().Before(c.NotAfter)
		switch {
		case inForce && there == statusInactive:
			return inactive.add(c)
		case inForce && there == statusActive && d.s.target.Rotation != nil && !d.held[c.Device]:
			return rotating.add(c)
		}
		return d.compare(ctx, ca, c, there, listed)
	})
	if err == nil {
		err = errors.Join(inactive.flush(), rotating.flush())
	}
	if err != nil {
		return err
	}
	if ca.Mode == ModeNone {
		return nil // what else the account has is not under this CA
	}
	return d.unknown(ctx, ca, have)
}

// compare is about one certificate of a device that is not INACTIVE at AWS while
// it is valid.
func (d *reconciling) compare(ctx context.Context, ca CA, c ledger.Certificate, there status, listed bool) error {
	difference := differenceOf(c, there, listed)
	expired := !d.r.cfg.Now().Before(c.NotAfter)
	targets := []Target{d.s.target}
	switch {
	case c.State == ledger.Revoked && (there == statusRevoked || expired && !listed):
		return nil
	case c.State == ledger.Revoked && (listed || ca.Use == UseJITP && ca.active()):
		difference.Text = "set REVOKED"
		return d.fix(ctx, difference, TasksFor(targets, c)...)
	case c.State != ledger.Valid || expired:
		return nil
	case there == statusRevoked && !ca.serves():
		return nil // swept with its CA
	case there == statusRevoked && !d.adopt:
		difference.Text = "somebody revoked it at AWS, which is final there: revoke it here too, or give the device a new certificate"
		d.report(&d.drift.Left, difference)
	case there == statusRevoked:
		d.adopted = append(d.adopted, difference)
	case there == statusActive && d.held[c.Device]:
		difference.Text = "set INACTIVE, because the device is held"
		return d.fix(ctx, difference, TasksForDevice(targets, c.Device)...)
	case there == statusPending && !d.held[c.Device]:
		difference.Text = "the device has connected and was not let in; the function's log says why"
		d.report(&d.drift.Left, difference)
	case !listed && ca.Use == UseRegister && ca.active() && !d.held[c.Device]:
		difference.Text = "registered"
		return d.fix(ctx, difference, TasksFor(targets, c)...)
	}
	return nil
}

func differenceOf(c ledger.Certificate, there status, listed bool) Difference {
	difference := Difference{CertificateID: CertificateID(c.DER), Serial: c.Serial, Device: c.Device, Here: string(c.State), There: notThere}
	if listed {
		difference.There = there.String()
	}
	return difference
}

// holds makes sure of what AWS issued to devices that are held, which no CA of
// ours lists.
func (d *reconciling) holds(ctx context.Context) error {
	if len(d.s.target.Fleets) == 0 {
		return nil
	}
	for device := range d.held {
		for _, thing := range d.s.target.thingsOf(device) {
			ids, err := d.s.attached(ctx, thing)
			if err != nil {
				return err
			}
			for _, id := range ids {
				d.drift.Checked++
				description, err := d.s.describe(ctx, id)
				if errors.Is(err, errUnknown) {
					continue
				}
				if err != nil {
					return err
				}
				if there := statuses[description.Status]; there == statusActive {
					difference := Difference{CertificateID: id, Device: device, Here: string(ledger.Held), There: there.String(), Text: "set INACTIVE, because the device is held"}
					if err := d.fix(ctx, difference, TasksForDevice([]Target{d.s.target}, device)...); err != nil {
						return err
					}
				}
			}
		}
	}
	return d.repair(ctx)
}

// revokeHere revokes in the ledger what was found REVOKED at AWS.
func (d *reconciling) revokeHere(ctx context.Context) error {
	if len(d.adopted) == 0 {
		return nil
	}
	if d.r.cfg.Revoke == nil {
		return errors.New("awsreg: Config.Revoke is not set")
	}
	serials := make([]ledger.Serial, len(d.adopted))
	for i, difference := range d.adopted {
		serials[i] = difference.Serial
	}
	err := d.r.cfg.Revoke(ctx, serials)
	for _, difference := range d.adopted {
		if err != nil {
			difference.Text = fmt.Sprintf("somebody revoked it at AWS, and revoking it here failed: %v", err)
			d.report(&d.drift.Left, difference)
			continue
		}
		difference.Text = "revoked here, because somebody revoked it at AWS"
		d.report(&d.drift.Adopted, difference)
	}
	return nil
}
