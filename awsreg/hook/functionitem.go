package hook

import (
	"strings"
	"time"
)

// Taken is what a function writes when it admits a device: one certificate has
// its name, and no other gets it.
type Taken struct {
	Device        string
	CertificateID string
	Order         string
	Claim         string // certificate id of the claim that asked
	At            time.Time
	// Void is when another certificate of the device began to take the place of this
	// one, which had never been in service; zero for never.
	Void time.Time
}

// Admitted is what a function writes of a certificate that came by a template.
type Admitted struct {
	CertificateID string
	Thing         string
	Device        string
	Template      string // by which the device first came
	At            time.Time
}

// TakenKey, UsedKey and FleetKey are the keys of what the functions write.
func TakenKey(device string) string        { return takenMark + device }
func UsedKey(order string) string          { return usedMark + order }
func FleetKey(certificateID string) string { return fleetMark + certificateID }

// Item is what is written of a device that is admitted.
func (t Taken) Item() Item {
	item := Item{
		keyName:       text(TakenKey(t.Device)),
		"certificate": text(t.CertificateID),
		"order":       text(t.Order),
		"claim":       text(t.Claim),
		"at":          number(t.At.Unix()),
	}
	if !t.Void.IsZero() {
		item["void"] = number(t.Void.Unix())
	}
	return item
}

// DecodeTaken reads the item of an admitted device. What it accepts, Item gives
// back.
func DecodeTaken(item Item) (Taken, error) {
	r := reader{item: item}
	pk := r.text(keyName)
	t := Taken{
		CertificateID: r.text("certificate"), Order: r.text("order"), Claim: r.text("claim"),
		At: time.Unix(r.number("at"), 0).UTC(),
	}
	if item["void"] != nil {
		t.Void = time.Unix(r.number("void"), 0).UTC()
	}
	device, ok := strings.CutPrefix(pk, takenMark)
	switch {
	case r.err != nil:
		return Taken{}, r.err
	case !ok || !ValidDevice(device):
		return Taken{}, errField(pk, keyName, pk)
	case !ValidID(t.CertificateID):
		return Taken{}, errField(pk, "certificate", t.CertificateID)
	case !ValidID(t.Claim):
		return Taken{}, errField(pk, "claim", t.Claim)
	}
	t.Device = device
	return t, nil
}

// Item is what is written of a certificate that came by a template.
func (a Admitted) Item() Item {
	return Item{
		keyName:    text(FleetKey(a.CertificateID)),
		"thing":    text(a.Thing),
		"device":   text(a.Device),
		"template": text(a.Template),
		"at":       number(a.At.Unix()),
	}
}

// DecodeAdmitted reads the item of a certificate that came by a template. What it
// accepts, Item gives back.
func DecodeAdmitted(item Item) (Admitted, error) {
	r := reader{item: item}
	pk := r.text(keyName)
	a := Admitted{Thing: r.text("thing"), Device: r.text("device"), Template: r.text("template"), At: time.Unix(r.number("at"), 0).UTC()}
	id, ok := strings.CutPrefix(pk, fleetMark)
	switch {
	case r.err != nil:
		return Admitted{}, r.err
	case !ok || !ValidID(id):
		return Admitted{}, errField(pk, keyName, pk)
	case !ValidThing(a.Thing):
		return Admitted{}, errField(pk, "thing", a.Thing)
	case !ValidDevice(a.Device):
		return Admitted{}, errField(pk, "device", a.Device)
	}
	a.CertificateID = id
	return a, nil
}

// DecodeUsed reads how many devices were admitted under an order.
func DecodeUsed(item Item) (int, error) {
	r := reader{item: item}
	n := r.number("n")
	if r.err == nil && (n < 0 || n > 1<<31) {
		r.err = errField(r.text(keyName), "n", "out of range")
	}
	return int(n), r.err
}
