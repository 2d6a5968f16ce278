package dpsreg

import (
	"strings"
	"testing"

	"mintmark/internal/ledger"
)

// TestParseTask refuses what is no task of ours.
func TestParseTask(t *testing.T) {
	for _, tt := range []struct{ key, payload, want string }{
		{"device/pump-1", `{"id":"pump-1"}`, "pump-1"},
		{"device/a/b", `{"id":"a/b"}`, "a/b"},
		{"device/pump-1", `{"id":"pump-2"}`, "error: another device"},
		{"device/pump-1", `{"id":""}`, "error: no device"},
		{"device/pump-1", `{}`, "error: no device"},
		{"device/pump-1", ``, "error: parsing"},
		{"device/pump-1", `[]`, "error: parsing"},
		{"order/A-1", `{"id":"A-1"}`, "error: nothing that is known"},
		{"", `{"id":"pump-1"}`, "error: nothing that is known"},
		{"device/" + strings.Repeat("x", 257), `{"id":"` + strings.Repeat("x", 257) + `"}`, "error: no device"},
	} {
		got, err := parseTask(ledger.Task{Key: tt.key, Payload: []byte(tt.payload)})
		if want, bad := strings.CutPrefix(tt.want, "error: "); bad {
			if err == nil || !strings.Contains(err.Error(), want) || got != "" {
				t.Errorf("%s %s: %q, %v", tt.key, tt.payload, got, err)
			}
		} else if got != tt.want || err != nil {
			t.Errorf("%s %s: %q, %v", tt.key, tt.payload, got, err)
		}
	}
}

// FuzzParseTask: a task names the device of its key, or none.
func FuzzParseTask(f *testing.F) {
	f.Add("device/pump-1", []byte(`{"id":"pump-1"}`))
	f.Add("order/x", []byte(`{"id":7}`))
	f.Add("", []byte(nil))
	f.Fuzz(func(t *testing.T, key string, payload []byte) {
		id, err := parseTask(ledger.Task{Key: key, Payload: payload})
		if err == nil && (id == "" || key != deviceTask+id || len(id) > maxDevice) || err != nil && id != "" {
			t.Errorf("%q %q: %q, %v", key, payload, id, err)
		}
	})
}
