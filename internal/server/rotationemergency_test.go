package server

import (
	"net/http"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/iot"
	iottypes "github.com/aws/aws-sdk-go-v2/service/iot/types"

	"mintmark/awsreg"
	"mintmark/ca/rotation"
	"mintmark/dpsreg/dps"
	"mintmark/internal/ledger"
)

// planWords are all changes and warnings of a rotation's plan.
func planWords(t *testing.T, r ledger.Rotation) string {
	t.Helper()
	plan, err := rotation.ParsePlan(r.Plan)
	if err != nil {
		t.Fatal(err)
	}
	words := append([]string{}, plan.Warned...)
	for _, step := range plan.Steps {
		for _, c := range step.Changes {
			words = append(words, string(step.State)+" "+c.Where+" "+c.What+" "+c.Before+" "+c.After)
		}
	}
	return strings.Join(words, "\n")
}

// TestEmergencyAtAWS: the key of an issuing CA is in wrong hands, and something else at the target
// is not as it should be. The CA is shut out before anything is made, the rest is brought in order
// with it, who AWS knows stays in, and at the end what is left below the CA is out of service.
func TestEmergencyAtAWS(t *testing.T) {
	h := newHall(t)
	moves := &gadget{name: "moves-1", profile: "device", issuer: "jitr"}
	stays := &gadget{name: "stays-1", profile: "device", issuer: "jitr"}
	stock := &gadget{name: "stock-1", profile: "device", issuer: "jitr"}
	for _, g := range []*gadget{moves, stays, stock} {
		h.enroll(t, g)
	}
	h.arrives(t, moves)
	h.arrives(t, stays)
	jitr, err := h.ra.Authority("jitr")
	if err != nil {
		t.Fatal(err)
	}
	other, err := h.ra.Authority("jitp")
	if err != nil {
		t.Fatal(err)
	}
	id := awsreg.CertificateID(other.Certificate().Raw)
	if _, err := h.things.UpdateCACertificate(t.Context(), &iot.UpdateCACertificateInput{CertificateId: &id, NewStatus: iottypes.CACertificateStatusInactive}); err != nil {
		t.Fatal(err)
	}
	spec := rotation.Spec{Kind: ledger.RotateIssuing, Old: "jitr", New: "jitr-2"}
	if _, _, err := h.moves.Plan(t.Context(), spec, "alice"); err == nil || !strings.Contains(err.Error(), "bring it in order first: mintmark aws plan line") {
		t.Errorf("without an emergency: %v", err)
	}
	spec.Emergency = true
	r := h.plan(t, spec)
	if words := planWords(t, r); !strings.Contains(words, "what differs is brought in order together with this") {
		t.Errorf("the plan does not say what else is changed:\n%s", words)
	}
	r = h.enter(t, r.ID, rotation.Approved)
	if got := h.caState(t, jitr.Certificate()); got != "ACTIVE DISABLE" {
		t.Errorf("shut out, it is %q", got)
	}
	if got := h.caState(t, other.Certificate()); got != "ACTIVE ENABLE" {
		t.Errorf("the other CA is %q", got)
	}
	h.settled(t, rotation.Approved)
	for _, state := range rotation.States[2 : len(rotation.States)-1] {
		r = h.enter(t, r.ID, state)
		if !h.connects(t, moves, moves.certificate) {
			t.Errorf("%s: who AWS knows, and who renews, is cut off", state)
		}
		if h.connect(t, stock.name, stock.certificate) {
			t.Errorf("%s: what AWS has never seen comes in by the old CA", state)
		}
		if got := h.caState(t, jitr.Certificate()); strings.HasSuffix(got, "ENABLE") {
			t.Errorf("%s: the old CA is %q", state, got)
		}
		if !state.From(rotation.TrustRemoved) && !h.connects(t, stays, stays.certificate) {
			t.Errorf("%s: who has not moved is cut off before it has to be", state)
		}
		if state == rotation.Switched {
			h.enroll(t, moves)
			h.arrives(t, moves)
			if moves.record.Issuer != "jitr-2" {
				t.Errorf("renewed by %s", moves.record.Issuer)
			}
		}
		h.settled(t, state)
	}
	eventually(t, "what is left below the old CA is out of service", func() bool { return !h.connect(t, stays.name, stays.certificate) })
	record, err := h.ledger.Certificate(t.Context(), stays.record.Serial)
	if err != nil || record.State != ledger.Revoked {
		t.Errorf("in the ledger it is %s, %v", record.State, err)
	}
}

// TestEmergencyWithoutAWS: that AWS is away does not keep an emergency from being planned, and the
// plan says so; the cut-off is made once AWS is there again.
func TestEmergencyWithoutAWS(t *testing.T) {
	h := newHall(t)
	inject(t, h.Server, `{"operation":"ListCACertificates","every":1,"code":"AccessDeniedException","status":403}`)
	inject(t, h.Server, `{"operation":"DescribeCACertificate","every":1,"code":"AccessDeniedException","status":403}`)
	spec := rotation.Spec{Kind: ledger.RotateIssuing, Old: "jitr", New: "jitr-2"}
	if _, _, err := h.moves.Plan(t.Context(), spec, "alice"); err == nil {
		t.Error("without an emergency it is planned blindly")
	}
	spec.Emergency = true
	r := h.plan(t, spec)
	if words := planWords(t, r); !strings.Contains(words, "aws/line was not planned") {
		t.Errorf("the plan does not warn:\n%s", words)
	}
	h.sign(t, r.ID, rotation.Approved)
	if result, err := h.moves.Run(t.Context(), r.ID, rotation.Approved, "alice", nil); err == nil && result.Rotation.State == string(rotation.Approved) {
		t.Error("it is past a cut-off that AWS has not taken")
	}
	h.disarm(t)
	h.enter(t, r.ID, rotation.Approved)
	jitr, err := h.ra.Authority("jitr")
	if err != nil {
		t.Fatal(err)
	}
	if got := h.caState(t, jitr.Certificate()); got != "ACTIVE DISABLE" {
		t.Errorf("shut out, it is %q", got)
	}
}

// TestEmergencyAtDPS: the key of the root that a group stands on is in wrong hands, and somebody
// has changed another group. The group is disabled before anything is made, and stands on the new
// root alone as soon as it lets anybody in.
func TestEmergencyAtDPS(t *testing.T) {
	t.Parallel()
	p := newPlant(t, "")
	p.apply(t)
	x := newTurner(t, p.Server)
	d := newDevice(t, "press-1")
	with := p.enroll(t, "line", d)
	by := func(root string) bool {
		return p.registerBy(t, d, with, p.path("issuing", root)).Status == "assigned"
	}
	if !by("root") {
		t.Fatal("the device does not come in before")
	}
	g, err := p.operator(t).Group(t.Context(), "line-a")
	if err != nil {
		t.Fatal(err)
	}
	g.Capabilities = &dps.Capabilities{} // no device of IoT Edge any more
	if _, err := p.operator(t).PutGroup(t.Context(), g); err != nil {
		t.Fatal(err)
	}
	spec := rotation.Spec{Kind: ledger.RotateRoot, Old: "root", New: "root-2"}
	if _, _, err := x.moves.Plan(t.Context(), spec, "alice"); err == nil || !strings.Contains(err.Error(), "bring it in order first: mintmark azure plan plant") {
		t.Errorf("without an emergency: %v", err)
	}
	spec.Emergency = true
	r := x.plan(t, spec)
	if words := planWords(t, r); !strings.Contains(words, "what differs is brought in order together with this") {
		t.Errorf("the plan does not say what else is changed:\n%s", words)
	}
	for _, state := range rotation.States[1 : len(rotation.States)-1] {
		r = x.enter(t, r.ID, state)
		p.tidy(t, state)
		if by("root") {
			t.Errorf("%s: whoever has the stolen key comes in", state)
		}
		if state.From(rotation.Certified) {
			if got, want := by("root-2"), state.From(rotation.CloudActiveBoth); got != want {
				t.Errorf("%s: by the new path: %t, want %t", state, got, want)
			}
		}
		if want := "root-2"; state.From(rotation.CloudActiveBoth) && p.slotsOf(t, "line-a") != want {
			t.Errorf("%s: the group stands on %q", state, p.slotsOf(t, "line-a"))
		}
	}
}

// disarm takes back what was injected.
func (h *hall) disarm(t *testing.T) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodDelete, h.sim.ControlURL()+"/_sim/faults", nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	if answer.StatusCode >= 300 {
		t.Fatalf("disarming: %s", answer.Status)
	}
}

// TestEmergencyBelowGroupAtDPS: a group that stands on the root lets in what any CA below it signs,
// a stolen one too, and no rotation of that CA changes the group. Who signs the plan reads it there.
func TestEmergencyBelowGroupAtDPS(t *testing.T) {
	t.Parallel()
	const words = `DPS target "plant": group "line-a" stands on "root", above "issuing"`
	for _, c := range []struct {
		anchors string
		spec    rotation.Spec
		warns   bool
	}{
		{"root", rotation.Spec{Kind: ledger.RotateIssuing, Old: "issuing", New: "issuing-2", Emergency: true}, true},
		{"", rotation.Spec{Kind: ledger.RotateIssuing, Old: "issuing", New: "issuing-2", Emergency: true}, true}, // the same
		{"root", rotation.Spec{Kind: ledger.RotateIssuing, Old: "issuing", New: "issuing-2"}, false},
		{"issuing", rotation.Spec{Kind: ledger.RotateIssuing, Old: "issuing", New: "issuing-2", Emergency: true}, false},
		{"root", rotation.Spec{Kind: ledger.RotateRoot, Old: "root", New: "root-2", Emergency: true}, false},
	} {
		p := &plant{sim: startAzure(t)}
		dir := newState(t)
		p.configure(t, dir, p.sim.Addr(), "")
		editConfig(t, dir, "anchors: [root]", "anchors: ["+c.anchors+"]")
		p.local = serveLocal(t, dir, nil)
		p.apply(t)
		r := newTurner(t, p.Server).plan(t, c.spec)
		if said := planWords(t, r); strings.Contains(said, words) != c.warns {
			t.Errorf("%s, %+v: the plan says\n%s", c.anchors, c.spec, said)
		}
	}
}
