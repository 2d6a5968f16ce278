package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mintmark/admin"
	"mintmark/internal/pkitest"
)

func TestShare(t *testing.T) {
	for text, want := range map[string]int{
		"99.5": 9950, "100": 10000, "0.01": 1, "99.99%": 9999, "7": 700, "7.": 700, "007": 700,
		"": 0, ".5": 0, "0": 0, "0.00": 0, "100.01": 0, "101": 0, "1000": 0, "-1": 0, "+1": 0, "1e2": 0, "99.555": 0, "9 9": 0, "99,5": 0, "1.-5": 0, "１": 0,
	} {
		var s share
		err := s.Set(text)
		if s.hundredths != want || (err == nil) != (want > 0) {
			t.Errorf("%q is %d hundredths: %v; want %d", text, s.hundredths, err, want)
		}
	}
}

func TestWait(t *testing.T) {
	for text, want := range map[string]int64{
		"0": 0, "30d": 30 * 86400, "12h": 12 * 3600, "90s": 90, "36h30m": 131400,
		"": -1, "-1d": -1, "1y": -1, "6mo": -1, "30": -1, "0d": -1, "1ms": -1, "1d ": -1, "40000d": -1,
	} {
		var w wait
		err := w.Set(text)
		switch {
		case want < 0 && err == nil:
			t.Errorf("%q was taken as %d seconds", text, *w.seconds)
		case want >= 0 && (err != nil || *w.seconds != want):
			t.Errorf("%q: %v, want %d", text, err, want)
		}
	}
}

// signable is a rotation whose next gate officers sign.
func signable() admin.RotationStatus {
	plan := `{"version":1,"id":"k3f7q2xw4m","spec":{"kind":"root","old":"root","new":"root2"}}`
	sum := sha256.Sum256([]byte(plan))
	hash := hex.EncodeToString(sum[:])
	return admin.RotationStatus{
		Rotation: admin.Rotation{ID: "k3f7q2xw4m", Kind: "root", Old: "root", New: "root2", State: "PLANNED", Hash: hash}, Plan: plan,
		Gate: &admin.RotationGate{State: "APPROVED", Officers: 2, Statement: fmt.Sprintf(
			"mintmark rotation v1\nid: k3f7q2xw4m\nkind: root\nold: root\nnew: root2\ngate: APPROVED\nplan-sha256: %s\n", hash)},
	}
}

// TestCheckGate: a server cannot have anything signed but what it shows.
func TestCheckGate(t *testing.T) {
	if err := checkGate(signable(), "k3f7q2xw4m", ""); err != nil {
		t.Fatal(err)
	}
	if err := checkGate(signable(), "k3f7q2xw4m", "APPROVED"); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*admin.RotationStatus){
		"another rotation":      func(s *admin.RotationStatus) { s.Rotation.ID = "other" },
		"over":                  func(s *admin.RotationStatus) { s.Gate = nil },
		"nobody signs":          func(s *admin.RotationStatus) { s.Gate.Officers = 0 },
		"another gate":          func(s *admin.RotationStatus) { s.Gate.State = "SWITCHED" },
		"another plan":          func(s *admin.RotationStatus) { s.Plan = strings.Replace(s.Plan, "root2", "root3", 1) },
		"another hash":          func(s *admin.RotationStatus) { s.Rotation.Hash = strings.Repeat("0", 64) },
		"another CA":            func(s *admin.RotationStatus) { s.Rotation.New = "root3" },
		"another statement":     func(s *admin.RotationStatus) { s.Gate.Statement = "mintmark approval, version 1\n" },
		"more in the statement": func(s *admin.RotationStatus) { s.Gate.Statement += "and: all else\n" },
		"two plans of one hash": func(s *admin.RotationStatus) {
			s.Gate.Statement = strings.Replace(s.Gate.Statement, s.Rotation.Hash, strings.Repeat("1", 64), 1)
		},
		"empty statement": func(s *admin.RotationStatus) { s.Gate.Statement = "" },
	} {
		s := signable()
		change(&s)
		if err := checkGate(s, "k3f7q2xw4m", "APPROVED"); err == nil {
			t.Errorf("%s: it would be signed", name)
		}
	}
}

func TestAgreeHash(t *testing.T) {
	a := &app{in: strings.NewReader(""), out: new(bytes.Buffer), err: new(bytes.Buffer)}
	want := signable().Rotation.Hash
	for given, good := range map[string]bool{
		want: true, strings.ToUpper(want): true, want[:32] + " " + want[32:] + "\n": true,
		want[:63]: false, want + "0": false, want[:16]: false, " ": false, "": false,
	} {
		if err := a.agreeHash(want, given); (err == nil) != good {
			t.Errorf("%q: %v", given, err)
		}
	}
}

func TestTakeCeremony(t *testing.T) {
	a := &app{out: new(bytes.Buffer), err: new(bytes.Buffer)}
	waiting := func(inputs map[string][]byte) admin.RotationStatus {
		return admin.RotationStatus{Waiting: &admin.RotationWaiting{What: "The root is made.", Name: "root.yaml", Ceremony: "ceremony: 1\n", Inputs: inputs}}
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "root.yaml")
	inputs := map[string][]byte{"root.pem": []byte("one"), "alice.pub": []byte("two")}
	if err := a.takeCeremony(waiting(inputs), file); err != nil {
		t.Fatal(err)
	}
	if got := string(pkitest.ReadFile(t, file)) + string(pkitest.ReadFile(t, filepath.Join(dir, "root.pem"))) + string(pkitest.ReadFile(t, filepath.Join(dir, "alice.pub"))); got != "ceremony: 1\nonetwo" {
		t.Errorf("written was %q", got)
	}
	if err := a.takeCeremony(waiting(inputs), file); err != nil {
		t.Errorf("the same again: %v", err)
	}
	if err := a.takeCeremony(waiting(map[string][]byte{"root.pem": []byte("three")}), file); err == nil || !strings.Contains(err.Error(), "is another file") {
		t.Errorf("another file under the same name: %v", err)
	}
	if got := string(pkitest.ReadFile(t, filepath.Join(dir, "root.pem"))); got != "one" {
		t.Errorf("it was overwritten with %q", got)
	}
	if err := a.takeCeremony(admin.RotationStatus{Waiting: &admin.RotationWaiting{What: "nothing can be made"}}, file); err == nil {
		t.Error("a ceremony without a file was taken")
	}
	// Names come from a server.
	for _, name := range []string{"../x", "a/b", "/etc/x", "..", ".", "", ".hidden", "-f", "root.yaml", "a\x00b", "a\nb", strings.Repeat("x", 200)} {
		other := t.TempDir()
		if err := a.takeCeremony(waiting(map[string][]byte{"a.pem": {1}, name: {2}}), filepath.Join(other, "root.yaml")); err == nil {
			t.Errorf("a file %q was written", name)
		}
		if list, err := os.ReadDir(other); err != nil || len(list) != 0 {
			t.Errorf("%q: something was written: %v, %v", name, list, err)
		}
	}
	// Nor is a link followed.
	linked := t.TempDir()
	if err := os.Symlink(filepath.Join(dir, "root.pem"), filepath.Join(linked, "root.pem")); err != nil {
		t.Fatal(err)
	}
	if err := a.takeCeremony(waiting(map[string][]byte{"root.pem": []byte("one")}), filepath.Join(linked, "root.yaml")); err == nil {
		t.Error("a link was followed")
	}
}

func TestParagraph(t *testing.T) {
	text := paragraph("    ", "mintmark: "+strings.Repeat("word ", 40)+"\x1b[2J")
	for line := range strings.Lines(text) {
		if n := len([]rune(strings.TrimSuffix(line, "\n"))); n > helpWidth || !strings.HasPrefix(line, "    ") {
			t.Errorf("a line of %d columns: %q", n, line)
		}
	}
	if strings.ContainsRune(text, 0x1b) {
		t.Errorf("an escape goes to the terminal: %q", text)
	}
}

func TestStatePath(t *testing.T) {
	plan := admin.RotationPlan{Steps: []admin.RotationPlanStep{{State: "APPROVED", Sign: true}, {State: "KEY_GENERATED"}}}
	for state, want := range map[string]string{
		"PLANNED":       "  [>] PLANNED\n  [ ] APPROVED            officers sign\n  [ ] KEY_GENERATED\n",
		"APPROVED":      "  [x] PLANNED\n  [>] APPROVED            officers sign\n  [ ] KEY_GENERATED\n",
		"KEY_GENERATED": "  [x] PLANNED\n  [x] APPROVED            officers sign\n  [>] KEY_GENERATED\n",
		"ROLLED_BACK":   "  [x] PLANNED\n  [x] APPROVED            officers sign\n  [ ] KEY_GENERATED\n  [>] ROLLED_BACK\n",
	} {
		end := ""
		if state == "ROLLED_BACK" {
			end = "rolled back from APPROVED: line 2: does not verify"
		}
		if got := statePath(admin.Rotation{State: state}, plan, end); got != want {
			t.Errorf("%s:\n%s\nwant\n%s", state, got, want)
		}
	}
}
