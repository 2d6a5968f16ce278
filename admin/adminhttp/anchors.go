package adminhttp

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"mintmark/admin"
	"mintmark/ca/rotation"
	"mintmark/internal/access"
	"mintmark/internal/ledger"
)

func (h *handler) anchorRoutes() []route {
	return []route{
		{"GET /v1/rotations/{id}/devices", access.RotationRead, h.anchorDevices},
		{"GET /v1/rotations/{id}/bundle", access.RotationRead, h.anchorBundle},
		{"POST /v1/rotations/{id}/waivers", access.RotationWaive, h.waiveDevices},
		{"POST /v1/rotations/{id}/reports", access.RotationReport, h.reportAnchors},
	}
}

// anchorPage is how many devices are read of the ledger at once.
const anchorPage = 1000

func (h *handler) anchorDevices(w http.ResponseWriter, r *http.Request) error {
	p := query(r, "class", "after", "limit")
	class, after, limit := p.oneOf("class", admin.AnchorClasses...), p.text("after"), p.limit()
	if p.err != nil {
		return p.err
	}
	_, q, err := h.anchorQuery(r)
	if err != nil {
		return err
	}
	out := admin.AnchorDevices{Devices: []admin.AnchorDevice{}}
	if after == "" {
		counts, err := h.Ledger.AnchorCount(r.Context(), q)
		if err != nil {
			return err
		}
		out.Counts = make(map[string]int, len(admin.AnchorClasses))
		for _, name := range admin.AnchorClasses {
			n := counts[ledger.AnchorClass(name)]
			out.Counts[name] = n
			out.Total += n
		}
	}
	q.Class, q.After, q.Limit = ledger.AnchorClass(class), after, limit
	devices, next, err := h.Ledger.Anchors(r.Context(), q)
	if err != nil {
		return err
	}
	out.Next = next
	for _, d := range devices {
		out.Devices = append(out.Devices, h.wireAnchor(d))
	}
	return writeJSON(w, http.StatusOK, out)
}

// anchorQuery is about the rotation that the path names.
func (h *handler) anchorQuery(r *http.Request) (ledger.Rotation, ledger.AnchorQuery, error) {
	record, err := h.rotation(r)
	if err != nil {
		return record, ledger.AnchorQuery{}, err
	}
	q, err := rotation.AnchorQuery(record, h.RA.Now())
	return record, q, err
}

// anchorsOf calls with each device of a query, by name.
func (h *handler) anchorsOf(ctx context.Context, q ledger.AnchorQuery, each func(ledger.AnchorDevice)) error {
	q.After, q.Limit = "", anchorPage
	for {
		devices, next, err := h.Ledger.Anchors(ctx, q)
		if err != nil {
			return err
		}
		for _, d := range devices {
			each(d)
		}
		if next == "" {
			return nil
		}
		if next <= q.After {
			return errors.New("the ledger's pages of devices do not go on")
		}
		q.After = next
	}
}

func (h *handler) wireAnchor(d ledger.AnchorDevice) admin.AnchorDevice {
	return admin.AnchorDevice{
		Device: d.Device, Class: string(d.Class), Issuer: d.Issuer, NotAfter: d.NotAfter.UTC(), LastSeen: utc(d.LastSeen),
		Label: d.Label, Pinned: h.Labels[d.Label].OldPath, Trusts: utc(d.Trusts), How: d.How, Chains: utc(d.Chains),
		Waived: utc(d.Waived), WaivedBy: d.WaivedBy, Why: d.Why,
	}
}

// unfinished says why nothing is noted of devices in a rotation, or nil: it is over, or
// there is no new CA yet.
func (h *handler) unfinished(r ledger.Rotation) error {
	state := rotation.State(r.State)
	switch {
	case state.Over():
		return fail(http.StatusConflict, "rotation-state", "rotation %s is over (%s): nothing waits for its devices any more", r.ID, state)
	case !state.From(rotation.Certified):
		return fail(http.StatusConflict, "rotation-state", "rotation %s is in state %s: there is nothing of the new CA that a device could have before %s", r.ID, state, rotation.Certified)
	}
	return nil
}

// reportAnchors notes what another system knows. It is believed as far as a rotation's
// gates go, and so two persons sign the number of devices and the hash of what is said of
// them, as for a waiver.
func (h *handler) reportAnchors(w http.ResponseWriter, r *http.Request) error {
	var in admin.AnchorReport
	if err := decode(r, &in); err != nil {
		return err
	}
	record, q, err := h.anchorQuery(r)
	if err != nil {
		return err
	}
	if err := h.unfinished(record); err != nil {
		return err
	}
	notes, err := h.reportedNotes(record, in)
	if err != nil {
		return err
	}
	words := fmt.Sprintf("note that %d devices have the new anchors%s (SHA-256 of what is reported %s), for rotation %s from %q to %q",
		len(in.Devices), chainWords(in), reportHash(in), record.ID, record.Old, record.New)
	if proceed, err := h.twoPersons(w, r, access.RotationReport, words, in); !proceed {
		return err
	}
	known := make([]ledger.AnchorNote, 0, len(notes))
	if err := h.anchorsOf(r.Context(), q, func(d ledger.AnchorDevice) {
		if note, ok := notes[d.Device]; ok {
			known = append(known, note)
			delete(notes, d.Device)
		}
	}); err != nil {
		return err
	}
	if err := h.Ledger.NoteAnchors(r.Context(), record.ID, known); err != nil {
		return err
	}
	out := admin.AnchorReported{Noted: len(known), Unknown: len(notes), Names: someNames(notes)}
	h.Logger.Info("devices were reported to have the new anchors", "rotation", record.ID, "devices", out.Noted, "unknown", out.Unknown, "actor", actor(r))
	return writeJSON(w, http.StatusOK, out)
}

// chainWords says how many devices are reported to have moved.
func chainWords(in admin.AnchorReport) string {
	n := 0
	for _, d := range in.Devices {
		if d.Chains {
			n++
		}
	}
	if n == 0 {
		return ""
	}
	return fmt.Sprintf(", and %d of them the path under the new root", n)
}

// reportHash is over a line for each device, sorted: its name, the time or "now", and
// "chains" or nothing, separated by tabs.
func reportHash(in admin.AnchorReport) string {
	lines := make([]string, 0, len(in.Devices))
	for _, d := range in.Devices {
		at, chains := "now", ""
		if d.At != nil {
			at = d.At.UTC().Format(time.RFC3339Nano)
		}
		if d.Chains {
			chains = "chains"
		}
		lines = append(lines, d.Device+"\t"+at+"\t"+chains+"\n")
	}
	slices.Sort(lines)
	sum := sha256.Sum256([]byte(strings.Join(lines, "")))
	return hex.EncodeToString(sum[:])
}

// reportedNotes checks a report. A time from before the rotation was planned cannot be
// about its anchors, nor can one that is still to come; clocks differ by a little.
func (h *handler) reportedNotes(record ledger.Rotation, in admin.AnchorReport) (map[string]ledger.AnchorNote, error) {
	refuse := func(format string, args ...any) (map[string]ledger.AnchorNote, error) {
		return nil, fail(http.StatusBadRequest, "rotation-report", format, args...)
	}
	switch n := len(in.Devices); {
	case n == 0:
		return refuse("the report names no device")
	case n > admin.MaxReported:
		return refuse("the report names %d devices; %d are allowed at once", n, admin.MaxReported)
	}
	now := h.RA.Now()
	notes := make(map[string]ledger.AnchorNote, len(in.Devices))
	for i, d := range in.Devices {
		note := ledger.AnchorNote{Device: d.Device, Trusts: now, How: "reported"}
		if d.At != nil {
			note.Trusts = *d.At
		}
		if d.Chains {
			note.Chains = note.Trusts
		}
		_, twice := notes[d.Device]
		switch {
		case d.Device == "" || len(d.Device) > maxDevice || !isText(d.Device):
			return refuse("devices[%d] is no name of a device", i)
		case twice:
			return refuse("device %q is named twice", d.Device)
		case note.Trusts.Before(record.At):
			return refuse("device %q: %s is before the rotation was planned (%s)", d.Device, note.Trusts.UTC().Format(time.RFC3339), record.At.UTC().Format(time.RFC3339))
		case note.Trusts.After(now.Add(time.Hour)):
			return refuse("device %q: %s is still to come", d.Device, note.Trusts.UTC().Format(time.RFC3339))
		case d.Chains && record.Kind != ledger.RotateRoot:
			return refuse("device %q: an issuing CA is replaced, and which devices chain to the new one is known by their certificates: leave chains out", d.Device)
		}
		notes[d.Device] = note
	}
	return notes, nil
}
