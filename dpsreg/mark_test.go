package dpsreg

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"mintmark/dpsreg/dps"
)

// TestMark reads what stands in optionalDeviceInformation.
func TestMark(t *testing.T) {
	for text, want := range map[string]mark{
		"":                      {},
		"null":                  {},
		"{}":                    {},
		"7":                     {},
		`["mintmark"]`:          {},
		`{"mintmark":7}`:        {},
		`{"mintmark":null}`:     {},
		`{"mintmark":"other"}`:  {},
		`{"Mintmark":"pinned"}`: {},
		`{"mintmark":"pinned"}`: {kind: markPinned},
		`{"mintmark":"blocked","mintmarkDevice":"Pump 1"}`:                          {kind: markBlocked, device: "Pump 1"},
		`{"a":{"b":[1]},"mintmark":"disabled"}`:                                     {kind: markDisabled},
		`{"mintmark":"pinned","mintmarkEvicted":"0a"}`:                              {kind: markPinned, evicted: "0a"},
		`{"mintmark":"pinned","mintmarkEvicted":7}`:                                 {kind: markPinned},
		`{"mintmark":"pinned","mintmarkDevice":["x"]}`:                              {kind: markPinned},
		`{"mintmark":"pinned","mintmarkDevice":"` + strings.Repeat("x", 257) + `"}`: {kind: markPinned},
	} {
		if got := markOf(dps.Enrollment{Information: json.RawMessage(text)}); got != want {
			t.Errorf("%s: %+v", text, got)
		}
	}
}

// TestMarked: a mark stands beside what else is there, and taking it out leaves that as
// it was.
func TestMarked(t *testing.T) {
	for before, want := range map[string]string{
		"":                                      `{"mintmark":"disabled"}`,
		"null":                                  `{"mintmark":"disabled"}`,
		"{}":                                    `{"mintmark":"disabled"}`,
		`{"owner":{"team":["a","b"]},"n":1.50}`: `{"mintmark":"disabled","n":1.50,"owner":{"team":["a","b"]}}`,
	} {
		got, err := marked(json.RawMessage(before), mark{kind: markDisabled})
		if err != nil || string(got) != want {
			t.Errorf("%s: %s, %v", before, got, err)
		}
		back, err := marked(got, mark{})
		if err != nil {
			t.Fatal(err)
		}
		var a, b any
		_ = json.Unmarshal(back, &a)
		if before != "{}" {
			_ = json.Unmarshal([]byte(before), &b)
		}
		if !reflect.DeepEqual(a, b) {
			t.Errorf("%s: %s after the mark was taken out", before, back)
		}
	}
	for _, before := range []string{"7", `"text"`, "[]", "{"} {
		if got, err := marked(json.RawMessage(before), mark{kind: markDisabled}); err == nil {
			t.Errorf("%s: %s", before, got)
		}
	}
}

// FuzzMark: whatever stands there, a mark can be read back that was put in, and the rest
// stays.
func FuzzMark(f *testing.F) {
	for _, seed := range []string{"", "null", "{}", `{"mintmark":"pinned","mintmarkDevice":"x"}`, `{"a":[1,2,{"b":null}]}`, "[]", `{"a":`} {
		f.Add([]byte(seed), "pump-1")
	}
	f.Fuzz(func(t *testing.T, information []byte, device string) {
		before := markOf(dps.Enrollment{Information: information})
		if before.kind == "" && before.device != "" {
			t.Errorf("no mark names a device: %+v", before)
		}
		m := mark{kind: markDisabled}
		if len(device) <= maxDevice && json.Valid([]byte(`"`+device+`"`)) {
			m.device = device
		}
		with, err := marked(information, m)
		if err != nil {
			return
		}
		if got := markOf(dps.Enrollment{Information: with}); got.kind != m.kind {
			t.Fatalf("%s: %+v instead of %+v", with, got, m)
		}
		without, err := marked(with, mark{})
		if err != nil {
			t.Fatal(err)
		}
		if got := markOf(dps.Enrollment{Information: without}); got != (mark{}) {
			t.Errorf("%s still has %+v", without, got)
		}
	})
}
