package adminhttp_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"mintmark/admin"
	"mintmark/admin/adminhttp"
	"mintmark/internal/access"
	"mintmark/internal/ledger"
)

// between is a ledger that does something else in front of the next change.
type between struct {
	ledger.Ledger
	do func()
}

func (b *between) first() {
	if do := b.do; do != nil {
		b.do = nil
		do()
	}
}

func (b *between) PutPrincipal(ctx context.Context, p ledger.Principal, now time.Time) error {
	b.first()
	return b.Ledger.PutPrincipal(ctx, p, now)
}

func (b *between) ChangeOrder(ctx context.Context, id string, change ledger.OrderChange, actor string, now time.Time, tasks ...ledger.Task) (ledger.Order, error) {
	b.first()
	return b.Ledger.ChangeOrder(ctx, id, change, actor, now, tasks...)
}

// meddle puts a ledger under the API that lets another request come between.
func (p *people) meddle() *between {
	b := &between{Ledger: p.ra.Ledger}
	p.handler = adminhttp.New(adminhttp.Config{
		RA: p.ra, Ledger: b, Version: "test", Logger: p.ra.Logger,
		PublishCRL: func(context.Context, string) error { return nil },
		Actor: func(r *http.Request) (access.Principal, bool, error) {
			list, err := b.Principals(r.Context())
			if err != nil {
				return access.Principal{}, false, err
			}
			found, ok := access.ByName(list, r.Header.Get("Principal"))
			return access.Of(found), ok, nil
		},
	})
	return b
}

// approved proposes as one officer and has another one sign it.
func (p *people) approved(t *testing.T, pattern string, in wire, proposer, officer string) admin.Approval {
	t.Helper()
	var a admin.Approval
	if answer := p.ask(t, proposer, pattern, in); answer.Code != http.StatusAccepted || json.Unmarshal(answer.Body.Bytes(), &a) != nil {
		t.Fatalf("proposing was answered %d %s", answer.Code, answer.Body)
	}
	record, err := p.ra.Ledger.Approval(t.Context(), a.ID)
	if err != nil {
		t.Fatal(err)
	}
	if status := p.sign(t, p.signers[officer], officer, a, string(access.Statement(record))); status != http.StatusOK {
		t.Fatalf("signing was answered %d", status)
	}
	return a
}

// TestRemovedAtOnce carries out two removals at once, each of which leaves two
// officers and says so: the second must not find the officers of before the first,
// or one would be left, whom nobody has to agree with.
func TestRemovedAtOnce(t *testing.T) {
	p := populate(t)
	p.add(t, "dave", access.Officer, true)
	b := p.meddle()
	bob := p.approved(t, "DELETE", wire{path: "/v1/principals/bob"}, "alice", "dave")
	dave := p.approved(t, "DELETE", wire{path: "/v1/principals/dave"}, "alice", "bob")

	var second *httptest.ResponseRecorder
	b.do = func() { second = p.ask(t, "alice", "POST", runOf(dave)) }
	if first := p.ask(t, "alice", "POST", runOf(bob)); first.Code != http.StatusOK {
		t.Errorf("the first removal: %d %s", first.Code, first.Body)
	}
	if second == nil || second.Code != http.StatusServiceUnavailable || ruleOf(second) != "busy" {
		t.Errorf("the second removal in between: %v, want 503 by rule busy", second)
	}
	list, err := p.ra.Ledger.Principals(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if signers := access.Signers(list); len(signers) != 2 {
		t.Errorf("%d officers with a key are left: %v", len(signers), signers)
	}
	// By now its second officer is gone.
	if again := p.ask(t, "alice", "POST", runOf(dave)); again.Code < 400 {
		t.Errorf("the second removal afterwards: %d %s", again.Code, again.Body)
	}
}

// TestLoweredAtOnce lowers a quantity while it is lowered further: written last,
// the smaller step would raise it, which takes two persons.
func TestLoweredAtOnce(t *testing.T) {
	p := populate(t)
	p.order(t, "WO-1")
	b := p.meddle()
	lower := func(name string, quantity int) *httptest.ResponseRecorder {
		return p.ask(t, name, "PUT", wire{path: "/v1/orders/WO-1/quantity", body: admin.OrderQuantity{Quantity: quantity}})
	}
	var second *httptest.ResponseRecorder
	b.do = func() { second = lower("alice", 5) }
	if first := lower("olga", 9); first.Code != http.StatusOK {
		t.Errorf("from 10 to 9: %d %s", first.Code, first.Body)
	}
	if second == nil || second.Code != http.StatusServiceUnavailable || ruleOf(second) != "busy" {
		t.Errorf("to 5 in between: %v, want 503 by rule busy", second)
	}
	if again := lower("alice", 5); again.Code != http.StatusOK {
		t.Errorf("to 5 afterwards: %d %s", again.Code, again.Body)
	}
	if order, err := p.ra.Ledger.Order(t.Context(), "WO-1"); err != nil || order.Quantity != 5 {
		t.Errorf("the order has %d, %v", order.Quantity, err)
	}
}
