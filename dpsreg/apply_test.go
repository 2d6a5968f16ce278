package dpsreg_test

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"mintmark/dpsreg"
	"mintmark/dpsreg/dps"
	"mintmark/dpsreg/dpssim"
	"mintmark/internal/reconcile"
)

// changing keeps the calls that change something.
func changing(calls []string) []string {
	return slices.DeleteFunc(slices.Clone(calls), func(call string) bool {
		service, what, _ := strings.Cut(call, ".")
		return service == "entra" || strings.HasPrefix(what, "get") || strings.HasPrefix(what, "list") || what == "query"
	})
}

// plan plans, and makes sure that nothing is changed by it.
func (w *world) plan(target dpsreg.Target) reconcile.Plan {
	w.t.Helper()
	before := len(w.sim.Calls())
	plan, err := w.registrar().Plan(w.t.Context(), target)
	w.ok(err)
	if calls := changing(w.sim.Calls()[before:]); len(calls) > 0 {
		w.t.Errorf("planning called %v", calls)
	}
	return plan
}

// applied applies what was planned, and makes sure that this is what was done.
func (w *world) applied(target dpsreg.Target) reconcile.Plan {
	w.t.Helper()
	plan := w.plan(target)
	done, err := w.registrar().Apply(w.t.Context(), target, reconcile.Agreed{Hash: plan.Hash(), Destructive: plan.Destructive()}, nil)
	w.ok(err)
	if done.Hash() != plan.Hash() {
		w.t.Errorf("what was done is not what was planned:\n%s\n%s", rendered(plan), rendered(done))
	}
	w.settled(target)
	return done
}

func rendered(p reconcile.Plan) string {
	var b strings.Builder
	_ = p.Render(&b)
	return b.String()
}

// todo is what a plan does: "create ca root".
func todo(p reconcile.Plan) []string {
	list := []string{}
	for _, c := range p.Changes {
		if c.Action != reconcile.None {
			subject, _, _ := strings.Cut(c.Subject, " ")
			list = append(list, fmt.Sprintf("%s %s %s", c.Action, c.Kind, subject))
		}
	}
	return list
}

// refuses plans, wants a refusal with these words, and that Apply then changes nothing.
func (w *world) refuses(target dpsreg.Target, words ...string) {
	w.t.Helper()
	plan := w.plan(target)
	before := len(w.sim.Calls())
	_, err := w.registrar().Apply(w.t.Context(), target, reconcile.Agreed{Destructive: true}, nil)
	if err == nil || len(plan.Refused()) == 0 {
		w.t.Fatalf("not refused: %v\n%s", err, rendered(plan))
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			w.t.Errorf("the refusal does not say %q:\n%v", word, err)
		}
	}
	if calls := changing(w.sim.Calls()[before:]); len(calls) > 0 {
		w.t.Errorf("a refused apply called %v", calls)
	}
}

// twoGroups is a target with a root, a group on an issuing CA by certificate, and one on
// a root by reference.
func (w *world) twoGroups() dpsreg.Target {
	t := w.target()
	t.CAs = []dpsreg.CA{{Authority: "root"}, {Authority: "lone", Name: "by-hand"}}
	t.Groups = []dpsreg.Group{
		{ID: "pumps", Anchors: []string{"line"}, Labels: []string{"line"}, Shape: dpsreg.Shape{
			Edge: true, Hubs: []string{firstHub}, Allocation: dpsreg.AllocateStatic, Reprovision: dpsreg.ReprovisionReset,
			Tags: map[string]any{"site": "ulm", "floor": 2}, Desired: map[string]any{"rate": map[string]any{"seconds": 1.5}},
		}},
		{ID: "rest", Anchors: []string{"lone"}, Reference: true},
	}
	return t
}

func TestApply(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	target := w.twoGroups()
	plan := w.applied(target)
	want := []string{"create ca root", "create ca lone", "create group pumps", "create group rest"}
	if got := todo(plan); !slices.Equal(got, want) || plan.Destructive() {
		t.Errorf("planned %q, destructive %t", got, plan.Destructive())
	}
	if w.verifications != 2 {
		t.Errorf("%d proofs of possession were issued", w.verifications)
	}

	// By another's eyes.
	g, err := w.dps().Group(t.Context(), "pumps")
	w.ok(err)
	if a := g.Attestation.X509; a.Signing == nil || a.Signing.Primary.Info.SHA256 == "" ||
		!strings.EqualFold(a.Signing.Primary.Info.SHA256, dpsreg.SHA256(w.authority("line").Certificate)) || a.Signing.Secondary != nil {
		t.Errorf("attestation %+v", g.Attestation.X509)
	}
	if !g.Capabilities.Edge || g.Allocation != "static" || !slices.Equal(g.Hubs, []string{firstHub}) || g.Reprovision.MigrateData || !g.Reprovision.UpdateHub {
		t.Errorf("group %+v", g)
	}
	if fmt.Sprint(g.Twin.Tags) != "map[floor:2 site:ulm]" || fmt.Sprint(g.Twin.Properties.Desired) != "map[rate:map[seconds:1.5]]" {
		t.Errorf("twin %+v", g.Twin)
	}
	g, err = w.dps().Group(t.Context(), "rest")
	w.ok(err)
	if g.Attestation.X509.References == nil || g.Attestation.X509.References.Primary != "by-hand" {
		t.Errorf("attestation %+v", g.Attestation.X509)
	}

	// And by a device's.
	state, err := w.register(w.issue("line", "pump-1"))
	if err != nil || state.AssignedHub != firstHub {
		t.Errorf("a device is told %+v, %v", state, err)
	}
	if _, err := w.register(w.issue("auto", "car-1")); err == nil {
		t.Error("a device that belongs to no group was let in")
	}
	if _, err := w.register(w.issue("lone", "alone-1")); err != nil {
		t.Errorf("a device below a reference: %v", err)
	}
}

// Every field that a group has is compared and put right, and what another has set that
// the target says nothing of stays.
func TestGroupDrift(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	target := w.twoGroups()
	w.apply(target)
	state := w.state()
	for name, change := range map[string]func(*dps.Group){
		"disabled":    func(g *dps.Group) { g.Status = dps.Disabled },
		"edge":        func(g *dps.Group) { g.Capabilities.Edge = false },
		"reprovision": func(g *dps.Group) { g.Reprovision.UpdateHub = false },
		"allocation":  func(g *dps.Group) { g.Allocation = "hashed" },
		"hubs":        func(g *dps.Group) { g.Hubs = []string{secondHub} },
		"tag":         func(g *dps.Group) { g.Twin.Tags["site"] = "bonn" },
		"desired":     func(g *dps.Group) { g.Twin.Properties.Desired["more"] = true },
		"no twin":     func(g *dps.Group) { g.Twin = nil },
	} {
		g, err := w.dps().Group(t.Context(), "pumps")
		w.ok(err)
		change(&g)
		_, err = w.dps().PutGroup(t.Context(), g)
		w.ok(err)
		if w.state() == state {
			t.Errorf("%s: the test changed nothing", name)
		}
		plan := w.applied(target)
		if got := todo(plan); !slices.Equal(got, []string{"update group pumps"}) || plan.Destructive() != (name == "disabled") {
			t.Errorf("%s: planned %q, destructive %t", name, got, plan.Destructive())
		}
		if w.state() != state {
			t.Errorf("%s: not as before", name)
		}
	}
}

// What the target does not want any more is taken out, and what it never spoke of stays.
func TestGroupTwinGone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	target := w.twoGroups()
	w.apply(target)
	g, err := w.dps().Group(t.Context(), "rest")
	w.ok(err)
	g.Hubs = []string{secondHub}
	_, err = w.dps().PutGroup(t.Context(), g)
	w.ok(err)
	target.Groups[0].Tags, target.Groups[0].Desired = nil, nil
	target.Groups[1].Tags = map[string]any{"site": "ulm"}
	w.applied(target)
	g, err = w.dps().Group(t.Context(), "pumps")
	w.ok(err)
	if g.Twin != nil && (len(g.Twin.Tags) > 0 || g.Twin.Properties != nil && len(g.Twin.Properties.Desired) > 0) {
		t.Errorf("the twin is still %+v", g.Twin)
	}
	g, err = w.dps().Group(t.Context(), "rest")
	w.ok(err)
	if !slices.Equal(g.Hubs, []string{secondHub}) || g.Twin.Tags["site"] != "ulm" {
		t.Errorf("group %+v", g)
	}
}

// Certificates in either slot are compared by SHA-256, and put right: what another put
// into the second slot is taken out, which takes it out of service.
func TestSlotDrift(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	target := w.twoGroups()
	w.apply(target)
	state := w.state()
	stranger := w.newRoot("stranger")
	w.authorities = w.authorities[:len(w.authorities)-1]
	g, err := w.dps().Group(t.Context(), "pumps")
	w.ok(err)
	g.Attestation.X509.Signing.Secondary = &dps.Certificate{Certificate: certificateText(stranger.Certificate)}
	_, err = w.dps().PutGroup(t.Context(), g)
	w.ok(err)
	plan := w.plan(target)
	if got := todo(plan); !slices.Equal(got, []string{"update group pumps"}) || !plan.Destructive() || !strings.Contains(rendered(plan), dpsreg.SHA256(stranger.Certificate)) {
		t.Errorf("%q, destructive %t\n%s", got, plan.Destructive(), rendered(plan))
	}
	before := len(w.sim.Calls())
	if _, err := w.registrar().Apply(t.Context(), target, reconcile.Agreed{}, nil); !errors.Is(err, reconcile.ErrChanged) || len(changing(w.sim.Calls()[before:])) > 0 {
		t.Errorf("without leave: %v", err)
	}
	w.applied(target)
	if w.state() != state {
		t.Error("not as before")
	}
}

// An apply does exactly the plan that was agreed to, or nothing.
func TestAgreed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	target := w.twoGroups()
	plan := w.plan(target)
	target.Groups[0].Edge = false
	_, err := w.registrar().Apply(t.Context(), target, reconcile.Agreed{Hash: plan.Hash(), Destructive: true}, nil)
	if !errors.Is(err, reconcile.ErrChanged) || len(changing(w.sim.Calls())) > 0 {
		t.Errorf("another plan: %v, calls %v", err, changing(w.sim.Calls()))
	}
	w.apply(target)
	target.Groups[1].Disabled = true
	plan = w.plan(target)
	if !plan.Destructive() {
		t.Error("disabling a group is not marked as destructive")
	}
	if _, err := w.registrar().Apply(t.Context(), target, reconcile.Agreed{Hash: plan.Hash()}, nil); !errors.Is(err, reconcile.ErrChanged) {
		t.Errorf("a destructive plan without leave: %v", err)
	}
	w.applied(target)
	if _, err := w.register(w.issue("lone", "alone-1")); err == nil {
		t.Error("a device of a disabled group was let in")
	}
	target.Groups[1].Disabled = false
	// Somebody may have disabled it because it lets in whom it should not.
	if plan := w.plan(target); !plan.Destructive() || !strings.HasPrefix(plan.Changes[3].After, "enables it") {
		t.Errorf("enabling a group:\n%s", rendered(plan))
	}
	if _, err := w.registrar().Apply(t.Context(), target, reconcile.Agreed{}, nil); !errors.Is(err, reconcile.ErrChanged) {
		t.Errorf("one person enables what is disabled: %v", err)
	}
	w.applied(target)
}

// Another changes things between our reading and our writing: the change is made to
// what is there then, and what the other did stays if it is not ours to decide.
func TestEtagRace(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	target := w.twoGroups()
	w.beforeVerification = func() { // the code has been asked for; another asks, too
		c, err := w.arm().Get(t.Context(), "by-hand", target.ResourceGroup, target.Service, nil)
		if err != nil { // it is the first CA's turn
			c, err = w.arm().Get(t.Context(), w.nameAtDPS("root"), target.ResourceGroup, target.Service, nil)
		}
		w.ok(err)
		_, err = w.arm().GenerateVerificationCode(t.Context(), *c.Name, *c.Etag, target.ResourceGroup, target.Service, nil)
		w.ok(err)
	}
	w.apply(target)
	if w.verifications != 3 { // the first code was not in force any more
		t.Errorf("%d proofs were made", w.verifications)
	}

	// Between our reading of a group and our writing, another says which hubs it has.
	target.Groups[1].Edge = true
	raced := false
	r := w.registrarWith(func(c *dpsreg.Config) {
		inner := c.Authorities
		c.Authorities = func() []dpsreg.Authority {
			calls := w.sim.Calls()
			if !raced && slices.Contains(calls, "enrollmentGroups.get") && calls[len(calls)-1] == "enrollmentGroups.get" {
				g, err := w.dps().Group(t.Context(), "rest")
				w.ok(err)
				g.Hubs = []string{secondHub}
				_, err = w.dps().PutGroup(t.Context(), g)
				w.ok(err)
				raced = true
			}
			return inner()
		}
	})
	before := len(w.sim.Calls())
	_, err := r.Apply(t.Context(), target, reconcile.Agreed{}, nil)
	w.ok(err)
	g, err := w.dps().Group(t.Context(), "rest")
	w.ok(err)
	if puts := changing(w.sim.Calls()[before:]); !raced || !g.Capabilities.Edge || !slices.Equal(g.Hubs, []string{secondHub}) {
		t.Errorf("raced %t, calls %v, group %+v", raced, puts, g)
	}
	w.settled(target)
	w.sim.Inject(dpssim.Fault{Operation: "enrollmentGroups.put", Times: 1, AfterEffect: true}) // the answer is lost
	target.Groups[0].Edge = true
	w.apply(target)
	for _, op := range []string{"certificates.createOrUpdate", "certificates.generateVerificationCode", "certificates.verify", "certificates.delete"} {
		w.sim.Inject(dpssim.Fault{Operation: op, Times: 1, Status: 412, Code: 412001, Message: "etag"})
	}
	target.CAs = append(target.CAs, dpsreg.CA{Authority: "root2"})
	w.apply(target)
	target.CAs[2].State = dpsreg.StateDeleted
	w.apply(target)
}

// A group that another has made is never touched, and reported; where it would take our
// devices, the plan says so.
func TestForeignGroup(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	target := w.twoGroups()
	w.apply(target)
	w.foreignGroup("theirs", w.newRoot("their-root"))
	w.authorities = w.authorities[:len(w.authorities)-1]
	theirs, err := w.dps().Group(t.Context(), "theirs")
	w.ok(err)
	target.Groups[0].Edge = false
	w.applied(target)
	status, err := w.registrar().Status(t.Context(), target, false)
	w.ok(err)
	if !slices.Equal(status.Unknown, []string{"group theirs"}) || status.GroupSlots != 3 {
		t.Errorf("unknown %q, %d groups", status.Unknown, status.GroupSlots)
	}
	again, err := w.dps().Group(t.Context(), "theirs")
	w.ok(err)
	if again.Etag != theirs.Etag {
		t.Error("another's group was written")
	}

	// A group on the issuing CA is nearer than ours on the root.
	target.CAs = append(target.CAs, dpsreg.CA{Authority: "root2"})
	target.Groups = append(target.Groups, dpsreg.Group{ID: "line-2", Anchors: []string{"root2"}, Labels: []string{"line2"}})
	w.foreignGroup("nearer", w.authority("line2"))
	w.refuses(target, `devices of label "line2" end in group "nearer"`)
	nearer, err := w.dps().Group(t.Context(), "nearer")
	w.ok(err)
	w.ok(w.dps().DeleteGroup(t.Context(), "nearer", nearer.Etag))
	w.apply(target)
	w.foreignGroup("nearer", w.authority("line2")) // later: ours is as it should be, and useless
	plan := w.plan(target)
	if got := todo(plan); !slices.Equal(got, []string{"foreign group line-2"}) {
		t.Errorf("planned %q", got)
	}
	if _, err := w.registrar().Apply(t.Context(), target, reconcile.Agreed{}, nil); err != nil {
		t.Errorf("what is another's stops the rest: %v", err)
	}

	// On the same certificate.
	target.Groups = append(target.Groups, dpsreg.Group{ID: "auto", Anchors: []string{"auto"}})
	w.foreignGroup("same", w.authority("auto"))
	w.refuses(target, `group "same" stands on auto already`, "not documented")
}

// Under the id of a group there is one whose devices have keys.
func TestSymmetricKeyGroup(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, err := w.dps().PutGroup(t.Context(), dps.Group{ID: "pumps", Attestation: dps.Attestation{Type: "symmetricKey"}})
	w.ok(err)
	target := w.twoGroups()
	w.refuses(target, "prove themselves otherwise (symmetricKey)")
	target.Groups[0] = dpsreg.Group{ID: "pumps", State: dpsreg.StateDeleted}
	w.refuses(target, "is another's")
}

// foreignGroup makes a group as another does.
func (w *world) foreignGroup(id string, on *authority) {
	w.t.Helper()
	_, err := w.dps().PutGroup(w.t.Context(), dps.Group{ID: id, Attestation: dps.Attestation{
		Type: "x509", X509: &dps.X509{Signing: &dps.Slots{Primary: &dps.Certificate{Certificate: certificateText(on.Certificate)}}},
	}})
	w.ok(err)
}

// A group whose CA is verified nowhere would lock its devices out.
func TestUnverifiedAnchor(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	target := w.twoGroups()
	target.CAs = target.CAs[1:]
	w.refuses(target, `neither "line" nor a CA above it is verified at DPS`, "cas")
}

// What ctx ends is not done.
func TestApplyCancelled(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := w.registrar().Apply(ctx, w.twoGroups(), reconcile.Agreed{}, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func certificateText(c *x509.Certificate) string { return string(pemBytes(c)) }
