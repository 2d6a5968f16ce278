package awsreg_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials"

	"mintmark/awsreg"
	"mintmark/awsreg/awssim"
)

var third = awssim.Account{ID: "777788889999", AccessKeyID: "AKIATHIRD00000000003", SecretAccessKey: "third-secret"}

const otherRegion = "us-east-1"

// in is a target of an account and region that another account's keys reach
// through a role.
func (w *world) in(account awssim.Account, place, mode string) awsreg.Target {
	t := awsreg.Target{
		Name: account.ID + "-" + place, AccountID: account.ID, Region: place, Endpoint: w.sim.ControlURL(), QuotaScale: 1000,
		CAs:  []awsreg.CA{{Issuer: "line", Mode: mode, Use: awsreg.UseJITR}},
		JITR: &awsreg.JITR{Function: "arn:aws:lambda:" + place + ":" + account.ID + ":function:" + function},
	}
	if account.ID != first.ID {
		t.RoleARN = "arn:aws:iam::" + account.ID + ":role/mintmark"
	}
	return t
}

// Three accounts, two of them by an assumed role, and two regions: in each region
// one account has the CA in DEFAULT mode, the others in SNI_ONLY. One target fails;
// the others are done, and the failed one is finished by the next run.
func TestAccountsAndRegions(t *testing.T) {
	w := newWorld(t, func(c *awssim.Config) { c.Accounts = append(c.Accounts, third) })
	targets := []awsreg.Target{
		w.in(first, region, awsreg.ModeDefault), w.in(second, region, awsreg.ModeSNIOnly), w.in(third, region, awsreg.ModeSNIOnly),
		w.in(first, otherRegion, awsreg.ModeSNIOnly), w.in(second, otherRegion, awsreg.ModeDefault), w.in(third, otherRegion, awsreg.ModeSNIOnly),
	}
	if err := awsreg.ValidateTargets(targets); err != nil {
		t.Fatal(err)
	}
	const failing = 2
	r := w.registrar(first) // one process, with the keys of one account
	for i, target := range targets {
		if i == failing {
			w.sim.Inject(awssim.Fault{Operation: "CreateTopicRule", Code: "AccessDeniedException", Status: 403})
		}
		_, err := r.Apply(t.Context(), target, nil)
		if (err != nil) != (i == failing) {
			t.Fatalf("%s: %v", target.Name, err)
		}
		if err != nil && (!strings.Contains(err.Error(), target.Name) || !strings.Contains(err.Error(), "iam-policy")) {
			t.Errorf("the error does not say where and what to do: %v", err)
		}
	}
	for i, target := range targets {
		plan := must(r.Plan(t.Context(), target))(t)
		if done := plan.Pending() == 0; done == (i == failing) {
			t.Errorf("%s: %d pending", target.Name, plan.Pending())
		}
		status := must(r.Status(t.Context(), target, false))(t)
		if i != failing && (status.CAs[0].State != "ACTIVE" || status.CAs[0].Mode != target.CAs[0].Mode) {
			t.Errorf("%s: %+v", target.Name, status.CAs[0])
		}
	}
	if done := must(r.Apply(t.Context(), targets[failing], nil))(t); done.Pending() != 2 { // rule and CA: the rest was there
		t.Errorf("the next run did %+v", done.Changes)
	}
	for _, target := range targets {
		if plan := must(w.registrar(first).Plan(t.Context(), target))(t); !plan.Empty() {
			t.Errorf("%s: %+v", target.Name, plan.Changes)
		}
	}
	for region, n := range map[string]int{region: 3, otherRegion: 3} {
		for _, a := range []awssim.Account{first, second, third} {
			if state := string(must(w.sim.State(a.ID, region))(t)); !strings.Contains(state, w.id("line")) {
				t.Errorf("account %s has no CA in %s of %d", a.ID, region, n)
			}
		}
	}
}

// The role of the wrong account, or keys that may not assume it, change nothing.
func TestAssumedRoleOfAnotherAccount(t *testing.T) {
	w := newWorld(t, func(c *awssim.Config) { c.Accounts = append(c.Accounts, third) })
	target := w.in(second, region, awsreg.ModeSNIOnly)
	target.RoleARN = strings.Replace(target.RoleARN, second.ID, third.ID, 1)
	_, err := w.registrar(first).Apply(t.Context(), target, nil)
	if err == nil || !strings.Contains(err.Error(), "nothing was changed") || !strings.Contains(err.Error(), third.ID) {
		t.Errorf("want a refusal that names the account, got %v", err)
	}
	target = w.in(second, region, awsreg.ModeSNIOnly)
	r, err := awsreg.New(awsreg.Config{
		Issuer:      func(context.Context, string) (awsreg.Issuer, error) { return w.issuers["line"].Issuer, nil },
		Credentials: credentials.NewStaticCredentialsProvider("AKIAUNKNOWN000000000", "wrong", ""), Deadline: time.Minute,
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Apply(t.Context(), target, nil); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("%q", target.Name)) {
		t.Errorf("want a refusal, got %v", err)
	}
	if calls := mutating(w.sim.Calls()); len(calls) != 0 && strings.Join(calls, "") != strings.Repeat("AssumeRole", len(calls)) {
		t.Errorf("called %v", calls)
	}
}
