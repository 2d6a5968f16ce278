package adminhttp_test

import (
	"errors"
	"net/http"
	"testing"

	"mintmark/admin"
	"mintmark/admin/adminhttp"
)

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
	_, err = w.client.AWSApply(t.Context(), "line-a", admin.Apply{Hash: plan.Hash[1:] + "0"}, nil)
	refused(t, err, http.StatusConflict, "plan-changed")
	if c.done != 0 {
		t.Fatal("a plan that nobody read was carried out")
	}

	// It fails in the middle: what was done is told, then why it ended.
	var told []admin.Change
	note := func(c admin.Change) { told = append(told, c) }
	_, err = w.client.AWSApply(t.Context(), "line-a", admin.Apply{Hash: plan.Hash}, note)
	refused(t, err, http.StatusBadGateway, "aws")
	if len(told) != 1 || told[0].Subject != "issuing" {
		t.Errorf("told %v", told)
	}

	// The next run does the rest, over the socket.
	c.fail = nil
	done, err := dialled.AWSApply(t.Context(), "line-a", admin.Apply{}, note)
	if err != nil {
		t.Fatal(err)
	}
	if len(told) != 2 || done.Pending != 1 || done.Changes[0].Kind != "topic-rule" {
		t.Errorf("told %v, done %+v", told, done)
	}

	status, err := w.client.AWSStatus(t.Context(), "line-a", false)
	if err != nil {
		t.Fatal(err)
	}
	if counted, err := w.client.AWSStatus(t.Context(), "line-a", true); err != nil || counted.CAs[0].State != "counted" {
		t.Errorf("status with counts %+v, %v", counted, err)
	}
	findings, err := w.client.AWSDoctor(t.Context(), "line-a")
	if err != nil || len(findings) != 1 || findings[0].Rule != "ca-true" {
		t.Errorf("doctor: %+v, %v", findings, err)
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
