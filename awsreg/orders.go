package awsreg

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/iot/types"

	"mintmark/awsreg/hook"
	"mintmark/internal/ledger"
)

// tellOrder tells the functions a work order for one of the target's fleets. Of an
// open one the list comes first; of one that is not open, the order does, and then
// its claims are taken out of service.
func (r *Registrar) tellOrder(ctx context.Context, s *session, id string) error {
	for range rereadings {
		fleet, order, ok, err := r.fleetOrder(ctx, s.target, id)
		if err != nil || !ok {
			return err
		}
		if order.State == ledger.OrderOpen {
			if err := r.tellDevices(ctx, s, ledger.DeviceQuery{Order: id}); err != nil {
				return err
			}
		}
		items := append(s.target.templateItems(), orderItem(order, fleet))
		if err := s.putItems(ctx, s.target.Manifest.table(), items...); err != nil {
			return err
		}
		if order.State != ledger.OrderOpen {
			if err := r.shutClaims(ctx, s, fleet, order); err != nil {
				return err
			}
		}
		// Another delivery may have told something newer and been overwritten.
		again, err := r.cfg.Records.Order(ctx, id)
		if err != nil {
			return fmt.Errorf("looking up work order %q: %w", id, err)
		}
		if sameOrder(order, again) {
			return nil
		}
	}
	return fmt.Errorf("work order %q: it changes faster than AWS can be told", id)
}

// sameOrder compares what the functions know of an order.
func sameOrder(a, b ledger.Order) bool {
	return a.State == b.State && a.Quantity == b.Quantity && a.NotBefore.Equal(b.NotBefore) && a.NotAfter.Equal(b.NotAfter)
}

func orderItem(order ledger.Order, fleet Fleet) hook.Item {
	o := hook.Order{
		ID: order.ID, State: string(order.State), Template: fleet.Template, Quantity: order.Quantity,
		NotBefore: order.NotBefore, NotAfter: order.NotAfter, Listed: order.Listed,
	}
	for _, r := range order.Ranges {
		o.Ranges = append(o.Ranges, r.First+".."+r.Last)
	}
	return o.Item()
}

// templateItems say what the provisioning templates of the target are.
func (t Target) templateItems() []hook.Item {
	var items []hook.Item
	for _, f := range t.Fleets {
		items = append(items, hook.Template{Name: f.Template, Fleet: f.Template, Prefix: f.ThingPrefix}.Item())
		if t.Rotation != nil {
			items = append(items, hook.Template{Name: f.rotationTemplate(), Fleet: f.Template, Prefix: f.ThingPrefix, Rotation: true}.Item())
		}
	}
	return items
}

// tellImport tells the functions which devices of a device list belong to work
// orders for the target's fleets.
func (r *Registrar) tellImport(ctx context.Context, s *session, id string) error {
	if err := r.needRecords(); err != nil {
		return err
	}
	return r.tellDevices(ctx, s, ledger.DeviceQuery{Import: id})
}

// tellDevices writes the expected# items of the devices that the query finds, of
// any number, and that are listed under an order for one of the target's fleets.
func (r *Registrar) tellDevices(ctx context.Context, s *session, query ledger.DeviceQuery) error {
	ours := make(map[string]bool) // by order
	return r.eachDevice(ctx, query, func(devices []ledger.Device) error {
		var items []hook.Item
		for _, d := range devices {
			if !d.Listed || d.Order == "" {
				continue
			}
			is, known := ours[d.Order]
			if !known {
				var err error
				if _, _, is, err = r.fleetOrder(ctx, s.target, d.Order); err != nil {
					return err
				}
				ours[d.Order] = is
			}
			if is {
				items = append(items, hook.ExpectedItem(d.ID, d.Order))
			}
		}
		return s.putItems(ctx, s.target.Manifest.table(), items...)
	})
}

// shutClaims takes the claim certificates of a work order that is not open out of
// service: INACTIVE, and those of ours REVOKED if it was killed.
func (r *Registrar) shutClaims(ctx context.Context, s *session, fleet Fleet, order ledger.Order) error {
	ids, _, ours, err := r.claimsUnder(ctx, s, fleet, order.ID)
	if err != nil {
		return err
	}
	failed := make([]error, len(ids))
	inParallel(workers, len(ids), func(i int) {
		c, recorded := ours[ids[i]]
		if recorded && (order.State == ledger.OrderKilled || c.State == ledger.Revoked) {
			_, err := s.setStatus(ctx, ids[i], types.CertificateStatusRevoked)
			failed[i] = ignoreNotFound(err)
			return
		}
		failed[i] = ignoreNotFound(s.deactivate(ctx, ids[i]))
	})
	return errors.Join(failed...)
}

// claimsOf are the claim certificates of ours under a work order, by id.
func (r *Registrar) claimsOf(ctx context.Context, order string) (map[string]ledger.Certificate, error) {
	ours := make(map[string]ledger.Certificate)
	err := r.eachCertificate(ctx, ledger.Query{Order: order, Purpose: ledger.ForClaim}, func(c ledger.Certificate) error {
		if len(c.DER) > 0 {
			ours[CertificateID(c.DER)] = c
		}
		return nil
	})
	return ours, err
}

// claimsAt lists the certificates that have a fleet's claim policy, whoever issued
// them, by id, each with the work order that it is bound to; empty for none.
func (s *session) claimsAt(ctx context.Context, fleet Fleet) (map[string]string, error) {
	claims := make(map[string]string)
	in := &iot.ListTargetsForPolicyInput{PolicyName: aws.String(fleet.claimPolicy()), PageSize: aws.Int32(pageSize)}
	for {
		var out *iot.ListTargetsForPolicyOutput
		err := retry(ctx, func() (err error) {
			out, err = s.iot.ListTargetsForPolicy(ctx, in)
			return err
		})
		if code(err) == codeNotFound { // no policy, so nobody has it
			return claims, nil
		}
		if err != nil {
			return nil, explain(fmt.Sprintf("listing who has policy %q", fleet.claimPolicy()), err)
		}
		var keys []string
		for _, arn := range out.Targets {
			if id := certificateOfARN(arn); hook.ValidID(id) {
				claims[id] = ""
				keys = append(keys, hook.ClaimKey(id))
			}
		}
		bound, err := s.getItems(ctx, s.target.Manifest.table(), keys...)
		if err != nil {
			return nil, err
		}
		for _, item := range bound {
			c, err := hook.DecodeClaim(item)
			if err != nil {
				return nil, err
			}
			claims[c.CertificateID] = c.Order
		}
		if in.Marker = out.NextMarker; aws.ToString(out.NextMarker) == "" {
			return claims, nil
		}
	}
}

// claimsUnder lists the certificates of a work order with the fleet's claim policy
// and those of ours; further who has the policy at AWS, and which ones are ours.
func (r *Registrar) claimsUnder(ctx context.Context, s *session, fleet Fleet, order string) (ids []string, at map[string]string, ours map[string]ledger.Certificate, err error) {
	if ours, err = r.claimsOf(ctx, order); err != nil {
		return nil, nil, nil, err
	}
	if at, err = s.claimsAt(ctx, fleet); err != nil {
		return nil, nil, nil, err
	}
	for id, bound := range at {
		if bound == order {
			ids = append(ids, id)
		}
	}
	for id := range ours {
		if at[id] != order {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids, at, ours, nil
}
