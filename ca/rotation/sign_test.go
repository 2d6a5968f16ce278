package rotation_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"mintmark/ca/rotation"
	"mintmark/internal/access"
	"mintmark/internal/ledger"
)

// TestStatement: the text, and that another move has another one.
func TestStatement(t *testing.T) {
	r := ledger.Rotation{ID: "k3f7q2xw4m", Kind: ledger.RotateRoot, Old: "root", New: "root2", Plan: []byte("{}")}
	const want = `mintmark rotation v1
id: k3f7q2xw4m
kind: root
old: root
new: root2
gate: SWITCHED
plan-sha256: 44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a
`
	statement := rotation.Statement(r, rotation.Switched)
	if string(statement) != want {
		t.Errorf("the statement is\n%s\nwant\n%s", statement, want)
	}
	for name, change := range map[string]func(r *ledger.Rotation, gate *rotation.State){
		"id":   func(r *ledger.Rotation, gate *rotation.State) { r.ID = "k3f7q2xw4n" },
		"kind": func(r *ledger.Rotation, gate *rotation.State) { r.Kind = ledger.RotateIssuing },
		"old":  func(r *ledger.Rotation, gate *rotation.State) { r.Old = "root3" },
		"new":  func(r *ledger.Rotation, gate *rotation.State) { r.New = "root3" },
		"gate": func(r *ledger.Rotation, gate *rotation.State) { *gate = rotation.Retired },
		"plan": func(r *ledger.Rotation, gate *rotation.State) { r.Plan = []byte("{ }") },
		"line": func(r *ledger.Rotation, gate *rotation.State) {
			r.Old, r.New = "root\nnew: root2\ngate: SWITCHED", ""
		},
		"nothing": func(r *ledger.Rotation, gate *rotation.State) { r.New = "" },
		"quotes":  func(r *ledger.Rotation, gate *rotation.State) { r.New = `"root2"` },
	} {
		other, gate := r, rotation.Switched
		change(&other, &gate)
		if text := rotation.Statement(other, gate); bytes.Equal(text, statement) || bytes.Count(text, []byte("\n")) != 7 {
			t.Errorf("another %s: the statement is\n%s", name, text)
		}
	}
}

// FuzzStatement: two moves have the same statement only if they are the same.
func FuzzStatement(f *testing.F) {
	f.Add("id", "a", "b", "SWITCHED", "id", "a", "b", "SWITCHED")
	f.Add("id", "a\nnew: b", "", "SWITCHED", "id", "a", "b", "SWITCHED")
	f.Add("id", `"a"`, "\xff", "", "id", "a", "\ufffd", "")
	f.Fuzz(func(t *testing.T, id, old, new, gate, id2, old2, new2, gate2 string) {
		one := rotation.Statement(ledger.Rotation{ID: id, Old: old, New: new}, rotation.State(gate))
		two := rotation.Statement(ledger.Rotation{ID: id2, Old: old2, New: new2}, rotation.State(gate2))
		same := id == id2 && old == old2 && new == new2 && gate == gate2
		if bytes.Equal(one, two) != same {
			t.Errorf("equal: %v\n%s\n%s", !same, one, two)
		}
		if bytes.Count(one, []byte("\n")) != 7 {
			t.Errorf("lines: %s", one)
		}
	})
}

// TestSignRefused: a signature counts only as what it is.
func TestSignRefused(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	w.officer("dave", access.Operator)
	w.officer("erin", access.Officer)
	w.officers[len(w.officers)-1].RemovedAt = start
	w.officer("frank", access.Officer)
	w.officers[len(w.officers)-1].Key = nil
	id := w.plan(rootSpec())
	signature := func(officer string, r ledger.Rotation, gate rotation.State) []byte {
		out, err := access.Sign(w.keys[officer], rotation.Statement(r, gate))
		must(t, err)
		return out
	}
	r := *w.get(id)
	good := signature("alice", r, rotation.Approved)
	other := r
	other.Plan = bytes.Replace(r.Plan, []byte(`"moved":10000`), []byte(`"moved":1`), 1)
	foreign := r
	foreign.ID = "aaaaaaaaaa"
	flipped := bytes.Clone(good)
	flipped[7] ^= 1
	for _, c := range []struct {
		name, officer string
		gate          rotation.State
		signature     []byte
		rule          string
	}{
		{"nobody", "mallory", rotation.Approved, good, "rotation-signer"},
		{"an operator", "dave", rotation.Approved, signature("dave", r, rotation.Approved), "rotation-signer"},
		{"a removed officer", "erin", rotation.Approved, signature("erin", r, rotation.Approved), "rotation-signer"},
		{"an officer without a key", "frank", rotation.Approved, signature("frank", r, rotation.Approved), "rotation-signer"},
		{"another's signature", "bob", rotation.Approved, good, "rotation-signature"},
		{"one bit", "alice", rotation.Approved, flipped, "rotation-signature"},
		{"nothing", "alice", rotation.Approved, nil, "rotation-signature"},
		{"much", "alice", rotation.Approved, bytes.Repeat(good, 100), "rotation-signature"},
		{"another gate's", "alice", rotation.Approved, signature("alice", r, rotation.Switched), "rotation-signature"},
		{"another plan's", "alice", rotation.Approved, signature("alice", other, rotation.Approved), "rotation-signature"},
		{"another rotation's", "alice", rotation.Approved, signature("alice", foreign, rotation.Approved), "rotation-signature"},
		{"a gate that is not next", "alice", rotation.Switched, signature("alice", r, rotation.Switched), "rotation-gate"},
		{"a gate that nobody signs for", "alice", rotation.KeyGenerated, signature("alice", r, rotation.KeyGenerated), "rotation-gate"},
		{"no gate", "alice", "", signature("alice", r, ""), "rotation-gate"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := w.machine().Sign(ctx, id, c.gate, c.officer, c.signature)
			rule(t, err, c.rule)
			if got := w.get(id); len(got.Signatures) != 0 || got.Version != 1 {
				t.Error("it was recorded all the same")
			}
		})
	}
	next := w.clone()
	next.forward(id, rotation.Approved)
	rule(t, next.sign(id, rotation.KeyGenerated, "alice"), "rotation-gate", "nobody signs for")
	must(t, w.sign(id, rotation.Approved, "alice"))
	rule(t, w.sign(id, rotation.Approved, "alice"), "rotation-signed", "alice has signed for APPROVED already")
	if text := w.journal[id][1].Text; !strings.Contains(text, "alice signed for APPROVED: 1 of 2") {
		t.Errorf("the journal says %q", text)
	}
	// Another name with the same key is the same person.
	w.officer("alice-again", access.Officer)
	w.officers[len(w.officers)-1].Key, w.keys["alice-again"] = w.officers[0].Key, w.keys["alice"]
	rule(t, w.sign(id, rotation.Approved, "alice-again"), "rotation-signed")
	if _, err := w.machine().Sign(ctx, "nothing", rotation.Approved, "alice", good); !errors.Is(err, ledger.ErrNotFound) {
		t.Errorf("an unknown rotation: %v", err)
	}
	w.forward(id, rotation.Archived)
	_, err := w.machine().Sign(ctx, id, rotation.Archived, "carol", good)
	rule(t, err, "rotation-gate")
}

// TestSignEarly: nobody signs for what is not so yet.
func TestSignEarly(t *testing.T) {
	for _, c := range []struct {
		name  string
		spec  rotation.Spec
		at    rotation.State
		early func(w *world, id string)
		says  string
	}{
		{"nobody has moved", rootSpec(), rotation.Draining, func(w *world, id string) {
			w.counts = counts{ledger.AnchorTrusts: 400, ledger.AnchorNever: 600}
		}, "0.00 % of 1000 devices have moved"},
		{"the canary has just begun", issuingSpec(), rotation.Canaried, func(w *world, id string) { w.now = w.get(id).Since.Add(time.Second) }, "CANARY lasts at least 7 days"},
		{"a cloud lists a device", rootSpec(), rotation.TrustRemoved, func(w *world, id string) { w.clouds[0].remaining = 1 }, "aws/line-a: 1 device comes in"},
		{"a cloud is away", rootSpec(), rotation.TrustRemoved, func(w *world, id string) { w.clouds[0].unknown = errInjected }, "injected"},
		{"certificates are in force for years", rootSpec(), rotation.Retired, func(w *world, id string) {
			w.below["a"] = rotation.Left{Others: 2, LastExpiry: w.now.Add(7000 * day)}
		}, "2 of others are in force under a"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, id := ready(t, c.spec, c.at)
			good := w.clone()
			c.early(w, id)
			version := w.get(id).Version
			rule(t, w.sign(id, c.at.Next(), "alice"), "rotation-early", c.says)
			if w.get(id).Version != version {
				t.Error("it was recorded all the same")
			}
			must(t, good.sign(id, c.at.Next(), "alice"))
		})
	}
}

// TestBackSigned: an emergency that has shut out the old CA is not taken back by one person.
func TestBackSigned(t *testing.T) {
	ctx := context.Background()
	for state := rotation.Approved; state != rotation.TrustRemoved; state = state.Next() {
		w := newWorld(t)
		id := w.plan(emergency(issuingSpec()))
		w.forward(id, state)
		before := w.snapshot(id)
		_, err := w.machine().Rollback(ctx, id, "never mind", "mallory", nil)
		rule(t, err, "rotation-unsigned", "0 of 2 officers have signed for ROLLED_BACK", "--gate ROLLED_BACK")
		must(t, w.sign(id, rotation.RolledBack, "alice"))
		rule(t, w.sign(id, rotation.RolledBack, "alice"), "rotation-signed")
		status, err := w.machine().Status(ctx, id)
		if err != nil || status.Back == nil || status.Back.Officers != 2 || strings.Join(status.Back.Signed, " ") != "alice" {
			t.Errorf("%s: status says %+v, %v", state, status.Back, err)
		}
		_, err = w.machine().Rollback(ctx, id, "never mind", "alice", nil)
		rule(t, err, "rotation-unsigned", "1 of 2 officers", "alice")
		if got := strings.ReplaceAll(w.snapshot(id), "signed ROLLED_BACK alice\n", ""); got != before {
			t.Errorf("%s: something was done all the same:\n%s\nbefore\n%s", state, got, before)
		}
		// What was signed for one state is not kept for another.
		if next := w.clone(); state.Next() != rotation.TrustRemoved {
			next.forward(id, state.Next())
			must(t, next.sign(id, rotation.RolledBack, "bob"))
			_, err = next.machine().Rollback(ctx, id, "never mind", "bob", nil)
			rule(t, err, "rotation-unsigned", "1 of 2 officers", "bob")
		}
		must(t, w.sign(id, rotation.RolledBack, "bob"))
		result, err := w.machine().Rollback(ctx, id, "a false alarm", "alice", nil)
		if err != nil || result.Rotation.State != string(rotation.RolledBack) {
			t.Errorf("%s: two have signed: %s, %v", state, result.Rotation.State, err)
		}
		w.check(id)
	}
	// As soon as one cloud has shut it out.
	w := newWorld(t)
	id := w.plan(emergency(rootSpec()))
	rule(t, w.sign(id, rotation.RolledBack, "alice"), "rotation-gate", "rotate rollback")
	w.signBoth(id, rotation.Approved)
	w.clouds[1].stuck = true
	if _, err := w.machine().Run(ctx, id, "", "alice", nil); err == nil || w.get(id).State != string(rotation.Planned) || w.clouds[0].stage != rotation.StageCutOff {
		t.Fatalf("a cloud that does not follow: %v, in %s", err, w.get(id).State)
	}
	_, err := w.machine().Rollback(ctx, id, "never mind", "mallory", nil)
	rule(t, err, "rotation-unsigned")
	// Of what is no emergency, or has shut nothing out, nobody signs.
	for _, spec := range []rotation.Spec{rootSpec(), issuingSpec()} {
		w := newWorld(t)
		id := w.plan(spec)
		w.forward(id, rotation.Draining)
		rule(t, w.sign(id, rotation.RolledBack, "alice"), "rotation-gate")
		if _, err := w.machine().Rollback(ctx, id, "the pilot failed", "alice", nil); err != nil {
			t.Error(err)
		}
	}
}

// TestSignaturesAtTheGate: they are verified again when the gate is passed.
func TestSignaturesAtTheGate(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(w *world, r *ledger.Rotation)
		says  string
	}{
		"an officer was removed":          {func(w *world, r *ledger.Rotation) { w.officers[1].RemovedAt = w.now }, `"bob" is nobody in force`},
		"an officer lost the role":        {func(w *world, r *ledger.Rotation) { w.officers[1].Roles = []string{string(access.Auditor)} }, "bob is not an officer"},
		"an officer has another key":      {func(w *world, r *ledger.Rotation) { w.officers[1].Key = w.officers[2].Key }, "bob: the signature is not one"},
		"an officer has no key":           {func(w *world, r *ledger.Rotation) { w.officers[1].Key = nil }, "bob has no key"},
		"a signature was forged":          {func(w *world, r *ledger.Rotation) { r.Signatures[1].Signature[3] ^= 1 }, "bob: the signature is not one"},
		"a signature was taken elsewhere": {func(w *world, r *ledger.Rotation) { r.Signatures[1].Gate = "SWITCHED" }, "1 of 2 officers have signed for APPROVED: alice."},
		"one officer twice":               {func(w *world, r *ledger.Rotation) { r.Signatures[1] = r.Signatures[0] }, "alice signed by a key that has signed already"},
		"two names and one key": {func(w *world, r *ledger.Rotation) {
			w.officers[1].Key = w.officers[0].Key
			r.Signatures[1].Signature = r.Signatures[0].Signature
		}, "bob signed by a key that has signed already"},
	} {
		t.Run(name, func(t *testing.T) {
			w, id := ready(t, rootSpec(), rotation.Planned, "alice", "bob")
			c.spoil(w, w.get(id))
			result := w.blocked(id, rotation.Planned, "1 of 2 officers have signed", c.says)
			if len(result.Signed) != 1 || result.Signed[0] != "alice" {
				t.Errorf("signed by %q", result.Signed)
			}
			must(t, w.sign(id, rotation.Approved, "carol"))
			if result, err := w.machine().Run(context.Background(), id, rotation.Approved, "alice", nil); err != nil || result.Rotation.State != "APPROVED" {
				t.Errorf("a third officer does not help: %q, %v", result.Blocked, err)
			}
		})
	}
}

// TestSignTogether: two officers who have read the same version both sign.
func TestSignTogether(t *testing.T) {
	w := newWorld(t)
	id := w.plan(rootSpec())
	late := &lateRecords{records: (*records)(w), list: []ledger.Rotation{*w.get(id)}, times: 1}
	must(t, w.sign(id, rotation.Approved, "alice"))
	signature, err := access.Sign(w.keys["bob"], rotation.Statement(*w.get(id), rotation.Approved))
	must(t, err)
	m := rotation.New(rotation.World{Records: late, Clouds: []rotation.Cloud{w.clouds[0], w.clouds[1]}, Officers: func(context.Context) ([]ledger.Principal, error) { return w.officers, nil }, Now: func() time.Time { return start }})
	r, err := m.Sign(context.Background(), id, rotation.Approved, "bob", signature)
	if err != nil || len(r.Signatures) != 2 || len(w.get(id).Signatures) != 2 {
		t.Errorf("%d signatures, %v", len(r.Signatures), err)
	}
	late.times = 100
	carols, err := access.Sign(w.keys["carol"], rotation.Statement(*w.get(id), rotation.Approved))
	must(t, err)
	if _, err := m.Sign(context.Background(), id, rotation.Approved, "carol", carols); !errors.Is(err, ledger.ErrStale) || late.times != 95 {
		t.Errorf("it was tried %d times, %v", 100-late.times, err)
	}
}

// TestSignAgain: an officer with a new key signs again, and counts once.
func TestSignAgain(t *testing.T) {
	w, id := ready(t, rootSpec(), rotation.Planned, "alice")
	w.officers[0].RemovedAt = start
	w.officer("alice", access.Officer)
	must(t, w.sign(id, rotation.Approved, "alice"))
	if n := len(w.get(id).Signatures); n != 1 {
		t.Errorf("%d signatures are kept", n)
	}
	w.blocked(id, rotation.Planned, "1 of 2 officers have signed for APPROVED: alice.")
}

// TestThreeOfFive: as many as the plan asks for.
func TestThreeOfFive(t *testing.T) {
	w := newWorld(t)
	w.officer("dave", access.Officer)
	w.officer("erin", access.Officer)
	spec := rootSpec()
	spec.Gates.Officers = 3
	id := w.plan(spec)
	must(t, w.sign(id, rotation.Approved, "erin"))
	must(t, w.sign(id, rotation.Approved, "alice"))
	w.blocked(id, rotation.Planned, "2 of 3 officers")
	must(t, w.sign(id, rotation.Approved, "carol"))
	if result, err := w.machine().Run(context.Background(), id, rotation.Approved, "alice", nil); err != nil || result.Rotation.State != "APPROVED" {
		t.Errorf("%q, %v", result.Blocked, err)
	}
}

// TestPause: nothing moves, and it goes on where it was.
func TestPause(t *testing.T) {
	ctx := context.Background()
	w, id := ready(t, rootSpec(), rotation.Distributing)
	r, err := w.machine().Pause(ctx, id, "a holiday", "bob")
	if err != nil || r.Paused != "a holiday" {
		t.Fatalf("%+v, %v", r.Paused, err)
	}
	w.blocked(id, rotation.Distributing, "paused: a holiday. mintmark rotate resume "+id)
	other, unpaused := ready(t, rootSpec(), rotation.Distributing)
	_, err = other.machine().Pause(ctx, unpaused, "", "bob")
	rule(t, err, "rotation-state", "is not paused")
	if _, err := w.machine().Pause(ctx, id, "a holiday", "bob"); err != nil || w.get(id).Version != r.Version {
		t.Errorf("paused once more: %v", err)
	}
	if _, err := w.machine().Pause(ctx, id, "", "bob"); err != nil {
		t.Fatal(err)
	}
	if result, err := w.machine().Run(ctx, id, rotation.Canaried, "alice", nil); err != nil || result.Rotation.State != string(rotation.Canaried) {
		t.Errorf("it does not go on: %q, %v", result.Blocked, err)
	}
	var steps []string
	for _, e := range w.journal[id] {
		if e.Event == "note" && e.Step != "sign" {
			steps = append(steps, e.Step+" by "+e.Actor+": "+e.Text)
		}
	}
	if got := strings.Join(steps, ", "); got != "pause by bob: a holiday, resume by bob: was paused: a holiday" {
		t.Errorf("the journal says %q", got)
	}
	w.forward(id, rotation.Archived)
	_, err = w.machine().Pause(ctx, id, "too late", "bob")
	rule(t, err, "rotation-state")
	w.check(id)
}

// TestPausedInTheMiddle: who is at work is stopped by a pause.
func TestPausedInTheMiddle(t *testing.T) {
	ctx := context.Background()
	w, id := ready(t, rootSpec(), rotation.PathsVerified)
	_, err := w.machine().Run(ctx, id, "", "alice", func(e ledger.RotationEntry) {
		if e.Step == "aws/line-a registered" && e.Event == "begin" {
			if _, err := w.machine().Pause(ctx, id, "stop", "bob"); err != nil {
				t.Error(err)
			}
		}
	})
	if !errors.Is(err, ledger.ErrStale) || !strings.Contains(err.Error(), "changed by someone else") {
		t.Errorf("it goes on: %v", err)
	}
	if w.clouds[1].stage != rotation.StageBefore {
		t.Error("the second cloud was changed all the same")
	}
	w.blocked(id, rotation.PathsVerified, "paused: stop")
	if _, err := w.machine().Pause(ctx, id, "", "bob"); err != nil {
		t.Fatal(err)
	}
	w.now = w.now.Add(time.Hour)
	w.forward(id, rotation.Archived)
	w.check(id)
}
