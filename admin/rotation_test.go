package admin

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"testing"
)

// FuzzReadPlan: whatever a server sends, what is read as a plan is one of the rotation and
// of the hash, and reads the same when it is written again.
func FuzzReadPlan(f *testing.F) {
	f.Add(`{"version":1,"id":"k3f7q2xw4m","spec":{"kind":"root","old":"root","new":"root2","canary":{"labels":["line"],"percent":5},"gates":{"officers":2,"watch":604800000000000}},"made":"2027-01-31T12:00:00Z","steps":[{"state":"APPROVED","sign":true,"gate":"2 officers","changes":[{"where":"est","what":"x","before":"a","after":"b"}]}],"warned":["w"],"affected":["issuing"],"devices":3}`, "k3f7q2xw4m")
	f.Add(`{"version":2,"id":"k3f7q2xw4m"}`, "k3f7q2xw4m")
	f.Add(`{"version":1,"id":"other"}`, "k3f7q2xw4m")
	f.Add(`null`, "")
	f.Add(`[`, "x")
	f.Fuzz(func(t *testing.T, text, id string) {
		sum := sha256.Sum256([]byte(text))
		s := RotationStatus{Rotation: Rotation{ID: id, Hash: hex.EncodeToString(sum[:])}, Plan: text}
		plan, err := s.ReadPlan()
		if err != nil {
			return
		}
		if plan.Version != 1 || plan.ID != id {
			t.Fatalf("read as %+v", plan)
		}
		first, err := json.Marshal(plan)
		if err != nil {
			t.Fatal(err)
		}
		again := sha256.Sum256(first)
		s.Plan, s.Rotation.Hash = string(first), hex.EncodeToString(again[:])
		second, err := s.ReadPlan()
		if err != nil {
			t.Fatal(err)
		}
		if text, err := json.Marshal(second); err != nil || string(text) != string(first) {
			t.Fatalf("%s is read again as %s", first, text)
		}
		s.Plan += " "
		if _, err := s.ReadPlan(); err == nil {
			t.Fatal("another text of the same hash was read")
		}
	})
}
