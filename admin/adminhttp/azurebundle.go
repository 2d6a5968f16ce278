package adminhttp

import (
	"net/http"

	"mintmark/admin"
	"mintmark/dpsreg"
)

func (h *handler) bundleAzure(w http.ResponseWriter, r *http.Request) error {
	name, err := h.azureTarget(r)
	if err != nil {
		return err
	}
	bundle, err := h.Azure.Bundle(r.Context(), name)
	if err != nil {
		return fail(http.StatusConflict, "azure-bundle", "%v", err)
	}
	return writeJSON(w, http.StatusOK, bundle)
}

// bulkAzure answers with individual enrollments for the bulk operation of DPS.
func (h *handler) bulkAzure(w http.ResponseWriter, r *http.Request) error {
	name, err := h.azureTarget(r)
	if err != nil {
		return err
	}
	var in admin.AzureBulk
	if err := decode(r, &in); err != nil {
		return err
	}
	if len(in.Devices) > admin.MaxBatchItems {
		return fail(http.StatusBadRequest, "azure-bulk", "a call is about %d devices; at most %d are allowed", len(in.Devices), admin.MaxBatchItems)
	}
	list, err := h.Azure.Bulk(r.Context(), name, in.Profile, in.Order, in.Devices)
	if err != nil {
		return fail(http.StatusConflict, "azure-bulk", "%v", err)
	}
	return writeJSON(w, http.StatusOK, admin.AzureEnrollments{Enrollments: list})
}

// proveAzure signs proofs of possession. It says in the log whose key signed which
// code: the request came from another machine, in a file.
func (h *handler) proveAzure(w http.ResponseWriter, r *http.Request) error {
	name, err := h.azureTarget(r)
	if err != nil {
		return err
	}
	var in admin.AzureProofs
	if err := decode(r, &in); err != nil {
		return err
	}
	if in.Target != name {
		return fail(http.StatusBadRequest, "azure-proof", "the request is of target %q, and not of %q", in.Target, name)
	}
	request := dpsreg.ProofRequest{Version: in.Version, Target: in.Target}
	for _, p := range in.Proofs {
		request.Proofs = append(request.Proofs, dpsreg.Proof(p))
	}
	proved, err := h.Azure.Prove(r.Context(), name, request)
	if err != nil {
		return fail(http.StatusBadRequest, "azure-proof", "%v", err)
	}
	out := admin.AzureProofs{Version: proved.Version, Target: proved.Target, Proofs: []admin.AzureProof{}}
	for _, p := range proved.Proofs {
		h.Logger.Info("proved possession", "target", name, "authority", p.Authority, "code", p.Code, "actor", actor(r))
		out.Proofs = append(out.Proofs, admin.AzureProof(p))
	}
	return writeJSON(w, http.StatusOK, out)
}
