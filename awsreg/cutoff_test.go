package awsreg_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iot"

	"mintmark/awsreg"
	"mintmark/awsreg/hook"
	"mintmark/internal/ledger"
	"mintmark/internal/pkitest"
)

// deliveryKinds are deliveries of each kind. Begin makes the n-th subject of one
// and returns what is delivered, and what must hold once that has succeeded.
var deliveryKinds = []struct {
	name  string
	begin func(w *world, target awsreg.Target, n int) ([]ledger.Task, func(what string))
}{
	{"a certificate to be registered", func(w *world, target awsreg.Target, n int) ([]ledger.Task, func(string)) {
		device := fmt.Sprintf("press-%d", n)
		c := w.issue("press", device)
		return w.tasks(target, c), func(what string) {
			w.want(what, active, c)
			if got := w.policiesOf(idOf(c)); len(got) != 1 || textOf(w.item(rotationTable, device), "current") != idOf(c) || w.item(manifestTable, idOf(c)) == nil {
				w.t.Errorf("%s: policies %v, rotation %v", what, got, w.item(rotationTable, device))
			}
			things := must(w.iot(first).ListPrincipalThings(w.t.Context(), &iot.ListPrincipalThingsInput{Principal: arnOf(idOf(c))}))(w.t)
			groups := must(w.iot(first).ListThingGroupsForThing(w.t.Context(), &iot.ListThingGroupsForThingInput{ThingName: aws.String(device)}))(w.t)
			if len(things.Things) != 1 || len(groups.ThingGroups) != 1 {
				w.t.Errorf("%s: things %v, groups %v", what, things.Things, groups.ThingGroups)
			}
		}
	}},
	{"a certificate without a CA at AWS", func(w *world, target awsreg.Target, n int) ([]ledger.Task, func(string)) {
		c := w.issue("lone", fmt.Sprintf("lone-%d", n))
		return w.tasks(target, c), func(what string) { w.want(what, active, c) }
	}},
	{"the next certificate of a device", func(w *world, target awsreg.Target, n int) ([]ledger.Task, func(string)) {
		device := fmt.Sprintf("pump-%d", n)
		c1 := w.issueLater("line", device, time.Now().Add(-2*time.Hour))
		c2 := w.issueLater("line", device, time.Now().Add(-time.Hour))
		w.tell(target, c1)
		return w.tasks(target, c2), func(what string) {
			if item := w.item(rotationTable, device); textOf(item, "current") != idOf(c1) || textOf(item, "next") != idOf(c2) {
				w.t.Errorf("%s: rotation %v", what, item)
			}
		}
	}},
	{"a revocation", func(w *world, target awsreg.Target, n int) ([]ledger.Task, func(string)) {
		c := w.issue("press", fmt.Sprintf("press-%d", n))
		w.tell(target, c)
		w.ok(w.revoke(w.t.Context(), []ledger.Serial{c.Serial}))
		return w.tasks(target, c), func(what string) {
			w.want(what, revoked, c)
			if w.item(manifestTable, "revoked#"+idOf(c)) == nil {
				w.t.Errorf("%s: no mark", what)
			}
		}
	}},
	{"a revocation before just-in-time provisioning", func(w *world, target awsreg.Target, n int) ([]ledger.Task, func(string)) {
		c := w.issue("auto", fmt.Sprintf("auto-%d", n))
		w.ok(w.revoke(w.t.Context(), []ledger.Serial{c.Serial}))
		return w.tasks(target, c), func(what string) { w.want(what, revoked, c) }
	}},
	{"a claim", func(w *world, target awsreg.Target, n int) ([]ledger.Task, func(string)) {
		order := w.order(fmt.Sprintf("wo-%d", n))
		c := w.issueClaim(order.ID)
		return w.tasks(target, c), func(what string) {
			w.want(what, active, c)
			if got := w.policiesOf(idOf(c)); len(got) != 1 || textOf(w.item(manifestTable, hook.ClaimKey(idOf(c))), "order") != order.ID {
				w.t.Errorf("%s: policies %v", what, got)
			}
		}
	}},
	{"a claim's revocation", func(w *world, target awsreg.Target, n int) ([]ledger.Task, func(string)) {
		c := w.issueClaim(w.order(fmt.Sprintf("wo-%d", n)).ID)
		w.tell(target, c)
		w.ok(w.revoke(w.t.Context(), []ledger.Serial{c.Serial}))
		return w.tasks(target, c), func(what string) { w.want(what, revoked, c) }
	}},
	{"an order with a list", func(w *world, target awsreg.Target, n int) ([]ledger.Task, func(string)) {
		order := w.order(fmt.Sprintf("wo-%d", n), func(o *ledger.Order) { o.Listed = true })
		w.list(fmt.Sprintf("import-%d", n), order.ID, fmt.Sprintf("a-%d", n), fmt.Sprintf("b-%d", n))
		return awsreg.TasksForOrder([]awsreg.Target{target}, order.ID), func(what string) {
			if textOf(w.item(manifestTable, hook.OrderKey(order.ID)), "state") != "open" || w.item(manifestTable, hook.ExpectedKey(fmt.Sprintf("b-%d", n))) == nil {
				w.t.Errorf("%s: the order or its list is not there", what)
			}
		}
	}},
	{"an order that was closed", func(w *world, target awsreg.Target, n int) ([]ledger.Task, func(string)) {
		return shutOrder(w, target, n, ledger.OrderClosed)
	}},
	{"an order that was killed", func(w *world, target awsreg.Target, n int) ([]ledger.Task, func(string)) {
		return shutOrder(w, target, n, ledger.OrderKilled)
	}},
	{"a device list", func(w *world, target awsreg.Target, n int) ([]ledger.Task, func(string)) {
		order, id := w.order(fmt.Sprintf("wo-%d", n)), fmt.Sprintf("import-%d", n)
		w.list(id, order.ID, fmt.Sprintf("a-%d", n))
		return awsreg.TasksForImport([]awsreg.Target{target}, id), func(what string) {
			if w.item(manifestTable, hook.ExpectedKey(fmt.Sprintf("a-%d", n))) == nil {
				w.t.Errorf("%s: the device is not expected", what)
			}
		}
	}},
	{"a hold", func(w *world, target awsreg.Target, n int) ([]ledger.Task, func(string)) {
		device := fmt.Sprintf("press-%d", n)
		c := w.issue("press", device)
		w.tell(target, c)
		w.holdDevice(device, ledger.Held)
		return awsreg.TasksForDevice([]awsreg.Target{target}, device), func(what string) {
			w.want(what, inactive, c)
			if w.item(manifestTable, hook.HeldKey(device)) == nil {
				w.t.Errorf("%s: no mark", what)
			}
		}
	}},
	{"a release", func(w *world, target awsreg.Target, n int) ([]ledger.Task, func(string)) {
		device := fmt.Sprintf("press-%d", n)
		c := w.issue("press", device)
		w.tell(target, c)
		w.holdDevice(device, ledger.Held)
		w.tellDevice(target, device)
		w.holdDevice(device, ledger.Expected)
		return awsreg.TasksForDevice([]awsreg.Target{target}, device), func(what string) {
			w.want(what, active, c)
			if w.item(manifestTable, hook.HeldKey(device)) != nil {
				w.t.Errorf("%s: still marked", what)
			}
		}
	}},
}

// shutOrder is an order with a claim of ours and one of AWS's.
func shutOrder(w *world, target awsreg.Target, n int, state ledger.OrderState) ([]ledger.Task, func(string)) {
	order := w.order(fmt.Sprintf("wo-%d", n))
	ours := w.issueClaim(order.ID)
	w.tell(target, ours)
	theirs, err := w.registrar(first).ClaimFromAWS(w.t.Context(), target, order, request(w.t, "x"))
	w.ok(err)
	w.changeOrder(order.ID, state)
	want := inactive
	if state == ledger.OrderKilled {
		want = revoked
	}
	return awsreg.TasksForOrder([]awsreg.Target{target}, order.ID), func(what string) {
		w.want(what, want, ours)
		if got := w.statusOf(theirs.CertificateID); got != inactive {
			w.t.Errorf("%s: AWS's claim is %s", what, got)
		}
		if got := textOf(w.item(manifestTable, hook.OrderKey(order.ID)), "state"); got != string(state) {
			w.t.Errorf("%s: order is %s", what, got)
		}
	}
}

// TestDeliverCutOff fails each call of each kind of delivery once, before or after
// its effect (with MINTMARK_LONG=1 both), for good, as the end of the process does, and, of
// some, as a connection that breaks. After another delivery, by a new process, everything is as if nothing
// had happened.
func TestDeliverCutOff(t *testing.T) {
	for _, kind := range deliveryKinds {
		t.Run(kind.name, func(t *testing.T) {
			t.Parallel()
			w, target := fleetWorld(t)
			take := pkitest.Walk(t, 2)
			subject := 0
			for point := 1; ; point++ {
				tried, fired := false, false
				for i, cut := range []struct {
					name  string
					err   error
					after bool
				}{
					{"killed before", errors.New("killed"), false}, {"killed after", errors.New("killed"), true},
					{"broken after", io.ErrUnexpectedEOF, true},
				} {
					if errors.Is(cut.err, io.ErrUnexpectedEOF) && point%3 != 0 || !take(point+i) {
						continue
					}
					subject++
					what := fmt.Sprintf("%s call %d", cut.name, point)
					tasks, check := kind.begin(w, target, subject)
					reached := w.cut(point, cut.err, cut.after, func() {
						errs := w.registrar(first).Deliver(t.Context(), target, tasks)
						if errs[0] != nil && errors.Is(cut.err, io.ErrUnexpectedEOF) {
							t.Errorf("%s: %v", what, errs[0])
						}
					})
					tried, fired = true, fired || reached
					w.deliver(target, tasks)
					check(what)
					if !cut.after {
						continue
					}
					before := w.state()
					w.deliver(target, tasks)
					if w.state() != before {
						t.Errorf("%s: another delivery changed something", what)
					}
				}
				if t.Failed() {
					return
				}
				if tried && !fired {
					if point < 3 {
						t.Errorf("only %d calls", point)
					}
					return
				}
			}
		})
	}
}

// cutter is an HTTP client whose nth request fails.
type cutter struct {
	client  aws.HTTPClient
	nth     int
	failure error
	after   bool

	mu sync.Mutex
	n  int
}

func (c *cutter) Do(r *http.Request) (*http.Response, error) {
	c.mu.Lock()
	c.n++
	fails := c.n == c.nth
	c.mu.Unlock()
	if fails && !c.after {
		return nil, c.failure
	}
	response, err := c.client.Do(r)
	if err == nil && fails {
		response.Body.Close()
		return nil, c.failure
	}
	return response, err
}

// cut runs f, makes its nth request fail, and reports whether it had so many.
func (w *world) cut(nth int, failure error, after bool, f func()) (fired bool) {
	client := w.http.client
	c := &cutter{client: client, nth: nth, failure: failure, after: after}
	w.http.client = c
	f()
	w.http.client = client
	return c.n >= nth
}
