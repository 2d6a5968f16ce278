package adminhttp

import (
	"errors"
	"net/http"

	"mintmark/admin"
	"mintmark/dpsreg"
	"mintmark/internal/ledger"
)

func (h *handler) driftAzure(w http.ResponseWriter, r *http.Request) error {
	name, err := h.azureTarget(r)
	if err != nil {
		return err
	}
	drift, _, err := h.Azure.Drift(name)
	if err != nil {
		return fromAzure(err)
	}
	drift.Target = name
	return writeJSON(w, http.StatusOK, wireAzureDrift(drift))
}

func (h *handler) reconcileAzure(w http.ResponseWriter, r *http.Request) error {
	name, err := h.azureTarget(r)
	if err != nil {
		return err
	}
	if err := decode(r, &admin.AzureReconcile{}); err != nil {
		return err
	}
	drift, err := h.Azure.Reconcile(r.Context(), name)
	if errors.Is(err, ledger.ErrBusy) {
		return fail(http.StatusConflict, "comparing", "target %q is being compared with the ledger at the moment: mintmark azure drift shows what was found when that is done", name)
	}
	if err != nil {
		return fromAzure(err)
	}
	drift.Target = name
	return writeJSON(w, http.StatusOK, wireAzureDrift(drift))
}

func wireAzureDrift(d dpsreg.Drift) admin.AzureDrift {
	return admin.AzureDrift{
		Target: d.Target, At: utc(d.At), Devices: d.Devices, Repaired: wireAzureFindings(d.Repaired), Promoted: list(d.Promoted),
		Left: wireAzureFindings(d.Left), Unknown: list(d.Unknown), UnknownCount: d.UnknownCount,
	}
}

func wireAzureFindings(of []dpsreg.Finding) []admin.AzureFinding {
	out := make([]admin.AzureFinding, 0, len(of))
	for _, f := range of {
		out = append(out, admin.AzureFinding{Device: f.Device, What: f.What})
	}
	return out
}
