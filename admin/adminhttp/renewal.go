package adminhttp

import (
	"cmp"
	"net/http"
	"slices"
	"strconv"
	"time"

	"mintmark/admin"
	"mintmark/internal/access"
	"mintmark/internal/ledger"
)

const (
	week     = 7 * 24 * time.Hour
	maxWeeks = 104
)

func (h *handler) renewalRoutes() []route {
	return []route{
		{"GET /v1/renewals", access.RefusalRead, h.renewals},
		{"GET /v1/renewals/overdue", access.RefusalRead, h.overdue},
	}
}

func (h *handler) renewals(w http.ResponseWriter, r *http.Request) error {
	p := query(r, "weeks")
	weeks := 12
	if text := p.text("weeks"); text != "" {
		var err error
		if weeks, err = strconv.Atoi(text); err != nil || weeks < 1 || weeks > maxWeeks {
			p.refuse("weeks %q is not a number from 1 to %d", text, maxWeeks)
		}
	}
	if p.err != nil {
		return p.err
	}
	now := h.RA.Now()
	curve, overdue, err := h.Ledger.RenewalCurve(r.Context(), ledger.RenewalQuery{Now: now, Width: week, Count: weeks})
	if err != nil {
		return err
	}
	out := admin.Renewals{
		At: now.UTC(), Devices: overdue.Devices, Past80: overdue.Past80, Past90: overdue.Past90, Past100: overdue.Past100,
		Curve: make([]admin.RenewalBucket, 0, len(curve)), Refused: []admin.RefusedRule{},
	}
	for _, b := range curve {
		out.Curve = append(out.Curve, admin.RenewalBucket{From: b.From.UTC(), To: b.To.UTC(), Renew: b.Renew, Expire: b.Expire})
	}
	day, err := h.Ledger.RefusalsByRule(r.Context(), now.Add(-24*time.Hour))
	if err != nil {
		return err
	}
	last, err := h.Ledger.RefusalsByRule(r.Context(), now.Add(-week))
	if err != nil {
		return err
	}
	for rule, n := range last {
		out.Refused = append(out.Refused, admin.RefusedRule{Rule: rule, Day: day[rule], Week: n})
	}
	slices.SortFunc(out.Refused, func(a, b admin.RefusedRule) int {
		return cmp.Or(cmp.Compare(b.Week, a.Week), cmp.Compare(a.Rule, b.Rule))
	})
	return writeJSON(w, http.StatusOK, out)
}

func (h *handler) overdue(w http.ResponseWriter, r *http.Request) error {
	p := query(r, "past", "after", "limit")
	past, limit, after := 90, p.limit(), p.text("after")
	switch text := p.text("past"); text {
	case "80", "90", "100":
		past, _ = strconv.Atoi(text)
	case "":
	default:
		p.refuse("past %q is none of 80, 90 and 100", text)
	}
	if p.err != nil {
		return p.err
	}
	list, err := h.Ledger.OverdueDevices(r.Context(), h.RA.Now(), past, after, limit)
	if err != nil {
		return err
	}
	out := admin.OverdueList{Devices: make([]admin.Overdue, 0, len(list))}
	for _, c := range list {
		out.Devices = append(out.Devices, admin.Overdue{Device: c.Device, Serial: string(c.Serial), Issuer: c.Issuer, Label: c.Label, NotAfter: c.NotAfter.UTC()})
	}
	if len(list) == limit {
		out.Next = list[limit-1].Device
	}
	return writeJSON(w, http.StatusOK, out)
}
