package adminhttp

import (
	"encoding/hex"
	"net/http"

	"mintmark/admin"
	"mintmark/internal/ledger"
)

// stateExpired asks for what is valid to the ledger and over.
const stateExpired = "expired"

func (h *handler) listCertificates(w http.ResponseWriter, r *http.Request) error {
	p := query(r, "device", "profile", "issuer", "requester", "order", "purpose", "state", "key", "expires_before", "after", "limit", "revoking")
	q := ledger.Query{
		Device: p.text("device"), Profile: p.text("profile"), Issuer: p.text("issuer"), Requester: p.text("requester"), Order: p.text("order"),
		Purpose: ledger.Purpose(p.oneOf("purpose", "device", "server", "verification", "responder", "officer", "ca", "claim", "gateway", "ra", "manifest")),
		Key:     p.hash("key"), ExpiresBefore: p.time("expires_before"), After: p.serial("after"), Limit: p.limit(),
	}
	state := p.oneOf("state", "open", "valid", stateExpired, "revoked", "void")
	if p.oneOf("revoking", "true") != "" {
		if q != (ledger.Query{Limit: q.Limit}) || state != "" {
			p.refuse("revoking goes with limit alone")
		}
		if p.err != nil {
			return p.err
		}
		return h.listRevoking(w, r, q.Limit)
	}
	if p.err != nil {
		return p.err
	}
	// To the ledger, what has expired is valid all the same: nothing was recorded
	// since.
	switch now := h.RA.Now(); state {
	case stateExpired:
		q.State = ledger.Valid
		if q.ExpiresBefore.IsZero() || q.ExpiresBefore.After(now) {
			q.ExpiresBefore = now
		}
	case string(ledger.Valid):
		q.State, q.ExpiresAfter = ledger.Valid, now
	default:
		q.State = ledger.State(state)
	}
	page, err := h.Ledger.Certificates(r.Context(), q)
	if err != nil {
		return err
	}
	out := admin.Certificates{Certificates: make([]admin.Certificate, 0, len(page.Certificates)), Next: string(page.Next)}
	for _, c := range page.Certificates {
		out.Certificates = append(out.Certificates, wireCertificate(c))
	}
	return writeJSON(w, http.StatusOK, out)
}

// listRevoking lists what is revoked and not everywhere yet.
func (h *handler) listRevoking(w http.ResponseWriter, r *http.Request, most int) error {
	out := admin.Certificates{Certificates: []admin.Certificate{}}
	if h.Revoking == nil {
		return writeJSON(w, http.StatusOK, out)
	}
	list, more, err := h.Revoking(r.Context(), most)
	if err != nil {
		return err
	}
	for _, c := range list {
		out.Certificates = append(out.Certificates, wireCertificate(c))
	}
	out.More = more
	return writeJSON(w, http.StatusOK, out)
}

func (h *handler) showCertificate(w http.ResponseWriter, r *http.Request) error {
	serial, err := parseSerial(r.PathValue("serial"))
	if err != nil {
		return fail(http.StatusBadRequest, "serial", "%v", err)
	}
	record, err := h.Ledger.Certificate(r.Context(), serial)
	if err != nil {
		return err
	}
	out := wireCertificate(record)
	if len(record.DER) > 0 {
		out.PEM = encodePEM("CERTIFICATE", record.DER)
	}
	if record.State == ledger.Revoked {
		if out.Revocation, err = h.revokedWhere(r.Context(), record); err != nil {
			return err
		}
	}
	return writeJSON(w, http.StatusOK, out)
}

func hexOf(b []byte) string { return hex.EncodeToString(b) }
