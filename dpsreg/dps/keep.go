package dps

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
)

// readOnly are the fields that the service sets: they are not sent. The entity tag goes
// into the header.
var readOnly = []string{"registrationState", "createdDateTimeUtc", "lastUpdatedDateTimeUtc", "etag"}

// body is what is sent for a group.
func (g Group) body() (map[string]any, error) { return body(g, g.raw, g.Etag) }

func (e Enrollment) body() (map[string]any, error) { return body(e, e.raw, e.Etag) }

// body merges what was read, if it is that version that is changed, with what there
// shall be. A PUT replaces everything, so that a field which this package does not
// know would be lost otherwise, as credentialPolicyName of later api-versions.
func body(ours any, raw json.RawMessage, etag string) (map[string]any, error) {
	v, err := plain(ours)
	if err != nil {
		return nil, err
	}
	out, ok := v.(map[string]any)
	if !ok {
		return nil, errors.New("an enrollment is not a JSON object")
	}
	if raw != nil && etag != "" {
		var read map[string]json.RawMessage
		if err := json.Unmarshal(raw, &read); err != nil {
			return nil, fmt.Errorf("keeping what was read: %w", err)
		}
		if err := keep(out, read, reflect.TypeOf(ours)); err != nil {
			return nil, fmt.Errorf("keeping what was read: %w", err)
		}
	}
	for _, name := range readOnly {
		delete(out, name)
	}
	return out, nil
}

// plain is a value as maps and strings, with JSON that it holds untouched.
func plain(v any) (any, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	var fields map[string]json.RawMessage
	if json.Unmarshal(data, &fields) != nil || fields == nil {
		return json.RawMessage(data), nil
	}
	out := make(map[string]any, len(fields))
	for name, raw := range fields {
		out[name] = raw
	}
	return out, nil
}

// keep adds to ours, which was made of a value of type t, the fields of what was read
// that t does not have, in objects inside too. Of a certificate that is not sent
// anew, what was read is sent as it came: that keeps the slot.
func keep(ours map[string]any, read map[string]json.RawMessage, t reflect.Type) error {
	known := make(map[string]reflect.Type)
	for i := range t.NumField() {
		field := t.Field(i)
		if name, _, _ := strings.Cut(field.Tag.Get("json"), ","); field.IsExported() && name != "" && name != "-" {
			known[name] = field.Type
		}
	}
	for name, raw := range read {
		inside, ok := known[name]
		if !ok {
			ours[name] = raw
			continue
		}
		value, ok := ours[name].(json.RawMessage)
		if !ok {
			continue // we do not want it
		}
		if inside.Kind() == reflect.Pointer {
			inside = inside.Elem()
		}
		switch {
		case inside == reflect.TypeFor[Certificate]():
			same, err := sameSlot(value, raw)
			if err != nil {
				return err
			}
			if same {
				ours[name] = raw
			}
		case inside.Kind() == reflect.Map:
			// Large numbers do not survive being read and written.
			if same, err := sameValue(value, raw); err != nil {
				return err
			} else if same {
				ours[name] = raw
			}
		case inside.Kind() == reflect.Struct:
			merged, err := keepInside(value, raw, inside)
			if err != nil {
				return err
			}
			ours[name] = merged
		}
	}
	return nil
}

func keepInside(value, raw json.RawMessage, t reflect.Type) (any, error) {
	var ours, read map[string]json.RawMessage
	if err := json.Unmarshal(value, &ours); err != nil || ours == nil {
		return value, nil // no object: a time
	}
	if err := json.Unmarshal(raw, &read); err != nil {
		return nil, err
	}
	out := make(map[string]any, len(ours))
	for name, v := range ours {
		out[name] = v
	}
	return out, keep(out, read, t)
}

// sameSlot reports whether a slot is to stay as it was read.
func sameSlot(ours, read json.RawMessage) (bool, error) {
	var a, b Certificate
	if err := json.Unmarshal(ours, &a); err != nil {
		return false, err
	}
	if err := json.Unmarshal(read, &b); err != nil {
		return false, err
	}
	return a.Certificate == "" && a.Info != nil && b.Info != nil && strings.EqualFold(a.Info.SHA256, b.Info.SHA256), nil
}

func sameValue(ours, read json.RawMessage) (bool, error) {
	var a, b any
	if err := json.Unmarshal(ours, &a); err != nil {
		return false, err
	}
	err := json.Unmarshal(read, &b)
	return reflect.DeepEqual(a, b), err
}
