package server

import (
	"context"
	"crypto/sha256"
	"fmt"
	"mintmark/awsreg"
	"mintmark/ca/rotation"
	"mintmark/internal/ledger"
	"strings"
	"time"
)

// Remaining implements rotation.Cloud.
func (c awsCloud) Remaining(ctx context.Context, r ledger.Rotation) (int, string, error) {
	follow, err := c.t.s.followersOf(ctx, r)
	if err != nil {
		return 0, "", err
	}
	total := remaining{devices: make(map[string]bool), here: make(map[string]bool), waived: make(map[string]bool)}
	var names []string
	for _, ca := range c.affected(r) {
		name := ca.Issuer
		if r.Kind == ledger.RotateRoot && c.t.s.rootOf(ca.Issuer) == r.New {
			name += "@" + r.Old
		}
		names = append(names, name)
		if err := c.count(ctx, r, ca, name, follow, &total); err != nil {
			return 0, "", err
		}
	}
	text := fmt.Sprintf("AWS lists %d ACTIVE certificates under %s, by which %d devices come in that have not moved; by the ledger %d devices hold nothing newer, %d that were waived left out",
		total.active, strings.Join(names, ", "), len(total.devices), len(total.here), len(total.waived))
	if r.Kind == ledger.RotateRoot {
		text += "; certificates of devices stay as they are, and a device has moved once it was given the path under " + r.New
	}
	if total.unknown+total.dead > 0 {
		return len(total.devices), text, fmt.Errorf("AWS target %q and the ledger do not agree: under %s AWS has %d ACTIVE certificates that were never issued here, and %d that are revoked here: mintmark aws reconcile %s, and then look at mintmark aws drift %s",
			c.name, strings.Join(names, ", "), total.unknown, total.dead, c.name, c.name)
	}
	return len(total.devices), text, nil
}

// remaining is what a cloud has below the old CA.
type remaining struct {
	active        int             // certificates that let a device in
	devices       map[string]bool // of these, that have not moved
	here          map[string]bool // the same by the ledger alone
	waived        map[string]bool
	unknown, dead int // that the ledger does not know, or has as revoked
}

func (c awsCloud) count(ctx context.Context, r ledger.Rotation, ca awsreg.CA, name string, follow followed, total *remaining) error {
	// AWS first: whatever it has by then, the ledger had before.
	listed, err := c.t.registrar.Listed(ctx, c.at(r, rotation.StageOf(r), false), name)
	if err != nil {
		return err
	}
	now := c.t.s.ra.Now()
	newer := make(map[string]time.Time)
	if r.Kind == ledger.RotateIssuing {
		err := c.t.s.eachIssued(ctx, r.New, func(one ledger.Certificate) {
			if ofDevices(one) && one.InForce(now) && one.IssuedAt.After(newer[one.Device]) {
				newer[one.Device] = one.IssuedAt
			}
		})
		if err != nil {
			return err
		}
	}
	err = c.t.s.eachIssued(ctx, ca.Issuer, func(one ledger.Certificate) {
		id := sha256.Sum256(one.DER)
		active := listed[id]
		delete(listed, id)
		inForce := ofDevices(one) && one.InForce(now)
		switch {
		case active && one.State == ledger.Revoked:
			total.dead++
		case active && inForce:
			total.active++
		}
		if !inForce || follow.moved[one.Device] || newer[one.Device].After(one.IssuedAt) {
			return
		}
		if follow.waived[one.Device] {
			total.waived[one.Device] = true
			return
		}
		total.here[one.Device] = true
		if active {
			total.devices[one.Device] = true
		}
	})
	if err != nil || ca.Mode == awsreg.ModeNone {
		return err // what else the account has is not under this CA
	}
	for _, active := range listed {
		if active {
			total.unknown++
		}
	}
	return nil
}
