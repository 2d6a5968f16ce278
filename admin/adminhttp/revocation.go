package adminhttp

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"mintmark/admin"
	"mintmark/ca"
	"mintmark/internal/access"
	"mintmark/internal/ledger"
)

func (h *handler) revoke(w http.ResponseWriter, r *http.Request) error {
	var in admin.Revocation
	if err := decode(r, &in); err != nil {
		return err
	}
	selected, err := h.selection(r.Context(), in)
	if err != nil {
		return err
	}
	if selected.authority {
		words := fmt.Sprintf("revoke certificate %s of a CA, %s, with everything below it, reason %s", selected.Serial, selected.what, selected.reason)
		if proceed, err := h.twoPersons(w, r, access.AuthorityRevoke, words, in); !proceed {
			return err
		}
	}
	selected.Most = h.RevokeLimit
	serials, err := h.RA.Revoke(r.Context(), selected.Selector, selected.reason, actor(r))
	var tooMany *ledger.TooManyError
	if errors.As(err, &tooMany) {
		words := fmt.Sprintf("revoke all %d valid certificates of %s at once, reason %s", tooMany.Count, selected.what, selected.reason)
		if proceed, err := h.twoPersons(w, r, access.BulkRevoke, words, in); !proceed {
			return err
		}
		selected.Most = tooMany.Count // what was approved, should there be more by now
		serials, err = h.RA.Revoke(r.Context(), selected.Selector, selected.reason, actor(r))
	}
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

// selection is what is to be revoked, and why.
type selection struct {
	ledger.Selector
	reason    ledger.Reason
	authority bool   // the certificate of a CA
	what      string // in words
}

// selection checks what is to be revoked, and why.
func (h *handler) selection(ctx context.Context, in admin.Revocation) (selection, error) {
	var s selection
	bad := func(status int, rule, format string, args ...any) (selection, error) {
		return selection{}, fail(status, rule, format, args...)
	}
	if in.Reason != "" {
		var err error
		if s.reason, err = ledger.ParseReason(in.Reason); err != nil {
			return bad(http.StatusBadRequest, "reason", "%v", err)
		}
	}
	named := 0
	for _, one := range []string{in.Serial, in.Device, in.Order} {
		if one != "" {
			named++
		}
	}
	switch {
	case named != 1:
		return bad(http.StatusBadRequest, "selector", "name one of a serial number, a device and a work order")
	case in.Serial == "" && in.Authority:
		return bad(http.StatusBadRequest, "selector", "the certificates of a device or a work order are not those of an authority: name the serial number")
	case in.Device != "":
		s.Device, s.what = in.Device, fmt.Sprintf("device %q", in.Device)
		return s, nil
	case in.Order != "":
		s.Order, s.what = in.Order, fmt.Sprintf("work order %q", in.Order)
		return s, nil
	}
	serial, err := parseSerial(in.Serial)
	if err != nil {
		return bad(http.StatusBadRequest, "serial", "%v", err)
	}
	record, err := h.Ledger.Certificate(ctx, serial)
	if err != nil {
		return selection{}, err
	}
	s.authority = record.Purpose == ledger.ForCA
	if s.authority && !in.Authority {
		return bad(http.StatusConflict, "authority-revocation",
			"certificate %s is that of an authority, and everything below it is lost with it: say that you mean it (authority in the request, --authority on the command line)", serial)
	}
	if record.State == ledger.Open || record.State == ledger.Voided {
		return bad(http.StatusConflict, "state", "serial number %s is %s: no certificate was issued under it", serial, record.State)
	}
	s.Serial, s.what = serial, fmt.Sprintf("subject %q", record.Subject)
	return s, nil
}

// publishFor has the CRLs signed that list the serials, and says what did not
// work.
func (h *handler) publishFor(ctx context.Context, serials []ledger.Serial) string {
	done := make(map[string]bool)
	var failed, waiting, elsewhere []string
	for _, s := range serials {
		record, err := h.Ledger.Certificate(ctx, s)
		if err == nil && done[record.Issuer] {
			continue
		}
		if err == nil {
			done[record.Issuer] = true
			err = h.PublishCRL(ctx, record.Issuer)
		}
		switch {
		case err == nil:
		case errors.Is(err, ca.ErrNoSigner):
			elsewhere = append(elsewhere, record.Issuer)
		case errors.Is(err, ledger.ErrBusy):
			waiting = append(waiting, record.Issuer)
		default:
			h.Logger.Error("publishing a CRL after a revocation", "issuer", record.Issuer, "serial", s, "error", err)
			failed = append(failed, record.Issuer)
		}
	}
	var words []string
	for _, w := range []struct {
		issuers []string
		text    string
	}{
		{failed, "the CRL of %s could not be signed now; the server tries again every few seconds"},
		{waiting, "another server signs the CRL of %s, within seconds"},
		{elsewhere, "the key of %s is not here: whoever has it must put the certificate on its CRL"},
	} {
		if len(w.issuers) > 0 {
			words = append(words, fmt.Sprintf(w.text, strings.Join(w.issuers, ", ")))
		}
	}
	if len(words) == 0 {
		return ""
	}
	return "revoked, but " + strings.Join(words, "; and ")
}
