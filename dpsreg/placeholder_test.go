package dpsreg

import (
	"reflect"
	"strings"
	"testing"

	"mintmark/internal/ledger"
)

var someValues = values{
	device: ledger.Device{ID: "pump-1", Order: "listed", Product: "P7", Fields: map[string]string{"mac": "00:11", "Serial no": "77", "empty": ""}},
	certificate: ledger.Certificate{
		Device: "pump-1", Order: "A-1", Label: "line", Profile: "azure",
	},
}

// TestPlaceholders replaces each of them, and refuses what is none.
func TestPlaceholders(t *testing.T) {
	for text, want := range map[string]string{
		"":                             "",
		"plain $ {text} } $device":     "plain $ {text} } $device",
		"${device}":                    "pump-1",
		"${order}/${product}":          "A-1/P7",
		"a${label}b${profile}c":        "alinebazurec",
		"${field.mac}, ${field.mac}":   "00:11, 00:11",
		"${field.Serial no}":           "77",
		"$${device}":                   "$pump-1",
		"${device}}":                   "pump-1}",
		"${field.mac}${field.missing}": "error: the device has nothing for ${field.missing}",
		"${field.empty}":               "error: the device has nothing for ${field.empty}",
	} {
		got, err := someValues.text(text)
		if err != nil {
			got = "error: " + err.Error()
		}
		if got != want {
			t.Errorf("%q: %q instead of %q", text, got, want)
		}
		if err := checkPlaceholders(text); err != nil {
			t.Errorf("%q: %v", text, err)
		}
	}
	for text, want := range map[string]string{
		"${":                 "not closed",
		"a ${device":         "not closed",
		"${}":                "there is no ${}",
		"${Device}":          "there is no ${Device}",
		"${ device }":        "there is no",
		"${field}":           "there is no ${field}",
		"${field.}":          "no name of a field",
		"${field.a${device}": "no name of a field",
		"${field." + strings.Repeat("x", 65) + "}": "no name of a field",
		"${${device}}": "there is no",
	} {
		if err := checkPlaceholders(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", text, err)
		}
		if got, err := someValues.text(text); err == nil {
			t.Errorf("%q is replaced by %q", text, got)
		}
	}
}

// TestPlaceholdersOrder: the certificate's order counts, and the list's if it has none.
func TestPlaceholdersOrder(t *testing.T) {
	v := someValues
	v.certificate.Order = ""
	if got, err := v.text("${order}"); got != "listed" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	v.device.Order = ""
	if got, err := v.text("${order}"); err == nil {
		t.Errorf("no order is %q", got)
	}
	v.device.Product = ""
	if got, err := v.text("${product}"); err == nil {
		t.Errorf("no product is %q", got)
	}
}

// TestPlaceholdersObject: in texts at any depth, not in keys, and the configuration
// stays as it is.
func TestPlaceholdersObject(t *testing.T) {
	in := map[string]any{"a": "${device}", "n": 7, "b": true, "deep": map[string]any{"x": "${field.mac}"}}
	out, err := someValues.object(in)
	if err != nil {
		t.Fatal(err)
	}
	if want := (map[string]any{"a": "pump-1", "n": 7, "b": true, "deep": map[string]any{"x": "00:11"}}); !reflect.DeepEqual(out, want) {
		t.Errorf("%v", out)
	}
	if in["a"] != "${device}" || in["deep"].(map[string]any)["x"] != "${field.mac}" {
		t.Errorf("the configuration is %v now", in)
	}
	if _, err := someValues.object(map[string]any{"deep": map[string]any{"x": "${field.no}"}}); err == nil || !strings.Contains(err.Error(), "deep: x: ") {
		t.Errorf("a missing field: %v", err)
	}
	if out, err := someValues.object(nil); out != nil || err != nil {
		t.Errorf("nothing is %v, %v", out, err)
	}
}

// TestEnrollmentPlaceholders: the configuration is refused for placeholders that there
// are not, wherever they stand.
func TestEnrollmentPlaceholders(t *testing.T) {
	good := Enrollment{DeviceID: "${product}-${device}", Shape: Shape{
		Tags: map[string]any{"a": "${order}"}, Desired: map[string]any{"b": map[string]any{"c": "${field.mac}"}},
	}}
	if err := good.checkPlaceholders(); err != nil {
		t.Error(err)
	}
	if err := (Enrollment{DeviceID: "x-${field.mac}"}).checkPlaceholders(); err != nil {
		t.Error(err)
	}
	for _, same := range []string{"lab", "${label}-${order}", "${product}"} {
		if err := (Enrollment{DeviceID: same}).checkPlaceholders(); err == nil || !strings.Contains(err.Error(), "the same for many devices") {
			t.Errorf("%s: %v", same, err)
		}
	}
	for where, bad := range map[string]Enrollment{
		"device id": {DeviceID: "${serial}"},
		"tags":      {Shape: Shape{Tags: map[string]any{"a": map[string]any{"b": "${order"}}}},
		"desired":   {Shape: Shape{Desired: map[string]any{"a": "${field.}"}}},
	} {
		if err := bad.checkPlaceholders(); err == nil || !strings.HasPrefix(err.Error(), where+": ") {
			t.Errorf("%s: %v", where, err)
		}
	}
}

// FuzzPlaceholders: what passes the check is replaced or is about a value that the
// device lacks, and text without placeholders stays as it is.
func FuzzPlaceholders(f *testing.F) {
	for _, seed := range []string{"", "${device}", "${field.mac}x${order}", "${", "${field.}", "$${${}"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		checked := checkPlaceholders(text)
		got, err := someValues.text(text)
		if checked != nil && err == nil {
			t.Errorf("%q is refused (%v) and replaced by %q", text, checked, got)
		}
		if checked == nil && err != nil && !strings.Contains(err.Error(), "the device has nothing for") {
			t.Errorf("%q is not refused: %v", text, err)
		}
		if !strings.Contains(text, "${") && got != text {
			t.Errorf("%q became %q", text, got)
		}
	})
}
