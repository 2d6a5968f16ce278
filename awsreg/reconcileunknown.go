package awsreg

import (
	"context"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/iot/types"

	"mintmark/awsreg/hook"
	"mintmark/internal/ledger"
)

// mostDescribed bounds how many certificates that the ledger does not know are read
// for their names.
const mostDescribed = 100

// unknown reports what AWS has under a CA of ours and the ledger does not.
func (d *reconciling) unknown(ctx context.Context, ca CA, left listing) error {
	for i, id := range left.ids() {
		difference := Difference{CertificateID: id, Here: notRecorded, There: left.status(id).String()}
		difference.Text = fmt.Sprintf("it was not issued by this server, but CA %q signed it: the CA's key may be compromised", ca.Issuer)
		if i < mostDescribed {
			description, err := d.s.describe(ctx, id)
			if errors.Is(err, errUnknown) {
				continue // deleted since it was listed
			}
			if err != nil {
				return err
			}
			if c := certificateIn(description); c != nil {
				difference.Serial, difference.Device = ledger.Serial(hexSerial(c)), c.Subject.CommonName
			}
		}
		d.drift.Checked++
		d.drift.Unknown++
		d.report(&d.drift.Left, difference)
	}
	return nil
}

// ids are the ids of a listing, sorted.
func (l listing) ids() []string {
	ids := make([]string, 0, len(l))
	for id := range l {
		ids = append(ids, hex.EncodeToString(id[:]))
	}
	slices.Sort(ids)
	return ids
}

func certificateIn(d *types.CertificateDescription) *x509.Certificate {
	block, _ := pem.Decode([]byte(aws.ToString(d.CertificatePem)))
	if block == nil {
		return nil
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil
	}
	return c
}

// hexSerial writes a serial number as mintmark does everywhere.
func hexSerial(c *x509.Certificate) string { return hex.EncodeToString(c.SerialNumber.Bytes()) }

// claims compares the claim certificates of the target's fleets, and of those that
// it once had, with their work orders.
func (d *reconciling) claims(ctx context.Context) error {
	t := d.s.target
	orders, fleets, err := d.orders(ctx)
	if err != nil {
		return err
	}
	if len(fleets) == 0 && t.Provider == nil {
		return nil
	}
	have := make(listing)
	issued := make(listing) // INACTIVE ones in DEFAULT mode, as AWS issues them
	err = d.s.listAll(ctx, func(page []types.Certificate) {
		have.add(page)
		issued.add(slices.DeleteFunc(page, func(c types.Certificate) bool {
			return c.Status != types.CertificateStatusInactive || c.CertificateMode == types.CertificateModeSniOnly
		}))
	})
	if err != nil {
		return err
	}
	seen := make(map[string]bool)
	for _, order := range orders {
		ours, err := d.r.claimsOf(ctx, order.ID)
		if err != nil {
			return err
		}
		for id, c := range ours {
			seen[id] = true
			if err := d.claim(ctx, order, c, have); err != nil {
				return err
			}
		}
	}
	for _, fleet := range fleets {
		at, err := d.s.claimsAt(ctx, fleet)
		if err != nil {
			return err
		}
		for id, bound := range at {
			delete(issued, hash(id))
			if !seen[id] {
				if err := d.foreignClaim(ctx, id, bound, have.status(id)); err != nil {
					return err
				}
			}
		}
	}
	if err := d.provided(ctx, have); err != nil {
		return err
	}
	if err := d.repair(ctx); err != nil {
		return err
	}
	return d.strays(ctx, issued)
}

// orders are the target's work orders, as they count at AWS, and the fleets that
// have or had claims there, each claim policy once.
func (d *reconciling) orders(ctx context.Context) (orders []ledger.Order, fleets []Fleet, err error) {
	t := d.s.target
	policies := make(map[string]bool)
	add := func(f Fleet) {
		if t.decides() && !policies[f.claimPolicy()] {
			fleets, policies[f.claimPolicy()] = append(fleets, f), true
		}
	}
	for _, f := range t.Fleets {
		add(f)
	}
	err = d.r.eachOrder(ctx, t, func(order ledger.Order, fleet Fleet) error {
		if t.decides() {
			items, err := d.s.getItems(ctx, t.Manifest.table(), hook.OrderKey(order.ID))
			if err != nil {
				return err
			}
			item := items[hook.OrderKey(order.ID)]
			fleet.ClaimPolicy = t.claimPolicyIn(fleet, item)
			add(fleet)
			if killedAtAWS(item) && order.State != ledger.OrderKilled {
				d.report(&d.drift.Left, Difference{
					Here: "work order " + string(order.State), There: string(ledger.OrderKilled),
					Text: fmt.Sprintf("work order %q is killed at AWS and not here: was the ledger restored? kill it here, too", order.ID),
				})
				order.State = ledger.OrderKilled
			}
		}
		orders = append(orders, order)
		return nil
	})
	return orders, fleets, err
}

// provided is about revoked certificates that came by the certificate provider.
func (d *reconciling) provided(ctx context.Context, have listing) error {
	if d.s.target.Provider == nil {
		return nil
	}
	return d.r.eachProvided(ctx, d.s.target, func(c ledger.Certificate) error {
		there, listed := have[hash(CertificateID(c.DER))]
		if !listed {
			return nil
		}
		d.drift.Checked++
		if there == statusRevoked {
			return nil
		}
		difference := differenceOf(c, there, listed)
		difference.Text = "set REVOKED"
		return d.fix(ctx, difference, TasksFor([]Target{d.s.target}, c)...)
	})
}

// claim is about one claim certificate of ours.
func (d *reconciling) claim(ctx context.Context, order ledger.Order, c ledger.Certificate, have listing) error {
	if !d.r.cfg.Now().Before(c.NotAfter) {
		return nil
	}
	d.drift.Checked++
	there, listed := have[hash(CertificateID(c.DER))]
	difference := differenceOf(c, there, listed)
	difference.Device = ""
	want := statusActive
	switch {
	case c.State == ledger.Revoked:
		want = statusRevoked
	case order.State != ledger.OrderOpen:
		want = statusInactive
	}
	if there == want || !listed && want != statusActive || want == statusInactive && there != statusActive {
		return nil
	}
	if there == statusRevoked {
		difference.Text = fmt.Sprintf("somebody revoked the claim of work order %q at AWS, which is final there: issue another", order.ID)
		d.report(&d.drift.Left, difference)
		return nil
	}
	if listed && want == statusActive {
		due, err := d.due(ctx, difference.CertificateID)
		if err != nil {
			return err
		}
		if !due {
			difference.Text = fmt.Sprintf("somebody took the claim of work order %q out of service at AWS: revoke it here, or set it ACTIVE there", order.ID)
			d.report(&d.drift.Left, difference)
			return nil
		}
	}
	difference.Text = fmt.Sprintf("claim of work order %q, set %s", order.ID, want)
	return d.fix(ctx, difference, TasksFor([]Target{d.s.target}, c)...)
}

// due reports whether the server has still to set a claim ACTIVE.
func (d *reconciling) due(ctx context.Context, id string) (bool, error) {
	items, err := d.s.getItems(ctx, d.s.target.Manifest.table(), hook.ClaimKey(id))
	item := items[hook.ClaimKey(id)]
	return item == nil || item[dueName] != nil, err
}

// foreignClaim is about a certificate with a claim policy that is none of ours.
func (d *reconciling) foreignClaim(ctx context.Context, id, bound string, there status) error {
	d.drift.Checked++
	if there != statusActive {
		return nil
	}
	difference := Difference{CertificateID: id, Here: notRecorded, There: there.String()}
	_, order, is, err := d.r.targetOrder(ctx, d.s.target, bound)
	switch {
	case err != nil:
		return err
	case !is:
		difference.Text = "it has a claim policy, but belongs to no work order: the hook refuses it; delete it at AWS unless you know it"
		d.report(&d.drift.Left, difference)
	case order.State != ledger.OrderOpen:
		difference.Here = "work order " + string(order.State)
		difference.Text = fmt.Sprintf("claim of work order %q, set INACTIVE", bound)
		return d.fix(ctx, difference, TasksForOrder([]Target{d.s.target}, bound)...)
	}
	return nil
}

// strays reports INACTIVE certificates without any policy, as ClaimFromAWS leaves
// them where an answer was lost. Only AWS's own certificates are meant: of those
// under a CA, the CA's comparison speaks.
func (d *reconciling) strays(ctx context.Context, candidates listing) error {
	ids := candidates.ids()
	if len(ids) > mostDescribed {
		ids = ids[:mostDescribed]
	}
	keys := make([]string, len(ids))
	for i, id := range ids {
		keys[i] = hook.FleetKey(id)
	}
	devices, err := d.s.getItems(ctx, d.s.target.Manifest.table(), keys...)
	if err != nil {
		return err
	}
	for _, id := range ids {
		if devices[hook.FleetKey(id)] != nil {
			continue
		}
		description, err := d.s.describe(ctx, id)
		if errors.Is(err, errUnknown) || err == nil && aws.ToString(description.CaCertificateId) != "" {
			continue
		}
		if err != nil {
			return err
		}
		var policies int
		err = retry(ctx, func() error {
			out, err := d.s.iot.ListAttachedPolicies(ctx, &iot.ListAttachedPoliciesInput{Target: description.CertificateArn})
			if err == nil {
				policies = len(out.Policies)
			}
			return err
		})
		if err != nil {
			return explain(fmt.Sprintf("listing the policies of certificate %s", id), err)
		}
		if policies > 0 {
			continue
		}
		d.drift.Checked++
		d.report(&d.drift.Left, Difference{CertificateID: id, Here: notRecorded, There: statusInactive.String(),
			Text: "issued by AWS, INACTIVE, and without any policy: a claim whose answer was lost leaves such a one; delete it at AWS unless you know it"})
	}
	return nil
}
