package hook

import (
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// OrderKey, ClaimKey, TemplateKey, ExpectedKey and HeldKey are the keys of what the server
// writes.
func OrderKey(order string) string         { return orderMark + order }
func ClaimKey(certificateID string) string { return claimMark + certificateID }
func TemplateKey(name string) string       { return templateMark + name }
func ExpectedKey(device string) string     { return expectedMark + device }
func HeldKey(thing string) string          { return heldMark + thing }

// Item is what is written for an order.
func (o Order) Item() Item {
	return Item{
		keyName:     text(OrderKey(o.ID)),
		"state":     text(o.State),
		"template":  text(o.Template),
		"quantity":  number(int64(o.Quantity)),
		"notBefore": number(o.NotBefore.Unix()),
		"notAfter":  number(o.NotAfter.Unix()),
		"listed":    &types.AttributeValueMemberBOOL{Value: o.Listed},
		"ranges":    texts(o.Ranges),
	}
}

// DecodeOrder reads the item of an order. What it accepts, Item gives back.
func DecodeOrder(item Item) (Order, error) {
	r := reader{item: item}
	pk := r.text(keyName)
	o := Order{
		State:     r.text("state"),
		Template:  r.text("template"),
		Quantity:  int(r.number("quantity")),
		NotBefore: time.Unix(r.number("notBefore"), 0).UTC(),
		NotAfter:  time.Unix(r.number("notAfter"), 0).UTC(),
	}
	if b, ok := item["listed"].(*types.AttributeValueMemberBOOL); ok {
		o.Listed = b.Value
	} else if r.err == nil {
		r.err = errField(pk, "listed", "no boolean")
	}
	o.Ranges = r.texts("ranges")
	if r.err != nil {
		return Order{}, r.err
	}
	if len(pk) <= len(orderMark) || pk[:len(orderMark)] != orderMark {
		return Order{}, errField(pk, keyName, pk)
	}
	o.ID = pk[len(orderMark):]
	return o, nil
}

// Item is what is written for a claim certificate.
func (c Claim) Item() Item {
	return Item{
		keyName: text(ClaimKey(c.CertificateID)),
		"order": text(c.Order),
	}
}

// DecodeClaim reads the item of a claim certificate.
func DecodeClaim(item Item) (Claim, error) {
	r := reader{item: item}
	pk := r.text(keyName)
	c := Claim{Order: r.text("order")}
	if r.err != nil {
		return Claim{}, r.err
	}
	if len(pk) != len(claimMark)+64 || pk[:len(claimMark)] != claimMark || !ValidID(pk[len(claimMark):]) {
		return Claim{}, errField(pk, keyName, pk)
	}
	c.CertificateID = pk[len(claimMark):]
	return c, nil
}

// Item is what is written for a template.
func (t Template) Item() Item {
	return Item{
		keyName:    text(TemplateKey(t.Name)),
		"fleet":    text(t.Fleet),
		"prefix":   text(t.Prefix),
		"rotation": &types.AttributeValueMemberBOOL{Value: t.Rotation},
	}
}

// DecodeTemplate reads the item of a template.
func DecodeTemplate(item Item) (Template, error) {
	r := reader{item: item}
	pk := r.text(keyName)
	t := Template{Fleet: r.text("fleet"), Prefix: r.text("prefix")}
	rotation, ok := item["rotation"].(*types.AttributeValueMemberBOOL)
	switch {
	case r.err != nil:
		return Template{}, r.err
	case !ok:
		return Template{}, errField(pk, "rotation", "no boolean")
	case len(pk) <= len(templateMark) || pk[:len(templateMark)] != templateMark:
		return Template{}, errField(pk, keyName, pk)
	}
	t.Name, t.Rotation = pk[len(templateMark):], rotation.Value
	return t, nil
}

// ExpectedItem says that a device is on the list of an order.
func ExpectedItem(device, order string) Item {
	return Item{keyName: text(ExpectedKey(device)), "order": text(order)}
}

// HeldItem says that a device is held, or retired, until it is released.
func HeldItem(thing, device string) Item {
	return Item{keyName: text(HeldKey(thing)), "device": text(device)}
}

// Item is what is written for a device that rotates.
func (d Rotating) Item() Item {
	item := Item{
		keyName:    text(d.Thing),
		"device":   text(d.Device),
		"current":  text(d.Current),
		"issuedAt": number(d.IssuedAt.Unix()),
	}
	if d.Next != "" {
		item["next"], item["nextAt"] = text(d.Next), number(d.NextAt.Unix())
	}
	if !d.Told.IsZero() {
		item["told"] = number(d.Told.Unix())
	}
	if len(d.Replaced) > 0 {
		item["replaced"] = texts(d.Replaced)
	}
	return item
}

// unchanged is the condition that no certificate of an item is another than it was,
// and its values. It names #current, #next and #replaced.
func (d Rotating) unchanged() (string, Item) {
	condition, values := "#current = :current", Item{":current": text(d.Current)}
	for _, a := range []struct {
		name string
		has  bool
		is   types.AttributeValue
	}{{"next", d.Next != "", text(d.Next)}, {"replaced", len(d.Replaced) > 0, texts(d.Replaced)}} {
		if !a.has {
			condition += " AND attribute_not_exists(#" + a.name + ")"
			continue
		}
		condition += " AND #" + a.name + " = :" + a.name
		values[":"+a.name] = a.is
	}
	return condition, values
}

// DecodeRotating reads an item of the rotation table. What it accepts, Item gives
// back.
func DecodeRotating(item Item) (Rotating, error) {
	r := reader{item: item}
	d := Rotating{
		Thing: r.text(keyName), Device: r.text("device"), Current: r.text("current"),
		IssuedAt: time.Unix(r.number("issuedAt"), 0).UTC(),
	}
	if item["next"] != nil {
		d.Next, d.NextAt = r.text("next"), time.Unix(r.number("nextAt"), 0).UTC()
	}
	if item["told"] != nil {
		d.Told = time.Unix(r.number("told"), 0).UTC()
	}
	if item["replaced"] != nil {
		d.Replaced = r.texts("replaced")
	}
	switch {
	case r.err != nil:
		return Rotating{}, r.err
	case !ValidThing(d.Thing):
		return Rotating{}, errField(d.Thing, keyName, d.Thing)
	case !ValidID(d.Current):
		return Rotating{}, errField(d.Thing, "current", d.Current)
	case d.Next != "" && !ValidID(d.Next):
		return Rotating{}, errField(d.Thing, "next", d.Next)
	case len(d.Replaced) > MaxReplaced:
		return Rotating{}, errField(d.Thing, "replaced", fmt.Sprintf("%d certificates", len(d.Replaced)))
	}
	for _, id := range d.Replaced {
		if !ValidID(id) {
			return Rotating{}, errField(d.Thing, "replaced", id)
		}
	}
	return d, nil
}
