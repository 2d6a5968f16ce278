package adminhttp

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"mintmark/admin"
	"mintmark/internal/ledger"
)

func (h *handler) revoke(w http.ResponseWriter, r *http.Request) error {
	var in admin.Revocation
	if err := decode(r, &in); err != nil {
		return err
	}
	selector, reason, err := h.selection(r.Context(), in)
	if err != nil {
		return err
	}
	serials, err := h.RA.Revoke(r.Context(), selector, reason, actor(r))
	if err != nil {
		return err
	}
	out := admin.Revoked{Serials: make([]string, 0, len(serials))}
	for _, s := range serials {
		out.Serials = append(out.Serials, string(s))
	}
	// The revocation is durable: its caller's hanging up changes nothing.
	out.Warning = h.publishFor(context.WithoutCancel(r.Context()), serials)
	return writeJSON(w, http.StatusOK, out)
}

// selection checks what is to be revoked, and why.
func (h *handler) selection(ctx context.Context, in admin.Revocation) (ledger.Selector, ledger.Reason, error) {
	var reason ledger.Reason
	if in.Reason != "" {
		var err error
		if reason, err = ledger.ParseReason(in.Reason); err != nil {
			return ledger.Selector{}, 0, fail(http.StatusBadRequest, "reason", "%v", err)
		}
	}
	switch {
	case (in.Serial == "") == (in.Device == ""):
		return ledger.Selector{}, 0, fail(http.StatusBadRequest, "selector", "name either a serial number or a device")
	case in.Device != "":
		if in.Authority {
			return ledger.Selector{}, 0, fail(http.StatusBadRequest, "selector", "a device's certificates are not those of an authority: name the serial number")
		}
		return ledger.Selector{Device: in.Device}, reason, nil
	}
	serial, err := parseSerial(in.Serial)
	if err != nil {
		return ledger.Selector{}, 0, fail(http.StatusBadRequest, "serial", "%v", err)
	}
	record, err := h.Ledger.Certificate(ctx, serial)
	if err != nil {
		return ledger.Selector{}, 0, err
	}
	if record.Purpose == ledger.ForCA && !in.Authority {
		return ledger.Selector{}, 0, fail(http.StatusConflict, "authority-revocation",
			"certificate %s is that of an authority, and everything below it is lost with it: say that you mean it (authority in the request, --authority on the command line)", serial)
	}
	if record.State == ledger.Open || record.State == ledger.Voided {
		return ledger.Selector{}, 0, fail(http.StatusConflict, "state", "serial number %s is %s: no certificate was issued under it", serial, record.State)
	}
	return ledger.Selector{Serial: serial}, reason, nil
}

// publishFor has the CRLs signed that list the serials, and says what did not
// work.
func (h *handler) publishFor(ctx context.Context, serials []ledger.Serial) string {
	done := make(map[string]bool)
	var failed []string
	for _, s := range serials {
		record, err := h.Ledger.Certificate(ctx, s)
		if err == nil && done[record.Issuer] {
			continue
		}
		if err == nil {
			done[record.Issuer] = true
			err = h.PublishCRL(ctx, record.Issuer)
		}
		if err != nil {
			h.Logger.Error("publishing a CRL after a revocation", "issuer", record.Issuer, "serial", s, "error", err)
			failed = append(failed, record.Issuer)
		}
	}
	if len(failed) == 0 {
		return ""
	}
	return fmt.Sprintf("revoked, but the CRL of %s could not be signed now; the server tries again every minute", strings.Join(failed, ", "))
}
