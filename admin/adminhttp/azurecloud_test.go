package adminhttp_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"mintmark/admin"
	"mintmark/dpsreg"
	"mintmark/internal/ledger"
	"mintmark/internal/reconcile"
)

// azure is two targets in memory: plant wants two things, and plant-r takes a group
// out of service.
type azure struct {
	mu      sync.Mutex
	done    int
	fail    error
	retired int              // times that plant-r's plan was carried out
	agreed  reconcile.Agreed // to what plant-r's plan was last to be carried out
	drift   *dpsreg.Drift    // of the last comparison
	proved  []dpsreg.Proof
	planned int // calls of Plan
}

var wantedGroups = []reconcile.Change{
	{Kind: "ca", Subject: "root", Action: reconcile.Create, After: "verified"},
	{Kind: "group", Subject: "line-a", Action: reconcile.Update, Before: "a", After: "b"},
}

func (*azure) Places() []admin.AzurePlace {
	return []admin.AzurePlace{
		{Target: "plant", Service: "plant-dps", ResourceGroup: "rg", IDScope: "0ne00AB12CD", Labels: []string{"line"}},
		{Target: "plant-r", Service: "plant-r-dps", ResourceGroup: "rg", Labels: []string{}},
	}
}

func (c *azure) Plan(_ context.Context, name string) (reconcile.Plan, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.planned++
	return c.plan(name), nil
}

func (c *azure) plan(name string) reconcile.Plan {
	if name == "plant-r" {
		return reconcile.Plan{Target: name, Changes: []reconcile.Change{
			{Kind: "group", Subject: "line-old", Action: reconcile.Delete, Before: "enabled", After: "deleted", Destructive: true},
		}}
	}
	return reconcile.Plan{Target: name, Changes: wantedGroups[c.done:]}
}

func (c *azure) Apply(_ context.Context, name string, agreed reconcile.Agreed, progress func(reconcile.Change)) (reconcile.Plan, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if name == "plant-r" {
		plan := c.plan(name)
		c.agreed = agreed
		if agreed.Hash != plan.Hash() || !agreed.Destructive {
			return reconcile.Plan{}, reconcile.ErrChanged
		}
		c.retired++
		return plan, nil
	}
	plan := reconcile.Plan{Target: name}
	for c.done < len(wantedGroups) {
		if c.done == 1 && c.fail != nil {
			return plan, c.fail
		}
		plan.Changes = append(plan.Changes, wantedGroups[c.done])
		progress(wantedGroups[c.done])
		c.done++
	}
	return plan, nil
}

func (c *azure) Status(_ context.Context, name string, count bool) (dpsreg.Status, error) {
	live, assigned, below := -1, -1, map[string]int(nil)
	if count {
		live, assigned, below = 0, 7, map[string]int{"root": 3}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return dpsreg.Status{
		Target: name, Plan: c.plan(name), CertificateSlots: 2, GroupSlots: 1,
		CAs:    []dpsreg.CAStatus{{Authority: "root", Name: "root-01", There: true, Verified: true, Expires: time.Unix(2_000_000_000, 0), Live: live, Superseded: live}},
		Groups: []dpsreg.GroupStatus{{ID: "line-a", There: true, Anchors: []string{"root"}, Live: below, Superseded: below, Labels: []string{"line"}, Assigned: assigned}},
	}, nil
}

func (c *azure) Drift(string) (dpsreg.Drift, bool, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.drift == nil {
		return dpsreg.Drift{}, false, nil
	}
	return *c.drift, true, nil
}

func (c *azure) Reconcile(_ context.Context, name string) (dpsreg.Drift, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if name == "plant-r" {
		return dpsreg.Drift{}, ledger.ErrBusy
	}
	c.drift = &dpsreg.Drift{At: time.Unix(1_800_000_000, 0), Devices: 3, Left: []dpsreg.Finding{{Device: "press-1", What: "another's enrollment"}}, Unknown: []string{"theirs"}, UnknownCount: 1}
	return *c.drift, nil
}

func (*azure) Bundle(_ context.Context, name string) (dpsreg.Bundle, error) {
	if name == "plant-r" {
		return dpsreg.Bundle{}, errors.New("there is no authority \"old\"")
	}
	return dpsreg.Bundle{Version: 1, At: time.Unix(1_800_000_000, 0), Authorities: []dpsreg.BundledAuthority{{Name: "root", Certificate: "PEM"}}}, nil
}

func (*azure) Bulk(_ context.Context, name, profile, order string, devices []string) ([]json.RawMessage, error) {
	if profile != "device" {
		return nil, fmt.Errorf("DPS target %q has none for profile %q", name, profile)
	}
	list := []json.RawMessage{}
	for _, d := range devices {
		list = append(list, json.RawMessage(fmt.Sprintf(`{"registrationId":%q,"tag":%q}`, d, order)))
	}
	return list, nil
}

func (c *azure) Prove(_ context.Context, _ string, request dpsreg.ProofRequest) (dpsreg.ProofRequest, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, p := range request.Proofs {
		if strings.Contains(p.Code, "/") {
			return dpsreg.ProofRequest{}, errors.New("the code is none")
		}
		request.Proofs[i].Certificate = "proof of " + p.Code
	}
	c.proved = append(c.proved, request.Proofs...)
	return request, nil
}

// count is how often something of it was done.
func (c *azure) count(of func(*azure) int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return of(c)
}
