package adminhttp_test

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"time"

	"mintmark/admin"
	"mintmark/admin/adminhttp"
	"mintmark/awsreg"
	"mintmark/internal/reconcile"
)

// cloud is a target in memory that wants two things.
type cloud struct {
	done int
	fail error
}

var wanted = []reconcile.Change{
	{Kind: "ca", Subject: "issuing", Action: reconcile.Create, After: "ACTIVE"},
	{Kind: "topic-rule", Subject: "mintmark_jitr", Action: reconcile.Update, Before: "a", After: "b"},
}

func (*cloud) Targets() []string { return []string{"line-a"} }

func (*cloud) IAMPolicy(string) (string, error) { return `{"Version":"2012-10-17"}`, nil }

func (c *cloud) Plan(_ context.Context, name string) (reconcile.Plan, error) {
	return reconcile.Plan{Target: name, Changes: wanted[c.done:]}, nil
}

func (c *cloud) Apply(_ context.Context, name string, progress func(reconcile.Change)) (reconcile.Plan, error) {
	plan := reconcile.Plan{Target: name}
	for c.done < len(wanted) {
		if c.done == 1 && c.fail != nil {
			return plan, c.fail
		}
		plan.Changes = append(plan.Changes, wanted[c.done])
		progress(wanted[c.done])
		c.done++
	}
	return plan, nil
}

func (c *cloud) Status(ctx context.Context, name string) (awsreg.Status, error) {
	plan, err := c.Plan(ctx, name)
	return awsreg.Status{
		Target: name, AccountID: "123456789012", Region: "eu-central-1", Plan: plan,
		CAs:      []awsreg.CAStatus{{Issuer: "issuing", Use: "jitr", Findings: []awsreg.Finding{{Severity: awsreg.Refused, Rule: "r"}}}},
		Manifest: &awsreg.ManifestStatus{Table: "devices", MaxAge: time.Hour},
	}, err
}

func TestAWS(t *testing.T) {
	c := &cloud{fail: errors.New("AWS throttles")}
	w := open(t, func(config *adminhttp.Config) { config.AWS = c })
	socket := w.listen(t)
	dialled, err := admin.Dial(socket)
	if err != nil {
		t.Fatal(err)
	}
	defer dialled.Close()

	plan, err := w.client.AWSPlan(t.Context(), "line-a")
	if err != nil {
		t.Fatal(err)
	}
	if plan.Pending != 2 || len(plan.Hash) != 64 || plan.Changes[1].Before != "a" {
		t.Errorf("plan %+v", plan)
	}
	_, err = w.client.AWSApply(t.Context(), "line-a", admin.AWSApply{Hash: plan.Hash[1:] + "0"}, nil)
	refused(t, err, http.StatusConflict, "plan-changed")
	if c.done != 0 {
		t.Fatal("a plan that nobody read was carried out")
	}

	// It fails in the middle: what was done is told, then why it ended.
	var told []admin.Change
	note := func(c admin.Change) { told = append(told, c) }
	_, err = w.client.AWSApply(t.Context(), "line-a", admin.AWSApply{Hash: plan.Hash}, note)
	refused(t, err, http.StatusBadGateway, "aws")
	if len(told) != 1 || told[0].Subject != "issuing" {
		t.Errorf("told %v", told)
	}

	// The next run does the rest, over the socket.
	c.fail = nil
	done, err := dialled.AWSApply(t.Context(), "line-a", admin.AWSApply{}, note)
	if err != nil {
		t.Fatal(err)
	}
	if len(told) != 2 || done.Pending != 1 || done.Changes[0].Kind != "topic-rule" {
		t.Errorf("told %v, done %+v", told, done)
	}

	status, err := w.client.AWSStatus(t.Context(), "line-a")
	if err != nil {
		t.Fatal(err)
	}
	if status.CAs[0].Findings[0].Severity != "refused" || status.Manifest.MaxAgeSeconds != 3600 || status.Manifest.PushedAt != nil {
		t.Errorf("status %+v", status)
	}
	_, err = w.client.AWSPlan(t.Context(), "line-b")
	refused(t, err, http.StatusNotFound, "aws-target")
}

func TestNoAWS(t *testing.T) {
	w := open(t, nil)
	if targets, err := w.client.AWSTargets(t.Context()); err != nil || len(targets) != 0 {
		t.Errorf("targets %v, %v", targets, err)
	}
	_, err := w.client.AWSPlan(t.Context(), "line-a")
	refused(t, err, http.StatusNotFound, "aws-target")
}
