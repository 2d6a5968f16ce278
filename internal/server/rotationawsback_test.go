package server

import (
	"context"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/iot"
	iottypes "github.com/aws/aws-sdk-go-v2/service/iot/types"

	"mintmark/awsreg"
	"mintmark/ca/rotation"
	"mintmark/internal/ledger"
)

// TestRotationBackAtAWS takes rotations back: what nobody has goes, and what a device may have
// stays; and a target that somebody has changed is left alone until a person has looked.
func TestRotationBackAtAWS(t *testing.T) {
	h := newHall(t)
	old := &gadget{name: "told-1", profile: "device", issuer: "told"}
	h.enroll(t, old)
	h.arrives(t, old)
	told, err := h.ra.Authority("told")
	if err != nil {
		t.Fatal(err)
	}
	r := h.plan(t, rotation.Spec{Kind: ledger.RotateIssuing, Old: "told", New: "told-2"})
	for _, state := range rotation.States[1:6] {
		r = h.enter(t, r.ID, state)
	}
	// Somebody has taken the old CA out of service.
	id := awsreg.CertificateID(told.Certificate().Raw)
	set := func(status iottypes.CACertificateStatus) {
		if _, err := h.things.UpdateCACertificate(t.Context(), &iot.UpdateCACertificateInput{CertificateId: &id, NewStatus: status}); err != nil {
			t.Fatal(err)
		}
	}
	set(iottypes.CACertificateStatusInactive)
	result, err := h.moves.Run(t.Context(), r.ID, rotation.CloudActiveBoth, "alice", nil)
	said := strings.Join(result.Blocked, "\n")
	if err != nil {
		said += err.Error()
	}
	if h.record(t, r.ID).State != string(rotation.CloudRegistered) || !strings.Contains(said, "bring it in order first: mintmark aws plan line") {
		t.Errorf("a target that somebody changed: %s:\n%s", h.record(t, r.ID).State, said)
	}
	set(iottypes.CACertificateStatusActive)
	r = h.enter(t, r.ID, rotation.CloudActiveBoth)
	h.back(t, r.ID)
	h.settled(t, rotation.RolledBack)
	fresh, err := h.ra.Authority("told-2")
	if err != nil {
		t.Fatal(err)
	}
	if a, b := h.caState(t, told.Certificate()), h.caState(t, fresh.Certificate()); a != "ACTIVE DISABLE" || b != "" {
		t.Errorf("told is %q, told-2 %q", a, b)
	}

	// And from where devices have something of the new one.
	r = h.plan(t, rotation.Spec{Kind: ledger.RotateIssuing, Old: "told", New: "told-3"})
	for _, state := range rotation.States[1:11] {
		r = h.enter(t, r.ID, state)
		if state == rotation.Switched {
			h.enroll(t, old)
			h.arrives(t, old)
		}
	}
	if r.State != string(rotation.Draining) {
		t.Fatalf("in %s", r.State)
	}
	h.back(t, r.ID)
	h.settled(t, rotation.RolledBack)
	if fresh, err = h.ra.Authority("told-3"); err != nil {
		t.Fatal(err)
	}
	if a, b := h.caState(t, told.Certificate()), h.caState(t, fresh.Certificate()); a != "ACTIVE DISABLE" || b != "ACTIVE DISABLE" {
		t.Errorf("told is %q, told-3 %q", a, b)
	}
	if old.record.Issuer != "told-3" || !h.connects(t, old, old.certificate) {
		t.Errorf("what a device has of %s lets it in no more", old.record.Issuer)
	}
	h.enroll(t, old)
	if h.arrives(t, old); old.record.Issuer != "told" {
		t.Errorf("after the rollback %s issues", old.record.Issuer)
	}
}

func (x *turner) back(t *testing.T, id string) {
	t.Helper()
	result, err := x.moves.Rollback(t.Context(), id, "rehearsal", "alice", nil)
	if err != nil || result.Rotation.State != string(rotation.RolledBack) {
		t.Fatalf("rolled back: %s, %v: %q", result.Rotation.State, err, result.Blocked)
	}
	entries, err := x.ledger.RotationJournal(t.Context(), id, 0, 1000)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Step == "measure" && e.Event == "done" {
			t.Log(e.Text)
		}
	}
	page, _ := x.ledger.Certificates(t.Context(), ledger.Query{Issuer: result.Rotation.New})
	for _, c := range page.Certificates {
		t.Logf("%s %s %s by %s", c.Purpose, c.Profile, c.Subject, c.Requester.Name)
	}
}

// killedAt are the states whose stage at the clouds is cut off at every call: in a short run only
// the one that makes most.
func killedAt(most rotation.State) map[rotation.State]rotation.Stage {
	all := map[rotation.State]rotation.Stage{
		rotation.CloudRegistered: rotation.StageRegistered, rotation.CloudActiveBoth: rotation.StageBoth, rotation.Draining: rotation.StageOldQuiet,
		rotation.TrustRemoved: rotation.StageOldInactive, rotation.Retired: rotation.StageOldRemoved,
	}
	if os.Getenv("MINTMARK_LONG") != "" {
		return all
	}
	return map[rotation.State]rotation.Stage{most: all[most]}
}

// TestAdvanceKilledAnywhere cuts a step off after each of its calls to AWS, and goes on in a
// new process: it ends where it does undisturbed. With MINTMARK_LONG every step, while a device is
// registered that has moved.
func TestAdvanceKilledAnywhere(t *testing.T) {
	h := newHall(t)
	r := h.plan(t, rotation.Spec{Kind: ledger.RotateIssuing, Old: "jitr", New: "jitr-2"})
	cloud := awsCloud{h.aws, "line"}
	stages := killedAt(rotation.CloudRegistered)
	for _, state := range rotation.States[1:13] {
		stage, kill := stages[state]
		if kill {
			if state.Signed() {
				h.sign(t, r.ID, state)
				r = h.record(t, r.ID)
			}
			h.kill(t, r, stage)
			if plan, err := cloud.Plan(t.Context(), r, stage); err != nil || !plan.Empty() {
				t.Errorf("%s: %v, %v", stage, differing(plan), err)
			}
			delete(stages, state)
		}
		r = h.enter(t, r.ID, state)
		if len(stages) == 0 {
			break
		}
		if state == rotation.Switched {
			g := &gadget{name: "jitr-1", profile: "device", issuer: "jitr"}
			h.enroll(t, g)
			h.arrives(t, g)
		}
	}
}

// kill takes the target to a stage in processes of which each dies one call later than the one
// before.
func (h *hall) kill(t *testing.T, r ledger.Rotation, stage rotation.Stage) {
	t.Helper()
	kills := 0
	for {
		ctx, kill := context.WithCancel(t.Context())
		registrar, err := awsreg.New(awsreg.Config{
			Issuer: h.aws.issuer, Verification: h.aws.verification, Records: h.ledger, Server: "test", Now: h.ra.Now,
			HTTPClient: &mortal{left: kills + 1, kill: kill},
		})
		if err != nil {
			t.Fatal(err)
		}
		dying := awsCloud{&awsTargets{s: h.Server, list: h.aws.list, registrar: registrar, by: h.aws.by, left: h.aws.left, found: h.aws.found}, "line"}
		_, err = dying.Advance(ctx, r, stage)
		kill()
		if err == nil {
			break
		}
		if kills++; kills > 500 {
			t.Fatalf("%s: it never ends: %v", stage, err)
		}
	}
	if kills < 20 {
		t.Errorf("%s: it was killed %d times only", stage, kills)
	}
}

// mortal is a process that dies after so many answers.
type mortal struct {
	left int
	kill func()
}

func (m *mortal) Do(request *http.Request) (*http.Response, error) {
	if m.left--; m.left <= 0 {
		defer m.kill()
	}
	return http.DefaultClient.Do(request)
}
