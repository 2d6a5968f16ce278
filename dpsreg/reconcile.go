package dpsreg

import (
	"context"
	"crypto/sha256"
	"fmt"
	"strings"

	"mintmark/dpsreg/dps"
	"mintmark/internal/ledger"
)

// mostFindings bounds each list of a Drift.
const mostFindings = 1000

// Reconcile compares every individual enrollment at the target with the ledger, both
// ways, repairs what differs, promotes new certificates of devices that have
// registered since they got them, and returns what it found. Enrollments that are not
// ours are counted and left alone, but for one that lets in a blocked device by its own
// certificate: it is disabled, and enabled again with the device (blockForeign). Those of
// ours whose device the ledger does not know are left alone, because it may be an older
// ledger than the one that made them.
//
// It may run at the same time as Deliver, whose work it has done. It takes one call for
// each 100 enrollments, some more for each device that differs and, with hubs
// configured, some for each blocked device, whose identities are looked at. It needs 32
// bytes of memory and what a map adds for each enrollment of ours. It ends early with ctx,
// and returns what it has done by then with the error.
func (ds *Devices) Reconcile(ctx context.Context, t Target) (Drift, error) {
	run, err := ds.compare(ctx, t)
	return run.drift, err
}

func (ds *Devices) compare(ctx context.Context, t Target) (*reconciling, error) {
	run := &reconciling{
		ds: ds, t: t, drift: Drift{Target: t.Name, At: ds.conn.cfg.Now()},
		seen: make(map[fingerprint]fingerprint), queued: make(map[string]bool),
	}
	err := run.run(ctx)
	run.summarize()
	return run, err
}

// reconciling is one run of Reconcile.
type reconciling struct {
	ds     *Devices
	t      Target
	drift  Drift
	more   [3]int  // what did not fit into Repaired, Promoted and Left
	told   int     // devices that something was done about
	failed []error // the first ones
	fails  int     // all of them

	// seen are the registration ids of the enrollments of ours, with the devices that they are
	// there for.
	seen map[fingerprint]fingerprint
	// Devices that differ, or whose identities are to be looked at.
	pending []*job
	queued  map[string]bool
}

func (d *reconciling) run(ctx context.Context) error {
	s, err := d.ds.conn.session(d.t)
	if err != nil {
		return err
	}
	// Azure is listed first: whatever it has by then, the ledger had before.
	err = s.dps.Enrollments(ctx, func(e dps.Enrollment) error { return d.there(ctx, e) })
	if err != nil {
		return fmt.Errorf("DPS target %q: comparing what is there: %w", d.t.Name, err)
	}
	if err := d.here(ctx); err != nil {
		return fmt.Errorf("DPS target %q: comparing what should be there: %w", d.t.Name, err)
	}
	return d.repair(ctx)
}

// fingerprint is what is remembered of a registration id or of a device.
type fingerprint [16]byte

func fingerprintOf(id string) fingerprint {
	sum := sha256.Sum256([]byte(id))
	return fingerprint(sum[:16])
}

// there looks at one enrollment at DPS.
func (d *reconciling) there(ctx context.Context, e dps.Enrollment) error {
	m, id := markOf(e), strings.ToLower(e.RegistrationID)
	if m.kind == "" {
		if d.drift.UnknownCount++; len(d.drift.Unknown) < mostFindings {
			d.drift.Unknown = append(d.drift.Unknown, e.RegistrationID)
		}
		return nil
	}
	device := m.owner(id)
	standing, err := d.ds.standing(ctx, d.t, device)
	if err != nil {
		return err
	}
	w, known := standing.want(id)
	if !known {
		d.left(device, fmt.Sprintf("enrollment %q is mintmark's, and the ledger has no certificate of such a device: is it an older ledger? Delete the enrollment at Azure if nobody needs it", e.RegistrationID))
		return nil
	}
	d.seen[fingerprintOf(id)] = fingerprintOf(device)
	next, err := standing.decide(w, &e)
	switch {
	case err != nil || next.do != leave:
	case w.Kind == wantBlocked && len(d.t.Hubs) > 0:
	default:
		if next.note != "" {
			d.left(device, next.note)
		}
		return nil
	}
	return d.fix(ctx, &job{standing: standing, look: true})
}

// here looks at every device of the ledger that has a certificate.
func (d *reconciling) here(ctx context.Context) error {
	for query := (ledger.DeviceQuery{Limit: 1000}); ; {
		page, err := d.ds.records.Devices(ctx, query)
		if err != nil {
			return fmt.Errorf("listing devices: %w", err)
		}
		for _, device := range page {
			query.After = device.ID
			if device.Certificates == 0 {
				continue
			}
			d.drift.Devices++
			if d.cannotConcern(device) {
				continue
			}
			standing, err := d.ds.standingOf(ctx, d.t, device)
			if err != nil {
				return err
			}
			if missing, others := d.lacks(standing); missing || others {
				if err := d.fix(ctx, &job{standing: standing, look: others}); err != nil {
					return err
				}
			}
		}
		if len(page) < query.Limit {
			return nil
		}
	}
}

// lacks reports whether an enrollment that a device should have is not there, and whether one
// is there for another device with its registration id, which is an error when it is looked
// at (sameName).
func (d *reconciling) lacks(s standing) (missing, others bool) {
	for _, w := range s.wants {
		owner, seen := d.seen[fingerprintOf(w.RegistrationID)]
		switch {
		case seen:
			others = others || owner != fingerprintOf(s.device.ID)
		case w.Kind == wantPinned || w.Kind == wantBlocked:
			missing = true
		}
	}
	return missing, others
}

// cannotConcern saves looking at the certificates of a device that cannot be pinned and
// cannot be blocked: most of a factory whose devices come in by groups.
func (d *reconciling) cannotConcern(device ledger.Device) bool {
	return len(d.t.Enrollments) == 0 && device.State != ledger.Held && device.State != ledger.Retired &&
		device.Certificates == 1 && device.Current != ""
}

// fix has a device settled with the next ones.
func (d *reconciling) fix(ctx context.Context, j *job) error {
	if d.queued[j.device.ID] {
		return nil
	}
	d.queued[j.device.ID] = true
	if d.pending = append(d.pending, j); len(d.pending) < BatchSize {
		return nil
	}
	return d.repair(ctx)
}

// repair settles the devices that wait for it.
func (d *reconciling) repair(ctx context.Context) error {
	d.ds.tell(ctx, d.t, d.pending)
	for _, j := range d.pending {
		switch {
		case j.err != nil:
			d.left(j.device.ID, fmt.Sprintf("repairing it failed: %v", j.err))
			if d.fails++; len(d.failed) < mostNamed {
				d.failed = append(d.failed, j.err)
			}
		case j.promoted():
			d.promoted(j.device.ID)
			d.told++
		case len(j.did) > 0:
			d.repaired(j.device.ID, strings.Join(j.did, "; "))
			d.told++
		}
		for _, note := range j.notes {
			d.left(j.device.ID, note)
		}
	}
	d.pending = nil
	clear(d.queued)
	return ctx.Err()
}

func (d *reconciling) repaired(device, what string) {
	if len(d.drift.Repaired) < mostFindings {
		d.drift.Repaired = append(d.drift.Repaired, Finding{device, what})
	} else {
		d.more[0]++
	}
}

func (d *reconciling) promoted(device string) {
	if len(d.drift.Promoted) < mostFindings {
		d.drift.Promoted = append(d.drift.Promoted, device)
	} else {
		d.more[1]++
	}
}

func (d *reconciling) left(device, what string) {
	if len(d.drift.Left) < mostFindings {
		d.drift.Left = append(d.drift.Left, Finding{device, what})
	} else {
		d.more[2]++
	}
}

func (d *reconciling) summarize() {
	if n := d.more[0]; n > 0 {
		d.drift.Repaired = append(d.drift.Repaired, Finding{What: fmt.Sprintf("and %d more", n)})
	}
	if n := d.more[1]; n > 0 {
		d.drift.Promoted = append(d.drift.Promoted, fmt.Sprintf("and %d more", n))
	}
	if n := d.more[2]; n > 0 {
		d.drift.Left = append(d.drift.Left, Finding{What: fmt.Sprintf("and %d more", n)})
	}
}
