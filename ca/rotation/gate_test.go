package rotation_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"mintmark/ca/rotation"
	"mintmark/internal/ledger"
)

// ready is a rotation in a state of which everything but signatures would let it go on.
func ready(t *testing.T, spec rotation.Spec, at rotation.State, officers ...string) (*world, string) {
	t.Helper()
	w := newWorld(t)
	id := w.plan(spec)
	w.forward(id, at)
	w.now = w.now.Add(100 * day)
	switch at {
	case rotation.Distributing, rotation.Canaried:
		w.counts = map[ledger.AnchorClass]int{ledger.AnchorTrusts: 1000}
	case rotation.Draining, rotation.TrustRemoved:
		w.counts = map[ledger.AnchorClass]int{ledger.AnchorMoved: 1000}
	}
	for _, officer := range officers {
		if err := w.sign(id, at.Next(), officer); err != nil {
			t.Fatal(err)
		}
	}
	return w, id
}

type counts = map[ledger.AnchorClass]int

// TestGates misses each condition by the least that it can be missed by, and then meets it.
func TestGates(t *testing.T) {
	both := []string{"alice", "bob"}
	for _, c := range []struct {
		name     string
		spec     rotation.Spec
		at       rotation.State
		officers []string
		spoil    func(w *world, id string)
		says     []string
		mend     func(w *world, id string)
	}{
		{"one second before the end of distributing", rootSpec(), rotation.Distributing, nil,
			func(w *world, id string) { w.now = w.get(id).Since.Add(30*day - time.Second) },
			[]string{"DISTRIBUTING lasts at least 30 days", "1s from now"},
			func(w *world, id string) { w.now = w.now.Add(time.Second) }},
		{"one device too few has the new anchors", rootSpec(), rotation.Distributing, nil,
			func(w *world, id string) {
				w.counts = counts{ledger.AnchorTrusts: 99400, ledger.AnchorMoved: 98, ledger.AnchorWaived: 1, ledger.AnchorSilent: 300, ledger.AnchorNever: 100, ledger.AnchorLeft: 100, ledger.AnchorExpired: 1}
			},
			[]string{"99.49 % of 100000 devices have the new anchors, 99.50 % are asked for", "1 of them is waived", "501 left: 100 left, 300 silent, 100 never, 1 expired", "mintmark rotate devices", "mintmark rotate waive"},
			func(w *world, id string) { w.counts[ledger.AnchorTrusts]++; w.counts[ledger.AnchorLeft]-- }},
		{"what is of no known class has nothing", rootSpec(), rotation.Distributing, nil,
			func(w *world, id string) { w.counts = counts{ledger.AnchorTrusts: 9, "odd": 1} },
			[]string{"90.00 % of 10 devices", `1 "odd"`},
			func(w *world, id string) { delete(w.counts, "odd") }},
		{"one second before the end of the canary", rootSpec(), rotation.Canaried, both,
			func(w *world, id string) { w.now = w.get(id).Since.Add(7*day - time.Second) },
			[]string{"CANARY lasts at least 7 days"},
			func(w *world, id string) { w.now = w.now.Add(time.Second) }},
		{"one second before the end of the canary of an issuing CA", issuingSpec(), rotation.Canaried, both,
			func(w *world, id string) { w.now = w.get(id).Since.Add(7*day - time.Second) },
			[]string{"CANARY lasts at least 7 days"},
			func(w *world, id string) { w.now = w.now.Add(time.Second) }},
		{"devices lost their anchors during the canary", rootSpec(), rotation.Canaried, both,
			func(w *world, id string) { w.counts = counts{ledger.AnchorTrusts: 994, ledger.AnchorLeft: 6} },
			[]string{"99.40 % of 1000 devices have the new anchors"},
			func(w *world, id string) { w.counts[ledger.AnchorLeft] = 1 }},
		{"one officer too few for the switch", rootSpec(), rotation.Canaried, both[:1],
			func(w *world, id string) {},
			[]string{"1 of 2 officers have signed for SWITCHED: alice", "--gate SWITCHED"},
			func(w *world, id string) { must(w.t, w.sign(id, rotation.Switched, "carol")) }},
		{"one second before the end of draining", rootSpec(), rotation.Draining, both,
			func(w *world, id string) { w.now = w.get(id).Since.Add(90*day - time.Second) },
			[]string{"DRAINING lasts at least 90 days"},
			func(w *world, id string) { w.now = w.now.Add(time.Second) }},
		{"one device of a hundred thousand has not moved", rootSpec(), rotation.Draining, both,
			func(w *world, id string) { w.counts = counts{ledger.AnchorMoved: 99999, ledger.AnchorTrusts: 1} },
			[]string{"99.99 % of 100000 devices have moved, 100.00 % are asked for: 1 left: 1 trusts"},
			func(w *world, id string) { w.counts = counts{ledger.AnchorMoved: 99999, ledger.AnchorWaived: 1} }},
		{"the plan lets two in a thousand stay behind, and there are three", func() rotation.Spec { s := rootSpec(); s.Gates.Moved = 9980; return s }(), rotation.Draining, both,
			func(w *world, id string) { w.counts = counts{ledger.AnchorMoved: 997, ledger.AnchorSilent: 3} },
			[]string{"99.70 % of 1000 devices have moved, 99.80 % are asked for"},
			func(w *world, id string) { w.counts = counts{ledger.AnchorMoved: 998, ledger.AnchorSilent: 2} }},
		{"one certificate is in force under the old issuing CA", issuingSpec(), rotation.Draining, both,
			func(w *world, id string) { w.below["a"] = rotation.Left{Devices: 1} },
			[]string{"1 certificate of devices that are not waived in force under a", "mintmark cert revoke --issuer a --superseded"},
			func(w *world, id string) { w.below["a"] = rotation.Left{} }},
		// The certificates of those that were waived are not among what is left.
		{"a waiver makes no room for a device that was not waived", issuingSpec(), rotation.Draining, both,
			func(w *world, id string) {
				w.counts = counts{ledger.AnchorMoved: 995, ledger.AnchorWaived: 5}
				w.below["a"] = rotation.Left{Devices: 3}
			},
			[]string{"3 certificates of devices that are not waived in force under a"},
			func(w *world, id string) { w.below["a"] = rotation.Left{} }},
		{"one device comes in at a cloud by the old CA only", rootSpec(), rotation.Draining, both,
			func(w *world, id string) { w.clouds[1].remaining = 1 },
			[]string{"azure/main: 1 device comes in by a only: by its own list"},
			func(w *world, id string) { w.clouds[1].remaining = 0 }},
		{"waivers are the cloud's to leave out", rootSpec(), rotation.Draining, both,
			func(w *world, id string) {
				w.counts = counts{ledger.AnchorMoved: 998, ledger.AnchorWaived: 2}
				w.clouds[0].remaining = 1
			},
			[]string{"aws/line-a: 1 device comes in by a only"},
			func(w *world, id string) { w.clouds[0].remaining = 0 }},
		{"a cloud and the ledger disagree", issuingSpec(), rotation.Draining, both,
			func(w *world, id string) { w.clouds[0].unknown = errors.New("the cloud lists 7, the ledger 5") },
			[]string{"aws/line-a", "the cloud lists 7, the ledger 5"},
			func(w *world, id string) { w.clouds[0].unknown = nil }},
		{"a cloud that counts less than nothing", rootSpec(), rotation.Draining, both,
			func(w *world, id string) { w.clouds[0].remaining = -1 },
			[]string{"aws/line-a: -1 devices"},
			func(w *world, id string) { w.clouds[0].remaining = 0 }},
		{"one officer too few for the end of trust", rootSpec(), rotation.Draining, both[:1],
			func(w *world, id string) {}, []string{"1 of 2 officers have signed for TRUST_REMOVED"},
			func(w *world, id string) { must(w.t, w.sign(id, rotation.TrustRemoved, "bob")) }},
		{"a device came back by the old CA", rootSpec(), rotation.TrustRemoved, both,
			func(w *world, id string) { w.clouds[0].remaining = 1 },
			[]string{"aws/line-a: 1 device comes in by a only"},
			func(w *world, id string) { w.clouds[0].remaining = 0 }},
		{"nobody has signed for retirement", rootSpec(), rotation.TrustRemoved, nil,
			func(w *world, id string) {}, []string{"0 of 2 officers have signed for RETIRED"},
			func(w *world, id string) {
				must(w.t, w.sign(id, rotation.Retired, "bob"))
				must(w.t, w.sign(id, rotation.Retired, "alice"))
			}},
		{"a certificate of a device is in force to the last", rootSpec(), rotation.Retired, both,
			func(w *world, id string) { w.below["a"] = rotation.Left{Devices: 1, LastExpiry: w.now} },
			[]string{"1 certificate of devices and 0 of others are in force under a"},
			func(w *world, id string) { w.now = w.now.Add(time.Second) }},
		{"a certificate of a server is in force", issuingSpec(), rotation.Retired, both,
			func(w *world, id string) { w.below["a"] = rotation.Left{Others: 1, LastExpiry: w.now.Add(day)} },
			[]string{"0 certificates of devices and 1 of others are in force under a"},
			func(w *world, id string) { w.below["a"] = rotation.Left{} }},
		{"it is not known when the last one expires", rootSpec(), rotation.Retired, both,
			func(w *world, id string) { w.below["a"] = rotation.Left{Others: 1} },
			[]string{"1 of others are in force under a"},
			func(w *world, id string) { w.below["a"] = rotation.Left{} }},
		{"one officer too few for the archive", rootSpec(), rotation.Retired, both[1:],
			func(w *world, id string) {}, []string{"1 of 2 officers have signed for ARCHIVED: bob"},
			func(w *world, id string) { must(w.t, w.sign(id, rotation.Archived, "alice")) }},
		{"the clock went back behind the state", issuingSpec(), rotation.CloudActiveBoth, nil,
			func(w *world, id string) { w.now = w.get(id).Since.Add(-5*time.Minute - time.Second) },
			[]string{"set the clock", "CLOUD_ACTIVE_BOTH was entered at"},
			func(w *world, id string) { w.now = w.now.Add(time.Second) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, id := ready(t, c.spec, c.at, c.officers...)
			good := w.clone()
			c.spoil(w, id)
			before := w.snapshot(id)
			status, err := w.machine().Status(context.Background(), id)
			if err != nil {
				t.Fatal(err)
			}
			result := w.blocked(id, c.at, c.says...)
			if strings.Join(status.Blocked, "") != result.Blocked[0] || status.Next != c.at.Next() || result.Next != c.at.Next() {
				t.Errorf("status says %q before %s, run %q before %s", status.Blocked, status.Next, result.Blocked, result.Next)
			}
			if got := w.snapshot(id); got != before {
				t.Errorf("something was done all the same:\n%s\nbefore\n%s", got, before)
			}
			c.mend(w, id)
			for _, w := range []*world{w, good} {
				if len(c.officers) < 2 && c.at.Next().Signed() && w == good {
					continue
				}
				status, err := w.machine().Status(context.Background(), id)
				if err != nil || len(status.Blocked) != 0 || c.at != rotation.CloudActiveBoth && len(status.Measured) == 0 {
					t.Errorf("status says %q, found %q, %v", status.Blocked, status.Measured, err)
				}
				if result, err := w.machine().Run(context.Background(), id, c.at.Next(), "alice", nil); err != nil || result.Rotation.State != string(c.at.Next()) {
					t.Errorf("it is not let through when all is well: %q, %v", result.Blocked, err)
				}
				w.check(id)
			}
		})
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestMeasured: what was found is shown before the gate is passed, and stands in the
// journal after it.
func TestMeasured(t *testing.T) {
	w, id := ready(t, issuingSpec(), rotation.Draining, "alice", "bob")
	w.below["a"] = rotation.Left{Others: 2}
	status, err := w.machine().Status(context.Background(), id)
	must(t, err)
	if _, err := w.machine().Run(context.Background(), id, rotation.TrustRemoved, "alice", nil); err != nil {
		t.Fatal(err)
	}
	last := w.journal[id][len(w.journal[id])-1]
	for _, text := range []string{strings.Join(status.Measured, "; "), last.Text} {
		w.says(text, "DRAINING has lasted at least 90 days", "100.00 % of 1000 devices have moved, 100.00 % are asked for", "0 certificates of devices that are not waived in force under a", "2 certificates of others",
			"aws/line-a: 0 devices come in by a only: by its own list", "azure/main: 0 devices", "2 of 2 officers have signed for TRUST_REMOVED: alice, bob")
	}
	if strings.Join(status.Signed, " ") != "alice bob" || len(status.Blocked) != 0 {
		t.Errorf("signed by %q, blocked by %q", status.Signed, status.Blocked)
	}
}

// TestUnmeasured: what cannot be measured is missing.
func TestUnmeasured(t *testing.T) {
	for _, c := range []struct {
		point string
		spec  rotation.Spec
		at    rotation.State
	}{
		{"count, before", rootSpec(), rotation.Distributing},
		{"count, before", rootSpec(), rotation.Canaried},
		{"count, before", rootSpec(), rotation.Draining},
		{"officers, before", rootSpec(), rotation.Canaried},
		{"left below a, before", issuingSpec(), rotation.Draining},
		{"aws/line-a remaining, before", rootSpec(), rotation.Draining},
		{"left below a, before", issuingSpec(), rotation.Retired},
	} {
		t.Run(c.point+" in "+string(c.at), func(t *testing.T) {
			var officers []string
			if c.at.Next().Signed() {
				officers = []string{"alice", "bob"}
			}
			w, id := ready(t, c.spec, c.at, officers...)
			dry := w.clone()
			if _, err := dry.machine().Status(context.Background(), id); err != nil {
				t.Fatal(err)
			}
			w.points = nil
			for i, point := range dry.points {
				if point == c.point {
					w.fail = i + 1
				}
			}
			if w.fail == 0 {
				t.Fatalf("%s is not asked for: %q", c.point, dry.points)
			}
			result, err := w.machine().Status(context.Background(), id)
			if err != nil || len(result.Blocked) != 1 || !strings.Contains(result.Blocked[0], "injected") {
				t.Errorf("%q, %v", result.Blocked, err)
			}
		})
	}
}

// TestEmergency: shares are shown and not waited for, signatures are.
func TestEmergency(t *testing.T) {
	for _, spec := range []rotation.Spec{emergency(rootSpec()), emergency(issuingSpec())} {
		t.Run(string(spec.Kind), func(t *testing.T) {
			w := newWorld(t)
			id := w.plan(spec)
			w.counts = counts{ledger.AnchorLeft: 1000}
			w.below["a"] = rotation.Left{Devices: 1000, Others: 1, LastExpiry: start.Add(1000 * day)}
			w.clouds[0].remaining = 5
			for _, state := range rotation.States[1 : len(rotation.States)-1] {
				if state.Signed() {
					must(t, w.sign(id, state, "alice"))
					result := w.blocked(id, rotation.States[stateIndex(state)-1], "1 of 2 officers")
					shown := strings.Join(result.Measured, "\n")
					if state == rotation.Switched && spec.Kind == ledger.RotateRoot {
						w.says(shown, "0.00 % of 1000 devices have the new anchors", "shown, not asked for", "1000 devices have not the anchors of b, and will refuse this server from the switch on")
					}
					if state == rotation.TrustRemoved {
						w.says(shown, "0.00 % of 1000 devices have moved", "shown, not asked for", "aws/line-a: 5 devices come in")
						if spec.Kind == ledger.RotateIssuing {
							w.says(shown, "1000 certificates of devices that are not waived in force under a", "1 certificate of others", "1000 devices have not moved, and will have to enroll anew")
						}
					}
					must(t, w.sign(id, state, "bob"))
				}
				result, err := w.machine().Run(context.Background(), id, state, "alice", nil)
				if err != nil || result.Rotation.State != string(state) {
					t.Fatalf("it stops before %s: %q, %v", state, result.Blocked, err)
				}
				if state == rotation.Approved && (w.clouds[0].stage != rotation.StageCutOff || w.clouds[1].stage != rotation.StageCutOff || w.made) {
					t.Error("the clouds do not come first")
				}
			}
			if w.now != start {
				t.Error("time has passed")
			}
			if !w.revoked {
				t.Error("the old CA was not revoked")
			}
			must(t, w.sign(id, rotation.Archived, "alice"))
			must(t, w.sign(id, rotation.Archived, "bob"))
			w.blocked(id, rotation.Retired, "1000 certificates of devices and 1 of others are in force under a")
			w.check(id)
		})
	}
}

func stateIndex(s rotation.State) int {
	for i, state := range rotation.States {
		if state == s {
			return i
		}
	}
	return -1
}

// TestNothingToDistribute: an issuing CA's devices have its root, and no time is spent on
// giving it to them.
func TestNothingToDistribute(t *testing.T) {
	w := newWorld(t)
	id := w.plan(issuingSpec())
	must(t, w.sign(id, rotation.Approved, "alice"))
	must(t, w.sign(id, rotation.Approved, "carol"))
	w.blockedTwice(id)
	if w.now != start || w.given {
		t.Errorf("given %t", w.given)
	}
	found := false
	for _, e := range w.journal[id] {
		found = found || e.Step == "enter" && e.State == "CANARY" && strings.Contains(e.Text, "no anchors to distribute")
	}
	if !found {
		t.Errorf("the journal does not say so: %v", w.journal[id])
	}
}

// blockedTwice runs to the canary, which lacks time and signatures.
func (w *world) blockedTwice(id string) {
	w.t.Helper()
	result, err := w.machine().Run(context.Background(), id, "", "alice", nil)
	if err != nil || result.Rotation.State != string(rotation.Canaried) || len(result.Blocked) != 2 {
		w.t.Fatalf("%s %q %v", result.Rotation.State, result.Blocked, err)
	}
}

// TestNoDevices: where there are none, nobody is waited for.
func TestNoDevices(t *testing.T) {
	w, id := ready(t, rootSpec(), rotation.Draining, "alice", "bob")
	w.counts = nil
	if result, err := w.machine().Run(context.Background(), id, rotation.TrustRemoved, "alice", nil); err != nil || result.Rotation.State != string(rotation.TrustRemoved) {
		t.Errorf("%q, %v", result.Blocked, err)
	}
}

// TestClock: a clock that differs a little does not take the record back in time.
func TestClock(t *testing.T) {
	w := newWorld(t)
	id := w.plan(rootSpec())
	w.forward(id, rotation.KeyGenerated)
	since := w.get(id).Since
	w.now = since.Add(-time.Minute)
	if _, err := w.machine().Run(context.Background(), id, rotation.PathsVerified, "alice", nil); err != nil {
		t.Fatal(err)
	}
	if r := w.get(id); r.State != string(rotation.PathsVerified) || r.Since.Before(since) {
		t.Errorf("%s since %s, and the state before since %s", r.State, r.Since, since)
	}
	var last time.Time
	for _, e := range w.journal[id] {
		if e.At.Before(last) {
			t.Errorf("line %d is before the one before", e.Number)
		}
		last = e.At
	}
}
