package awsreg

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	dynamotypes "github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/iot/types"

	"mintmark/awsreg/hook"
	"mintmark/internal/ledger"
)

// tellOrder tells the functions a work order for one of the target's fleets. Of an
// open one the list comes first; of one that is not open, the order does, and then
// its claims are taken out of service.
func (r *Registrar) tellOrder(ctx context.Context, s *session, id string) error {
	fleet, order, ok, err := r.targetOrder(ctx, s.target, id)
	for range rereadings {
		if err != nil || !ok {
			return err
		}
		if err := r.tellOrderAs(ctx, s, fleet, order); err != nil {
			return err
		}
		// Another delivery may have told something newer and been overwritten.
		told := order
		if fleet, order, ok, err = r.targetOrder(ctx, s.target, id); err == nil && sameOrder(order, told) {
			return nil
		}
	}
	return fmt.Errorf("work order %q: it changes faster than AWS can be told", id)
}

func (r *Registrar) tellOrderAs(ctx context.Context, s *session, fleet Fleet, order ledger.Order) error {
	if order.State == ledger.OrderOpen {
		if err := r.tellDevices(ctx, s, ledger.DeviceQuery{Order: order.ID}); err != nil {
			return err
		}
	}
	if s.target.decides() {
		var err error
		if fleet.ClaimPolicy, err = s.claimPolicyOf(ctx, fleet, order.ID); err != nil {
			return err
		}
		if err := s.putItems(ctx, s.target.Manifest.table(), s.target.templateItems()...); err != nil {
			return err
		}
		killed, err := s.putOrder(ctx, orderItem(order, fleet), order.State)
		if err != nil {
			return err
		}
		if killed {
			r.cfg.Logger.Warn("a work order is killed at AWS and not in the ledger, and stays killed there: was the ledger restored?",
				"target", s.target.Name, "order", order.ID, "state", order.State)
			order.State = ledger.OrderKilled
		}
	}
	if order.State == ledger.OrderOpen {
		return nil
	}
	return outstanding(r.shutClaims(ctx, s, fleet, order))
}

// putOrder writes an order unless the functions have it as killed, which is final
// here as in the ledger: an older ledger, restored from a backup, does not open it.
func (s *session) putOrder(ctx context.Context, item hook.Item, state ledger.OrderState) (killed bool, err error) {
	in := &dynamodb.PutItemInput{TableName: aws.String(s.target.Manifest.table()), Item: item}
	if state != ledger.OrderKilled {
		in.ConditionExpression = aws.String("attribute_not_exists(pk) OR #s <> :killed")
		in.ExpressionAttributeNames = map[string]string{"#s": "state"}
		in.ExpressionAttributeValues = hook.Item{":killed": &dynamotypes.AttributeValueMemberS{Value: string(ledger.OrderKilled)}}
	}
	err = retry(ctx, func() error {
		_, err := s.dynamo.PutItem(ctx, in)
		return err
	})
	if isConditionFailed(err) {
		return true, nil
	}
	return false, explain(fmt.Sprintf("writing %s to table %q", itemKey(item), *in.TableName), err)
}

// claimPolicyOf is the fleet's claim policy. Of a fleet that is not in the
// configuration any more, the order's item has it.
func (s *session) claimPolicyOf(ctx context.Context, fleet Fleet, order string) (string, error) {
	items, err := s.getItems(ctx, s.target.Manifest.table(), hook.OrderKey(order))
	return s.target.claimPolicyIn(fleet, items[hook.OrderKey(order)]), err
}

func (t Target) claimPolicyIn(fleet Fleet, order hook.Item) string {
	_, is := t.fleetOf(t.Label(fleet))
	policy, _ := order[claimPolicyName].(*dynamotypes.AttributeValueMemberS)
	if is || policy == nil {
		return fleet.ClaimPolicy
	}
	return policy.Value
}

// claimPolicyName is the attribute of an order's item with the name of the claim
// policy, for the server alone.
const claimPolicyName = "claimPolicy"

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
	item := o.Item()
	item[claimPolicyName] = &dynamotypes.AttributeValueMemberS{Value: fleet.claimPolicy()}
	return item
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
// Those of others are withdrawn: a newer list may have moved the device.
func (r *Registrar) tellDevices(ctx context.Context, s *session, query ledger.DeviceQuery) error {
	orders := make(map[string]bool) // whether it is for a fleet of the target
	expected := func(d ledger.Device) (bool, error) {
		if !d.Listed || d.Order == "" {
			return false, nil
		}
		if _, known := orders[d.Order]; !known {
			_, _, is, err := r.fleetOrder(ctx, s.target, d.Order)
			if err != nil {
				return false, err
			}
			orders[d.Order] = is
		}
		return orders[d.Order], nil
	}
	table := s.target.Manifest.table()
	return r.eachDevice(ctx, query, func(devices []ledger.Device) error {
		var items []hook.Item
		var others []string
		for _, d := range devices {
			is, err := expected(d)
			if err != nil {
				return err
			}
			if is {
				items = append(items, hook.ExpectedItem(d.ID, d.Order))
			} else {
				others = append(others, hook.ExpectedKey(d.ID))
			}
		}
		if err := s.putItems(ctx, table, items...); err != nil {
			return err
		}
		gone, err := s.getItems(ctx, table, others...)
		if err != nil || len(gone) == 0 {
			return err
		}
		var keys []hook.Item
		for key := range gone {
			keys = append(keys, hook.Key(key))
		}
		if err := s.deleteItems(ctx, table, keys...); err != nil {
			return err
		}
		// A list that came into force since the reading may have been told before
		// the deletion.
		items = nil
		for _, d := range devices {
			if gone[hook.ExpectedKey(d.ID)] == nil {
				continue
			}
			now, err := r.cfg.Records.Device(ctx, d.ID)
			if err != nil {
				return fmt.Errorf("looking up device %q: %w", d.ID, err)
			}
			if is, err := expected(now); err != nil {
				return err
			} else if is {
				items = append(items, hook.ExpectedItem(now.ID, now.Order))
			}
		}
		return s.putItems(ctx, table, items...)
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
		failed[i] = ignoreNotFound(s.shutClaim(ctx, ids[i], order.ID, recorded))
	})
	return errors.Join(failed...)
}

// shutClaim sets a claim certificate INACTIVE. One of ours is noted as taken out of
// service by this server, which puts it back if the order is open again: its fleet
// had only left the configuration for a while.
func (s *session) shutClaim(ctx context.Context, id, order string, ours bool) error {
	d, err := s.describe(ctx, id)
	if err != nil || d.Status != types.CertificateStatusActive {
		return err
	}
	if ours && s.target.decides() {
		if err := s.putItems(ctx, s.target.Manifest.table(), dueClaim(id, order)); err != nil {
			return err
		}
	}
	_, err = s.setStatus(ctx, id, types.CertificateStatusInactive)
	return err
}

// dueName is the attribute of a claim's item that says, to the server alone, that
// it is to set the certificate ACTIVE as soon as the order is open: it has not done
// so yet, or has itself taken it out of service.
const dueName = "due"

func dueClaim(id, order string) hook.Item {
	item := hook.Claim{CertificateID: id, Order: order}.Item()
	item[dueName] = &dynamotypes.AttributeValueMemberBOOL{Value: true}
	return item
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
	// Without a function there is no item that binds a claim to its order.
	if s.target.decides() {
		if at, err = s.claimsAt(ctx, fleet); err != nil {
			return nil, nil, nil, err
		}
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
