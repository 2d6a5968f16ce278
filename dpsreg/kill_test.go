package dpsreg_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"mintmark/dpsreg"
	"mintmark/dpsreg/dps"
	"mintmark/dpsreg/dpssim"
	"mintmark/dpsreg/hub"
	"mintmark/internal/ledger"
	"mintmark/internal/pkitest"
	"mintmark/internal/reconcile"
)

// life is one of everything that a server does at a target, in steps: CAs and groups
// made, devices told of that are new, renewed, promoted, held, released and revoked,
// another's enrollment disabled and given back, a CA proved from afar, the groups moved
// to it and the old one taken out of service. Certificates and
// ledgers are made once, so that every run of it must end in the same state.
type life struct {
	*world
	steps    []lifeStep
	requests sync.Map // for proofs, by *world: what is carried from one step to the next
}

// lifeStep is what is done by one process, at its time, with the ledger as it was then.
// What others do before it they do at the time of the step before.
type lifeStep struct {
	name   string
	books  *world // whose ledger and clock it has
	before func(*world)
	do     doing
}

// disturbance makes the call n of a step fail; Skip is set to n. With dies the process
// ends at that call; otherwise it may try again by itself.
type disturbance struct {
	name  string
	fault dpssim.Fault
	dies  bool
}

var disturbances = []disturbance{
	{"cut before", dpssim.Fault{}, false},
	{"cut after effect", dpssim.Fault{AfterEffect: true}, false},
	{"500", dpssim.Fault{Status: 500}, false},
	{"500 after effect", dpssim.Fault{Status: 500, AfterEffect: true}, false},
	{"429", dpssim.Fault{Status: 429}, false},
	{"died before", dpssim.Fault{}, true},
	{"died after effect", dpssim.Fault{AfterEffect: true}, true},
}

// injected calls f when the simulator logs that a call met a fault.
type injected struct {
	slog.Handler
	f func()
}

func (h injected) Enabled(context.Context, slog.Level) bool { return true }
func (h injected) Handle(_ context.Context, r slog.Record) error {
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "result" && strings.HasPrefix(a.Value.String(), "injected ") {
			h.f()
		}
		return true
	})
	return nil
}

type doing func(context.Context, *world) error

// newLife makes certificates and one ledger for each step. The clock of a step is a day
// after that of the one before.
func newLife(t *testing.T) *life {
	base := newWorld(t)
	root := base.authority("root")
	base.newIssuing("next", root)
	l := &life{world: base}

	pinned := ofProfile("pinned")
	first, second, third := base.certify("line", "pinned-1", pinned), base.certify("line", "pinned-2", pinned), base.certify("line", "pinned-3", pinned)
	lost := base.certify("line", "pinned-4", pinned)
	held, revoked, lively := base.certify("line", "group-1"), base.certify("line", "group-2"), base.certify("auto", "group-3")
	moved, anothers := base.certify("next", "group-4"), base.certify("line", "group-5")
	var renewed, superseded device

	one := base.wantedTarget()
	tell := func(names ...string) doing {
		return func(ctx context.Context, w *world) error {
			return errors.Join(w.deliverIn(ctx, w.devices(), w.reach(one), names...)...)
		}
	}
	apply := func(change func(*dpsreg.Target)) doing {
		return func(ctx context.Context, w *world) error {
			target := w.reach(one)
			change(&target)
			_, err := w.registrar().Apply(ctx, target, reconcile.Agreed{Destructive: true}, nil)
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
	step := func(name string, happens func(*world), before func(*world), do doing) {
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

	step("first CA", nil, nil, apply(func(t *dpsreg.Target) { t.CAs, t.Groups = t.CAs[:1], nil }))
	step("second CA", nil, nil, apply(func(t *dpsreg.Target) { t.Groups = nil }))
	step("CA without a proof", nil, nil, apply(func(t *dpsreg.Target) {
		t.CAs, t.Groups = []dpsreg.CA{{Authority: "lone", SelfAttested: true}}, nil
	}))
	step("group", nil, nil, apply(func(t *dpsreg.Target) { t.Groups = t.Groups[:1] }))
	step("groups", nil, nil, apply(func(*dpsreg.Target) {}))
	step("new devices", func(w *world) { w.record(first, second, third, lost, held, revoked, lively, anothers) }, nil,
		tell("pinned-1", "pinned-2", "pinned-3", "pinned-4", "group-1", "group-2", "group-3"))
	step("renewal", func(w *world) {
		if renewed.Serial == "" {
			renewed = w.certify("line", "pinned-1", pinned, func(c *ledger.Certificate) {
				c.Requester = ledger.Requester{Kind: "certificate", Name: string(first.Serial)}
			})
		}
		w.record(renewed)
	}, register(first, second, third, held, revoked, lively), func(ctx context.Context, w *world) error {
		return w.devices().Handover(ctx, w.reach(one), renewed.Certificate)
	})
	step("promotion", nil, func(w *world) { register(renewed)(w) }, tell("pinned-1"))
	step("status", nil, nil, func(ctx context.Context, w *world) error {
		status, err := w.registrar().Status(ctx, w.reach(one), true)
		if err == nil && (status.Groups[0].Assigned != 2 || status.Groups[1].Assigned != 1 || status.Groups[0].Live["line"] != 8) {
			err = fmt.Errorf("status %+v", status)
		}
		return err
	})
	step("another group", nil, nil, apply(func(t *dpsreg.Target) {
		t.Groups = t.Groups[:1]
		t.Groups[0].Tags = map[string]any{"line": "b"}
	}))
	step("another shape of a pinned device", nil, nil, func(ctx context.Context, w *world) error {
		target := w.reach(one)
		target.Enrollments[0].Tags = map[string]any{"line": "b"}
		return errors.Join(w.deliverIn(ctx, w.devices(), target, "pinned-1")...)
	})
	step("telling of all", nil, func(w *world) { w.spoil("pinned-4") }, func(ctx context.Context, w *world) error {
		_, err := w.devices().TellAll(ctx, w.reach(one))
		return err
	})
	step("hold of a device with another's enrollment", func(w *world) { w.hold("group-5", ledger.Held) }, func(w *world) {
		w.operator("group-5", clientSlots(anothers))
		register(anothers)(w)
	}, tell("group-5"))
	step("release of it", func(w *world) { w.hold("group-5", ledger.Expected) }, nil, tell("group-5"))
	step("hold", func(w *world) { w.hold("group-1", ledger.Held) }, nil, tell("group-1"))
	step("hold of a pinned device", func(w *world) { w.hold("pinned-2", ledger.Held) }, nil, tell("pinned-2"))
	step("release", func(w *world) { w.hold("group-1", ledger.Expected) }, nil, tell("group-1"))
	step("release of a pinned device", func(w *world) { w.hold("pinned-2", ledger.Expected) }, nil, tell("pinned-2"))
	step("revocation", func(w *world) { w.revoke(revoked) }, nil, tell("group-2"))
	step("revocations", func(w *world) { w.revoke(third); w.revoke(first) }, nil, tell("pinned-3", "pinned-1"))
	step("a new certificate after it", func(w *world) {
		if superseded.Serial == "" {
			superseded = w.certify("line", "group-2")
		}
		w.record(superseded)
	}, nil, tell("group-2"))
	step("no enrollment any more", nil, nil, func(ctx context.Context, w *world) error {
		target := w.reach(one)
		target.Enrollments[0].Profiles = []string{"another"}
		return errors.Join(w.deliverIn(ctx, w.devices(), target, "pinned-1", "pinned-2")...)
	})
	step("bundle", nil, nil, func(ctx context.Context, w *world) error {
		_, request, err := l.push(ctx, w, one, dpsreg.ProofRequest{})
		if err == nil && len(request.Proofs) != 1 {
			err = fmt.Errorf("the request is %+v", request)
		}
		l.requests.Store(w, request)
		return err
	})
	step("bundle with its proof", nil, nil, func(ctx context.Context, w *world) error {
		request, _ := l.requests.Load(w)
		answer, err := w.registrar().Prove(ctx, request.(dpsreg.ProofRequest))
		if err != nil {
			return err
		}
		done, _, err := l.push(ctx, w, one, answer)
		if err == nil && len(done.Refused()) > 0 {
			err = fmt.Errorf("not done: %+v", done.Refused())
		}
		return err
	})
	step("second slot", func(w *world) { w.record(moved) }, nil, apply(func(t *dpsreg.Target) { t.Groups[0].Anchors = []string{"line", "next"} }))
	step("promoted CA", nil, nil, apply(func(t *dpsreg.Target) { t.Groups[0].Anchors = []string{"next", "line"} }))
	step("group out of service", nil, nil, apply(func(t *dpsreg.Target) {
		t.CAs, t.Groups = t.CAs[1:], t.Groups[2:]
		t.Groups[0].State = dpsreg.StateDeleted
	}))
	step("CA out of service", nil, nil, apply(func(t *dpsreg.Target) {
		t.CAs, t.Groups = t.CAs[1:], nil
		t.CAs[0].State = dpsreg.StateDeleted
	}))
	step("comparison", nil, func(w *world) {
		// Somebody takes the block of a device away and enables another.
		w.spoil("pinned-3")
	}, func(ctx context.Context, w *world) error {
		drift, err := w.devices().Reconcile(ctx, w.reach(one))
		if err == nil && len(drift.Left) > 0 {
			err = fmt.Errorf("left: %v", drift.Left) // by a call that failed
		}
		return err
	})
	return l
}

// push uploads one CA as a machine without its key does.
func (l *life) push(ctx context.Context, w *world, target dpsreg.Target, proofs dpsreg.ProofRequest) (reconcile.Plan, dpsreg.ProofRequest, error) {
	target = w.reach(target)
	target.CAs, target.Groups = []dpsreg.CA{{Authority: "next"}}, nil
	b, err := w.registrar().Bundle(ctx, target)
	if err != nil {
		return reconcile.Plan{}, dpsreg.ProofRequest{}, err
	}
	return dpsreg.Push(ctx, b, w.outside(proofs), reconcile.Agreed{}, nil)
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
// and the step is done again until it succeeds; n is negative for none. It returns the
// state after each step, and the calls of each.
func (l *life) run(t *testing.T, n int, d disturbance) (states []string, calls [][]string) {
	var mu sync.Mutex
	end := func() {}
	w := l.steps[0].books.twin(t, func(c *dpssim.Config) {
		c.Logger = slog.New(injected{slog.DiscardHandler, func() {
			mu.Lock()
			defer mu.Unlock()
			if d.dies {
				end()
			}
		}})
	})
	for _, step := range l.steps {
		if step.before != nil {
			step.before(w)
		}
		w.books = step.books.books
		w.mu.Lock()
		w.offset = step.books.offset
		w.mu.Unlock()
		if n >= 0 {
			fault := d.fault
			fault.Skip, fault.Times = n, 1
			w.sim.Inject(fault)
		}
		ctx, cancel := context.WithCancel(t.Context())
		mu.Lock()
		end = cancel
		mu.Unlock()
		from := len(w.sim.Calls())
		err := step.do(ctx, w)
		cancel()
		calls = append(calls, w.sim.Calls()[from:])
		w.sim.ClearFaults()
		for again := 1; err != nil; again++ {
			if again > 2 || n < 0 {
				t.Fatalf("%s of call %d: step %q cannot be resumed: %v", d.name, n+1, step.name, err)
			}
			err = step.do(t.Context(), w)
		}
		states = append(states, w.state())
	}
	return states, calls
}

// operations are what the simulator calls the operations of our clients, by client and
// method.
var operations = map[string]map[string]string{
	"certificates": {
		"List": "certificates.list", "Get": "certificates.get", "CreateOrUpdate": "certificates.createOrUpdate",
		"GenerateVerificationCode": "certificates.generateVerificationCode", "VerifyCertificate": "certificates.verify", "Delete": "certificates.delete",
	},
	"dps": {
		"Groups": "enrollmentGroups.query", "Group": "enrollmentGroups.get", "PutGroup": "enrollmentGroups.put", "DeleteGroup": "enrollmentGroups.delete",
		"Enrollments": "enrollments.query", "Enrollment": "enrollments.get", "PutEnrollment": "enrollments.put", "DeleteEnrollment": "enrollments.delete",
		"Bulk": "enrollments.bulk", "Registration": "registrations.get", "Registrations": "registrations.query",
	},
	"hub": {"Device": "hub.getDevice", "SetStatus": "hub.putDevice"},
}

// everyOperation are the operations of all methods that our clients have.
func everyOperation(t *testing.T) []string {
	list := []string{"entra.token"}
	for client, of := range map[string]reflect.Type{
		"certificates": reflect.TypeOf(dpsreg.Session{}.Certificates), "dps": reflect.TypeFor[*dps.Client](), "hub": reflect.TypeFor[*hub.Client](),
	} {
		for method := range of.Methods() {
			operation, ok := operations[client][method.Name]
			if !ok {
				t.Errorf("client %s has a method %s, and nobody knows what the simulator calls it", client, method.Name)
			}
			list = append(list, operation)
		}
	}
	slices.Sort(list)
	return list
}

// few are as few numbers of calls as are needed to disturb every operation in some step.
func few(calls [][]string) []int {
	at := make(map[int]map[string]bool) // operations, by number
	for _, of := range calls {
		for n, call := range of {
			if at[n] == nil {
				at[n] = make(map[string]bool)
			}
			at[n][call] = true
		}
	}
	var chosen []int
	for len(at) > 0 {
		best := 0
		for n := range at {
			if len(at[n]) > len(at[best]) || len(at[n]) == len(at[best]) && n < best {
				best = n
			}
		}
		chosen = append(chosen, best)
		disturbed := at[best]
		for n, left := range at {
			maps.DeleteFunc(left, func(call string, _ bool) bool { return n != best && disturbed[call] })
			if n == best || len(left) == 0 {
				delete(at, n)
			}
		}
	}
	slices.Sort(chosen)
	return chosen
}

// TestKilled: whatever call of a step fails, before or after it took effect, alone or
// with all that follow, doing the step again ends in the state that an undisturbed run
// ends in. The calls are those that an undisturbed run makes, and every operation that
// there is a client for is among them, with -short too.
func TestKilled(t *testing.T) {
	dpsreg.FailFast(t)
	l := newLife(t)
	want, calls := l.run(t, -1, disturbance{})
	var numbers []int
	seen := make(map[string]bool)
	for i, of := range calls {
		for n, call := range of {
			seen[call] = true
			if n == len(numbers) {
				numbers = append(numbers, n)
			}
		}
		t.Logf("%s: %s", l.steps[i].name, strings.Join(of, " "))
	}
	for _, operation := range everyOperation(t) {
		if !seen[operation] {
			t.Errorf("no step calls %s", operation)
		}
	}
	if testing.Short() {
		numbers = few(calls)
	}
	var wait sync.WaitGroup
	defer wait.Wait()
	atOnce := make(chan struct{}, 6)
	take := pkitest.Walk(t, len(disturbances))
	for i, n := range numbers {
		for k, d := range disturbances {
			// Each kind at some calls and each call by one kind; make faults has all of them.
			if !take(i + k) {
				continue
			}
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
