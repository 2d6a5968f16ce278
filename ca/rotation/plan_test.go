package rotation_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"mintmark/ca/rotation"
	"mintmark/internal/access"
	"mintmark/internal/ledger"
)

// TestPlan: a plan lists everything, and changes nothing.
func TestPlan(t *testing.T) {
	w := newWorld(t)
	w.clouds = append(w.clouds, &cloud{w: w, name: "aws/other", absent: true})
	r, p, err := w.machine().Plan(context.Background(), rootSpec(), "alice")
	if err != nil {
		t.Fatal(err)
	}
	if w.made || w.given || len(w.clouds[0].advanced) != 0 {
		t.Error("planning has done something")
	}
	if r.State != string(rotation.Planned) || r.Version != 1 || r.Actor != "alice" || !r.At.Equal(start) || r.Issue != ledger.IssueOld || r.Canary.Percent != 5 {
		t.Errorf("the record is %+v", r)
	}
	if journal := w.journal[r.ID]; len(journal) != 1 || journal[0].Step != "plan" || !strings.Contains(journal[0].Text, rotation.PlanHash(r)) {
		t.Errorf("the journal is %v", journal)
	}
	sum := sha256.Sum256(r.Plan)
	if rotation.PlanHash(r) != hex.EncodeToString(sum[:]) {
		t.Error("the hash is not that of the plan")
	}
	again, err := rotation.ParsePlan(r.Plan)
	if err != nil {
		t.Fatal(err)
	}
	if one, two := fmt.Sprintf("%+v", p), fmt.Sprintf("%+v", again); one != two {
		t.Errorf("it is read as\n%s\nand was\n%s", two, one)
	}
	if p.Devices != 1000 || !slices.Equal(p.Affected, []string{"line-a", "line-b"}) || !slices.Equal(p.Warned, []string{"a warning"}) || p.Spec.Gates.Officers != 2 || p.Spec.Gates.Trusting != 9950 || p.Spec.Gates.Moved != 10000 || p.Spec.Gates.Silent != 30*day {
		t.Errorf("the plan is %+v", p)
	}
	var lines []string
	for _, step := range p.Steps {
		lines = append(lines, fmt.Sprintf("%s %t %s", step.State, step.Sign, step.Gate))
		for _, c := range step.Changes {
			lines = append(lines, fmt.Sprintf("  %s: %s [%s -> %s]", c.Where, c.What, c.Before, c.After))
		}
	}
	const want = `APPROVED true 2 officers have signed
KEY_GENERATED false 
  mintmark: create key b [ -> ]
CERTIFIED false 
  mintmark: create certificate b with a [ -> ]
PATHS_VERIFIED false 
  mintmark: verify every path that is or will be shown, for trust in the old, both and the new [ -> ]
CLOUD_REGISTERED false 
  aws/line-a: foreign rule elsewhere [ -> ]
  aws/line-a: update ca b [before -> registered]
  azure/main: foreign rule elsewhere [ -> ]
  azure/main: update ca b [before -> registered]
CLOUD_ACTIVE_BOTH false 
  aws/line-a: update ca b [before -> both]
  azure/main: update ca b [before -> both]
DISTRIBUTING false 
  mintmark: write both roots to root.pem of the state directory [ -> ]
  est: update cacerts b [ -> ]
CANARY false DISTRIBUTING has lasted at least 30 days; 99.50 % of the devices have the new anchors; those that an officer has waived count
  mintmark: b serves the labels pilot and 5 % of the devices [ -> ]
SWITCHED true CANARY has lasted at least 7 days; 99.50 % of the devices have the new anchors; those that an officer has waived count; 2 officers have signed
  mintmark: b serves all [ -> ]
  people: officers and stations need b as --server-ca and --ca before TRUST_REMOVED: root.pem of the state directory has both [ -> ]
DRAINING false every path is verified again, and the new CA is there
  mintmark: a signs CRLs and OCSP answers only [ -> ]
  aws/line-a: update ca b [before -> old-quiet]
  azure/main: update ca b [before -> old-quiet]
TRUST_REMOVED true DRAINING has lasted at least 90 days; 100.00 % of the devices have moved; those that an officer has waived count; by each cloud's own list, no device that is not waived comes in by a only; 2 officers have signed
  est: give out a no more, nor what leads from one to the other [ -> ]
  mintmark: write b alone to root.pem of the state directory [ -> ]
  aws/line-a: update ca b [before -> old-inactive]
  azure/main: update ca b [before -> old-inactive]
RETIRED true by each cloud's own list, no device that is not waived comes in by a only; 2 officers have signed
  aws/line-a: update ca b [before -> old-removed]
  azure/main: update ca b [before -> old-removed]
ARCHIVED true the last certificate that a has signed is revoked or over; 2 officers have signed
  people: nothing is done here: when its last CRL is signed, destroy the key of a where it is (in a ceremony with the step destroy, or by the token's own tools), or leave it in its safe [ -> ]`
	if got := strings.Join(lines, "\n"); got != want {
		t.Errorf("the steps are\n%s\nwant\n%s", got, want)
	}
}

// TestPlanEmergency: no floors, and the clouds come first.
func TestPlanEmergency(t *testing.T) {
	w := newWorld(t)
	w.broken["a"] = errors.New("stolen")
	_, p, err := w.machine().Plan(context.Background(), emergency(issuingSpec()), "alice")
	if err != nil {
		t.Fatal(err)
	}
	if g := p.Spec.Gates; g.Distribute != 0 || g.Watch != 0 || g.Drain != 0 {
		t.Errorf("the floors are %+v", g)
	}
	if first := p.Steps[0]; len(first.Changes) != 4 || first.Changes[1].After != string(rotation.StageCutOff) {
		t.Errorf("the first step is %+v", first)
	}
	text := fmt.Sprintf("%+v", p)
	w.says(text, "shown, not waited for", "revoke the certificate of a for keyCompromise", "shown, by each cloud's own list",
		"revoke everything that a has signed and that is in force: of 1000 devices each that has not moved by then has to enroll anew",
		"at TRUST_REMOVED everything that a has signed is revoked: of the 1000 devices under it now")
	for _, never := range []string{"certificate in force by", "have the new anchors", "at least"} {
		if strings.Contains(text, never) {
			t.Errorf("the plan says %q:\n%s", never, text)
		}
	}
}

// TestPlanEmergencyOfRoot: nothing leads from the old root to the new one, and it is said
// whom the switch cuts off.
func TestPlanEmergencyOfRoot(t *testing.T) {
	w := newWorld(t)
	w.counts = counts{ledger.AnchorTrusts: 100, ledger.AnchorLeft: 890, ledger.AnchorNever: 10}
	_, p, err := w.machine().Plan(context.Background(), emergency(rootSpec()), "alice")
	must(t, err)
	w.says(p.Warned[len(p.Warned)-1], "no path leads from a to b", "of the 900 devices without the anchors of b now", "will refuse this server")
}

// TestPlanEmergencyPasses: neither a cloud that cannot be reached or followed nor a rotation
// whose old CA is shut out keeps an emergency from being planned.
func TestPlanEmergencyPasses(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	dry := w.clone()
	dry.plan(emergency(issuingSpec()))
	away := 0
	for i, point := range dry.points {
		if target, rest, _ := strings.Cut(point, " "); !strings.Contains(target, "/") || !strings.HasPrefix(rest, "plan ") {
			continue
		}
		away++
		w := w.clone()
		w.fail = i + 1
		_, p, err := w.machine().Plan(ctx, emergency(issuingSpec()), "alice")
		if err != nil {
			t.Fatalf("%s: %v", point, err)
		}
		target, _, _ := strings.Cut(point, " ")
		if !slices.ContainsFunc(p.Warned, func(text string) bool {
			return strings.HasPrefix(text, target+" was not planned") && strings.Contains(text, "injected") && strings.Contains(text, "has drifted")
		}) {
			t.Errorf("%s: the plan warns of %q", point, p.Warned)
		}
		other := w.clouds[0].name
		if other == target {
			other = w.clouds[1].name
		}
		if !slices.ContainsFunc(p.Steps[0].Changes, func(c rotation.PlanChange) bool { return c.Where == other && c.After == string(rotation.StageCutOff) }) {
			t.Errorf("%s: the other cloud was not planned: %v", point, p.Steps[0].Changes)
		}
	}
	if away < 2 {
		t.Errorf("%d points at which a cloud is asked: %q", away, dry.points)
	}

	full := w.clone()
	full.clouds[0].refuses = map[rotation.Stage]bool{rotation.StageCutOff: true}
	_, p, err := full.machine().Plan(ctx, emergency(rootSpec()), "alice")
	must(t, err)
	w.says(strings.Join(p.Warned, "\n"), "aws/line-a, on the way to APPROVED: refuse ca slot")

	id := w.plan(rootSpec())
	w.forward(id, rotation.TrustRemoved)
	w.clouds[0].remaining = 1
	spec := emergency(issuingSpec())
	spec.Old, spec.New = "line-a", "line-b2"
	if _, _, err := w.machine().Plan(ctx, spec, "alice"); err != nil {
		t.Errorf("beside one in TRUST_REMOVED: %v", err)
	}
}

// TestPlanLax: gates that hardly ask for anything are warned of, and none of an emergency is.
func TestPlanLax(t *testing.T) {
	w := newWorld(t)
	spec := rootSpec()
	spec.Gates = rotation.Gates{Trusting: 1, Moved: 9499}
	_, p, err := w.clone().machine().Plan(context.Background(), spec, "alice")
	must(t, err)
	text := strings.Join(p.Warned, "\n")
	w.says(text, "the switch asks for 0.01 % of the devices only", "the end of trust in a asks for 94.99 %", "DISTRIBUTING may be left at once", "CANARY may be left at once", "DRAINING may be left at once")
	_, p, err = w.machine().Plan(context.Background(), emergency(spec), "alice")
	must(t, err)
	if text := strings.Join(p.Warned, "\n"); strings.Contains(text, "at once") || strings.Contains(text, "asks for") {
		t.Errorf("an emergency warns of %q", text)
	}
}

// TestPlanOfKnownCA: of a new CA that is there already the plan names the certificate.
func TestPlanOfKnownCA(t *testing.T) {
	w := newWorld(t)
	w.findings.NewSHA256 = strings.Repeat("ab", 32)
	spec := rootSpec()
	spec.NewSHA256 = strings.Repeat("cd", 32) // which nobody asks for
	r, p, err := w.machine().Plan(context.Background(), spec, "alice")
	must(t, err)
	if p.Spec.NewSHA256 != w.findings.NewSHA256 || !strings.Contains(string(r.Plan), `"new_sha256":"abab`) {
		t.Errorf("the plan has %q", p.Spec.NewSHA256)
	}
}

// TestPlanRefused: everything that stands against a plan is said before it is recorded.
func TestPlanRefused(t *testing.T) {
	with := func(change func(*rotation.Spec)) rotation.Spec {
		s := rootSpec()
		change(&s)
		return s
	}
	for _, c := range []struct {
		name  string
		spec  rotation.Spec
		world func(w *world)
		rule  string
		says  string
	}{
		{"unknown kind", with(func(s *rotation.Spec) { s.Kind = "leaf" }), nil, "rotation-spec", `kind "leaf"`},
		{"no kind", with(func(s *rotation.Spec) { s.Kind = "" }), nil, "rotation-spec", "kind"},
		{"old is new", with(func(s *rotation.Spec) { s.New = "a" }), nil, "rotation-spec", "leads to another"},
		{"no old", with(func(s *rotation.Spec) { s.Old = "" }), nil, "rotation-spec", "name of an authority"},
		{"a name of the clouds", with(func(s *rotation.Spec) { s.New = "b@a" }), nil, "rotation-spec", `"b@a"`},
		{"a name with a line break", with(func(s *rotation.Spec) { s.New = "b\ngate: x" }), nil, "rotation-spec", "name of an authority"},
		{"canary below nothing", with(func(s *rotation.Spec) { s.Canary.Percent = -1 }), nil, "rotation-spec", "-1 percent"},
		{"canary above all", with(func(s *rotation.Spec) { s.Canary.Percent = 101 }), nil, "rotation-spec", "101 percent"},
		{"too many labels", with(func(s *rotation.Spec) { s.Canary.Labels = make([]string, 1001) }), nil, "rotation-spec", "1001 labels"},
		{"empty label", with(func(s *rotation.Spec) { s.Canary.Labels = []string{""} }), nil, "rotation-spec", "EST label"},
		{"label of a terminal", with(func(s *rotation.Spec) { s.Canary.Labels = []string{"\x1b[2J"} }), nil, "rotation-spec", "EST label"},
		{"one officer", with(func(s *rotation.Spec) { s.Gates.Officers = 1 }), nil, "rotation-spec", "1 officers"},
		{"negative officers", with(func(s *rotation.Spec) { s.Gates.Officers = -2 }), nil, "rotation-spec", "-2 officers"},
		{"21 officers", with(func(s *rotation.Spec) { s.Gates.Officers = 21 }), nil, "rotation-spec", "21 officers"},
		{"share trusting beyond all", with(func(s *rotation.Spec) { s.Gates.Trusting = 10001 }), nil, "rotation-spec", "trusting of 100.01 %"},
		{"share trusting below nothing", with(func(s *rotation.Spec) { s.Gates.Trusting = -1 }), nil, "rotation-spec", "trusting"},
		{"share moved beyond all", with(func(s *rotation.Spec) { s.Gates.Moved = 10001 }), nil, "rotation-spec", "moved"},
		{"share moved below nothing", with(func(s *rotation.Spec) { s.Gates.Moved = -1 }), nil, "rotation-spec", "moved"},
		{"negative floor distribute", with(func(s *rotation.Spec) { s.Gates.Distribute = -1 }), nil, "rotation-spec", "distribute"},
		{"negative floor watch", with(func(s *rotation.Spec) { s.Gates.Watch = -1 }), nil, "rotation-spec", "watch"},
		{"negative floor drain", with(func(s *rotation.Spec) { s.Gates.Drain = -1 }), nil, "rotation-spec", "drain"},
		{"negative silence", with(func(s *rotation.Spec) { s.Gates.Silent = -1 }), nil, "rotation-spec", "silent"},
		{"endless floor", with(func(s *rotation.Spec) { s.Gates.Drain = 3651 * day }), nil, "rotation-spec", "ten years"},
		{"negative validity", with(func(s *rotation.Spec) { s.ValidityDays = -1 }), nil, "rotation-spec", "-1 days"},
		{"endless validity", with(func(s *rotation.Spec) { s.ValidityDays = 36501 }), nil, "rotation-spec", "36501 days"},
		{"long common name", with(func(s *rotation.Spec) { s.CommonName = strings.Repeat("x", 1025) }), nil, "rotation-spec", "common name"},
		{"key URI with a line break", with(func(s *rotation.Spec) { s.KeyURI = "softkms:\n" }), nil, "rotation-spec", "key URI"},
		{"issuing key elsewhere", with(func(s *rotation.Spec) { s.Kind, s.Elsewhere = ledger.RotateIssuing, true }), nil, "rotation-spec", "must be here"},
		{"three officers of four", with(func(s *rotation.Spec) { s.Gates.Officers = 4 }), nil, "rotation-officers", "3 officers have one"},
		{"an officer without a key", with(func(s *rotation.Spec) { s.Gates.Officers = 3 }), func(w *world) { w.officers[2].Key = nil }, "rotation-officers", "2 officers have one"},
		{"an officer who was removed", with(func(s *rotation.Spec) { s.Gates.Officers = 3 }), func(w *world) { w.officers[2].RemovedAt = start }, "rotation-officers", ""},
		{"two names of one key", with(func(s *rotation.Spec) { s.Gates.Officers = 3 }), func(w *world) { w.officers[2].Key = w.officers[0].Key }, "rotation-officers", ""},
		{"an operator is no officer", with(func(s *rotation.Spec) { s.Gates.Officers = 3 }), func(w *world) { w.officers[2].Roles = []string{string(access.Operator)} }, "rotation-officers", ""},
		{"the authorities cannot", rootSpec(), func(w *world) { w.findings.Refused = []string{"the root ends too early"} }, "rotation-authorities", "ends too early"},
		{"the old key does not sign", rootSpec(), func(w *world) { w.broken["a"] = errors.New("token is locked") }, "rotation-key", "token is locked"},
		{"no room at the end of a cloud", rootSpec(), func(w *world) { w.clouds[1].refuses = map[rotation.Stage]bool{rotation.StageOldRemoved: true} }, "rotation-cloud", "azure/main, on the way to RETIRED: refuse ca slot (25 of 25 are taken)"},
		{"no room at the beginning", rootSpec(), func(w *world) { w.clouds[0].refuses = map[rotation.Stage]bool{rotation.StageRegistered: true} }, "rotation-cloud", "aws/line-a, on the way to CLOUD_REGISTERED"},
		{"another one runs", rootSpec(), func(w *world) {
			r, _, err := w.machine().Plan(context.Background(), issuingSpec(), "bob")
			must(w.t, err)
			w.forward(r.ID, rotation.Draining)
			w.rotations[0].Old = "elsewhere"
		}, "rotation-overlap", "from elsewhere to b is in state DRAINING"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			if c.world != nil {
				c.world(w)
			}
			before := len(w.rotations)
			_, _, err := w.machine().Plan(context.Background(), c.spec, "alice")
			rule(t, err, c.rule, c.says)
			if len(w.rotations) != before {
				t.Error("it was recorded all the same")
			}
		})
	}
}

// TestPlanPasses: what looks like the refused and is none.
func TestPlanPasses(t *testing.T) {
	for name, prepare := range map[string]func(w *world) rotation.Spec{
		"the old key is elsewhere": func(w *world) rotation.Spec {
			w.broken["a"] = fmt.Errorf("in a safe: %w", rotation.ErrElsewhere)
			return rootSpec()
		},
		"the old key is gone in an emergency": func(w *world) rotation.Spec {
			w.broken["a"] = errors.New("stolen")
			return emergency(rootSpec())
		},
		"another one stands in TRUST_REMOVED": func(w *world) rotation.Spec {
			w.forward(w.plan(issuingSpec()), rotation.TrustRemoved)
			for _, c := range w.clouds {
				c.stage = rotation.StageBefore
			}
			return rootSpec()
		},
		"as many officers as there are": func(w *world) rotation.Spec { s := rootSpec(); s.Gates.Officers = 3; return s },
		"whole shares and no canary": func(w *world) rotation.Spec {
			s := rootSpec()
			s.Gates.Trusting, s.Gates.Moved, s.Canary = 10000, 10000, ledger.Canary{Percent: 100}
			return s
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.plan(prepare(w))
		})
	}
	w := newWorld(t)
	spec := rootSpec()
	spec.Canary = ledger.Canary{}
	_, p, err := w.machine().Plan(context.Background(), spec, "alice")
	if err != nil || len(p.Warned) != 2 || !strings.Contains(p.Warned[1], "nobody is served") {
		t.Errorf("a canary of nobody: %q, %v", p.Warned, err)
	}
}

// TestPlanRace: of two who plan at once one is refused by the ledger.
func TestPlanRace(t *testing.T) {
	w := newWorld(t)
	id := w.plan(issuingSpec())
	late := &lateRecords{records: (*records)(w), times: 1} // read before that
	m := rotation.New(rotation.World{Records: late, Authorities: (*authorities)(w), Fleet: (*fleet)(w), Now: func() time.Time { return start },
		Officers: func(context.Context) ([]ledger.Principal, error) { return w.officers, nil }})
	_, _, err := m.Plan(context.Background(), rootSpec(), "bob")
	rule(t, err, "rotation-overlap", "meanwhile")
	if len(w.rotations) != 1 || w.rotations[0].ID != id {
		t.Errorf("there are %v", w.rotations)
	}
}

// lateRecords lists what was there before, a number of times.
type lateRecords struct {
	*records
	list  []ledger.Rotation
	times int
}

func (l *lateRecords) Rotations(ctx context.Context) ([]ledger.Rotation, error) {
	if l.times--; l.times < 0 {
		return l.records.Rotations(ctx)
	}
	return l.list, nil
}

// TestTampered: a record that is not what officers have signed goes nowhere.
func TestTampered(t *testing.T) {
	for name, change := range map[string]func(r *ledger.Rotation){
		"old":       func(r *ledger.Rotation) { r.Old = "c" },
		"new":       func(r *ledger.Rotation) { r.New = "c" },
		"kind":      func(r *ledger.Rotation) { r.Kind = ledger.RotateIssuing },
		"emergency": func(r *ledger.Rotation) { r.Emergency = true },
		"percent":   func(r *ledger.Rotation) { r.Canary.Percent = 100 },
		"labels":    func(r *ledger.Rotation) { r.Canary.Labels = []string{"all"} },
		"no plan":   func(r *ledger.Rotation) { r.Plan = nil },
		"a space":   func(r *ledger.Rotation) { r.Plan = append(bytes.Clone(r.Plan), ' ') },
		"another plan of the same rotation": func(r *ledger.Rotation) {
			r.Plan = bytes.Replace(r.Plan, []byte(`"moved":10000`), []byte(`"moved":1`), 1)
		},
		"another rotation's plan": func(r *ledger.Rotation) {
			r.Plan = bytes.Replace(r.Plan, []byte(r.ID), []byte("aaaaaaaaaa"), 1)
		},
	} {
		t.Run(name, func(t *testing.T) {
			w, id := ready(t, rootSpec(), rotation.Planned, "alice", "bob")
			change(&w.rotations[0])
			result, err := w.machine().Run(context.Background(), id, "", "alice", nil)
			if err == nil && len(result.Blocked) == 0 || w.made {
				t.Errorf("it runs: %+v, %v", result.Rotation.State, err)
			}
			if name == "another plan of the same rotation" && (err != nil || !strings.Contains(result.Blocked[0], "0 of 2 officers")) {
				t.Errorf("the signatures count for another plan: %q, %v", result.Blocked, err)
			}
		})
	}
}

// FuzzParsePlan: what is read is written again as it was.
func FuzzParsePlan(f *testing.F) {
	w := newWorld(&testing.T{})
	for _, kind := range kinds {
		w.rotations = nil
		r, _, err := w.machine().Plan(context.Background(), kind.spec(), "alice")
		if err != nil {
			f.Fatal(err)
		}
		f.Add(r.Plan)
		f.Add(append(bytes.Clone(r.Plan), "{}"...))
		f.Add(bytes.ToUpper(r.Plan))
		f.Add(bytes.Replace(r.Plan, []byte(`"version":1`), []byte(`"version":2`), 1))
		f.Add(bytes.Replace(r.Plan, []byte(`"version":1`), []byte(`"version":1,"version":1`), 1))
		f.Add(bytes.Replace(r.Plan, []byte(`"a warning"`), []byte(`"\ud800<>"`), 1))
		f.Add(bytes.Replace(r.Plan, []byte(`08:00:00Z`), []byte(`09:00:00+01:00`), 1))
	}
	f.Add([]byte("null"))
	f.Add([]byte(`{"version":1}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := rotation.ParsePlan(data)
		if err != nil {
			if p.ID != "" || p.Steps != nil {
				t.Error("an error with a plan")
			}
			return
		}
		var b bytes.Buffer
		encoder := json.NewEncoder(&b)
		encoder.SetEscapeHTML(false)
		if err := encoder.Encode(p); err != nil {
			t.Fatal(err)
		}
		if got := bytes.TrimSuffix(b.Bytes(), []byte("\n")); !bytes.Equal(got, data) {
			t.Errorf("%q was read, and is written %q", data, got)
		}
	})
}

// TestParsePlan refuses what is not a plan as plans are written.
func TestParsePlan(t *testing.T) {
	w := newWorld(t)
	w.plan(rootSpec())
	good := w.rotations[0].Plan
	replaced := func(old, new string) []byte {
		out := bytes.Replace(good, []byte(old), []byte(new), 1)
		if bytes.Equal(out, good) {
			t.Fatalf("there is no %q in %s", old, good)
		}
		return out
	}
	for name, data := range map[string][]byte{
		"nothing":         nil,
		"another version": replaced(`"version":1`, `"version":2`),
		"a field more":    replaced(`{"version":1`, `{"more":1,"version":1`),
		"a field twice":   replaced(`"version":1`, `"version":1,"version":1`),
		"upper case":      replaced(`"version"`, `"Version"`),
		"a space":         replaced(`"version":1`, `"version": 1`),
		"something after": append(bytes.Clone(good), '{', '}'),
		"another zone":    replaced(`08:00:00Z`, `09:00:00+01:00`),
		"escaped":         replaced(`a warning`, `\u0061 warning`),
		"too long":        append(bytes.Repeat([]byte(" "), 4<<20), good...),
	} {
		if _, err := rotation.ParsePlan(data); err == nil {
			t.Errorf("%s: read", name)
		}
	}
}
