package awsreg_test

import (
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/iot/types"

	"mintmark/awsreg"
	"mintmark/awsreg/awssim"
	"mintmark/awsreg/hook"
	"mintmark/internal/ledger"
)

func (w *world) manifest() hook.Table {
	return hook.Table{Client: w.dynamo(), Name: "mintmark-devices"}
}

func (w *world) deliver(target awsreg.Target, tasks []ledger.Task) {
	w.t.Helper()
	for i, err := range w.registrar(first).Deliver(w.t.Context(), target, tasks) {
		if err != nil {
			w.t.Fatalf("task %d: %v", i, err)
		}
	}
}

func TestTasksFor(t *testing.T) {
	w := newWorld(t)
	target := w.target()
	none := target
	none.Name, none.JITR = "line-b", nil
	none.CAs = []awsreg.CA{{Issuer: "line", Mode: awsreg.ModeSNIOnly, Use: awsreg.UseNone}}
	provided := none
	provided.Name, provided.CAs, provided.Provider = "line-c", nil, &awsreg.Provider{}
	targets := []awsreg.Target{target, none, provided}
	_, _, line := w.issuers["line"].device(t, "pump 1")
	_, _, auto := w.issuers["auto"].device(t, "pump-2")
	revoked := func(c ledger.Certificate) ledger.Certificate { c.State = ledger.Revoked; return c }
	server := line
	server.Purpose = ledger.ForServer
	void := line
	void.State, void.DER = ledger.Voided, nil
	other := line
	other.Issuer = "elsewhere"
	for _, test := range []struct {
		name  string
		c     ledger.Certificate
		kinds string
	}{
		{"issued for JITR", line, "aws/line-a"},
		{"revoked", revoked(line), "aws/line-a/urgent aws/line-b/urgent aws/line-c/urgent"},
		{"issued for JITP", auto, ""},
		{"revoked for JITP", revoked(auto), "aws/line-a/urgent aws/line-c/urgent"},
		{"a server's", server, ""},
		{"void", void, ""},
		{"of an issuer that is not registered", other, ""},
		{"revoked, of such an issuer", revoked(other), "aws/line-c/urgent"},
	} {
		var kinds []string
		for _, task := range awsreg.TasksFor(targets, test.c) {
			kinds = append(kinds, task.Kind)
			if task.Key != awsreg.CertificateID(test.c.DER) {
				t.Errorf("%s: key %s", test.name, task.Key)
			}
		}
		if got := strings.Join(kinds, " "); got != test.kinds {
			t.Errorf("%s: tasks for %q, want %q", test.name, got, test.kinds)
		}
	}
}

func TestThingName(t *testing.T) {
	long := strings.Repeat("x", 200)
	seen := make(map[string]string)
	for _, device := range []string{"pump-1", "pump 1", "pump/1", "Pümpe", long, long + "y", strings.Repeat("é", 200)} {
		name := awsreg.ThingName(device)
		if !hook.ValidThing(name) {
			t.Errorf("%q: AWS refuses %q", device, name)
		}
		if other, ok := seen[name]; ok {
			t.Errorf("%q and %q are both %q", device, other, name)
		}
		seen[name] = device
	}
	if awsreg.ThingName("pump-1") != "pump-1" {
		t.Error("a good name was changed")
	}
}

func TestDeliver(t *testing.T) {
	w := newWorld(t)
	target := w.target()
	_, _, c := w.issuers["line"].device(t, "pump-1")
	valid := awsreg.TasksFor([]awsreg.Target{target}, c)
	id := valid[0].Key

	// Before the table exists the task stays in the outbox.
	if errs := w.registrar(first).Deliver(t.Context(), target, valid); errs[0] == nil {
		t.Error("delivered into a table that is not there")
	}
	w.apply(target)

	// 60 certificates and one payload that is broken: only that one fails.
	tasks := append([]ledger.Task{}, valid...)
	tasks = append(tasks, ledger.Task{Kind: "aws/line-a", Key: "x", Payload: []byte("{}")})
	for range 59 {
		_, _, more := w.issuers["line"].device(t, "pump-2")
		tasks = append(tasks, awsreg.TasksFor([]awsreg.Target{target}, more)...)
	}
	w.sim.Inject(awssim.Fault{Operation: "dynamodb:BatchWriteItem", Nth: 1, Code: "ProvisionedThroughputExceededException"})
	w.sim.Inject(awssim.Fault{Operation: "dynamodb:BatchWriteItem", Nth: 3, AfterEffect: true})
	for i, err := range w.registrar(first).Deliver(t.Context(), target, tasks) {
		if (err != nil) != (i == 1) {
			t.Errorf("task %d: %v", i, err)
		}
	}
	for _, task := range tasks {
		if task.Key == "x" {
			continue
		}
		entry, err := w.manifest().Entry(t.Context(), task.Key)
		if err != nil || entry.State != hook.Valid || entry.CA != w.id("line") || entry.Issuer != "line" {
			t.Fatalf("entry %+v, %v", entry, err)
		}
	}

	// Revoked, while AWS does not know the certificate; and a late repetition of
	// the older task does not bring it back.
	c.State = ledger.Revoked
	w.deliver(target, awsreg.TasksFor([]awsreg.Target{target}, c))
	w.deliver(target, valid)
	if entry, err := w.manifest().Entry(t.Context(), id); err != nil || entry.State != hook.Revoked {
		t.Errorf("entry %+v, %v", entry, err)
	}
}

func TestRevokeAtAWS(t *testing.T) {
	w := newWorld(t)
	target := w.target()
	w.apply(target)
	device, _, c := w.issuers["line"].device(t, "pump-1")
	out := must(w.iot(first).RegisterCertificate(t.Context(), &iot.RegisterCertificateInput{
		CertificatePem: aws.String(pemOf(device)), CaCertificatePem: aws.String(pemOf(w.issuers["line"].Certificate)), Status: types.CertificateStatusActive,
	}))(t)
	c.State = ledger.Revoked
	tasks := awsreg.TasksFor([]awsreg.Target{target}, c)
	w.sim.Inject(awssim.Fault{Operation: "UpdateCertificate", Nth: 1, Code: "ThrottlingException"})
	w.deliver(target, tasks)
	if status := w.certificateStatus(*out.CertificateId); status != types.CertificateStatusRevoked {
		t.Errorf("status %s", status)
	}
	w.deliver(target, tasks) // told twice

	// What cannot be told is not counted as told.
	_, _, other := w.issuers["line"].device(t, "pump-2")
	other.State = ledger.Revoked
	w.sim.Inject(awssim.Fault{Operation: "UpdateCertificate", Nth: 1, Code: "UnauthorizedException", Status: 401})
	if errs := w.registrar(first).Deliver(t.Context(), target, awsreg.TasksFor([]awsreg.Target{target}, other)); errs[0] == nil || !strings.Contains(errs[0].Error(), "iam-policy") {
		t.Errorf("want advice on permissions, got %v", errs[0])
	}
}

// TestRevocationWithoutEffect: a change that AWS accepts and that does not show is seen by reading
// it back, and made again until it shows; without that it is not told.
func TestRevocationWithoutEffect(t *testing.T) {
	t.Parallel() // it waits for seconds
	w := newWorld(t)
	target := w.target()
	w.apply(target)
	device, _, c := w.issuers["line"].device(t, "pump-1")
	out := must(w.iot(first).RegisterCertificate(t.Context(), &iot.RegisterCertificateInput{
		CertificatePem: aws.String(pemOf(device)), CaCertificatePem: aws.String(pemOf(w.issuers["line"].Certificate)), Status: types.CertificateStatusActive,
	}))(t)
	c.State = ledger.Revoked
	tasks := awsreg.TasksFor([]awsreg.Target{target}, c)
	updates := func() (n int) {
		for _, op := range w.sim.Calls() {
			if op == "UpdateCertificate" {
				n++
			}
		}
		return n
	}
	before := updates()
	w.sim.Inject(awssim.Fault{Operation: "UpdateCertificate", NoEffect: true, Every: 1})
	if errs := w.registrar(first).Deliver(t.Context(), target, tasks); errs[0] == nil || !strings.Contains(errs[0].Error(), "AWS accepts the change and goes on to show ACTIVE") {
		t.Errorf("told though nothing came of it: %v", errs[0])
	}
	if status := w.certificateStatus(*out.CertificateId); status != types.CertificateStatusActive || updates()-before < 2 {
		t.Errorf("status %s after %d calls", status, updates()-before)
	}
	w.sim.ClearFaults()
	before = updates()
	w.sim.Inject(awssim.Fault{Operation: "UpdateCertificate", NoEffect: true})
	w.deliver(target, tasks)
	if status := w.certificateStatus(*out.CertificateId); status != types.CertificateStatusRevoked || updates()-before != 2 {
		t.Errorf("status %s after %d calls, want two", status, updates()-before)
	}
}

// JITP asks nobody, so a revoked certificate that AWS does not know is made
// known as revoked.
func TestRevokedBeforeProvisioning(t *testing.T) {
	w := newWorld(t)
	target := w.target()
	w.apply(target)
	_, _, c := w.issuers["auto"].device(t, "pump-1")
	c.State = ledger.Revoked
	w.deliver(target, awsreg.TasksFor([]awsreg.Target{target}, c))
	if status := w.certificateStatus(awsreg.CertificateID(c.DER)); status != types.CertificateStatusRevoked {
		t.Errorf("status %s", status)
	}
}

func TestBeat(t *testing.T) {
	w := newWorld(t)
	target := w.target()
	target.Manifest.MaxAge = time.Hour
	w.apply(target)
	if _, err := w.manifest().Head(t.Context()); err != hook.ErrUnknown {
		t.Errorf("a head before the first beat: %v", err)
	}
	asOf := time.Now().Add(-time.Second).UTC().Truncate(time.Millisecond)
	if err := w.registrar(first).Beat(t.Context(), target, asOf); err != nil {
		t.Fatal(err)
	}
	want := hook.Head{PushedAt: asOf, Server: "factory-1", MaxAge: time.Hour}
	if head, err := w.manifest().Head(t.Context()); err != nil || head != want {
		t.Errorf("head %+v, %v", head, err)
	}
	if status := must(w.registrar(first).Status(t.Context(), target, false))(t); !status.Manifest.Fresh || status.Manifest.Server != "factory-1" {
		t.Errorf("manifest %+v", status.Manifest)
	}
	target.JITR = nil
	target.CAs = nil
	if err := w.registrar(first).Beat(t.Context(), target, asOf); err != nil {
		t.Error(err)
	}
}
