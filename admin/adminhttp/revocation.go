package adminhttp

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"slices"
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
	if in.Most > 0 {
		selected.Most = min(in.Most, h.RevokeLimit)
	}
	// What takes many transactions goes on though its caller hangs up.
	ctx := context.WithoutCancel(r.Context())
	done, err := h.RA.RevokeAll(ctx, selected.Selector, selected.reason, actor(r))
	var tooMany *ledger.TooManyError
	if errors.As(err, &tooMany) {
		if in.Most > 0 && tooMany.Count > in.Most {
			return fail(http.StatusConflict, "most", "%s has %d valid certificates to revoke, and at most %d are to be: none was", selected.what, tooMany.Count, in.Most)
		}
		words := fmt.Sprintf("revoke all %d valid certificates of %s at once, reason %s", tooMany.Count, selected.what, selected.reason)
		selected.Most = tooMany.Count // what was approved, should there be more by now
		if in.Most > 0 {
			words = fmt.Sprintf("revoke up to %d valid certificates of %s at once, reason %s", in.Most, selected.what, selected.reason)
			selected.Most = in.Most
		}
		if proceed, err := h.twoPersons(w, r, access.BulkRevoke, words, in); !proceed {
			return err
		}
		done, err = h.RA.RevokeAll(ctx, selected.Selector, selected.reason, actor(r))
	}
	if n := len(done.Serials); err != nil && n > 0 {
		status, text := describe(err)
		h.Logger.Error("a revocation did not come to its end", "revoked", n, "of", selected.what, "error", err)
		return fail(status, "revocation-part", "%d certificates are revoked, and then it failed: %s; ask again for the others", n, text.Text)
	}
	if err != nil {
		return err
	}
	shown := done.Serials[:min(len(done.Serials), admin.MaxPage)]
	out := admin.Revoked{Serials: serialTexts(shown), Count: len(done.Serials)}
	out.Warning = h.publish(ctx, done.Issuers)
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
	for _, text := range []string{in.Device, in.Order, in.Issuer, in.Requester, in.RequesterKind} {
		if !isText(text) {
			return bad(http.StatusNotFound, "not-found", "nothing has that name")
		}
	}
	if in.Reason != "" {
		var err error
		if s.reason, err = ledger.ParseReason(in.Reason); err != nil {
			return bad(http.StatusBadRequest, "reason", "%v", err)
		}
	}
	named := 0
	for _, one := range []string{in.Serial, in.Device, in.Order, in.Issuer, in.Key, in.Requester} {
		if one != "" {
			named++
		}
	}
	switch {
	case named != 1:
		return bad(http.StatusBadRequest, "selector", "name one of a serial number, a device, a work order, an issuer, a key and a requester")
	case in.Serial == "" && in.Authority:
		return bad(http.StatusBadRequest, "selector", "only a serial number names the certificate of an authority")
	case in.Superseded && in.Issuer == "":
		return bad(http.StatusBadRequest, "selector", "what is superseded is named by its issuer")
	case in.RequesterKind != "" && in.Requester == "":
		return bad(http.StatusBadRequest, "selector", "the kind of a requester is named without a requester")
	case in.Most < 0:
		return bad(http.StatusBadRequest, "most", "most is %d: name how many may be revoked, or leave it out", in.Most)
	case in.Device != "":
		s.Device, s.what = in.Device, fmt.Sprintf("device %q", in.Device)
		return s, nil
	case in.Order != "":
		s.Order, s.what = in.Order, fmt.Sprintf("work order %q", in.Order)
		return s, nil
	case in.Issuer != "":
		s.Issuer, s.Superseded, s.what = in.Issuer, in.Superseded, fmt.Sprintf("issuer %q", in.Issuer)
		if in.Superseded {
			s.what += ", of devices that have a newer one by another CA"
		}
		return s, nil
	case in.Requester != "":
		s.Requester, s.RequesterKind, s.what = in.Requester, in.RequesterKind, fmt.Sprintf("requester %q", in.Requester)
		if in.RequesterKind != "" {
			s.what += fmt.Sprintf(" of kind %q", in.RequesterKind)
		}
		return s, nil
	case in.Key != "":
		key, err := hex.DecodeString(in.Key)
		if err != nil || len(key) != len(s.Key) || [32]byte(key) == s.Key {
			return bad(http.StatusBadRequest, "selector", "key %q is not the SHA-256 of a public key in 64 hexadecimal digits", shorten(in.Key))
		}
		s.Key, s.what = [32]byte(key), fmt.Sprintf("key %x", key)
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
	var issuers []string
	for _, s := range serials {
		record, err := h.Ledger.Certificate(ctx, s)
		if err != nil {
			h.Logger.Error("looking for the CRL of a revocation", "serial", s, "error", err)
			continue // the server that signs CRLs finds it within seconds
		}
		if !slices.Contains(issuers, record.Issuer) {
			issuers = append(issuers, record.Issuer)
		}
	}
	return h.publish(ctx, issuers)
}

// publish has those CRLs of authorities signed that are due, and says what did not work.
func (h *handler) publish(ctx context.Context, issuers []string) string {
	var failed, waiting, elsewhere []string
	for _, issuer := range issuers {
		switch err := h.PublishCRL(ctx, issuer); {
		case err == nil:
		case errors.Is(err, ca.ErrNoSigner):
			elsewhere = append(elsewhere, issuer)
		case errors.Is(err, ledger.ErrBusy):
			waiting = append(waiting, issuer)
		default:
			h.Logger.Error("publishing a CRL after a revocation", "issuer", issuer, "error", err)
			failed = append(failed, issuer)
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
