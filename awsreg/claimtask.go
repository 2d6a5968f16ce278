package awsreg

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	dynamotypes "github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/iot/types"

	"mintmark/awsreg/hook"
	"mintmark/internal/ledger"
)

// claimTask is the payload of a task about a claim certificate of ours. Its state
// is read when it is told.
type claimTask struct {
	Claim struct {
		Serial      ledger.Serial `json:"serial"`
		Order       string        `json:"order"`
		Certificate string        `json:"certificate"` // PEM
	} `json:"claim"`
}

func tasksForClaims(targets []Target, c ledger.Certificate) []ledger.Task {
	if c.Order == "" {
		return nil
	}
	var task claimTask
	task.Claim.Serial, task.Claim.Order, task.Claim.Certificate = c.Serial, c.Order, certificatePEM(c.DER)
	payload, err := json.Marshal(task)
	if err != nil {
		return nil // no string fails to encode
	}
	var tasks []ledger.Task
	for _, t := range targets {
		tasks = append(tasks, ledger.Task{Kind: kindOf(t, c), Key: CertificateID(c.DER), Payload: payload})
	}
	return tasks
}

// parseClaim reads the payload of a claim's task. The second result reports
// whether it is one at all.
func parseClaim(data []byte) (claimTask, bool, error) {
	var task claimTask
	if err := json.Unmarshal(data, &task); err != nil || task.Claim.Certificate == "" {
		return claimTask{}, false, nil
	}
	block, rest := pem.Decode([]byte(task.Claim.Certificate))
	switch {
	case block == nil || block.Type != "CERTIFICATE" || len(rest) > 0:
		return claimTask{}, true, errors.New("claim task: its certificate is no PEM")
	case task.Claim.Order == "" || len(task.Claim.Order) > 256:
		return claimTask{}, true, errors.New("claim task: names no work order")
	case task.Claim.Serial == "":
		return claimTask{}, true, errors.New("claim task: names no serial number")
	}
	return task, true, nil
}

func (c claimTask) id() string {
	block, _ := pem.Decode([]byte(c.Claim.Certificate))
	return CertificateID(block.Bytes)
}

// tellClaim makes a claim certificate of ours usable at AWS, or useless, as the
// ledger has it and its order. It is registered without its CA, so that the CA can
// be one that registers nothing by itself. What lets it in comes last: until then
// it is INACTIVE. Once it was ACTIVE, who sets it INACTIVE at AWS is obeyed.
// https://docs.aws.amazon.com/iot/latest/apireference/API_RegisterCertificateWithoutCA.html
func (r *Registrar) tellClaim(ctx context.Context, s *session, task claimTask) error {
	fleet, order, ok, err := r.targetOrder(ctx, s.target, task.Claim.Order)
	if err != nil || !ok {
		return err
	}
	id := task.id()
	c, err := r.cfg.Records.Certificate(ctx, task.Claim.Serial)
	if err != nil {
		return fmt.Errorf("looking up claim certificate %s: %w", task.Claim.Serial, err)
	}
	if CertificateID(c.DER) != id {
		return fmt.Errorf("claim certificate %s: the task's certificate is not the recorded one", task.Claim.Serial)
	}
	if c.State == ledger.Revoked {
		return r.revokeClaim(ctx, s, c)
	}
	if !r.cfg.Now().Before(c.NotAfter) || order.State != ledger.OrderOpen {
		// Nothing is registered any more; what is there was shut with the order.
		return outstanding(ignoreNotFound(s.shutClaim(ctx, id, order.ID, true)))
	}
	table := s.target.Manifest.table()
	items, err := s.getItems(ctx, table, hook.ClaimKey(id), hook.OrderKey(order.ID))
	if err != nil {
		return err
	}
	if killedAtAWS(items[hook.OrderKey(order.ID)]) {
		return outstanding(ignoreNotFound(s.shutClaim(ctx, id, order.ID, true)))
	}
	// The functions refuse a claim that they do not know, so that a failure from
	// here on leaves nothing open.
	fresh, err := s.registerClaim(ctx, id, task.Claim.Certificate)
	if err != nil {
		return outstanding(err)
	}
	if err := s.attachPolicy(ctx, fleet.claimPolicy(), s.target.arn("iot", "cert/"+id)); err != nil {
		return outstanding(err)
	}
	item := items[hook.ClaimKey(id)]
	if fresh || item == nil {
		item = dueClaim(id, order.ID)
		if err := s.putItems(ctx, table, item); err != nil {
			return err
		}
	}
	// Whoever shut the order or revoked the claim after this reading finds the
	// certificate registered and bound.
	if order, err = r.cfg.Records.Order(ctx, order.ID); err != nil {
		return fmt.Errorf("looking up work order %q: %w", task.Claim.Order, err)
	}
	if c, err = r.cfg.Records.Certificate(ctx, task.Claim.Serial); err != nil {
		return fmt.Errorf("looking up claim certificate %s: %w", task.Claim.Serial, err)
	}
	switch {
	case c.State == ledger.Revoked:
		return r.revokeClaim(ctx, s, c)
	case order.State != ledger.OrderOpen:
		return outstanding(s.shutClaim(ctx, id, order.ID, true))
	case item[dueName] == nil:
		return nil // it was ACTIVE before
	}
	if _, err = s.setStatus(ctx, id, types.CertificateStatusActive); err != nil {
		return outstanding(err)
	}
	if err := s.putItems(ctx, table, hook.Claim{CertificateID: id, Order: order.ID}.Item()); err != nil {
		return err
	}
	// And whoever did so between the reading and this change may have come before
	// it. Its own task ends the same way; this one does not wait for it.
	if order, err = r.cfg.Records.Order(ctx, order.ID); err == nil && order.State != ledger.OrderOpen {
		return outstanding(s.shutClaim(ctx, id, order.ID, true))
	}
	return err
}

// registerClaim registers a claim as INACTIVE, and reports whether AWS had not
// known it.
func (s *session) registerClaim(ctx context.Context, id, certificate string) (fresh bool, err error) {
	err = retry(ctx, func() error {
		_, err := s.iot.RegisterCertificateWithoutCA(ctx, &iot.RegisterCertificateWithoutCAInput{
			CertificatePem: aws.String(certificate), Status: types.CertificateStatusInactive,
		})
		return err
	})
	fresh = err == nil
	if err := s.registered(id, err); err != nil {
		return false, explain(fmt.Sprintf("registering claim certificate %s", id), err)
	}
	return fresh, nil
}

// killedAtAWS: the functions have an order as killed.
func killedAtAWS(order hook.Item) bool {
	state, _ := order["state"].(*dynamotypes.AttributeValueMemberS)
	return state != nil && state.Value == string(ledger.OrderKilled)
}

// revokeClaim takes a claim of ours out of service for good. The mark comes first:
// package hook refuses whatever has one.
func (r *Registrar) revokeClaim(ctx context.Context, s *session, c ledger.Certificate) error {
	id := CertificateID(c.DER)
	mark := Entry{CertificateID: id, Device: "claim of work order " + c.Order, Serial: string(c.Serial), State: hook.Revoked}
	if len(mark.Device) > 256 {
		mark.Device = mark.Device[:256]
	}
	if s.target.decides() {
		if err := s.putItems(ctx, s.target.Manifest.table(), mark.Items()...); err != nil {
			return err
		}
	}
	_, err := s.setStatus(ctx, id, types.CertificateStatusRevoked)
	return outstanding(ignoreNotFound(err))
}

// targetOrder finds a work order with a label of the target; not ok if there is no
// such order. One whose fleet has left the configuration, or has another name there,
// is shut: an open one counts as closed, and the fleet has its template's name only.
func (r *Registrar) targetOrder(ctx context.Context, t Target, id string) (fleet Fleet, order ledger.Order, ok bool, err error) {
	if fleet, order, ok, err = r.fleetOrder(ctx, t, id); err != nil || ok {
		return fleet, order, ok, err
	}
	fleet, order, ok = t.orphaned(order)
	return fleet, order, ok, nil
}

// orphaned is how an order counts that has a label of the target and no fleet.
func (t Target) orphaned(order ledger.Order) (Fleet, ledger.Order, bool) {
	template, ours := strings.CutPrefix(order.Label, t.Label(Fleet{}))
	if !ours {
		return Fleet{}, order, false
	}
	if order.State == ledger.OrderOpen {
		order.State = ledger.OrderClosed
	}
	return Fleet{Template: template}, order, true
}

// fleetOrder finds a work order and the fleet of the target that it is for; not ok
// if there is no such order or it is for something else.
func (r *Registrar) fleetOrder(ctx context.Context, t Target, id string) (fleet Fleet, order ledger.Order, ok bool, err error) {
	if err := r.needRecords(); err != nil {
		return fleet, order, false, err
	}
	order, err = r.cfg.Records.Order(ctx, id)
	if errors.Is(err, ledger.ErrNotFound) {
		return fleet, order, false, nil
	}
	if err != nil {
		return fleet, order, false, fmt.Errorf("looking up work order %q: %w", id, err)
	}
	fleet, ok = t.fleetOf(order.Label)
	return fleet, order, ok, nil
}

func (r *Registrar) needRecords() error {
	if r.cfg.Records == nil {
		return errors.New("awsreg: Config.Records is not set")
	}
	return nil
}
