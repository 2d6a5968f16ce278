package dpsreg

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"mintmark/internal/ledger"
	"mintmark/internal/pattern"
)

// Placeholders stand in strings of Tags and Desired and in DeviceID of an Enrollment:
// ${device}, ${order}, ${product}, ${label}, ${profile} and ${field.NAME} of the device
// list. There is no way to write ${ itself.

// fieldName matches names of fields of a device list.
var fieldName = pattern.New(`^[^\x00-\x1f{}$]{1,64}$`)

// checkPlaceholders says what is wrong with the placeholders of an enrollment. Two devices
// with one id at the hub would take it from each other, and be stopped together.
func (e Enrollment) checkPlaceholders() error {
	bad := func(s string) bool { return checkPlaceholders(s) != nil }
	for _, in := range []struct {
		name  string
		value any
	}{{"device id", e.DeviceID}, {"tags", e.Tags}, {"desired", e.Desired}} {
		if text := findText(in.value, bad); text != "" {
			return fmt.Errorf("%s: %w", in.name, checkPlaceholders(text))
		}
	}
	if e.DeviceID != "" && !strings.Contains(e.DeviceID, "${device}") && !strings.Contains(e.DeviceID, "${field.") {
		return fmt.Errorf("device id: %.80q is the same for many devices: it needs ${device} or a ${field.NAME} that tells them apart", e.DeviceID)
	}
	return nil
}

// checkPlaceholders says what is wrong with a text that may have placeholders in it.
func checkPlaceholders(text string) error {
	_, err := replacePlaceholders(text, func(name string) (string, error) { return name, nil })
	return err
}

// replacePlaceholders puts what value says in the place of each placeholder.
func replacePlaceholders(text string, value func(name string) (string, error)) (string, error) {
	var b strings.Builder
	for rest := text; ; {
		before, after, found := strings.Cut(rest, "${")
		b.WriteString(before)
		if !found {
			return b.String(), nil
		}
		name, after, found := strings.Cut(after, "}")
		switch field, isField := strings.CutPrefix(name, "field."); {
		case !found:
			return "", fmt.Errorf("%.80q: ${ is not closed by }", text)
		case isField && !fieldName.MatchString(field):
			return "", fmt.Errorf("%.80q: %.40q is no name of a field of a device list", text, field)
		case !isField && name != "device" && name != "order" && name != "product" && name != "label" && name != "profile":
			return "", fmt.Errorf("%.80q: there is no ${%.40s}: use ${device}, ${order}, ${product}, ${label}, ${profile} or ${field.NAME}", text, name)
		}
		v, err := value(name)
		if err != nil {
			return "", err
		}
		b.WriteString(v)
		rest = after
	}
}

// values are what placeholders stand for, for one device.
type values struct {
	device      ledger.Device
	certificate ledger.Certificate
}

// value is an error for what the device does not have: an empty text in a tag would
// be taken for a value.
func (v values) value(name string) (string, error) {
	text := ""
	switch name {
	case "device":
		text = v.certificate.Device
	case "order":
		text = or(v.certificate.Order, v.device.Order)
	case "product":
		text = v.device.Product
	case "label":
		text = v.certificate.Label
	case "profile":
		text = v.certificate.Profile
	default:
		text = v.device.Fields[strings.TrimPrefix(name, "field.")]
	}
	if text == "" {
		return "", fmt.Errorf("the device has nothing for ${%s}", name)
	}
	return text, nil
}

func (v values) text(s string) (string, error) { return replacePlaceholders(s, v.value) }

// object replaces placeholders in all texts of a JSON object. Keys stay as they are.
func (v values) object(m map[string]any) (map[string]any, error) {
	if m == nil {
		return nil, nil
	}
	out := make(map[string]any, len(m))
	for _, k := range slices.Sorted(maps.Keys(m)) {
		replaced, err := v.any(m[k])
		if err != nil {
			return nil, fmt.Errorf("%s: %w", k, err)
		}
		out[k] = replaced
	}
	return out, nil
}

func (v values) any(value any) (any, error) {
	switch value := value.(type) {
	case string:
		return v.text(value)
	case map[string]any:
		return v.object(value)
	}
	return value, nil
}
