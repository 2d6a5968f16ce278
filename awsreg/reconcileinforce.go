package awsreg

import (
	"context"
	"fmt"
	"slices"

	"mintmark/awsreg/hook"
	"mintmark/internal/ledger"
)

// inactive is about valid certificates that are INACTIVE at AWS: because their
// device is held, because a newer one has replaced them, because a release was cut
// off, because a ledger that was newer than this one held it, or because somebody
// did that at AWS.
func (d *reconciling) inactive(ctx context.Context, ca CA, certificates []ledger.Certificate) error {
	if ca.swept() {
		return nil
	}
	t := d.s.target
	things := t.thingsOfAll(certificates)
	rotates, err := d.s.rotations(ctx, things)
	if err != nil {
		return err
	}
	var marked map[string]hook.Item
	if t.decides() {
		marks := make([]string, len(things))
		for i, thing := range things {
			marks[i] = hook.HeldKey(thing)
		}
		if marked, err = d.s.getItems(ctx, t.Manifest.table(), marks...); err != nil {
			return err
		}
	}
	for _, c := range certificates {
		difference := differenceOf(c, statusInactive, true)
		held, err := d.r.outOfService(ctx, c.Device)
		if err != nil {
			return err
		}
		released, heldThere, superseded := false, false, false
		for _, thing := range t.thingsOf(c.Device) {
			mark := marked[hook.HeldKey(thing)]
			released = released || releasing(mark)
			heldThere = heldThere || mark != nil
			if item, is := rotates[thing]; is && !item.has(difference.CertificateID) {
				superseded = true
			}
		}
		switch {
		case held || superseded:
		case released:
			difference.Text = "set ACTIVE, because the device is released"
			if err := d.fix(ctx, difference, TasksForDevice([]Target{t}, c.Device)...); err != nil {
				return err
			}
		case heldThere:
			difference.Text = "the device is held at AWS and not here: was the ledger restored? hold it here, and release it if it is good"
			d.report(&d.drift.Left, difference)
		default:
			difference.Text = "somebody took it out of service at AWS: hold the device here, or set the certificate ACTIVE there"
			d.report(&d.drift.Left, difference)
		}
	}
	return nil
}

// replaced is about valid certificates that are ACTIVE at AWS and may be older than
// the one that their device uses.
func (d *reconciling) replaced(ctx context.Context, certificates []ledger.Certificate) error {
	rotates, err := d.s.rotations(ctx, d.s.target.thingsOfAll(certificates))
	if err != nil {
		return err
	}
	for _, c := range certificates {
		difference := differenceOf(c, statusActive, true)
		id, older, kept := difference.CertificateID, false, false
		for _, thing := range d.s.target.thingsOf(c.Device) {
			if item, is := rotates[thing]; is && item.Device == c.Device {
				older = older || c.NotBefore.Before(item.IssuedAt)
				kept = kept || item.has(id) || slices.Contains(item.Replaced, id)
			}
		}
		if !older || kept {
			continue
		}
		if err := ignoreNotFound(d.s.deactivate(ctx, id)); err != nil {
			difference.Text = fmt.Sprintf("a newer one has replaced it, and setting it INACTIVE failed: %v", err)
			d.report(&d.drift.Left, difference)
			continue
		}
		difference.Text = "set INACTIVE, because a newer one has replaced it"
		d.report(&d.drift.Repaired, difference)
	}
	return nil
}

// thingsOfAll are the things of the certificates' devices, each once.
func (t Target) thingsOfAll(certificates []ledger.Certificate) []string {
	var things []string
	seen := make(map[string]bool)
	for _, c := range certificates {
		for _, thing := range t.thingsOf(c.Device) {
			if !seen[thing] {
				things, seen[thing] = append(things, thing), true
			}
		}
	}
	return things
}

// pages gathers certificates about which the tables are read, many at a time.
type pages struct {
	do   func([]ledger.Certificate) error
	page []ledger.Certificate
}

func (p *pages) add(c ledger.Certificate) error {
	if p.page = append(p.page, c); len(p.page) < readSize {
		return nil
	}
	return p.flush()
}

func (p *pages) flush() error {
	page := p.page
	if p.page = nil; len(page) == 0 {
		return nil
	}
	return p.do(page)
}
