package hook

import (
	"fmt"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// Item is one item of the manifest's table, whose only key is the string pk.
//
//	pk                     attributes
//	<certificate id>       device, thing, serial, issuer, ca, notAfter (Unix seconds)
//	revoked#<certificate id>  device, serial
//	head                   pushedAt (Unix milliseconds), server, maxAge, period, grace (seconds)
//
// What fleet provisioning adds stands at the constants in fleet.go.
//
// A revocation is an item of its own and not an attribute of the entry: whoever
// writes a valid entry again, late or out of order, cannot take it back.
type Item = map[string]types.AttributeValue

const (
	keyName     = "pk"
	headKey     = "head"
	revokedMark = "revoked#"
)

// Key is the primary key of an item.
func Key(pk string) Item { return Item{keyName: text(pk)} }

// Items are what is written for an entry. A revoked one is only its mark.
func (e Entry) Items() []Item {
	if e.State == Revoked {
		return []Item{{
			keyName:  text(revokedMark + e.CertificateID),
			"device": text(e.Device),
			"serial": text(e.Serial),
		}}
	}
	return []Item{{
		keyName:    text(e.CertificateID),
		"device":   text(e.Device),
		"thing":    text(e.Thing),
		"serial":   text(e.Serial),
		"issuer":   text(e.Issuer),
		"ca":       text(e.CA),
		"notAfter": number(e.NotAfter.Unix()),
	}}
}

// Item is what is written for the head.
func (h Head) Item() Item {
	return Item{
		keyName:    text(headKey),
		"pushedAt": number(h.PushedAt.UnixMilli()),
		"server":   text(h.Server),
		"maxAge":   number(int64(h.MaxAge / time.Second)),
		"period":   number(int64(h.Period / time.Second)),
		"grace":    number(int64(h.Grace / time.Second)),
	}
}

// DecodeEntry reads the item of a valid certificate. What it accepts, Items
// gives back.
func DecodeEntry(item Item) (Entry, error) {
	r := reader{item: item}
	e := Entry{
		CertificateID: r.text(keyName),
		Device:        r.text("device"),
		Thing:         r.text("thing"),
		Serial:        r.text("serial"),
		Issuer:        r.text("issuer"),
		CA:            r.text("ca"),
		NotAfter:      time.Unix(r.number("notAfter"), 0).UTC(),
		State:         Valid,
	}
	if r.err != nil {
		return Entry{}, fmt.Errorf("reading manifest entry: %w", r.err)
	}
	if err := e.Validate(); err != nil {
		return Entry{}, err
	}
	if e.CA == "" {
		return Entry{}, fmt.Errorf("manifest entry %s: names no CA", e.CertificateID)
	}
	return e, nil
}

// DecodeHead reads the head.
func DecodeHead(item Item) (Head, error) {
	r := reader{item: item}
	h := Head{
		PushedAt: time.UnixMilli(r.number("pushedAt")).UTC(),
		Server:   r.text("server"),
	}
	for name, d := range map[string]*time.Duration{"maxAge": &h.MaxAge, "period": &h.Period, "grace": &h.Grace} {
		if _, has := item[name]; !has && name != "maxAge" {
			continue // a head that an earlier version wrote
		}
		seconds := r.number(name)
		if r.err != nil {
			break
		}
		if seconds < 0 || seconds > int64(10*365*24*time.Hour/time.Second) {
			return Head{}, fmt.Errorf("reading manifest head: %s of %d seconds", name, seconds)
		}
		*d = time.Duration(seconds) * time.Second
	}
	if r.err != nil {
		return Head{}, fmt.Errorf("reading manifest head: %w", r.err)
	}
	return h, nil
}

// reader takes attributes out of an item and keeps the first error.
type reader struct {
	item Item
	err  error
}

func (r *reader) text(name string) string {
	v, ok := r.item[name].(*types.AttributeValueMemberS)
	if !ok && r.err == nil {
		r.err = fmt.Errorf("attribute %s is no string", name)
	}
	if !ok {
		return ""
	}
	return v.Value
}

// texts takes a list of strings; nil for an empty one.
func (r *reader) texts(name string) []string {
	list, ok := r.item[name].(*types.AttributeValueMemberL)
	if !ok && r.err == nil {
		r.err = fmt.Errorf("attribute %s is no list", name)
	}
	if !ok {
		return nil
	}
	var all []string
	for _, v := range list.Value {
		s, isText := v.(*types.AttributeValueMemberS)
		if !isText {
			if r.err == nil {
				r.err = fmt.Errorf("attribute %s is not all strings", name)
			}
			return nil
		}
		all = append(all, s.Value)
	}
	return all
}

func (r *reader) number(name string) int64 {
	v, ok := r.item[name].(*types.AttributeValueMemberN)
	if !ok {
		if r.err == nil {
			r.err = fmt.Errorf("attribute %s is no number", name)
		}
		return 0
	}
	n, err := strconv.ParseInt(v.Value, 10, 64)
	if err != nil && r.err == nil {
		r.err = fmt.Errorf("attribute %s: %w", name, err)
	}
	return n
}

func text(s string) types.AttributeValue { return &types.AttributeValueMemberS{Value: s} }

func texts(list []string) types.AttributeValue {
	values := make([]types.AttributeValue, len(list))
	for i, s := range list {
		values[i] = text(s)
	}
	return &types.AttributeValueMemberL{Value: values}
}

func number(n int64) types.AttributeValue {
	return &types.AttributeValueMemberN{Value: strconv.FormatInt(n, 10)}
}
