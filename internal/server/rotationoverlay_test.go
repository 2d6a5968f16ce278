package server

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"mintmark/awsreg"
	"mintmark/ca/rotation"
	"mintmark/dpsreg"
	"mintmark/internal/ledger"
)

// stages in their order.
var stages = []rotation.Stage{
	rotation.StageBefore, rotation.StageCutOff, rotation.StageRegistered, rotation.StageBoth, rotation.StageOldQuiet, rotation.StageOldInactive, rotation.StageOldRemoved,
}

func caWords(t awsreg.Target) string {
	var list []string
	for _, ca := range t.CAs {
		state := ca.State
		if state == "" {
			state = "-"
		}
		list = append(list, ca.Issuer+" "+state)
	}
	return strings.Join(list, ", ")
}

// TestAWSAt: what each stage makes of a target, of each kind of rotation.
func TestAWSAt(t *testing.T) {
	register := &awsreg.Register{Policy: "p"}
	target := awsreg.Target{Name: "line", CAs: []awsreg.CA{
		{Issuer: "line-a", Mode: awsreg.ModeDefault, Use: awsreg.UseJITR},
		{Issuer: "bare", Mode: awsreg.ModeNone, Use: awsreg.UseRegister, Register: register},
		{Issuer: "gone", Mode: awsreg.ModeDefault, Use: awsreg.UseJITR, State: awsreg.StateInactive, Sweep: awsreg.SweepDeactivate},
	}}
	before := fmt.Sprintf("%+v", target)
	root := "a"
	h := hierarchy{
		known: func(string) bool { return true },
		root:  func(string) string { return root },
		under: func(string, string) bool { return true },
	}
	issuing := func(old string) ledger.Rotation {
		return ledger.Rotation{ID: "1", Kind: ledger.RotateIssuing, Old: old, New: "new"}
	}
	roots := ledger.Rotation{ID: "1", Kind: ledger.RotateRoot, Old: "a", New: "b", Twins: []ledger.Twin{{Authority: "line-a"}, {Authority: "bare"}}}
	emergency := issuing("line-a")
	emergency.Emergency = true
	for _, test := range []struct {
		name string
		r    ledger.Rotation
		root string
		want [7]string
	}{
		{"an issuing CA", issuing("line-a"), "a", [7]string{
			"line-a active, bare -, gone inactive", "line-a quiet, bare -, gone inactive",
			"line-a active, new registered, bare -, gone inactive", "line-a active, new active, bare -, gone inactive",
			"line-a quiet, new active, bare -, gone inactive", "line-a inactive, new active, bare -, gone inactive", "line-a deleted, new active, bare -, gone inactive",
		}},
		{"an emergency", emergency, "a", [7]string{
			"line-a active, bare -, gone inactive", "line-a quiet, bare -, gone inactive",
			"line-a quiet, new registered, bare -, gone inactive", "line-a quiet, new active, bare -, gone inactive",
			"line-a quiet, new active, bare -, gone inactive", "line-a inactive, new active, bare -, gone inactive", "line-a deleted, new active, bare -, gone inactive",
		}},
		{"one without a registration", issuing("bare"), "a", [7]string{
			"line-a -, bare -, gone inactive", "line-a -, bare -, gone inactive", "line-a -, bare -, new active, gone inactive", "line-a -, bare -, new active, gone inactive",
			"line-a -, bare -, new active, gone inactive", "line-a -, bare -, new active, gone inactive", "line-a -, bare -, new active, gone inactive",
		}},
		{"one that is out of service", issuing("gone"), "a", [7]string{
			"line-a -, bare -, gone inactive", "line-a -, bare -, gone inactive", "line-a -, bare -, gone inactive", "line-a -, bare -, gone inactive",
			"line-a -, bare -, gone inactive", "line-a -, bare -, gone inactive", "line-a -, bare -, gone deleted",
		}},
		{"a root, before the switch", roots, "a", [7]string{
			"line-a active, bare -, gone inactive", "line-a quiet, bare -, gone inactive", "line-a active, line-a@b registered, bare -, gone inactive", "line-a active, line-a@b active, bare -, gone inactive",
			"line-a active, line-a@b active, bare -, gone inactive", "line-a inactive, line-a@b active, bare -, gone inactive", "line-a deleted, line-a@b active, bare -, gone inactive",
		}},
		{"a root, after the switch", roots, "b", [7]string{
			"line-a -, line-a@a active, bare -, gone inactive", "line-a -, line-a@a quiet, bare -, gone inactive", "line-a -, line-a@a active, bare -, gone inactive", "line-a -, line-a@a active, bare -, gone inactive",
			"line-a -, line-a@a active, bare -, gone inactive", "line-a -, line-a@a inactive, bare -, gone inactive", "line-a -, line-a@a deleted, bare -, gone inactive",
		}},
	} {
		root = test.root
		for i, stage := range stages {
			got := awsAt(target, []moment{{Rotation: test.r, stage: stage}}, h)
			if caWords(got) != test.want[i] {
				t.Errorf("%s, %s: %s, want %s", test.name, stage, caWords(got), test.want[i])
			}
			if err := got.Validate(); err != nil && got.JITR != nil {
				t.Errorf("%s, %s: %v", test.name, stage, err)
			}
		}
	}
	if after := fmt.Sprintf("%+v", target); after != before {
		t.Errorf("the configured target was changed:\n%s\n%s", before, after)
	}
	root = "a"
	undone := awsAt(target, []moment{{issuing("line-a"), rotation.StageBefore, true}}, h)
	if got := caWords(undone); got != "line-a active, new deleted, bare -, gone inactive" {
		t.Errorf("taken back: %s", got)
	}
	// One after the other, and the file still names the first.
	second := issuing("new")
	second.ID, second.New = "2", "newer"
	chain := awsAt(target, []moment{{Rotation: issuing("line-a"), stage: rotation.StageOldRemoved}, {Rotation: second, stage: rotation.StageBoth}}, h)
	if got := caWords(chain); got != "line-a deleted, new active, newer active, bare -, gone inactive" {
		t.Errorf("two rotations: %s", got)
	}
}

// TestAzureAt: the same at DPS.
func TestAzureAt(t *testing.T) {
	root := "a"
	h := hierarchy{known: func(string) bool { return true }, root: func(string) string { return root }, issuer: func(string) string { return "line-a" }}
	target := dpsreg.Target{Name: "plant", CAs: []dpsreg.CA{{Authority: "a", SelfAttested: true}}, Groups: []dpsreg.Group{
		{ID: "named", Anchors: []string{"a"}}, {ID: "by-label", Labels: []string{"line"}}, {ID: "issuing", Anchors: []string{"line-a"}}, {ID: "taken", Anchors: []string{"z", "a"}},
	}}
	before := fmt.Sprintf("%+v", target)
	words := func(t dpsreg.Target) string {
		var list []string
		for _, ca := range t.CAs {
			list = append(list, strings.TrimSpace(ca.Authority+" "+ca.State))
		}
		for _, g := range t.Groups {
			text := g.ID + "=" + strings.Join(g.Anchors, "+")
			if g.Disabled {
				text += "!"
			}
			list = append(list, text)
		}
		return strings.Join(list, " ")
	}
	roots := ledger.Rotation{ID: "1", Kind: ledger.RotateRoot, Old: "a", New: "b"}
	issuing := ledger.Rotation{ID: "1", Kind: ledger.RotateIssuing, Old: "line-a", New: "line-b"}
	urgent := roots
	urgent.Emergency = true
	for _, test := range []struct {
		name string
		r    ledger.Rotation
		want [7]string
	}{
		{"a root", roots, [7]string{
			"a named=a by-label=a issuing=line-a taken=z+a", "a named=a by-label=a issuing=line-a taken=z+a", "a b named=a by-label=a issuing=line-a taken=z+a",
			"a b named=a+b by-label=a+b issuing=line-a taken=z+a", "a b named=b+a by-label=b+a issuing=line-a taken=z+a", "a b named=b by-label=b issuing=line-a taken=z+a",
			"a deleted b named=b by-label=b issuing=line-a taken=z+a",
		}},
		{"an issuing CA", issuing, [7]string{
			"a named=a by-label= issuing=line-a taken=z+a", "a named=a by-label= issuing=line-a taken=z+a", "a named=a by-label= issuing=line-a taken=z+a",
			"a named=a by-label= issuing=line-a+line-b taken=z+a", "a named=a by-label= issuing=line-b+line-a taken=z+a", "a named=a by-label= issuing=line-b taken=z+a",
			"a named=a by-label= issuing=line-b taken=z+a",
		}},
		{"an emergency", urgent, [7]string{
			"a named=a by-label=a issuing=line-a taken=z+a", "a named=a! by-label=a! issuing=line-a taken=z+a!", "a b named=a! by-label=a! issuing=line-a taken=z+a!",
			"a b named=b by-label=b issuing=line-a taken=b+z", "a b named=b by-label=b issuing=line-a taken=b+z", "a b named=b by-label=b issuing=line-a taken=b+z",
			"a deleted b named=b by-label=b issuing=line-a taken=b+z",
		}},
	} {
		for i, stage := range stages {
			got := azureAt(target, []moment{{Rotation: test.r, stage: stage}}, h)
			if words(got) != test.want[i] {
				t.Errorf("%s, %s:\n%s, want\n%s", test.name, stage, words(got), test.want[i])
			}
			alone := stage == rotation.StageOldInactive || stage == rotation.StageOldRemoved || test.r.Emergency && (stage == rotation.StageBoth || stage == rotation.StageOldQuiet)
			if (len(got.Released) > 0) != alone || test.r.Kind == ledger.RotateIssuing && alone && !reflect.DeepEqual(got.Replaced, map[string]string{"line-a": "line-b"}) {
				t.Errorf("%s, %s: released %q, replaced %q", test.name, stage, got.Released, got.Replaced)
			}
			if slot := len(got.CAs) - 1; slot > 0 && got.CAs[slot].Authority == "b" && !got.CAs[slot].SelfAttested {
				t.Errorf("%s, %s: the new root is not attested as the old one is", test.name, stage)
			}
		}
	}
	if after := fmt.Sprintf("%+v", target); after != before {
		t.Errorf("the configured target was changed:\n%s\n%s", before, after)
	}
	root = "b" // the authorities have adopted it
	if got := words(azureAt(target, []moment{{Rotation: roots, stage: rotation.StageOldQuiet}}, h)); !strings.Contains(got, "by-label=b+a") {
		t.Errorf("after the switch: %s", got)
	}
	if got := words(azureAt(target, []moment{{roots, rotation.StageBefore, true}}, h)); got != "a b deleted named=a by-label=a issuing=line-a taken=z+a" {
		t.Errorf("taken back: %s", got)
	}
}

// TestFileNamesNew: a file that names the new CA in the place of the old one, before the rotation
// has come to its end, says the same at every stage; where the plan does not take the target
// along, it means what it says.
func TestFileNamesNew(t *testing.T) {
	h := hierarchy{
		known: func(string) bool { return true }, root: func(string) string { return "a" }, under: func(string, string) bool { return true },
		issuer: func(string) string { return "line-a" },
		takes: func(r ledger.Rotation, target, part string) bool {
			return slices.Contains([]string{"aws/line CA line-a", "azure/plant CA a", "azure/plant group named", "azure/plant group issuing"}, target+" "+part)
		},
	}
	line := func(name string) awsreg.Target {
		return awsreg.Target{Name: "line", CAs: []awsreg.CA{{Issuer: "other", Mode: awsreg.ModeDefault, Use: awsreg.UseJITR}, {Issuer: name, Mode: awsreg.ModeDefault, Use: awsreg.UseJITR}}}
	}
	plant := func(root, issuing string) dpsreg.Target {
		return dpsreg.Target{Name: "plant", CAs: []dpsreg.CA{{Authority: root, SelfAttested: true}}, Groups: []dpsreg.Group{{ID: "named", Anchors: []string{root}}, {ID: "issuing", Anchors: []string{issuing}}}}
	}
	issuing := ledger.Rotation{ID: "1", Kind: ledger.RotateIssuing, Old: "line-a", New: "line-b"}
	roots := ledger.Rotation{ID: "1", Kind: ledger.RotateRoot, Old: "a", New: "b"}
	urgent := issuing
	urgent.Emergency = true
	for _, r := range []ledger.Rotation{issuing, urgent, roots} {
		for i, stage := range stages {
			r.State = string([]rotation.State{rotation.Planned, rotation.Approved, rotation.CloudRegistered, rotation.Switched, rotation.Draining, rotation.TrustRemoved, rotation.TrustRemoved}[i])
			at := []moment{{Rotation: r, stage: stage}}
			if old, early := awsAt(line("line-a"), at, h), awsAt(line("line-b"), at, h); r.Kind == ledger.RotateIssuing && !reflect.DeepEqual(old, early) {
				t.Errorf("%s, %s at AWS: %s, want %s", r.Kind, stage, caWords(early), caWords(old))
			}
			early := plant("a", "line-b")
			if r.Kind == ledger.RotateRoot {
				early = plant("b", "line-a")
			}
			if old, got := azureAt(plant("a", "line-a"), at, h), azureAt(early, at, h); !reflect.DeepEqual(old, got) {
				t.Errorf("%s, %s at DPS:\n%+v, want\n%+v", r.Kind, stage, got, old)
			}
		}
	}
	// Two after the other, and the file names the last one.
	second := ledger.Rotation{ID: "2", Kind: ledger.RotateIssuing, Old: "line-b", New: "line-c", State: string(rotation.Draining)}
	both := h
	both.takes = func(ledger.Rotation, string, string) bool { return true }
	issuing.State = string(rotation.TrustRemoved)
	chain := []moment{{Rotation: issuing, stage: rotation.StageOldInactive}, {Rotation: second, stage: rotation.StageOldQuiet}}
	if got := caWords(awsAt(line("line-c"), chain, both)); got != "other -, line-a inactive, line-b quiet, line-c active" {
		t.Errorf("two rotations: %s", got)
	}
	issuing.State = string(rotation.Retired)
	if got := caWords(awsAt(line("line-b"), []moment{{Rotation: issuing, stage: rotation.StageOldRemoved}}, both)); got != "other -, line-b -" {
		t.Errorf("the file has followed in time: %s", got)
	}
	none := h
	none.takes = func(ledger.Rotation, string, string) bool { return false }
	issuing.State = string(rotation.Draining)
	if got := caWords(awsAt(line("line-b"), []moment{{Rotation: issuing, stage: rotation.StageOldQuiet}}, none)); got != "other -, line-b -" {
		t.Errorf("a target that is not in the plan: %s", got)
	}
}

// TestMomentsTakenOver: of two rotations to the same CA, of which the first was taken back and has
// left it, the second says where the clouds are: the first one would hold the old certificates in service.
func TestMomentsTakenOver(t *testing.T) {
	first := ledger.Rotation{ID: "1", Kind: ledger.RotateRoot, Old: "a", New: "b", State: string(rotation.RolledBack), Kept: true, Twins: []ledger.Twin{{Authority: "line-a"}}}
	second := first
	second.ID, second.State = "2", string(rotation.Retired)
	root := "b"
	h := hierarchy{known: func(string) bool { return true }, root: func(string) string { return root }, under: func(string, string) bool { return true }}
	target := awsreg.Target{Name: "line", CAs: []awsreg.CA{{Issuer: "line-a", Mode: awsreg.ModeDefault, Use: awsreg.UseJITR}}}
	for _, test := range []struct {
		name   string
		second ledger.Rotation
		want   string
	}{
		{"at its end", second, "line-a -, line-a@a deleted"},
		{"taken back and let go", func() ledger.Rotation {
			r := second
			r.State, r.Kept = string(rotation.RolledBack), false
			return r
		}(), "line-a -"},
		{"an emergency that nobody has signed", func() ledger.Rotation {
			r := second
			r.State, r.Emergency = string(rotation.Planned), true
			return r
		}(), "line-a -, line-a@a active"},
		{"to another CA", func() ledger.Rotation {
			r := second
			r.New, r.State = "c", string(rotation.Planned)
			r.Kept = false
			return r
		}(), "line-a -, line-a@a active"},
	} {
		if got := caWords(awsAt(target, moments([]ledger.Rotation{first, test.second}, nil), h)); got != test.want {
			t.Errorf("%s: %s, want %s", test.name, got, test.want)
		}
	}
	root = "a"
	shut := second
	shut.State, shut.Emergency = string(rotation.Planned), true
	h.cutOff = func(r ledger.Rotation, target string) bool { return r.ID == "2" && target == "aws/line" }
	if got := caWords(awsAt(target, moments([]ledger.Rotation{first, shut}, nil), h)); got != "line-a quiet, line-a@b active" {
		t.Errorf("an emergency that was begun at this target: %s", got)
	}
	target.Name = "other"
	if got := caWords(awsAt(target, moments([]ledger.Rotation{first, shut}, nil), h)); got != "line-a active, line-a@b active" {
		t.Errorf("an emergency that was begun at another target: %s", got)
	}
	if got := caWords(awsAt(target, moments([]ledger.Rotation{first}, nil), h)); got != "line-a active, line-a@b active" {
		t.Errorf("the first one alone: %s", got)
	}
}
