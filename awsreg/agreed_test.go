package awsreg_test

import (
	"errors"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/iot/types"

	"mintmark/awsreg"
	"mintmark/internal/reconcile"
)

// TestAgreed: what was agreed to is done, and nothing else is.
func TestAgreed(t *testing.T) {
	w := newWorld(t)
	w.apply(w.retiring("", ""))
	target, r := w.retiring(awsreg.StateInactive, ""), w.registrar(first)
	plan := must(r.Plan(t.Context(), target))(t)
	before := len(w.sim.Calls())
	for name, agreed := range map[string]reconcile.Agreed{
		"nothing destructive":  {},
		"of this plan":         {Hash: plan.Hash()},
		"another plan":         {Hash: [32]byte{1}},
		"another, destructive": {Hash: [32]byte{1}, Destructive: true},
	} {
		if done, err := r.ApplyAgreed(t.Context(), target, agreed, nil); !errors.Is(err, reconcile.ErrChanged) || done.Pending() != 0 {
			t.Errorf("%s: done %+v, %v", name, done.Changes, err)
		}
	}
	if calls := mutating(w.since(before)); len(calls) != 0 {
		t.Fatalf("what was not agreed to called %v", calls)
	}
	done := must(r.ApplyAgreed(t.Context(), target, reconcile.Agreed{Hash: plan.Hash(), Destructive: true}, nil))(t)
	if done.Hash() != plan.Hash() {
		t.Errorf("what was done is not what was planned:\n%+v\n%+v", plan, done)
	}
}

// TestAgreedInTime: what becomes destructive while a plan is carried out that was
// not is left alone, also by who may do what is destructive.
func TestAgreedInTime(t *testing.T) {
	for _, destructive := range []bool{false, true} {
		w := newWorld(t)
		w.apply(w.retiring("", ""))
		target, client := w.retiring(awsreg.StateInactive, ""), w.iot(first)
		w.apply(target)
		_, err := client.DeletePolicy(t.Context(), &iot.DeletePolicyInput{PolicyName: aws.String("mintmark-device")})
		w.ok(err)
		plan := must(w.registrar(first).Plan(t.Context(), target))(t)
		if plan.Pending() != 1 || plan.Destructive() {
			t.Fatalf("plan %+v", plan.Changes)
		}
		id := aws.String(awsreg.CertificateID(w.issuers["line"].Certificate.Raw))
		// Somebody puts the CA back into service as soon as the first change is made.
		w.http.before = func(s sent) error {
			if !s.changes {
				return nil
			}
			_, err := client.UpdateCACertificate(t.Context(), &iot.UpdateCACertificateInput{CertificateId: id, NewStatus: types.CACertificateStatusActive})
			return err
		}
		done, err := w.registrar(first).ApplyAgreed(t.Context(), target, reconcile.Agreed{Hash: plan.Hash(), Destructive: destructive}, nil)
		if !errors.Is(err, reconcile.ErrChanged) || done.Pending() != 1 {
			t.Errorf("done %+v, %v", done.Changes, err)
		}
		out := must(client.DescribeCACertificate(t.Context(), &iot.DescribeCACertificateInput{CertificateId: id}))(t)
		if out.CertificateDescription.Status != types.CACertificateStatusActive {
			t.Errorf("the CA is %s", out.CertificateDescription.Status)
		}
	}
}
