package adminhttp

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"

	"mintmark/admin"
	"mintmark/dpsreg"
	"mintmark/internal/access"
	"mintmark/internal/reconcile"
)

// Azure keeps Device Provisioning Services in step. Targets are called by their
// configured name, which is one that Places has. All of it may be called
// concurrently.
type Azure interface {
	// Places lists the targets with where they are.
	Places() []admin.AzurePlace
	Plan(ctx context.Context, target string) (reconcile.Plan, error)
	// Apply calls progress for each resource as soon as it is as desired and
	// returns what was done, also when it fails. It does what was agreed to, or
	// fails with reconcile.ErrChanged.
	Apply(ctx context.Context, target string, agreed reconcile.Agreed, progress func(reconcile.Change)) (reconcile.Plan, error)
	// Status counts certificates and registrations if asked to.
	Status(ctx context.Context, target string, count bool) (dpsreg.Status, error)
	// Drift is what the last comparison found; ok is false if there was none.
	Drift(target string) (drift dpsreg.Drift, ok bool, err error)
	// Reconcile compares now. ErrBusy if the target is being compared already.
	Reconcile(ctx context.Context, target string) (dpsreg.Drift, error)
	// Bundle makes no call to Azure.
	Bundle(ctx context.Context, target string) (dpsreg.Bundle, error)
	// Bulk makes no call to Azure: the individual enrollments of those devices, which have
	// certificates of a profile and a work order. Its error is for people.
	Bulk(ctx context.Context, target, profile, order string, devices []string) ([]json.RawMessage, error)
	// Prove signs with the keys of CAs.
	Prove(ctx context.Context, target string, request dpsreg.ProofRequest) (dpsreg.ProofRequest, error)
}

func (h *handler) azureRoutes() []route {
	const target = "/v1/azure/targets/{name}"
	return []route{
		{"GET /v1/azure/targets", access.CloudRead, h.listAzure},
		{"GET " + target + "/plan", access.CloudRead, h.planAzure},
		{"POST " + target + "/apply", access.CloudApply, h.applyAzure},
		{"GET " + target + "/status", access.CloudRead, h.statusAzure},
		{"GET " + target + "/drift", access.CloudRead, h.driftAzure},
		{"POST " + target + "/reconcile", access.CloudApply, h.reconcileAzure},
		// These are parts of Apply, for a CA without a network. A bundle, and an enrollment,
		// has the whole URLs of allocation functions, whose queries Plan does not show.
		{"GET " + target + "/bundle", access.CloudApply, h.bundleAzure},
		{"POST " + target + "/prove", access.CloudApply, h.proveAzure},
		{"POST " + target + "/bulk", access.CloudApply, h.bulkAzure},
	}
}

// azurePlaces lists the targets; none is not null on the wire.
func (h *handler) azurePlaces() []admin.AzurePlace {
	if h.Azure == nil {
		return []admin.AzurePlace{}
	}
	return append([]admin.AzurePlace{}, h.Azure.Places()...)
}

// azureTargets are their names.
func (h *handler) azureTargets() []string {
	names := []string{}
	for _, place := range h.azurePlaces() {
		names = append(names, place.Target)
	}
	return names
}

func (h *handler) listAzure(w http.ResponseWriter, _ *http.Request) error {
	return writeJSON(w, http.StatusOK, admin.AzureTargets{Places: h.azurePlaces()})
}

// azureTarget is the target that the path names.
func (h *handler) azureTarget(r *http.Request) (string, error) {
	name := r.PathValue("name")
	if !slices.Contains(h.azureTargets(), name) {
		return "", fail(http.StatusNotFound, "azure-target", "there is no DPS target %q: mintmark.yaml defines them under azure.targets", name)
	}
	return name, nil
}

func (h *handler) planAzure(w http.ResponseWriter, r *http.Request) error {
	name, err := h.azureTarget(r)
	if err != nil {
		return err
	}
	plan, err := h.Azure.Plan(r.Context(), name)
	if err != nil {
		return fromAzure(err)
	}
	return writeJSON(w, http.StatusOK, wirePlan(plan))
}

func (h *handler) applyAzure(w http.ResponseWriter, r *http.Request) error {
	name, err := h.azureTarget(r)
	if err != nil {
		return err
	}
	return h.applyPlan(w, r, planned{
		kind: "DPS target", name: name, failed: fromAzure,
		plan: func(ctx context.Context) (reconcile.Plan, error) { return h.Azure.Plan(ctx, name) },
		apply: func(ctx context.Context, agreed reconcile.Agreed, progress func(reconcile.Change)) (reconcile.Plan, error) {
			return h.Azure.Apply(ctx, name, agreed, progress)
		},
	})
}

func (h *handler) statusAzure(w http.ResponseWriter, r *http.Request) error {
	name, err := h.azureTarget(r)
	if err != nil {
		return err
	}
	q := query(r, "count")
	count := q.oneOf("count", "true", "false") == "true"
	if q.err != nil {
		return q.err
	}
	status, err := h.Azure.Status(r.Context(), name, count)
	if err != nil {
		return fromAzure(err)
	}
	return writeJSON(w, http.StatusOK, wireAzureStatus(status, count))
}

// fromAzure is an error of dpsreg, whose texts are written for the administrator.
func fromAzure(err error) *failure {
	if errors.Is(err, reconcile.ErrChanged) {
		return &failure{status: http.StatusConflict, rule: "plan-changed", text: err.Error(), err: err}
	}
	return &failure{status: http.StatusBadGateway, rule: "azure", text: err.Error(), err: err}
}

func wireAzureStatus(s dpsreg.Status, count bool) admin.AzureStatus {
	out := admin.AzureStatus{
		Target: s.Target, CAs: []admin.AzureCA{}, Groups: []admin.AzureGroup{}, CertificateSlots: s.CertificateSlots, GroupSlots: s.GroupSlots,
		Unknown: list(s.Unknown), Warnings: list(s.Warnings), Plan: wirePlan(s.Plan),
	}
	counted := func(n int) *int {
		if !count || n < 0 {
			return nil
		}
		return &n
	}
	for _, c := range s.CAs {
		out.CAs = append(out.CAs, admin.AzureCA{
			Authority: c.Authority, Name: c.Name, SHA256: c.SHA256, There: c.There, Verified: c.Verified, NotAfter: c.Expires.UTC(),
			Live: counted(c.Live), Superseded: counted(c.Superseded),
		})
	}
	for _, g := range s.Groups {
		one := admin.AzureGroup{
			ID: g.ID, There: g.There, Disabled: g.Disabled, Anchors: list(g.Anchors), Labels: list(g.Labels), Orders: list(g.Orders), Assigned: counted(g.Assigned),
		}
		if count {
			one.Live, one.Superseded = g.Live, g.Superseded
		}
		out.Groups = append(out.Groups, one)
	}
	return out
}

// list is never null on the wire.
func list(of []string) []string { return append([]string{}, of...) }
