package adminhttp_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"mintmark/admin/adminhttp"
	"mintmark/awsreg"
	"mintmark/awsreg/render"
	"mintmark/internal/ledger"
	"mintmark/internal/reconcile"
)

// cloud is three targets in memory: line-a wants two things, line-r takes a CA out
// of service, and line-f has a fleet.
type cloud struct {
	done int
	fail error

	mu      sync.Mutex
	retired int // times that line-r's plan was carried out
	swept   int // certificates in that plan
	// before is what line-r's plan shows when it is read for the first time; nil
	// for the same as ever.
	before  []reconcile.Change
	agreed  reconcile.Agreed // to what line-r's plan was last to be carried out
	claims  []awsreg.Claim   // that AWS has issued
	drift   *awsreg.Drift    // of the last comparison
	adopted []string         // as whom
	told    map[string]int   // tasks asked for, by what they are about
	woken   int
	lines   []string // of a bulk registration
}

var wanted = []reconcile.Change{
	{Kind: "ca", Subject: "issuing", Action: reconcile.Create, After: "ACTIVE"},
	{Kind: "topic-rule", Subject: "mintmark_jitr", Action: reconcile.Update, Before: "a", After: "b"},
}

func (*cloud) Targets() []string { return []string{"line-a", "line-r", "line-f"} }

func (*cloud) Place(string) (account, region string) { return "123456789012", "eu-central-1" }

func (*cloud) IAMPolicy(string) (string, error) { return `{"Version":"2012-10-17"}`, nil }

func (*cloud) Render(name string, code render.Code) ([]render.File, error) {
	if code.Bucket == "" {
		return nil, errors.New("no bucket")
	}
	return []render.File{{Name: "deploy.sh", Content: []byte(name + code.Bucket), Script: true}}, nil
}

func (c *cloud) Plan(_ context.Context, name string) (reconcile.Plan, error) {
	if name == "line-r" {
		c.mu.Lock()
		defer c.mu.Unlock()
		if before := c.before; before != nil {
			c.before = nil
			return reconcile.Plan{Target: name, Changes: before}, nil
		}
		return reconcile.Plan{Target: name, Changes: []reconcile.Change{
			{Kind: "policy", Subject: "p", Action: reconcile.Create},
			{Kind: "ca", Subject: "old", Action: reconcile.Delete, Before: "ACTIVE", After: fmt.Sprintf("deleted, %d certificates REVOKED", c.swept), Destructive: true},
		}}, nil
	}
	return reconcile.Plan{Target: name, Changes: wanted[c.done:]}, nil
}

func (c *cloud) Apply(ctx context.Context, name string, agreed reconcile.Agreed, progress func(reconcile.Change)) (reconcile.Plan, error) {
	if name == "line-r" {
		plan, err := c.Plan(ctx, name)
		c.mu.Lock()
		defer c.mu.Unlock()
		c.agreed = agreed
		if agreed.Hash != [32]byte{} && agreed.Hash != plan.Hash() || !agreed.Destructive {
			return reconcile.Plan{}, reconcile.ErrChanged
		}
		c.retired++
		return plan, err
	}
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

func (c *cloud) Status(ctx context.Context, name string, count bool) (awsreg.Status, error) {
	plan, err := c.Plan(ctx, name)
	status := awsreg.Status{
		Target: name, AccountID: "123456789012", Region: "eu-central-1", Plan: plan,
		CAs:      []awsreg.CAStatus{{Issuer: "issuing", Use: "jitr", Findings: []awsreg.Finding{{Severity: awsreg.Refused, Rule: "r"}}}},
		Manifest: &awsreg.ManifestStatus{Table: "devices", MaxAge: time.Hour},
	}
	if count {
		status.CAs[0].State = "counted"
	}
	return status, err
}

func (*cloud) Doctor(context.Context, string) ([]awsreg.Finding, error) {
	return []awsreg.Finding{{Severity: awsreg.Refused, Rule: "ca-true"}}, nil
}

func (c *cloud) ClaimFromAWS(_ context.Context, _ string, order ledger.Order, csr []byte) (awsreg.Claim, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	claim := awsreg.Claim{CertificateID: awsreg.CertificateID(csr), Order: order.ID, Status: "ACTIVE", PEM: "PEM of AWS"}
	c.claims = append(c.claims, claim)
	return claim, nil
}

func (c *cloud) Claims(_ context.Context, _, order string) ([]awsreg.Claim, int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var list []awsreg.Claim
	for _, claim := range c.claims {
		if claim.Order == order {
			list = append(list, claim)
		}
	}
	return list, 7, nil
}

// Bulk writes each line in two parts, as a buffer may.
func (c *cloud) Bulk(_ context.Context, _ string, query ledger.Query, w io.Writer) (awsreg.Bulk, error) {
	if query.Purpose != ledger.ForDevice || query.State != ledger.Valid {
		return awsreg.Bulk{}, errors.New("asked for other certificates than the valid ones of devices")
	}
	for _, line := range c.lines {
		for _, part := range []string{line[:1], line[1:] + "\n"} {
			if _, err := io.WriteString(w, part); err != nil {
				return awsreg.Bulk{}, err
			}
		}
	}
	return awsreg.Bulk{Template: `{"Resources":{}}`, Things: len(c.lines)}, c.fail
}

func (*cloud) Connection(_ context.Context, name string, device ledger.Device, certificate ledger.Certificate) (adminhttp.Connection, error) {
	if name == "line-r" {
		return adminhttp.Connection{}, adminhttp.ErrNotHere
	}
	return adminhttp.Connection{Thing: "thing-" + device.ID, Endpoint: "data.example", Region: "eu-central-1", Mode: awsreg.ModeDefault}, nil
}

func (c *cloud) Drift(string) (awsreg.Drift, bool, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.drift == nil {
		return awsreg.Drift{}, false, nil
	}
	return *c.drift, true, nil
}

func (c *cloud) Reconcile(_ context.Context, name string, adopt bool, limit int, actor string) (awsreg.Drift, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if name == "line-r" {
		return awsreg.Drift{}, ledger.ErrBusy
	}
	c.drift = &awsreg.Drift{At: time.Unix(1_800_000_000, 0), Checked: 3, Unknown: 1, Left: []awsreg.Difference{{CertificateID: "aa", There: "ACTIVE", Text: "unknown here"}}}
	if adopt {
		c.adopted = append(c.adopted, fmt.Sprintf("%s, up to %d", actor, limit))
	}
	return *c.drift, nil
}

func (c *cloud) tell(what, id string) []ledger.Task {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.told == nil {
		c.told = make(map[string]int)
	}
	c.told[what+" "+id]++
	payload, _ := json.Marshal(id)
	return []ledger.Task{{Kind: "aws/test", Key: what + "/" + id, Payload: payload}}
}

func (c *cloud) ForOrder(id string) []ledger.Task  { return c.tell("order", id) }
func (c *cloud) ForDevice(id string) []ledger.Task { return c.tell("device", id) }
func (c *cloud) ForImport(id string) []ledger.Task { return c.tell("import", "any") }

func (c *cloud) Wake() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.woken++
}

func (c *cloud) retirements() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.retired
}
