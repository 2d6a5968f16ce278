package ledgertest

import (
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"mintmark/internal/ledger"
)

var principalChecks = []check{
	{"principals are listed by name, as they are", func(t *testing.T, b *bench) {
		bob := ledger.Principal{Name: "bob", Roles: []string{"officer", "operator"}, Key: []byte("bob's key"), UnixUser: "bob", AddedAt: b.now, AddedBy: "init"}
		alice := ledger.Principal{Name: "alice", Roles: []string{"auditor"}, AddedAt: b.now, AddedBy: "bob"}
		b.ok(b.PutPrincipal(b.ctx, bob, b.now))
		b.ok(b.PutPrincipal(b.ctx, alice, b.now))
		all, err := b.Principals(b.ctx)
		b.ok(err)
		b.equal("principals", all, []ledger.Principal{alice, bob})
		bob.Roles, bob.Key, bob.UnixUser = []string{"station"}, nil, ""
		b.ok(b.PutPrincipal(b.ctx, bob, b.now))
		all, err = b.Principals(b.ctx)
		b.ok(err)
		b.equal("after replacing one", all, []ledger.Principal{alice, bob})
	}},
	{"a removed one stays on record", func(t *testing.T, b *bench) {
		p := ledger.Principal{Name: "bob", Roles: []string{"officer"}, Key: []byte("key"), AddedAt: b.now, AddedBy: "init"}
		b.ok(b.PutPrincipal(b.ctx, p, b.now))
		p.RemovedAt = b.now.Add(time.Minute)
		b.ok(b.PutPrincipal(b.ctx, p, p.RemovedAt))
		all, err := b.Principals(b.ctx)
		b.ok(err)
		b.equal("principals", all, []ledger.Principal{p})
	}},
	{"a key or Unix user is one person's", func(t *testing.T, b *bench) {
		put := func(name, key, user string, removed bool) error {
			p := ledger.Principal{Name: name, Key: []byte(key), UnixUser: user, AddedAt: b.now, AddedBy: "init"}
			if removed {
				p.RemovedAt = b.now
			}
			return b.PutPrincipal(b.ctx, p, b.now)
		}
		b.ok(put("alice", "k1", "u1", false))
		b.want(put("bob", "k1", "", false), ledger.ErrTaken)
		b.want(put("bob", "", "u1", false), ledger.ErrTaken)
		b.ok(put("bob", "k1", "u1", true)) // a removed one acts for nobody
		b.ok(put("carol", "", "", false))
		b.ok(put("dave", "", "", false)) // none is not the same
		b.ok(put("alice", "k1", "u1", false))
		b.ok(put("alice", "k1", "u1", true))
		b.ok(put("erin", "k1", "u1", false))
		b.want(put("alice", "k1", "u2", false), ledger.ErrTaken)
	}},
	{"of many with one key one succeeds", func(t *testing.T, b *bench) {
		var won atomic.Int32
		together(func(n int) {
			switch err := b.PutPrincipal(b.ctx, ledger.Principal{Name: fmt.Sprint("p", n), Key: []byte("key"), AddedAt: b.now}, b.now); {
			case err == nil:
				won.Add(1)
			case !errors.Is(err, ledger.ErrTaken):
				t.Error(err)
			}
		})
		b.equal("won", won.Load(), 1)
	}},
	{"nobody without a name", func(t *testing.T, b *bench) {
		if err := b.PutPrincipal(b.ctx, ledger.Principal{AddedAt: b.now}, b.now); err == nil {
			t.Error("recorded")
		}
	}},
}

// proposal proposes something.
func (b *bench) proposal(id string) ledger.Approval {
	b.t.Helper()
	a := ledger.Approval{
		ID: id, Operation: "order.raise", Words: "raise wo-1 to 9", Plan: []byte(`{"order":"wo-1"}`), Proposer: "alice",
		At: b.now, ExpiresAt: b.now.Add(time.Hour), State: ledger.Pending,
	}
	b.ok(b.Propose(b.ctx, a))
	return a
}

var approvalChecks = []check{
	{"a proposal is found as it was made, and pending", func(t *testing.T, b *bench) {
		want := b.proposal("a1")
		got, err := b.Approval(b.ctx, "a1")
		b.ok(err)
		b.equal("approval", got, want)
		decided := want
		decided.ID, decided.State, decided.DecidedBy, decided.Signature = "a2", ledger.Approved, "mallory", []byte("s")
		b.ok(b.Propose(b.ctx, decided))
		want.ID = "a2"
		got, err = b.Approval(b.ctx, "a2")
		b.ok(err)
		b.equal("approval that came decided", got, want)
	}},
	{"a name is taken once", func(t *testing.T, b *bench) {
		want := b.proposal("a1")
		other := want
		other.Plan = []byte("other")
		b.want(b.Propose(b.ctx, other), ledger.ErrTaken)
		got, err := b.Approval(b.ctx, "a1")
		b.ok(err)
		b.equal("approval", got, want)
	}},
	{"an unknown one is not found", func(t *testing.T, b *bench) {
		_, err := b.Approval(b.ctx, "a1")
		b.want(err, ledger.ErrNotFound)
		b.want(b.MoveApproval(b.ctx, ledger.Pending, ledger.Approval{ID: "a1", State: ledger.Rejected}, b.now), ledger.ErrNotFound)
	}},
	{"the newest come first, of a state or of all", func(t *testing.T, b *bench) {
		for _, id := range []string{"b", "a", "c"} {
			b.proposal(id)
			b.now = b.now.Add(time.Minute)
		}
		a, err := b.Approval(b.ctx, "a")
		b.ok(err)
		a.State = ledger.Rejected
		b.ok(b.MoveApproval(b.ctx, ledger.Pending, a, b.now))
		list := func(state ledger.ApprovalState, limit int) (ids string) {
			all, err := b.Approvals(b.ctx, state, limit)
			b.ok(err)
			for _, a := range all {
				ids += a.ID
			}
			return ids
		}
		b.equal("all", list("", 10), "cab")
		b.equal("two", list("", 2), "ca")
		b.equal("pending", list(ledger.Pending, 10), "cb")
		b.equal("rejected", list(ledger.Rejected, 10), "a")
		b.equal("done", list(ledger.Done, 10), "")
	}},
	{"an approval goes its way with what belongs to each step", func(t *testing.T, b *bench) {
		a := b.proposal("a1")
		stored := func() {
			t.Helper()
			got, err := b.Approval(b.ctx, "a1")
			b.ok(err)
			b.equal("approval", got, a)
		}
		b.now = b.now.Add(time.Minute)
		a.State, a.DecidedBy, a.DecidedAt, a.Signature, a.ExpiresAt = ledger.Approved, "bob", b.now, []byte("signature"), b.now.Add(2*time.Hour)
		b.ok(b.MoveApproval(b.ctx, ledger.Pending, a, b.now))
		stored()
		a.State, a.RunBy, a.RunAt = ledger.Running, "alice", b.now
		b.ok(b.MoveApproval(b.ctx, ledger.Approved, a, b.now))
		stored()
		a.State, a.Outcome = ledger.Approved, "the token did not answer"
		b.ok(b.MoveApproval(b.ctx, ledger.Running, a, b.now))
		stored()
		a.State, a.Outcome = ledger.Done, ""
		b.want(b.MoveApproval(b.ctx, ledger.Running, a, b.now), ledger.ErrMoved)
		b.ok(b.MoveApproval(b.ctx, ledger.Approved, a, b.now))
		stored()
	}},
	{"what was proposed cannot change", func(t *testing.T, b *bench) {
		want := b.proposal("a1")
		for name, change := range map[string]func(*ledger.Approval){
			"plan":      func(a *ledger.Approval) { a.Plan = []byte("other") },
			"operation": func(a *ledger.Approval) { a.Operation = "device.retire" },
			"proposer":  func(a *ledger.Approval) { a.Proposer = "bob" },
			"state":     func(a *ledger.Approval) { a.State = "lost" },
		} {
			next := want
			next.State = ledger.Approved
			change(&next)
			if err := b.MoveApproval(b.ctx, ledger.Pending, next, b.now); err == nil {
				t.Errorf("%s: changed", name)
			}
		}
		next := want
		next.State, next.Words, next.At = ledger.Approved, "harmless", b.now.Add(time.Hour)
		b.ok(b.MoveApproval(b.ctx, ledger.Pending, next, b.now))
		want.State = ledger.Approved
		got, err := b.Approval(b.ctx, "a1")
		b.ok(err)
		b.equal("approval", got, want)
	}},
	{"of many who decide at once one succeeds", func(t *testing.T, b *bench) {
		a := b.proposal("a1")
		var won atomic.Int32
		together(func(n int) {
			next := a
			next.State, next.DecidedBy = ledger.Approved, fmt.Sprint("officer ", n)
			if n%2 == 0 {
				next.State = ledger.Rejected
			}
			switch err := b.MoveApproval(b.ctx, ledger.Pending, next, b.now); {
			case err == nil:
				won.Add(1)
			case !errors.Is(err, ledger.ErrMoved):
				t.Error(err)
			}
		})
		b.equal("won", won.Load(), 1)
	}},
}
