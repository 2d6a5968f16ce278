package adminhttp

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"unicode"

	"mintmark/admin"
	"mintmark/awsreg/hook"
	"mintmark/internal/access"
	"mintmark/internal/ledger"
)

// shownRefusals is how many refusals are shown with a device.
const shownRefusals = 20

// maxNote bounds the reason for a hold, in bytes.
const maxNote = 500

func (h *handler) inventoryRoutes() []route {
	return []route{
		{importList, access.DeviceImport, h.importDevices},
		{"GET /v1/devices", access.DeviceRead, h.listDevices},
		{"GET /v1/devices/{id}", access.DeviceRead, h.showDevice},
		{"POST /v1/devices/{id}/hold", access.DeviceHold, h.changeDevice(ledger.Held)},
		{"POST /v1/devices/{id}/release", access.DeviceHold, h.changeDevice(ledger.Expected)},
		{"POST /v1/devices/{id}/retire", access.DeviceRetire, h.changeDevice(ledger.Retired)},
		{importBundle, access.CertificateImport, h.importCertificates},
		{"GET /v1/refusals", access.RefusalRead, h.listRefusals},
	}
}

func (h *handler) listDevices(w http.ResponseWriter, r *http.Request) error {
	p := query(r, "state", "order", "product", "import", "text", "after", "limit")
	q := ledger.DeviceQuery{
		State: ledger.DeviceState(p.oneOf("state", admin.Expected, admin.Enrolled, admin.Held, admin.Retired)),
		Order: p.text("order"), Product: p.text("product"), Import: p.text("import"), Text: p.text("text"),
		After: p.text("after"), Limit: p.limit(),
	}
	if p.err != nil {
		return p.err
	}
	devices, err := h.Ledger.Devices(r.Context(), q)
	if err != nil {
		return err
	}
	out := admin.Devices{Devices: make([]admin.Device, 0, len(devices))}
	for _, d := range devices {
		out.Devices = append(out.Devices, wireDevice(d))
	}
	if len(devices) == q.Limit {
		out.Next = devices[q.Limit-1].ID
	}
	return writeJSON(w, http.StatusOK, out)
}

func (h *handler) showDevice(w http.ResponseWriter, r *http.Request) error {
	id, err := deviceID(r)
	if err != nil {
		return err
	}
	// What was refused to a device is shown also where there is none, to whoever
	// may search refusals.
	var refusals []ledger.Refused
	if caller(r).Can(access.RefusalRead) {
		if refusals, err = h.Ledger.Refusals(r.Context(), ledger.RefusalQuery{Device: id, Limit: shownRefusals}); err != nil {
			return err
		}
	}
	var enrollments []ledger.Enrollment
	if caller(r).Can(access.EnrollmentRead) {
		if enrollments, err = h.undone(r, id); err != nil {
			return err
		}
	}
	d, err := h.Ledger.Device(r.Context(), id)
	if errors.Is(err, ledger.ErrNotFound) && len(enrollments) > 0 {
		return fail(http.StatusNotFound, "not-found", "device %q is neither listed nor has it a certificate, but a request for it waits: mintmark enroll list --device shows it", id)
	}
	if errors.Is(err, ledger.ErrNotFound) && len(refusals) > 0 {
		return fail(http.StatusNotFound, "not-found", "device %q is neither listed nor has it a certificate, but requests that named it were refused: mintmark refusal list --device shows them", id)
	}
	if errors.Is(err, ledger.ErrNotFound) {
		return unknownDevice(id)
	}
	if err != nil {
		return err
	}
	page, err := h.Ledger.Certificates(r.Context(), ledger.Query{Device: id, Limit: admin.MaxPage})
	if err != nil {
		return err
	}
	out := wireDevice(d)
	if out.Secret, err = h.secretState(r, id); err != nil {
		return err
	}
	if !d.ChangedAt.IsZero() {
		if out.Targets, err = h.told(r.Context(), h.Outbox.ForDevice(id), d.ChangedAt); err != nil {
			return err
		}
	}
	for _, c := range slices.Backward(page.Certificates) {
		out.Certificates = append(out.Certificates, wireCertificate(c))
	}
	for _, e := range enrollments {
		out.Enrollments = append(out.Enrollments, h.wireEnrollment(e))
	}
	for _, one := range refusals {
		out.Refusals = append(out.Refusals, wireRefusal(one))
	}
	return writeJSON(w, http.StatusOK, out)
}

// undone are the requests of a device that wait for a person, or for the device to
// fetch its certificate.
func (h *handler) undone(r *http.Request, device string) ([]ledger.Enrollment, error) {
	var list []ledger.Enrollment
	for _, state := range []ledger.EnrollmentState{ledger.EnrollmentPending, ledger.EnrollmentApproved} {
		some, err := h.Ledger.Enrollments(r.Context(), ledger.EnrollmentQuery{Device: device, State: state, Now: h.RA.Now(), Limit: admin.DefaultPage})
		if err != nil {
			return nil, err
		}
		list = append(list, some...)
	}
	return list, nil
}

// deviceID is the device that the path names.
func deviceID(r *http.Request) (string, error) {
	id := r.PathValue("id")
	if !isText(id) {
		return "", unknownDevice(id)
	}
	return id, nil
}

func unknownDevice(id string) error {
	return fail(http.StatusNotFound, "not-found", "device %q is neither listed nor has it a certificate", id)
}

// changeDevice holds, releases or retires a device.
func (h *handler) changeDevice(state ledger.DeviceState) operation {
	return func(w http.ResponseWriter, r *http.Request) error {
		var in admin.Note
		if err := decode(r, &in); err != nil {
			return err
		}
		switch {
		case in.Note == "":
			return fail(http.StatusBadRequest, "note", "say why in note: who meets the device later must know")
		case len(in.Note) > maxNote:
			return fail(http.StatusBadRequest, "note", "the note has %d bytes; %d are allowed", len(in.Note), maxNote)
		case strings.ContainsFunc(in.Note, unicode.IsControl):
			return fail(http.StatusBadRequest, "note", "the note must be one line of text")
		}
		id, err := deviceID(r)
		if err != nil {
			return err
		}
		d, err := h.Ledger.HoldDevice(r.Context(), id, state, actor(r), in.Note, h.RA.Now(), h.Outbox.ForDevice(id)...)
		unknown := errors.Is(err, ledger.ErrNotFound)
		if unknown && state != ledger.Expected && h.mayHaveComeByAWS(id) {
			d, err = h.Ledger.HoldUnknown(r.Context(), id, state, actor(r), in.Note, h.RA.Now(), h.Outbox.ForDevice(id)...)
		}
		if errors.Is(err, ledger.ErrNotFound) {
			return unknownDevice(id)
		}
		if err != nil {
			return err
		}
		h.Outbox.Wake()
		out := wireDevice(d)
		out.Unknown = unknown
		return writeJSON(w, http.StatusOK, out)
	}
}

// mayHaveComeByAWS reports whether there may be a device of which the ledger knows
// nothing: under a work order without a list, AWS lets it in and issues its
// certificate.
func (h *handler) mayHaveComeByAWS(device string) bool {
	if !hook.ValidThing(device) {
		return false
	}
	for _, label := range h.Labels {
		if label.Target != "" {
			return true
		}
	}
	return false
}

func wireDevice(d ledger.Device) admin.Device {
	out := admin.Device{
		ID: d.ID, State: string(d.State), Listed: d.Listed, Import: d.Import, Order: d.Order, Product: d.Product,
		Fields: d.Fields, ListedAt: utc(d.ListedAt), ChangedAt: utc(d.ChangedAt), ChangedBy: d.ChangedBy, Note: d.Note,
		FirstSeen: utc(d.FirstSeen), LastIssued: utc(d.LastIssued), Count: d.Certificates, Current: string(d.Current),
	}
	if d.Key != [32]byte{} {
		out.Key = hexOf(d.Key[:])
	}
	return out
}
