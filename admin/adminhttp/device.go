package adminhttp

import (
	"net/http"

	"mintmark/admin"
	"mintmark/internal/ledger"
)

func wireDevice(d ledger.Device) admin.Device {
	return admin.Device{
		ID: d.ID, FirstSeen: d.FirstSeen.UTC(), LastIssued: d.LastIssued.UTC(),
		Count: d.Certificates, Current: string(d.Current),
	}
}

func (h *handler) listDevices(w http.ResponseWriter, r *http.Request) error {
	p := query(r, "after", "limit")
	after, limit := p.text("after"), p.limit()
	if p.err != nil {
		return p.err
	}
	devices, err := h.Ledger.Devices(r.Context(), ledger.DeviceQuery{After: after, Limit: limit})
	if err != nil {
		return err
	}
	out := admin.Devices{Devices: make([]admin.Device, 0, len(devices))}
	for _, d := range devices {
		out.Devices = append(out.Devices, wireDevice(d))
	}
	if len(devices) == limit {
		out.Next = devices[limit-1].ID
	}
	return writeJSON(w, http.StatusOK, out)
}

func (h *handler) showDevice(w http.ResponseWriter, r *http.Request) error {
	id := r.PathValue("id")
	d, err := h.Ledger.Device(r.Context(), id)
	if err != nil {
		return err
	}
	page, err := h.Ledger.Certificates(r.Context(), ledger.Query{Device: id, Limit: admin.MaxPage})
	if err != nil {
		return err
	}
	out := wireDevice(d)
	for _, c := range page.Certificates {
		out.Certificates = append(out.Certificates, wireCertificate(c))
	}
	return writeJSON(w, http.StatusOK, out)
}
