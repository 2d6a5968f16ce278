package doctor

import (
	"fmt"
	"slices"
	"testing"
)

// pointTest shows that a point holds for our server, and that the doctor sees a
// server which breaks it.
type pointTest struct {
	number int
	setting
	mutants []mutant
}

// elsewhere are the points that no server of ours shows, and why.
var elsewhere = map[int]string{
	28: "a rule about the operator's policy, which does not show on the wire",
	76: "fullcmc is not built: the server answers 501, which point 14 tests",
	77: "fullcmc is not built: the server answers 501, which point 14 tests",
	78: "CoAP is not built", 79: "CoAP is not built", 80: "CoAP is not built", 81: "CoAP is not built", 82: "CoAP is not built",
}

func pointTests() []pointTest {
	return slices.Concat(transportTests, routingTests, cacertsTests, authTests, enrollTests, renewalTests, linkingTests, keygenTests, attributeTests)
}

// holdsToo are further settings in which points hold.
var holdsToo = map[int][]setting{
	59: {sealing}, 60: {sealing}, 62: {sealing}, 63: {sealing}, 64: {sealing}, 65: {sealing}, 66: {sealing}, 67: {sealing}, 68: {sealing},
	89: {queueing}, 97: {queueing}, 14: {generating},
}

func TestPoint(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, p := range pointTests() {
		t.Run(fmt.Sprint(p.number), func(t *testing.T) {
			t.Run("ours", func(t *testing.T) {
				if got := diagnose(t, w.start(t, p.setting, mutant{}), p.number); got.Status != Pass {
					t.Errorf("%s: %s", got.Status, got.Text)
				} else {
					t.Log(got.Text)
				}
			})
			for i, s := range holdsToo[p.number] {
				t.Run(fmt.Sprintf("ours/%d", i+2), func(t *testing.T) {
					if got := diagnose(t, w.start(t, s, mutant{}), p.number); got.Status != Pass {
						t.Errorf("%s: %s", got.Status, got.Text)
					} else {
						t.Log(got.Text)
					}
				})
			}
			if len(p.mutants) == 0 {
				t.Error("no mutant")
			}
			for _, m := range p.mutants {
				t.Run("mutated/"+m.name, func(t *testing.T) {
					if got := diagnose(t, w.start(t, p.setting, m), p.number); got.Status != Fail {
						t.Errorf("%s: %s", got.Status, got.Text)
					} else {
						t.Log(got.Text)
					}
				})
			}
		})
	}
}

// TestEveryPoint demands that each number is tested or says why not.
func TestEveryPoint(t *testing.T) {
	tested := make(map[int]bool)
	for _, p := range pointTests() {
		tested[p.number] = true
	}
	for i, p := range Points() {
		if p.Number != i+1 {
			t.Fatalf("point %d stands at %d", p.Number, i+1)
		}
		if p.Section == "" || p.Title == "" || p.How == "" || p.check == nil || p.Level.String() == "" {
			t.Errorf("point %d is not complete", p.Number)
		}
		if tested[p.Number] == (elsewhere[p.Number] != "") {
			t.Errorf("point %d: tested %t, reason for not being %q", p.Number, tested[p.Number], elsewhere[p.Number])
		}
	}
	if len(Points()) != 98 {
		t.Errorf("%d points", len(Points()))
	}
}
