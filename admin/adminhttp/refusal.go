package adminhttp

import (
	"net/http"
	"net/netip"
	"strconv"

	"mintmark/admin"
	"mintmark/internal/ledger"
)

func (h *handler) listRefusals(w http.ResponseWriter, r *http.Request) error {
	p := query(r, "device", "key", "address", "requester", "order", "rule", "since", "before", "limit")
	q := ledger.RefusalQuery{
		Device: p.text("device"), Key: p.hash("key"), Requester: p.text("requester"),
		Order: p.text("order"), Rule: p.text("rule"), Since: p.time("since"), Limit: p.limit(),
	}
	if text := p.text("address"); text != "" {
		address, err := netip.ParseAddr(text)
		if err != nil {
			p.refuse("address %q is not an IP address", text)
		}
		q.Address = address.Unmap().String()
	}
	if text := p.text("before"); text != "" {
		var err error
		if q.Before, err = strconv.ParseInt(text, 10, 64); err != nil || q.Before < 1 {
			p.refuse("before %q is not the identifier of a refusal", text)
		}
	}
	if p.err != nil {
		return p.err
	}
	refusals, err := h.Ledger.Refusals(r.Context(), q)
	if err != nil {
		return err
	}
	out := admin.Refusals{Refusals: make([]admin.Refusal, 0, len(refusals))}
	for _, one := range refusals {
		out.Refusals = append(out.Refusals, wireRefusal(one))
	}
	if len(refusals) == q.Limit {
		out.Next = refusals[q.Limit-1].ID
	}
	return writeJSON(w, http.StatusOK, out)
}

func wireRefusal(r ledger.Refused) admin.Refusal {
	out := admin.Refusal{
		ID: r.ID, At: r.At.UTC(), Server: r.Server, Operation: r.Operation, Label: r.Label, Profile: r.Profile, Order: r.Order,
		Rule: r.Rule, Text: r.Text, Device: r.Device, Subject: r.Subject,
		Requester: admin.Requester{Kind: r.Requester.Kind, Name: r.Requester.Name},
	}
	if r.Key != [32]byte{} {
		out.Key = hexOf(r.Key[:])
	}
	if r.Requester.Address.IsValid() {
		out.Requester.Address = r.Requester.Address.String()
	}
	return out
}
