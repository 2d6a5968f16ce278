package ledgertest

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"mintmark/internal/ledger"
)

// order creates a work order that is open from now on for a day.
func (b *bench) order(id string, quantity int, change ...func(*ledger.Order)) ledger.Order {
	b.t.Helper()
	o := ledger.Order{
		ID: id, Product: "gateway", Profile: "gateway", Label: "line", Station: "line 2", Quantity: quantity,
		NotBefore: b.now, NotAfter: b.now.Add(24 * time.Hour), CreatedAt: b.now, CreatedBy: "alice", State: ledger.OrderOpen,
	}
	for _, c := range change {
		c(&o)
	}
	b.ok(b.CreateOrder(b.ctx, o))
	return o
}

// under makes an intent one of a work order.
func under(id string) func(*ledger.Intent) { return func(i *ledger.Intent) { i.Order = id } }

// claim makes an intent one for a claim certificate of a work order.
func claim(id string) func(*ledger.Intent) {
	return func(i *ledger.Intent) { i.Order, i.Purpose, i.Device = id, ledger.ForClaim, "" }
}

// taken checks how many units of an order are taken.
func (b *bench) taken(id string, want int) {
	b.t.Helper()
	o, err := b.Order(b.ctx, id)
	b.ok(err)
	b.equal("taken", o.Taken, want)
}

// refusedByOrder checks that an error is the order's and says why.
func (b *bench) refusedByOrder(err error, id, why string) {
	b.t.Helper()
	var refusal *ledger.OrderError
	if !errors.As(err, &refusal) || refusal.Order != id || refusal.Why != why {
		b.t.Fatalf("error is %v, want order %s: %s", err, id, why)
	}
}

func (b *bench) changeOrder(id string, change ledger.OrderChange) (ledger.Order, error) {
	return b.ChangeOrder(b.ctx, id, change, "bob", b.now)
}

// pointer is for the fields of OrderChange.
func pointer[T any](value T) *T { return &value }

var orderChecks = []check{
	{"an order is found as it was created", func(t *testing.T, b *bench) {
		want := b.order("wo-1", 5, func(o *ledger.Order) {
			o.Ranges = []ledger.Range{{First: "A001", Last: "A500"}, {First: "B1", Last: "B9"}}
			o.Networks = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8::/32")}
			o.Listed, o.Secret = true, Key("secret")
		})
		got, err := b.Order(b.ctx, "wo-1")
		b.ok(err)
		b.equal("order", got, want)
		plain := b.order("wo-2", 1)
		got, err = b.Order(b.ctx, "wo-2")
		b.ok(err)
		b.equal("plain order", got, plain)
	}},
	{"what is taken and decided does not come with a new order", func(t *testing.T, b *bench) {
		b.ok(b.CreateOrder(b.ctx, ledger.Order{ID: "wo-1", Profile: "p", Quantity: 1, NotBefore: b.now, NotAfter: b.now.Add(time.Hour), CreatedAt: b.now,
			Taken: 7, State: ledger.OrderKilled, ChangedBy: "mallory", ChangedAt: b.now}))
		o, err := b.Order(b.ctx, "wo-1")
		b.ok(err)
		if o.Taken != 0 || o.State != ledger.OrderOpen || o.ChangedBy != "" || !o.ChangedAt.IsZero() {
			t.Errorf("%+v", o)
		}
	}},
	{"an order that makes no sense is not created", func(t *testing.T, b *bench) {
		for name, change := range map[string]func(*ledger.Order){
			"no name":       func(o *ledger.Order) { o.ID = "" },
			"no profile":    func(o *ledger.Order) { o.Profile = "" },
			"no quantity":   func(o *ledger.Order) { o.Quantity = 0 },
			"ends too soon": func(o *ledger.Order) { o.NotAfter = o.NotBefore },
			"no beginning":  func(o *ledger.Order) { o.NotBefore = time.Time{} },
		} {
			o := ledger.Order{ID: "wo-1", Profile: "p", Quantity: 1, NotBefore: b.now, NotAfter: b.now.Add(time.Hour), CreatedAt: b.now}
			change(&o)
			if err := b.CreateOrder(b.ctx, o); err == nil {
				t.Errorf("%s: created", name)
			}
		}
		_, err := b.Order(b.ctx, "wo-1")
		b.want(err, ledger.ErrNotFound)
	}},
	{"a name is taken once", func(t *testing.T, b *bench) {
		want := b.order("wo-1", 5)
		again := want
		again.Quantity = 500
		b.want(b.CreateOrder(b.ctx, again), ledger.ErrTaken)
		got, err := b.Order(b.ctx, "wo-1")
		b.ok(err)
		b.equal("order", got, want)
	}},
	{"an unknown order is not found", func(t *testing.T, b *bench) {
		_, err := b.Order(b.ctx, "wo-1")
		b.want(err, ledger.ErrNotFound)
		_, err = b.OrderUsage(b.ctx, "wo-1")
		b.want(err, ledger.ErrNotFound)
		_, err = b.changeOrder("wo-1", ledger.OrderChange{Quantity: pointer(2)})
		b.want(err, ledger.ErrNotFound)
	}},
	{"orders are listed by name and every field restricts", func(t *testing.T, b *bench) {
		b.order("wo-c", 1, func(o *ledger.Order) { o.Product = "sensor" })
		b.order("wo-a", 1)
		b.order("wo-b", 1, func(o *ledger.Order) { o.Station = "line 9" })
		_, err := b.changeOrder("wo-a", ledger.OrderChange{State: pointer(ledger.OrderClosed)})
		b.ok(err)
		for name, q := range map[string]struct {
			query ledger.OrderQuery
			want  []string
		}{
			"nothing": {ledger.OrderQuery{}, []string{"wo-a", "wo-b", "wo-c"}},
			"state":   {ledger.OrderQuery{State: ledger.OrderClosed}, []string{"wo-a"}},
			"product": {ledger.OrderQuery{Product: "sensor"}, []string{"wo-c"}},
			"station": {ledger.OrderQuery{Station: "line 9"}, []string{"wo-b"}},
			"two":     {ledger.OrderQuery{State: ledger.OrderOpen, Station: "line 2"}, []string{"wo-c"}},
			"after":   {ledger.OrderQuery{After: "wo-a"}, []string{"wo-b", "wo-c"}},
			"limit":   {ledger.OrderQuery{Limit: 2}, []string{"wo-a", "wo-b"}},
			"none":    {ledger.OrderQuery{Product: "x"}, nil},
		} {
			orders, err := b.Orders(b.ctx, q.query)
			b.ok(err)
			var got []string
			for _, o := range orders {
				got = append(got, o.ID)
			}
			b.equal(name, got, q.want)
		}
	}},
	{"a change is later than the one before, whatever the clock says", func(t *testing.T, b *bench) {
		b.order("wo-1", 9)
		b.now = b.now.Add(time.Hour)
		first, err := b.changeOrder("wo-1", ledger.OrderChange{Quantity: pointer(8)})
		b.ok(err)
		b.now = b.now.Add(-30 * time.Minute)
		second, err := b.changeOrder("wo-1", ledger.OrderChange{State: pointer(ledger.OrderClosed)})
		b.ok(err)
		if !second.ChangedAt.After(first.ChangedAt) {
			t.Errorf("changed at %v and then at %v", first.ChangedAt, second.ChangedAt)
		}
	}},
	{"a change changes what it names", func(t *testing.T, b *bench) {
		want := b.order("wo-1", 5, func(o *ledger.Order) { o.Secret = Key("old") })
		b.now = b.now.Add(time.Minute)
		want.Quantity, want.ChangedAt, want.ChangedBy = 9, b.now, "bob"
		got, err := b.changeOrder("wo-1", ledger.OrderChange{Quantity: pointer(9)})
		b.ok(err)
		b.equal("quantity", got, want)
		want.NotAfter = b.now.Add(time.Hour)
		got, err = b.changeOrder("wo-1", ledger.OrderChange{NotAfter: &want.NotAfter})
		b.ok(err)
		b.equal("window", got, want)
		want.Secret = Key("new")
		got, err = b.changeOrder("wo-1", ledger.OrderChange{Secret: &want.Secret})
		b.ok(err)
		b.equal("secret", got, want)
		want.State = ledger.OrderClosed
		got, err = b.changeOrder("wo-1", ledger.OrderChange{State: &want.State})
		b.ok(err)
		b.equal("state", got, want)
		got, err = b.Order(b.ctx, "wo-1")
		b.ok(err)
		b.equal("stored", got, want)
	}},
	{"a change that makes no sense changes nothing", func(t *testing.T, b *bench) {
		want := b.order("wo-1", 5)
		for name, change := range map[string]ledger.OrderChange{
			"no quantity":     {Quantity: pointer(0)},
			"ends too soon":   {NotAfter: pointer(b.now)},
			"no such state":   {State: pointer(ledger.OrderState("lost"))},
			"one good, a bad": {Quantity: pointer(7), NotAfter: pointer(b.now)},
		} {
			if _, err := b.changeOrder("wo-1", change); err == nil {
				t.Errorf("%s: done", name)
			}
		}
		got, err := b.Order(b.ctx, "wo-1")
		b.ok(err)
		b.equal("order", got, want)
	}},
	{"a quantity below what is taken is refused", func(t *testing.T, b *bench) {
		b.order("wo-1", 3)
		b.issue(b.intent("dev-1", "k1", under("wo-1")))
		b.ok(b.begin(b.intent("dev-2", "k2", under("wo-1"))))
		_, err := b.changeOrder("wo-1", ledger.OrderChange{Quantity: pointer(1)})
		b.refusedByOrder(err, "wo-1", "exhausted")
		_, err = b.changeOrder("wo-1", ledger.OrderChange{Quantity: pointer(2)})
		b.ok(err)
		b.refusedByOrder(b.begin(b.intent("dev-3", "k3", under("wo-1"))), "wo-1", "in-flight")
	}},
	{"closed and killed stay so, and a closed one can be killed", func(t *testing.T, b *bench) {
		b.order("wo-1", 3)
		closed, killed, open := ledger.OrderChange{State: pointer(ledger.OrderClosed)}, ledger.OrderChange{State: pointer(ledger.OrderKilled)}, ledger.OrderChange{State: pointer(ledger.OrderOpen)}
		_, err := b.changeOrder("wo-1", closed)
		b.ok(err)
		for _, change := range []ledger.OrderChange{open, closed, {Quantity: pointer(9)}} {
			_, err = b.changeOrder("wo-1", change)
			b.refusedByOrder(err, "wo-1", "closed")
		}
		_, err = b.changeOrder("wo-1", killed)
		b.ok(err)
		for _, change := range []ledger.OrderChange{open, closed, killed, {NotAfter: pointer(b.now.Add(time.Hour))}} {
			_, err = b.changeOrder("wo-1", change)
			b.refusedByOrder(err, "wo-1", "killed")
		}
	}},
	{"killing voids what is in flight, its claims' too, and nothing else", func(t *testing.T, b *bench) {
		b.order("wo-1", 9)
		b.order("wo-2", 9)
		issued := b.issue(b.intent("dev-1", "k1", under("wo-1")))
		open := []ledger.Intent{b.intent("dev-2", "k2", under("wo-1")), b.intent("dev-3", "k3", under("wo-1")), b.intent("", "k4", claim("wo-1"))}
		others := []ledger.Intent{b.intent("dev-5", "k5", under("wo-2")), b.intent("dev-6", "k6")}
		for _, i := range append(open, others...) {
			b.ok(b.begin(i))
		}
		b.taken("wo-1", 3)
		o, err := b.changeOrder("wo-1", ledger.OrderChange{State: pointer(ledger.OrderKilled)})
		b.ok(err)
		b.equal("taken", o.Taken, 1)
		for _, i := range open {
			b.state(i.Serial, ledger.Voided)
			b.want(b.finish(Signed(i, b.now)), ledger.ErrVoided)
		}
		for _, i := range others {
			b.state(i.Serial, ledger.Open)
		}
		b.state(issued, ledger.Valid)
		b.taken("wo-2", 1)
	}},
	{"closing lets what is in flight end", func(t *testing.T, b *bench) {
		b.order("wo-1", 9)
		i := b.intent("dev-1", "k1", under("wo-1"))
		b.ok(b.begin(i))
		_, err := b.changeOrder("wo-1", ledger.OrderChange{State: pointer(ledger.OrderClosed)})
		b.ok(err)
		b.ok(b.finish(Signed(i, b.now)))
		b.refusedByOrder(b.begin(b.intent("dev-2", "k2", under("wo-1"))), "wo-1", "closed")
	}},
	{"the account of an order adds up", func(t *testing.T, b *bench) {
		b.order("wo-1", 9)
		u, err := b.OrderUsage(b.ctx, "wo-1")
		b.ok(err)
		b.equal("new order", u, ledger.OrderUsage{Left: 9, Refused: map[string]int{}})
		revoked := b.issue(b.intent("dev-1", "k1", under("wo-1")))
		b.now = b.now.Add(time.Minute)
		b.issue(b.intent("dev-2", "k2", under("wo-1")))
		last := b.now
		b.now = b.now.Add(time.Minute)
		_, err = b.Revoke(b.ctx, ledger.Selector{Serial: revoked}, ledger.Superseded, "officer", b.now, nil)
		b.ok(err)
		b.issue(b.intent("", "claim", claim("wo-1")))
		void := b.intent("dev-3", "k3", under("wo-1"))
		b.ok(b.begin(void))
		b.ok(b.Void(b.ctx, void.Serial, b.now))
		b.ok(b.begin(b.intent("dev-4", "k4", under("wo-1"))))
		b.issue(b.intent("dev-5", "k5"))
		b.ok(b.Refuse(b.ctx, []ledger.Refused{{At: b.now, Order: "wo-1", Rule: "quota"}, {At: b.now, Order: "wo-1", Rule: "quota"},
			{At: b.now, Order: "wo-1", Rule: "range"}, {At: b.now, Order: "wo-2", Rule: "quota"}, {At: b.now, Rule: "quota"}}, 100))
		u, err = b.OrderUsage(b.ctx, "wo-1")
		b.ok(err)
		b.equal("usage", u, ledger.OrderUsage{Issued: 2, Open: 1, Left: 6, Refused: map[string]int{"quota": 2, "range": 1}, Last: last})
	}},
}

var quotaChecks = []check{
	{"a certificate says its order", func(t *testing.T, b *bench) {
		b.order("wo-1", 1)
		i := b.intent("dev-1", "k1", under("wo-1"))
		b.ok(b.begin(i))
		b.equal("open", b.state(i.Serial, ledger.Open).Order, "wo-1")
		b.ok(b.finish(Signed(i, b.now)))
		b.equal("valid", b.state(i.Serial, ledger.Valid).Order, "wo-1")
		other := b.issue(b.intent("dev-2", "k2"))
		page, err := b.Certificates(b.ctx, ledger.Query{Order: "wo-1"})
		b.ok(err)
		if len(page.Certificates) != 1 || page.Certificates[0].Serial != i.Serial || page.Certificates[0].Order != "wo-1" {
			t.Errorf("certificates of the order: %+v; %s is not", page.Certificates, other)
		}
	}},
	{"a unit for each intent and none over the quantity", func(t *testing.T, b *bench) {
		b.order("wo-1", 3)
		b.issue(b.intent("dev-1", "k1", under("wo-1")))
		results, err := b.Begin(b.ctx, []ledger.Intent{b.intent("dev-2", "k2", under("wo-1")), b.intent("dev-3", "k3", under("wo-1")), b.intent("dev-4", "k4", under("wo-1"))})
		b.ok(err)
		b.ok(results[0])
		b.ok(results[1])
		b.refusedByOrder(results[2], "wo-1", "in-flight")
		b.taken("wo-1", 3)
	}},
	{"in flight is not exhausted", func(t *testing.T, b *bench) {
		b.order("wo-1", 1)
		i := b.intent("dev-1", "k1", under("wo-1"))
		b.ok(b.begin(i))
		b.refusedByOrder(b.begin(b.intent("dev-2", "k2", under("wo-1"))), "wo-1", "in-flight")
		b.ok(b.finish(Signed(i, b.now)))
		b.refusedByOrder(b.begin(b.intent("dev-2", "k2", under("wo-1"))), "wo-1", "exhausted")
		b.ok(b.begin(b.intent("", "claim", claim("wo-1")))) // a claim that is in flight gives nothing back
		b.refusedByOrder(b.begin(b.intent("dev-2", "k2", under("wo-1"))), "wo-1", "exhausted")
		_, err := b.changeOrder("wo-1", ledger.OrderChange{Quantity: pointer(2)})
		b.ok(err)
		b.ok(b.begin(b.intent("dev-2", "k2", under("wo-1"))))
	}},
	{"an order says why it does not pay", func(t *testing.T, b *bench) {
		b.refusedByOrder(b.begin(b.intent("dev-1", "k1", under("wo-0"))), "wo-0", "unknown")
		o := b.order("wo-1", 9, func(o *ledger.Order) { o.NotBefore = o.NotBefore.Add(time.Minute) })
		b.refusedByOrder(b.begin(b.intent("dev-1", "k1", under("wo-1"))), "wo-1", "early")
		b.ok(b.begin(b.intent("dev-1", "k1", under("wo-1"), func(i *ledger.Intent) { i.At = o.NotBefore })))
		b.refusedByOrder(b.begin(b.intent("dev-2", "k2", under("wo-1"), func(i *ledger.Intent) { i.At = o.NotBefore.Add(-time.Microsecond) })), "wo-1", "early")
		b.ok(b.Extend(b.ctx, b.epoch, b.now, 48*time.Hour))
		b.now = o.NotAfter
		b.refusedByOrder(b.begin(b.intent("dev-2", "k2", under("wo-1"))), "wo-1", "expired")
		b.ok(b.begin(b.intent("dev-2", "k2", under("wo-1"), func(i *ledger.Intent) { i.At = o.NotAfter.Add(-time.Microsecond) })))
		_, err := b.changeOrder("wo-1", ledger.OrderChange{State: pointer(ledger.OrderKilled)})
		b.ok(err)
		b.refusedByOrder(b.begin(b.intent("dev-3", "k3", under("wo-1"))), "wo-1", "killed")
		b.taken("wo-1", 0)
	}},
	{"a repeat costs none", func(t *testing.T, b *bench) {
		b.order("wo-1", 1)
		i := b.intent("dev-1", "k1", under("wo-1"))
		b.ok(b.begin(i))
		b.want(b.begin(b.intent("dev-1", "k1", under("wo-1"))), ledger.ErrInFlight)
		b.taken("wo-1", 1)
		b.ok(b.finish(Signed(i, b.now)))
		var prior *ledger.PriorError
		if err := b.begin(b.intent("dev-1", "k1", under("wo-1"))); !errors.As(err, &prior) || prior.Certificate.Order != "wo-1" {
			t.Fatalf("repeated: %v", err)
		}
		b.taken("wo-1", 1)
	}},
	{"a refused intent costs none", func(t *testing.T, b *bench) {
		b.order("wo-1", 9)
		i := b.intent("dev-1", "k1", under("wo-1"))
		b.issue(i)
		taken := b.intent("dev-2", "k2", under("wo-1"))
		taken.Serial = i.Serial
		b.want(b.begin(taken), ledger.ErrTaken)
		var clone *ledger.CloneError
		if err := b.begin(b.intent("dev-1", "k9", under("wo-1"))); !errors.As(err, &clone) {
			t.Errorf("clone: %v", err)
		}
		var shared *ledger.SharedKeyError
		if err := b.begin(b.intent("dev-9", "k1", under("wo-1"))); !errors.As(err, &shared) {
			t.Errorf("shared key: %v", err)
		}
		b.taken("wo-1", 1)
	}},
	{"a claim costs none", func(t *testing.T, b *bench) {
		b.order("wo-1", 1)
		i := b.intent("", "k1", claim("wo-1"))
		b.issue(i)
		b.equal("order", b.state(i.Serial, ledger.Valid).Order, "wo-1")
		v := b.intent("", "k2", claim("wo-1"))
		b.ok(b.begin(v))
		b.ok(b.Void(b.ctx, v.Serial, b.now))
		b.taken("wo-1", 0)
		b.issue(b.intent("dev-1", "k3", under("wo-1")))
		b.taken("wo-1", 1)
	}},
	{"an order pays for devices and claims only", func(t *testing.T, b *bench) {
		b.order("wo-1", 1)
		for _, change := range []func(*ledger.Intent){
			func(i *ledger.Intent) { i.Purpose, i.Device = ledger.ForServer, "" },
			func(i *ledger.Intent) { i.Purpose, i.Device, i.Order = ledger.ForClaim, "", "" },
		} {
			if _, err := b.Begin(b.ctx, []ledger.Intent{b.intent("dev-1", "k1", under("wo-1"), change)}); err == nil {
				t.Error("recorded")
			}
		}
	}},
	{"a voided intent gives its unit back once", func(t *testing.T, b *bench) {
		b.order("wo-1", 2)
		i := b.intent("dev-1", "k1", under("wo-1"))
		b.ok(b.begin(i))
		b.issue(b.intent("dev-2", "k2", under("wo-1")))
		b.taken("wo-1", 2)
		for range 3 {
			b.ok(b.Void(b.ctx, i.Serial, b.now))
			b.taken("wo-1", 1)
		}
		b.ok(b.begin(b.intent("dev-1", "k1", under("wo-1"))))
		b.taken("wo-1", 2)
	}},
	{"a revoked certificate gives nothing back", func(t *testing.T, b *bench) {
		b.order("wo-1", 1)
		b.issue(b.intent("dev-1", "k1", under("wo-1")))
		_, err := b.Revoke(b.ctx, ledger.Selector{Device: "dev-1"}, ledger.Superseded, "officer", b.now, nil)
		b.ok(err)
		b.refusedByOrder(b.begin(b.intent("dev-1", "k1", under("wo-1"))), "wo-1", "exhausted")
	}},
	{"lapsed intents give their units back once", func(t *testing.T, b *bench) {
		b.order("wo-1", 3)
		b.ok(b.begin(b.intent("dev-1", "k1", under("wo-1"))))
		b.ok(b.begin(b.intent("dev-2", "k2", under("wo-1"))))
		b.issue(b.intent("dev-3", "k3", under("wo-1")))
		epoch, err := b.Join(b.ctx, "alpha", b.now, time.Hour)
		b.ok(err)
		b.epoch = epoch
		b.refusedByOrder(b.begin(b.intent("dev-4", "k4", under("wo-1"))), "wo-1", "in-flight")
		for _, want := range []int{2, 0} {
			n, err := b.VoidLapsed(b.ctx, b.now)
			b.ok(err)
			b.equal("voided", n, want)
			b.taken("wo-1", 1)
		}
	}},
	{"what a revoked certificate has asked for gives its unit back", func(t *testing.T, b *bench) {
		b.order("wo-1", 2)
		serial := b.issue(b.intent("dev-1", "k1", under("wo-1")))
		b.ok(b.begin(b.intent("dev-1", "k2", under("wo-1"), func(i *ledger.Intent) { i.Requester = ledger.Requester{Kind: "certificate", Name: string(serial)} })))
		b.taken("wo-1", 2)
		_, err := b.Revoke(b.ctx, ledger.Selector{Serial: serial}, ledger.KeyCompromise, "officer", b.now, nil)
		b.ok(err)
		b.taken("wo-1", 1)
	}},
	{"a caller that has left costs no unit", func(t *testing.T, b *bench) {
		b.order("wo-1", 1)
		ctx, cancel := context.WithCancel(b.ctx)
		cancel()
		i := b.intent("dev-1", "k1", under("wo-1"))
		if results, err := b.Begin(ctx, []ledger.Intent{i}); err == nil {
			b.ok(results[0]) // it was quicker than the cancellation
			b.taken("wo-1", 1)
			return
		}
		b.eventually("the unit is back", func() bool {
			c, err := b.Certificate(b.ctx, i.Serial)
			if err != nil || c.State != ledger.Voided {
				return false
			}
			b.taken("wo-1", 0)
			return true
		})
	}},
	{"injected failures cost no unit in the end", func(t *testing.T, b *bench) {
		b.order("wo-1", 2)
		mode := NotPersist
		faulty := &Faulty{Ledger: b.Ledger, Fail: func(op string) Mode {
			if op == "Begin" {
				return mode
			}
			return Pass
		}}
		begin := func(i ledger.Intent) {
			t.Helper()
			_, err := faulty.Begin(b.ctx, []ledger.Intent{i})
			b.want(err, ErrInjected)
		}
		begin(b.intent("dev-1", "k1", under("wo-1")))
		b.taken("wo-1", 0)
		mode = ButPersist
		first, second := b.intent("dev-1", "k1", under("wo-1")), b.intent("dev-2", "k2", under("wo-1"))
		begin(first)
		begin(second)
		b.taken("wo-1", 2)
		b.ok(b.Void(b.ctx, first.Serial, b.now)) // its server still runs
		b.taken("wo-1", 1)
		epoch, err := b.Join(b.ctx, "alpha", b.now, time.Hour) // its server was started again
		b.ok(err)
		b.epoch = epoch
		_, err = b.VoidLapsed(b.ctx, b.now)
		b.ok(err)
		b.taken("wo-1", 0)
		b.issue(b.intent("dev-1", "k1", under("wo-1")))
		b.issue(b.intent("dev-2", "k2", under("wo-1")))
	}},
	{"many at once get exactly the quantity", func(t *testing.T, b *bench) {
		const quantity = 20
		b.order("wo-1", quantity)
		var issued, refused atomic.Int32
		together(func(n int) {
			for {
				done := b.Announce()
				i := b.intent(fmt.Sprint("dev-", n), fmt.Sprint("k", n), under("wo-1"))
				results, err := b.Begin(b.ctx, []ledger.Intent{i})
				if err == nil && results[0] == nil {
					results, err = b.Finish(b.ctx, []ledger.Issued{Signed(i, b.now)})
				}
				done()
				var order *ledger.OrderError
				switch {
				case err != nil:
					t.Error(err)
				case results[0] == nil:
					issued.Add(1)
				case errors.As(results[0], &order) && order.Why == "in-flight":
					continue
				case errors.As(results[0], &order) && order.Why == "exhausted":
					refused.Add(1)
				default:
					t.Error(results[0])
				}
				return
			}
		})
		b.equal("issued", issued.Load(), quantity)
		b.equal("refused", refused.Load(), clients-quantity)
		b.taken("wo-1", quantity)
	}},
	{"never more than the quantity while intents are voided", func(t *testing.T, b *bench) {
		const quantity = 20
		b.order("wo-1", quantity)
		var issued atomic.Int32
		together(func(n int) {
			for attempt := 0; ; attempt++ {
				i := b.intent(fmt.Sprint("dev-", n), fmt.Sprint("k", n), under("wo-1"))
				results, err := b.Begin(b.ctx, []ledger.Intent{i})
				var order *ledger.OrderError
				switch {
				case err != nil:
					t.Error(err)
					return
				case results[0] == nil && attempt%2 == n%2: // every other one is given up
					if err := b.Void(b.ctx, i.Serial, b.now); err != nil {
						t.Error(err)
						return
					}
				case results[0] == nil:
					if results, err := b.Finish(b.ctx, []ledger.Issued{Signed(i, b.now)}); err != nil || results[0] != nil {
						t.Error(results, err)
					}
					issued.Add(1)
					return
				case errors.As(results[0], &order) && order.Why == "exhausted":
					return
				case !errors.As(results[0], &order) || order.Why != "in-flight":
					t.Error(results[0])
					return
				}
				// Valid ones are counted first: they only become more, so that
				// the sum is no more than there are when the open ones are
				// counted.
				if n == 0 {
					count := 0
					for _, state := range []ledger.State{ledger.Valid, ledger.Open} {
						page, err := b.Certificates(b.ctx, ledger.Query{Order: "wo-1", State: state, Limit: 1000})
						if err != nil {
							t.Error(err)
						}
						count += len(page.Certificates)
					}
					if count > quantity {
						t.Errorf("%d are valid or open, the quantity is %d", count, quantity)
					}
				}
			}
		})
		b.equal("issued", issued.Load(), quantity)
		b.taken("wo-1", quantity)
		page, err := b.Certificates(b.ctx, ledger.Query{Order: "wo-1", State: ledger.Valid})
		b.ok(err)
		b.equal("valid", len(page.Certificates), quantity)
	}},
}
