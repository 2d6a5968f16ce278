package adminhttp

import (
	"errors"
	"fmt"
	"net/http"

	"mintmark/admin"
	"mintmark/awsreg"
	"mintmark/internal/access"
	"mintmark/internal/ledger"
)

func (h *handler) driftAWS(w http.ResponseWriter, r *http.Request) error {
	name, err := h.awsTarget(r)
	if err != nil {
		return err
	}
	drift, _, err := h.AWS.Drift(name)
	if err != nil {
		return fromAWS(err)
	}
	drift.Target = name
	return writeJSON(w, http.StatusOK, wireDrift(drift))
}

// reconcileAWS compares now. To adopt revocations is to revoke: that is asked for,
// and bounded, as everywhere.
func (h *handler) reconcileAWS(w http.ResponseWriter, r *http.Request) error {
	name, err := h.awsTarget(r)
	if err != nil {
		return err
	}
	var in admin.AWSReconcile
	if err := decode(r, &in); err != nil {
		return err
	}
	if in.Adopt && !caller(r).Can(access.CertificateRevoke) {
		return denied(caller(r), access.CertificateRevoke)
	}
	drift, err := h.AWS.Reconcile(r.Context(), name, in.Adopt, h.RevokeLimit, fmt.Sprintf("%s, for aws/%s", actor(r), name))
	if errors.Is(err, ledger.ErrBusy) {
		return fail(http.StatusConflict, "comparing", "target %q is being compared with the ledger at the moment: mintmark aws drift shows what was found when that is done", name)
	}
	if err != nil {
		return fromAWS(err)
	}
	drift.Target = name
	return writeJSON(w, http.StatusOK, wireDrift(drift))
}

func wireDrift(d awsreg.Drift) admin.AWSDrift {
	return admin.AWSDrift{
		Target: d.Target, At: utc(d.At), Checked: d.Checked, Unknown: d.Unknown,
		Repaired: wireDifferences(d.Repaired), Adopted: wireDifferences(d.Adopted), Left: wireDifferences(d.Left),
	}
}

func wireDifferences(list []awsreg.Difference) []admin.AWSDifference {
	out := make([]admin.AWSDifference, 0, len(list))
	for _, d := range list {
		out = append(out, admin.AWSDifference{
			CertificateID: d.CertificateID, Serial: string(d.Serial), Device: d.Device, Here: d.Here, There: d.There, Text: d.Text,
		})
	}
	return out
}
