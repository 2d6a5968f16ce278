package awsreg_test

import (
	"crypto/x509"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/iot/types"

	"mintmark/awsreg"
	"mintmark/awsreg/awssim"
	"mintmark/internal/reconcile"
)

// retiring is a target with one CA for just-in-time registration.
func (w *world) retiring(state, sweep string) awsreg.Target {
	t := w.target()
	t.QuotaScale = 1000
	t.CAs = []awsreg.CA{{Issuer: "line", Mode: awsreg.ModeDefault, Use: awsreg.UseJITR, State: state, Sweep: sweep}}
	return t
}

// register registers device certificates under a CA, in turn with each status.
func (w *world) register(issuer string, statuses ...types.CertificateStatus) []string {
	w.t.Helper()
	var ids []string
	for i, status := range statuses {
		c, _, _ := w.issuers[issuer].device(w.t, fmt.Sprint("device-", i))
		w.registerOne(w.issuers[issuer], c, status)
		ids = append(ids, awsreg.CertificateID(c.Raw))
	}
	return ids
}

func (w *world) registerOne(issuer *authority, c *x509.Certificate, status types.CertificateStatus) {
	w.t.Helper()
	_, err := w.iot(first).RegisterCertificate(w.t.Context(), &iot.RegisterCertificateInput{
		CertificatePem: aws.String(pemOf(c)), CaCertificatePem: aws.String(pemOf(issuer.Certificate)), Status: status,
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

// statuses are the certificates under a CA by status, listed by an operator.
func (w *world) statuses(issuer string) map[types.CertificateStatus]int {
	w.t.Helper()
	n := make(map[types.CertificateStatus]int)
	var marker *string
	for {
		out, err := w.iot(first).ListCertificatesByCA(w.t.Context(), &iot.ListCertificatesByCAInput{CaCertificateId: aws.String(w.id(issuer)), Marker: marker})
		if err != nil {
			w.t.Fatal(err)
		}
		for _, c := range out.Certificates {
			n[c.Status]++
		}
		if marker = out.NextMarker; marker == nil {
			return n
		}
	}
}

func (w *world) hasRule(name string) bool {
	w.t.Helper()
	out := must(w.iot(first).ListTopicRules(w.t.Context(), &iot.ListTopicRulesInput{}))(w.t)
	return slices.ContainsFunc(out.Rules, func(r types.TopicRuleListItem) bool { return aws.ToString(r.RuleName) == name })
}

const (
	on  = types.CertificateStatusActive
	off = types.CertificateStatusInactive
	out = types.CertificateStatusRevoked
)

func TestRetire(t *testing.T) {
	for _, test := range []struct {
		state, sweep string
		want         map[types.CertificateStatus]int
		plan         []string // "action kind" of what is done
	}{
		{awsreg.StateInactive, "", map[types.CertificateStatus]int{on: 2, off: 1, out: 1}, []string{"update ca", "delete topic-rule"}},
		{awsreg.StateInactive, awsreg.SweepDeactivate, map[types.CertificateStatus]int{off: 3, out: 1}, []string{"update ca", "delete topic-rule", "update ca-sweep"}},
		{awsreg.StateInactive, awsreg.SweepRevoke, map[types.CertificateStatus]int{out: 4}, []string{"update ca", "delete topic-rule", "update ca-sweep"}},
		{awsreg.StateDeleted, "", map[types.CertificateStatus]int{on: 2, off: 1, out: 1}, []string{"update ca", "delete topic-rule", "delete ca"}},
		{awsreg.StateDeleted, awsreg.SweepDeactivate, map[types.CertificateStatus]int{off: 3, out: 1}, []string{"update ca", "delete topic-rule", "update ca-sweep", "delete ca"}},
		{awsreg.StateDeleted, awsreg.SweepRevoke, map[types.CertificateStatus]int{out: 4}, []string{"update ca", "delete topic-rule", "update ca-sweep", "delete ca"}},
	} {
		t.Run(test.state+" "+test.sweep, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.apply(w.retiring("", ""))
			ids := w.register("line", on, on, off, out)

			target := w.retiring(test.state, test.sweep)
			before := len(w.sim.Calls())
			plan := must(w.registrar(first).Plan(t.Context(), target))(t)
			if calls := mutating(w.since(before)); len(calls) != 0 {
				t.Errorf("planning called %v", calls)
			}
			var todo []string
			for _, c := range plan.Changes {
				if c.Mutates() {
					todo = append(todo, string(c.Action)+" "+c.Kind)
					if c.Destructive != (c.Kind == "ca" || c.Kind == "ca-sweep") {
						t.Errorf("destructive is %t: %+v", c.Destructive, c)
					}
				}
				if c.Kind == "ca-sweep" && c.Before != "2 ACTIVE, 1 INACTIVE, 1 REVOKED" {
					t.Errorf("the sweep does not show the numbers: %+v", c)
				}
			}
			if !slices.Equal(todo, test.plan) || !plan.Destructive() {
				t.Errorf("planned %v, destructive %t", todo, plan.Destructive())
			}
			done := must(w.registrar(first).Apply(t.Context(), target, nil))(t)
			if done.Hash() != plan.Hash() {
				t.Errorf("what was done is not what was planned:\n%+v\n%+v", plan, done)
			}
			w.settled(target)
			got := make(map[types.CertificateStatus]int)
			for _, id := range ids {
				got[w.certificateStatus(id)]++
			}
			if !maps.Equal(got, test.want) {
				t.Errorf("certificates %v", got)
			}
			if w.hasRule(w.rule()) {
				t.Error("the topic rule is still there")
			}
			status := must(w.registrar(first).Status(t.Context(), target, true))(t)
			if ca := status.CAs[0]; ca.Registered != (test.state == awsreg.StateInactive) || ca.Registered && (ca.State != "INACTIVE" || ca.AutoRegistration != "DISABLE") || ca.Wanted != test.state {
				t.Errorf("CA %+v", ca)
			}
			if again := must(w.registrar(first).Apply(t.Context(), target, nil))(t); !again.Empty() {
				t.Errorf("second run: %+v", again.Changes)
			}
			if test.sweep == awsreg.SweepRevoke {
				return // final
			}
			w.apply(w.retiring("", "")) // and back
			if !w.hasRule(w.rule()) {
				t.Error("the topic rule did not come back")
			}
		})
	}
}

// A sweep takes any number of certificates, page by page, and is finished by the
// next run where it was cut off.
func TestSweepManyAndCutOff(t *testing.T) {
	w := newWorld(t)
	w.apply(w.retiring("", ""))
	const n = 620 // three pages
	statuses := make([]types.CertificateStatus, n)
	for i := range statuses {
		statuses[i] = []types.CertificateStatus{on, on, off}[i%3]
	}
	w.register("line", statuses...)
	target := w.retiring(awsreg.StateInactive, awsreg.SweepRevoke)
	w.sim.Inject(awssim.Fault{Operation: "UpdateCertificate", Nth: 300, Code: "UnauthorizedException", Status: 401})
	if _, err := w.registrar(first).Apply(t.Context(), target, nil); err == nil || !strings.Contains(err.Error(), "iam-policy") {
		t.Fatalf("want the refusal, got %v", err)
	}
	if got := w.statuses("line"); got[out] < 200 || got[out] >= n {
		t.Errorf("after the first run %v", got)
	}
	plan := must(w.registrar(first).Plan(t.Context(), target))(t)
	if plan.Pending() != 1 || plan.Changes[len(plan.Changes)-1].After != fmt.Sprintf("%d REVOKED", n) {
		t.Errorf("what is left: %+v", plan.Changes)
	}
	for _, fault := range []awssim.Fault{ // what passes by itself
		{Operation: "UpdateCertificate", Nth: 3, Code: "ThrottlingException", Status: 400},
		{Operation: "UpdateCertificate", Nth: 20}, {Operation: "UpdateCertificate", Nth: 40, AfterEffect: true},
		{Operation: "ListCertificatesByCA", Nth: 2, AfterEffect: true}, {Operation: "ListCertificatesByCA", Nth: 5},
	} {
		w.sim.Inject(fault)
	}
	must(w.registrar(first).Apply(t.Context(), target, nil))(t)
	if got := w.statuses("line"); got[out] != n {
		t.Errorf("after the second run %v", got)
	}
}

// A CA that was never registered, or is gone, needs nothing; one that has expired
// or that Preflight would refuse can still be retired.
func TestRetireWhatIsNotThere(t *testing.T) {
	for _, state := range []string{awsreg.StateInactive, awsreg.StateDeleted} {
		w := newWorld(t)
		target := w.retiring(state, awsreg.SweepRevoke)
		if done := must(w.registrar(first).Apply(t.Context(), target, nil))(t); done.Pending() != 2 { // table and policy
			t.Errorf("%s: %+v", state, done.Changes)
		}
		for _, call := range w.sim.Calls() {
			if strings.Contains(call, "CACertificate") && call != "DescribeCACertificate" && call != "ListCACertificates" {
				t.Errorf("%s: called %s", state, call)
			}
		}
	}
}

// The mode of a CA that goes out of service does not matter.
func TestRetireInAnotherMode(t *testing.T) {
	w := newWorld(t)
	w.apply(w.retiring("", ""))
	target := w.retiring(awsreg.StateDeleted, "")
	target.CAs[0].Mode = awsreg.ModeSNIOnly
	w.apply(target)
}

// What the stack owns is compared and reported; the rest is done.
func TestStackOwned(t *testing.T) {
	w, target := newFullWorld(t)
	target.StackOwned = true
	done := must(w.registrar(first).Apply(t.Context(), target, nil))(t)
	foreign := make(map[string]int)
	for _, c := range done.Changes {
		switch c.Kind {
		case "policy", "template", "topic-rule", "thing-type", "thing-group":
			if c.Action == reconcile.None {
				continue // the rule of a CA that is not there
			}
			foreign[c.Kind]++
			if c.Action != reconcile.Foreign || !strings.Contains(c.After, "mintmark aws render") {
				t.Errorf("%+v", c)
			}
		case "table", "certificate-provider":
			if c.Action != reconcile.Create {
				t.Errorf("%+v", c)
			}
		}
	}
	if want := map[string]int{"policy": 5, "template": 4, "topic-rule": 2, "thing-type": 2, "thing-group": 2}; !maps.Equal(foreign, want) {
		t.Errorf("reported %v, want %v", foreign, want)
	}
	for _, call := range mutating(w.sim.Calls()) {
		for _, not := range []string{"Policy", "Template", "TopicRule", "ThingType", "ThingGroup"} {
			if strings.Contains(call, not) {
				t.Errorf("called %s", call)
			}
		}
	}
	status := must(w.registrar(first).Status(t.Context(), target, false))(t)
	if ca := status.CAs[0]; !ca.Registered || ca.State != "ACTIVE" {
		t.Errorf("the CA is not there: %+v", ca)
	}
	if status.Plan.Empty() || status.Plan.Pending() != 0 {
		t.Errorf("pending %d", status.Plan.Pending())
	}

	// Then the stack is deployed, here by another target's apply.
	deployed := target
	deployed.StackOwned = false
	must(w.registrar(first).Apply(t.Context(), deployed, nil))(t)
	w.settled(target)

	// A rule of a CA that went out of service is the stack's to remove.
	target.CAs[0].State = awsreg.StateInactive
	plan := must(w.registrar(first).Apply(t.Context(), target, nil))(t)
	i := slices.IndexFunc(plan.Changes, func(c reconcile.Change) bool { return c.Action == reconcile.Foreign })
	if i < 0 || plan.Changes[i].Kind != "topic-rule" || !strings.HasPrefix(plan.Changes[i].After, "absent; ") || !w.hasRule(w.rule()) {
		t.Errorf("%+v", plan.Changes)
	}
}
