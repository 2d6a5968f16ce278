package dpsreg_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"mintmark/dpsreg"
	"mintmark/dpsreg/dpssim"
	"mintmark/internal/ledger"
)

// life is one of everything that a server does at a target, in steps: CAs and groups
// made, devices told of that are new, renewed, promoted, held, released and revoked,
// the groups moved to another CA and the old one taken out of service. Certificates and
// ledgers are made once, so that every run of it must end in the same state.
type life struct {
	*world
	steps []lifeStep
}

// lifeStep is what is done by one process, at its time, with the ledger as it was then.
type lifeStep struct {
	name   string
	books  *world // whose ledger and clock it has
	before func(*world)
	do     func(*world, *dpsreg.Registrar) error
}

// disturbance makes the call n of a step fail; Skip is set to n.
type disturbance struct {
	name   string
	faults []dpssim.Fault
}

var disturbances = []disturbance{
	{"cut before", []dpssim.Fault{{Times: 1}}},
	{"cut after effect", []dpssim.Fault{{Times: 1, AfterEffect: true}}},
	{"500", []dpssim.Fault{{Times: 1, Status: 500}}},
	{"500 after effect", []dpssim.Fault{{Times: 1, Status: 500, AfterEffect: true}}},
	{"429", []dpssim.Fault{{Times: 1, Status: 429}}},
	// Nothing gets through any more, as for a process that has died.
	{"died before", []dpssim.Fault{{}}},
	{"died after effect", []dpssim.Fault{{Times: 1, AfterEffect: true}, {}}},
}

// newLife makes certificates and one ledger for each step. The clock of a step is a day
// after that of the one before.
func newLife(t *testing.T) *life {
	base := newWorld(t)
	root := base.authority("root")
	base.newIssuing("next", root)
	l := &life{world: base}

	pinned := ofProfile("pinned")
	first, second, third := base.certify("line", "pinned-1", pinned), base.certify("line", "pinned-2", pinned), base.certify("line", "pinned-3", pinned)
	held, revoked, lively := base.certify("line", "group-1"), base.certify("line", "group-2"), base.certify("auto", "group-3")
	moved := base.certify("next", "group-4")
	var renewed, superseded device

	one := base.wantedTarget()
	tell := func(names ...string) func(*world, *dpsreg.Registrar) error {
		return func(w *world, r *dpsreg.Registrar) error {
			return errors.Join(w.deliver(r, w.reach(one), names...)...)
		}
	}
	apply := func(change func(*dpsreg.Target)) func(*world, *dpsreg.Registrar) error {
		return func(w *world, r *dpsreg.Registrar) error {
			target := w.reach(one)
			change(&target)
			_, err := r.Apply(w.t.Context(), target, dpsreg.Agreed{Destructive: true}, nil)
			return err
		}
	}
	register := func(devices ...device) func(*world) {
		return func(w *world) {
			for _, d := range devices {
				if _, err := w.register(d); err != nil {
					w.t.Fatalf("%s registers: %v", d.Device, err)
				}
			}
		}
	}
	// Each step has a ledger with everything that happened before it.
	var history []func(*world)
	step := func(name string, happens func(*world), before func(*world), do func(*world, *dpsreg.Registrar) error) {
		if len(l.steps) > 0 { // the simulator's certificates are for now
			base.advance(24 * time.Hour)
		}
		if happens != nil {
			history = append(history, happens)
		}
		books := &world{t: t, authorities: base.authorities, offset: base.offset}
		books.ledger()
		for _, f := range history {
			f(books)
		}
		l.steps = append(l.steps, lifeStep{name, books, before, do})
	}

	step("apply", nil, nil, apply(func(*dpsreg.Target) {}))
	step("new devices", func(w *world) { w.record(first, second, third, held, revoked, lively) }, nil,
		tell("pinned-1", "pinned-2", "pinned-3", "group-1", "group-2", "group-3"))
	step("renewal", func(w *world) {
		if renewed.Serial == "" {
			renewed = w.certify("line", "pinned-1", pinned, func(c *ledger.Certificate) {
				c.Requester = ledger.Requester{Kind: "certificate", Name: string(first.Serial)}
			})
		}
		w.record(renewed)
	}, register(first, second, third, held, revoked, lively), func(w *world, r *dpsreg.Registrar) error {
		return r.Handover(w.t.Context(), w.reach(one), renewed.Certificate)
	})
	step("promotion", nil, func(w *world) { register(renewed)(w) }, tell("pinned-1"))
	step("hold", func(w *world) { w.hold("group-1", ledger.Held); w.hold("pinned-2", ledger.Held) }, nil, tell("group-1", "pinned-2"))
	step("release", func(w *world) { w.hold("group-1", ledger.Expected); w.hold("pinned-2", ledger.Expected) }, nil, tell("group-1", "pinned-2"))
	step("revocation", func(w *world) { w.revoke(revoked); w.revoke(third); w.revoke(first) }, nil, tell("group-2", "pinned-3", "pinned-1"))
	step("a new certificate after it", func(w *world) {
		if superseded.Serial == "" {
			superseded = w.certify("line", "group-2")
		}
		w.record(superseded)
	}, nil, tell("group-2"))
	step("no enrollment any more", nil, nil, func(w *world, r *dpsreg.Registrar) error {
		target := w.reach(one)
		target.Enrollments[0].Profiles = []string{"another"}
		return errors.Join(w.deliver(r, target, "pinned-1", "pinned-2", "pinned-3")...)
	})
	step("second slot", func(w *world) { w.record(moved) }, nil, apply(func(t *dpsreg.Target) { t.Groups[0].Anchors = []string{"line", "next"} }))
	step("promoted CA", nil, nil, apply(func(t *dpsreg.Target) { t.Groups[0].Anchors = []string{"next", "line"} }))
	step("out of service", nil, nil, apply(func(t *dpsreg.Target) {
		t.Groups[0].Anchors, t.Groups[2].State = []string{"next", "line"}, dpsreg.StateDeleted
		t.CAs[1].State = dpsreg.StateDeleted
	}))
	step("comparison", nil, func(w *world) {
		// Somebody takes the block of a device away and enables another.
		w.spoil("pinned-3")
	}, func(w *world, r *dpsreg.Registrar) error {
		drift, err := r.Reconcile(w.t.Context(), w.reach(one))
		if err == nil && len(drift.Left) > 0 {
			err = fmt.Errorf("left: %v", drift.Left)
		}
		return err
	})
	return l
}

// wantedTarget wants two CAs, three groups, individual enrollments and both hubs.
func (w *world) wantedTarget() dpsreg.Target {
	target := w.target()
	target.CAs = []dpsreg.CA{{Authority: "root"}, {Authority: "root2"}}
	shape := dpsreg.Shape{Edge: true, Tags: map[string]any{"line": "a"}, Desired: map[string]any{"interval": 10}}
	target.Groups = []dpsreg.Group{
		{ID: "pumps", Anchors: []string{"line"}, Shape: shape},
		{ID: "automatic", Anchors: []string{"auto"}},
		{ID: "second", Anchors: []string{"root2"}, Reference: true},
	}
	target.Enrollments = []dpsreg.Enrollment{{Name: "pinned", Profiles: []string{"pinned"}, Shape: shape}}
	return w.withHubs(target, false)
}

// reach is the target at this world's simulator.
func (w *world) reach(target dpsreg.Target) dpsreg.Target {
	own := w.target()
	target.Identity, target.Connect = own.Identity, own.Connect
	target.CAs, target.Groups, target.Enrollments = slices.Clone(target.CAs), slices.Clone(target.Groups), slices.Clone(target.Enrollments)
	return target
}

// spoil deletes an individual enrollment as somebody in the portal does.
func (w *world) spoil(id string) {
	w.t.Helper()
	e, err := w.dps().Enrollment(w.t.Context(), id)
	w.ok(err)
	w.ok(w.dps().DeleteEnrollment(w.t.Context(), id, e.Etag))
}

// run runs the life at a simulator of its own. In every step the call n is disturbed,
// and the step is done again until it succeeds. It returns the state after each step,
// and the calls of each.
func (l *life) run(t *testing.T, n int, d disturbance) (states []string, calls [][]string) {
	w := l.steps[0].books.twin(t)
	for _, step := range l.steps {
		w.books = step.books.books
		w.mu.Lock()
		w.offset = step.books.offset
		w.mu.Unlock()
		if step.before != nil {
			step.before(w)
		}
		for _, fault := range d.faults {
			fault.Skip = n
			w.sim.Inject(fault)
		}
		from := len(w.sim.Calls())
		err := step.do(w, w.registrar())
		calls = append(calls, w.sim.Calls()[from:])
		w.sim.ClearFaults()
		for again := 1; err != nil; again++ {
			if again > 2 {
				t.Fatalf("%s of call %d: step %q cannot be resumed: %v", d.name, n+1, step.name, err)
			}
			err = step.do(w, w.registrar())
		}
		states = append(states, w.state())
	}
	return states, calls
}

// TestKilled: whatever call of a step fails, before or after it took effect, alone or
// with all that follow, doing the step again ends in the state that an undisturbed run
// ends in. The calls are those that an undisturbed run makes, and every operation that
// there is a client for is among them.
func TestKilled(t *testing.T) {
	dpsreg.FailFast(t)
	l := newLife(t)
	want, calls := l.run(t, 0, disturbance{})
	most, seen := 0, make(map[string]bool)
	for i, of := range calls {
		most = max(most, len(of))
		for _, call := range of {
			seen[call] = true
		}
		t.Logf("%s: %s", l.steps[i].name, strings.Join(of, " "))
	}
	for _, operation := range []string{
		"entra.token",
		"certificates.list", "certificates.get", "certificates.createOrUpdate", "certificates.generateVerificationCode", "certificates.verify", "certificates.delete",
		"enrollmentGroups.query", "enrollmentGroups.get", "enrollmentGroups.put", "enrollmentGroups.delete",
		"enrollments.query", "enrollments.get", "enrollments.put", "enrollments.bulk", "enrollments.delete",
		"registrations.get", "hub.getDevice", "hub.putDevice",
	} {
		if !seen[operation] {
			t.Errorf("no step calls %s", operation)
		}
	}
	var wait sync.WaitGroup
	defer wait.Wait()
	atOnce := make(chan struct{}, 16) // they wait more than they work
	for n := range most {
		if testing.Short() && n%5 != 0 {
			continue
		}
		for _, d := range disturbances {
			wait.Go(func() {
				atOnce <- struct{}{}
				defer func() { <-atOnce }()
				t.Run(fmt.Sprintf("%s of call %d", d.name, n+1), func(t *testing.T) {
					got, _ := l.run(t, n, d)
					for i := range want {
						if got[i] != want[i] {
							t.Fatalf("after step %q:\n%s\nundisturbed:\n%s", l.steps[i].name, got[i], want[i])
						}
					}
				})
			})
		}
	}
}
