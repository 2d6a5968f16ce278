package webhook

import (
	"encoding/json"
	"testing"

	"mintmark/issuer"
)

// FuzzAnswer: what decode takes as a verdict, encoding/json reads in the same
// way, and it repeats the id of the question.
func FuzzAnswer(f *testing.F) {
	for _, seed := range []string{
		`{"version":1,"id":"q","decision":"allow"}`,
		`{"version":1,"id":"q","decision":"deny","reason":"no"}`,
		`{"reason":"\u00fc","decision":"hold","id":"q","version":1}`,
		`{"version":1,"id":"q","decision":"deny","decision":"allow"}`,
		`{"version":1.0,"id":"q","Decision":"allow"}`,
		`[{"version":1}]`, `{"version":1,"id":"q","decision":"allow"}{`, `{`, ``,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		v, err := decode(data, "q")
		if err != nil {
			if v != (issuer.Verdict{}) {
				t.Errorf("a verdict beside the error: %+v", v)
			}
			return
		}
		var same struct {
			Version              int
			ID, Decision, Reason string
		}
		if err := json.Unmarshal(data, &same); err != nil {
			t.Fatalf("taken, but not JSON: %v", err)
		}
		if same.Version != 1 || same.ID != "q" || same.Decision != string(v.Decision) || same.Reason != v.Reason || len(v.Reason) > maxReason {
			t.Errorf("%+v was read from %q", v, data)
		}
	})
}
