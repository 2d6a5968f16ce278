package adminhttp

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"unicode"

	"mintmark/admin"
	"mintmark/internal/access"
	"mintmark/internal/ledger"
)

const (
	// maxDevice bounds the name of a device, in bytes, as far as it is looked for.
	maxDevice = 256
	// shownNames is how many unknown names are repeated to who sent them.
	shownNames = 20
)

// waivable are the classes that can be waived as a whole: who has moved need not be, and of
// those who trust the new anchors nobody knows yet whether they will ask for the new path.
var waivable = []string{"left", "silent", "never", "expired"}

// waiveDevices takes devices out of the gates. Two persons sign the number of devices and the
// hash of their names; if other devices are meant by the time when it is carried out, nothing is done.
func (h *handler) waiveDevices(w http.ResponseWriter, r *http.Request) error {
	var in admin.Waiver
	if err := decode(r, &in); err != nil {
		return err
	}
	if err := checkWaiver(in); err != nil {
		return err
	}
	record, q, err := h.anchorQuery(r)
	if err != nil {
		return err
	}
	if err := h.unfinished(record); err != nil {
		return err
	}
	devices, err := h.waived(r, q, in)
	if err != nil {
		return err
	}
	sum := sha256.Sum256([]byte(strings.Join(devices, "\n") + "\n"))
	hash := hex.EncodeToString(sum[:])
	words := fmt.Sprintf("waive %d devices (%s; SHA-256 of their names %s) of rotation %s from %q to %q, because: %s",
		len(devices), waiverWords(in), hash, record.ID, record.Old, record.New, in.Reason)
	if proceed, err := h.twoPersons(w, r, access.RotationWaive, words, in); !proceed {
		return err
	}
	at, by := h.RA.Now(), actor(r)
	notes := make([]ledger.AnchorNote, 0, len(devices))
	for _, device := range devices {
		notes = append(notes, ledger.AnchorNote{Device: device, Waived: at, WaivedBy: by, Why: in.Reason})
	}
	if err := h.Ledger.NoteAnchors(r.Context(), record.ID, notes); err != nil {
		return err
	}
	h.Logger.Info("devices were waived", "rotation", record.ID, "devices", len(devices), "sha256", hash, "reason", in.Reason, "actor", by)
	return writeJSON(w, http.StatusOK, admin.Waived{Devices: len(devices), Hash: hash})
}

func checkWaiver(in admin.Waiver) error {
	refuse := func(format string, args ...any) error {
		return fail(http.StatusBadRequest, "rotation-waiver", format, args...)
	}
	given := 0
	for _, is := range []bool{len(in.Devices) > 0, in.Order != "", in.Class != ""} {
		if is {
			given++
		}
	}
	switch {
	case given != 1:
		return refuse("say whom to waive by exactly one of devices, order and class")
	case len(in.Devices) > admin.MaxWaived:
		return refuse("%d devices are named; %d are allowed at once: waive by order or class, or in parts", len(in.Devices), admin.MaxWaived)
	case in.Class != "" && !slices.Contains(waivable, in.Class):
		return refuse("class %q cannot be waived: it is none of %s", shorten(in.Class), strings.Join(waivable, ", "))
	case len(in.Order) > maxDevice || !isText(in.Order):
		return refuse("order is no name of a work order")
	case in.Reason == "":
		return refuse("say why in reason: who meets the device later must know")
	case len(in.Reason) > maxNote || !isText(in.Reason) || strings.ContainsFunc(in.Reason, unicode.IsControl):
		return refuse("the reason must be one line of text of at most %d bytes", maxNote)
	}
	seen := make(map[string]bool, len(in.Devices))
	for i, d := range in.Devices {
		if d == "" || len(d) > maxDevice || !isText(d) {
			return refuse("devices[%d] is no name of a device", i)
		}
		if seen[d] {
			return refuse("device %q is named twice", d)
		}
		seen[d] = true
	}
	return nil
}

func waiverWords(in admin.Waiver) string {
	switch {
	case in.Class != "":
		return "all of class " + in.Class
	case in.Order != "":
		return fmt.Sprintf("those of work order %q that have not moved", in.Order)
	}
	return "by name"
}

// waived lists the devices that a waiver is about, by name.
func (h *handler) waived(r *http.Request, q ledger.AnchorQuery, in admin.Waiver) ([]string, error) {
	named := make(map[string]bool)
	for _, d := range in.Devices {
		named[d] = true
	}
	if in.Order != "" {
		if err := h.ofOrder(r, in.Order, named); err != nil {
			return nil, err
		}
	}
	q.Class = ledger.AnchorClass(in.Class)
	var devices []string
	if err := h.anchorsOf(r.Context(), q, func(d ledger.AnchorDevice) {
		if in.Class == "" && !named[d.Device] {
			return
		}
		delete(named, d.Device)
		if d.Class != ledger.AnchorMoved && d.Waived.IsZero() {
			devices = append(devices, d.Device)
		}
	}); err != nil {
		return nil, err
	}
	switch {
	case len(in.Devices) > 0 && len(named) > 0:
		return nil, fail(http.StatusConflict, "rotation-waiver", "%d of the names are no device that has to follow this rotation: %s", len(named), strings.Join(someNames(named), ", "))
	case len(devices) == 0:
		return nil, fail(http.StatusConflict, "rotation-waiver", "nothing to waive: %s: each has moved, or is waived already", waiverWords(in))
	}
	return devices, nil
}

// ofOrder adds the devices of a work order: those with a certificate under it, and those
// that are listed under it.
func (h *handler) ofOrder(r *http.Request, order string, into map[string]bool) error {
	q := ledger.Query{Order: order, State: ledger.Valid, Limit: anchorPage}
	for {
		page, err := h.Ledger.Certificates(r.Context(), q)
		if err != nil {
			return err
		}
		for _, c := range page.Certificates {
			if c.Device != "" {
				into[c.Device] = true
			}
		}
		if q.After = page.Next; page.Next == "" {
			break
		}
	}
	d := ledger.DeviceQuery{Order: order, Limit: anchorPage}
	for {
		devices, err := h.Ledger.Devices(r.Context(), d)
		if err != nil {
			return err
		}
		for _, one := range devices {
			into[one.ID] = true
		}
		if len(devices) < d.Limit {
			return nil
		}
		d.After = devices[len(devices)-1].ID
	}
}

// someNames are the first of many, by name.
func someNames[V any](names map[string]V) []string {
	list := slices.Sorted(maps.Keys(names))
	return list[:min(len(list), shownNames)]
}
