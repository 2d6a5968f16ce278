package access_test

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mintmark/internal/access"
	"mintmark/internal/audit"
	"mintmark/internal/ledger"
	"mintmark/internal/ledger/sqldb"
)

// world is a gate over a real ledger, with two officers who have keys.
type world struct {
	*access.Gate
	dir  string
	now  time.Time
	keys map[string]crypto.Signer
	shut func()
}

func open(t *testing.T) *world {
	w := &world{dir: t.TempDir(), now: time.Now(), keys: make(map[string]crypto.Signer)}
	if err := os.Mkdir(filepath.Join(w.dir, "log"), 0o700); err != nil {
		t.Fatal(err)
	}
	w.reopen(t)
	t.Cleanup(func() { w.shut() })
	for _, name := range []string{"alice", "bob"} {
		w.keys[name] = newKey(t)
		w.put(t, ledger.Principal{Name: name, Roles: []string{"officer"}, Key: spki(t, w.keys[name])})
	}
	w.put(t, ledger.Principal{Name: "carol", Roles: []string{"officer"}})
	w.keys["olga"] = newKey(t)
	w.put(t, ledger.Principal{Name: "olga", Roles: []string{"operator"}, Key: spki(t, w.keys["olga"])})
	return w
}

// reopen opens the ledger, again.
func (w *world) reopen(t *testing.T) {
	t.Helper()
	if w.shut != nil {
		w.shut()
	}
	log, err := audit.Open(filepath.Join(w.dir, "log"), audit.Config{Server: "test"})
	if err != nil {
		t.Fatal(err)
	}
	store, err := sqldb.Open(t.Context(), sqldb.Config{Path: filepath.Join(w.dir, "ledger.db"), Log: log, Migrate: true})
	if err != nil {
		t.Fatal(err)
	}
	w.shut = func() { store.Close(); log.Close() }
	w.Gate = &access.Gate{Store: store, Now: func() time.Time { return w.now }, TTL: time.Hour}
}

func (w *world) put(t *testing.T, p ledger.Principal) {
	t.Helper()
	p.AddedAt, p.AddedBy = w.now, "test"
	if err := w.Store.(ledger.Principals).PutPrincipal(t.Context(), p, w.now); err != nil {
		t.Fatal(err)
	}
}

func (w *world) principal(t *testing.T, name string) access.Principal {
	t.Helper()
	people, err := w.Store.Principals(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	p, ok := access.ByName(people, name)
	if !ok {
		t.Fatalf("no principal %s", name)
	}
	return access.Of(p)
}

// propose has somebody propose something new.
func (w *world) propose(t *testing.T, op access.Operation, name string) ledger.Approval {
	t.Helper()
	a, err := w.Propose(t.Context(), op, "do "+t.Name(), []byte(`{"method":"POST"}`), w.principal(t, name))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func (w *world) sign(t *testing.T, name string, a ledger.Approval) []byte {
	t.Helper()
	signature, err := access.Sign(w.keys[name], access.Statement(a))
	if err != nil {
		t.Fatal(err)
	}
	return signature
}

// denied checks that an error is a denial by this rule.
func denied(t *testing.T, err error, rule string) {
	t.Helper()
	var d *access.Denial
	if !errors.As(err, &d) || d.Rule != rule || d.Text == "" {
		t.Errorf("got %v, want a denial by rule %s", err, rule)
	}
}

func TestGate(t *testing.T) {
	w := open(t)
	if required, err := w.Required(t.Context(), access.AuthorityCreate); err != nil || !required {
		t.Fatalf("required: %v, %v", required, err)
	}
	a := w.propose(t, access.AuthorityCreate, "alice")
	if again := w.propose(t, access.AuthorityCreate, "alice"); again.ID != a.ID {
		t.Error("the same proposal waits twice")
	}
	_, _, err := w.Take(t.Context(), a.ID, w.principal(t, "alice"))
	denied(t, err, access.RuleState)
	if _, err := w.Approve(t.Context(), a.ID, "bob", w.sign(t, "bob", a)); err != nil {
		t.Fatal(err)
	}
	_, err = w.Approve(t.Context(), a.ID, "bob", w.sign(t, "bob", a))
	denied(t, err, access.RuleState)

	w.reopen(t) // what was approved survives a restart
	_, _, err = w.Take(t.Context(), a.ID, w.principal(t, "olga"))
	denied(t, err, access.RuleRole)
	taken, proposer, err := w.Take(t.Context(), a.ID, w.principal(t, "bob"))
	if err != nil {
		t.Fatal(err)
	}
	if proposer.Name != "alice" || taken.RunBy != "bob" || string(taken.Plan) != `{"method":"POST"}` {
		t.Errorf("took %+v of %+v", taken, proposer)
	}
	if _, err := w.Finish(t.Context(), taken, "the token does not answer"); err != nil {
		t.Fatal(err)
	}
	if taken, _, err = w.Take(t.Context(), a.ID, w.principal(t, "alice")); err != nil {
		t.Fatalf("trying again: %v", err)
	}
	if _, err := w.Finish(t.Context(), taken, ""); err != nil {
		t.Fatal(err)
	}
	_, _, err = w.Take(t.Context(), a.ID, w.principal(t, "alice"))
	denied(t, err, access.RuleState)
	_, err = w.Reject(t.Context(), a.ID, w.principal(t, "bob"))
	denied(t, err, access.RuleState)
	done, err := w.Store.Approval(t.Context(), a.ID)
	if err != nil || done.State != ledger.Done || done.DecidedBy != "bob" || done.RunBy != "alice" || done.Outcome != "" {
		t.Errorf("the record says %+v, %v", done, err)
	}
}

func TestGateDenies(t *testing.T) {
	for name, c := range map[string]struct {
		rule string
		try  func(*testing.T, *world, ledger.Approval) error
	}{
		"the proposer": {access.RuleOwn, func(t *testing.T, w *world, a ledger.Approval) error {
			_, err := w.Approve(t.Context(), a.ID, "alice", w.sign(t, "alice", a))
			return err
		}},
		"the proposer, who has no key": {access.RuleOwn, func(t *testing.T, w *world, _ ledger.Approval) error {
			a := w.propose(t, access.AuthorityCreate, "carol")
			_, err := w.Approve(t.Context(), a.ID, "carol", w.sign(t, "bob", a))
			return err
		}},
		"the proposer's key under another name": {access.RuleOwn, func(t *testing.T, w *world, a ledger.Approval) error {
			people, err := w.Store.Principals(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			alice, _ := access.ByName(people, "alice")
			alice.RemovedAt = w.now
			w.put(t, alice)
			w.put(t, ledger.Principal{Name: "alice2", Roles: []string{"officer"}, Key: alice.Key})
			_, err = w.Approve(t.Context(), a.ID, "alice2", w.sign(t, "alice", a))
			return err
		}},
		"an operator": {access.RuleRole, func(t *testing.T, w *world, a ledger.Approval) error {
			_, err := w.Approve(t.Context(), a.ID, "olga", w.sign(t, "olga", a))
			return err
		}},
		"nobody": {access.RuleRole, func(t *testing.T, w *world, a ledger.Approval) error {
			_, err := w.Approve(t.Context(), a.ID, "mallory", w.sign(t, "bob", a))
			return err
		}},
		"an officer without a key": {access.RuleKey, func(t *testing.T, w *world, a ledger.Approval) error {
			_, err := w.Approve(t.Context(), a.ID, "carol", w.sign(t, "bob", a))
			return err
		}},
		"another's signature": {access.RuleSignature, func(t *testing.T, w *world, a ledger.Approval) error {
			_, err := w.Approve(t.Context(), a.ID, "bob", w.sign(t, "olga", a))
			return err
		}},
		"over something else": {access.RuleSignature, func(t *testing.T, w *world, a ledger.Approval) error {
			other := a
			other.Plan = []byte(`{"method":"DELETE"}`)
			_, err := w.Approve(t.Context(), a.ID, "bob", w.sign(t, "bob", other))
			return err
		}},
		"a huge signature": {access.RuleSignature, func(t *testing.T, w *world, a ledger.Approval) error {
			_, err := w.Approve(t.Context(), a.ID, "bob", make([]byte, 1<<20))
			return err
		}},
		"approved too late": {access.RuleExpired, func(t *testing.T, w *world, a ledger.Approval) error {
			w.now = w.now.Add(time.Hour)
			_, err := w.Approve(t.Context(), a.ID, "bob", w.sign(t, "bob", a))
			return err
		}},
		"carried out too late": {access.RuleExpired, func(t *testing.T, w *world, a ledger.Approval) error {
			w.approve(t, a)
			w.now = w.now.Add(time.Hour)
			return w.take(t, a)
		}},
		"rejected": {access.RuleState, func(t *testing.T, w *world, a ledger.Approval) error {
			w.approve(t, a)
			if _, err := w.Reject(t.Context(), a.ID, w.principal(t, "bob")); err != nil {
				t.Fatal(err)
			}
			return w.take(t, a)
		}},
		"rejected by an operator": {access.RuleRole, func(t *testing.T, w *world, a ledger.Approval) error {
			_, err := w.Reject(t.Context(), a.ID, w.principal(t, "olga"))
			return err
		}},
		"approved by someone who was removed": {access.RuleRole, func(t *testing.T, w *world, a ledger.Approval) error {
			w.approve(t, a)
			w.put(t, ledger.Principal{Name: "bob", Roles: []string{"officer"}, Key: spki(t, w.keys["bob"]), RemovedAt: w.now})
			return w.take(t, a)
		}},
		"approved with a key that was replaced": {access.RuleSignature, func(t *testing.T, w *world, a ledger.Approval) error {
			w.approve(t, a)
			w.put(t, ledger.Principal{Name: "bob", Roles: []string{"officer"}, Key: spki(t, newKey(t))})
			return w.take(t, a)
		}},
		"approved by a former officer": {access.RuleRole, func(t *testing.T, w *world, a ledger.Approval) error {
			w.approve(t, a)
			w.put(t, ledger.Principal{Name: "bob", Roles: []string{"auditor"}, Key: spki(t, w.keys["bob"])})
			return w.take(t, a)
		}},
		"proposed by someone who was removed": {access.RuleRole, func(t *testing.T, w *world, a ledger.Approval) error {
			w.approve(t, a)
			w.put(t, ledger.Principal{Name: "alice", Roles: []string{"officer"}, Key: spki(t, w.keys["alice"]), RemovedAt: w.now})
			return w.take(t, a)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			w := open(t)
			denied(t, c.try(t, w, w.propose(t, access.AuthorityCreate, "alice")), c.rule)
		})
	}
}

func (w *world) approve(t *testing.T, a ledger.Approval) {
	t.Helper()
	if _, err := w.Approve(t.Context(), a.ID, "bob", w.sign(t, "bob", a)); err != nil {
		t.Fatal(err)
	}
}

func (w *world) take(t *testing.T, a ledger.Approval) error {
	t.Helper()
	_, _, err := w.Take(t.Context(), a.ID, access.Principal{Name: "carol", Roles: []access.Role{access.Officer}})
	return err
}

// TestGateTampered changes what waits behind the gate's back, as whoever can
// write the database could.
func TestGateTampered(t *testing.T) {
	w := open(t)
	a := w.propose(t, access.AuthorityCreate, "alice")
	w.approve(t, a)
	for name, change := range map[string]func(*ledger.Approval){
		"plan":      func(a *ledger.Approval) { a.Plan = []byte(`{"method":"DELETE"}`) },
		"words":     func(a *ledger.Approval) { a.Words = "something harmless" },
		"operation": func(a *ledger.Approval) { a.Operation = string(access.PrincipalChange) },
		"expiry":    func(a *ledger.Approval) { a.ExpiresAt = a.ExpiresAt.AddDate(1, 0, 0) },
		"proposer":  func(a *ledger.Approval) { a.Proposer = "carol" },
		"decider":   func(a *ledger.Approval) { a.DecidedBy = "alice" },
		"terminal":  func(a *ledger.Approval) { a.Plan = []byte("{}\x1b[2J") },
	} {
		forged := *w.Gate
		forged.Store = &tampered{Store: w.Store, change: change}
		_, _, err := forged.Take(t.Context(), a.ID, w.principal(t, "bob"))
		var d *access.Denial
		if !errors.As(err, &d) {
			t.Errorf("an approval with another %s was taken: %v", name, err)
		}
	}
	if err := w.take(t, a); err != nil {
		t.Errorf("unchanged: %v", err)
	}
}

// tampered is a store whose approvals someone has changed.
type tampered struct {
	access.Store
	change func(*ledger.Approval)
}

func (s *tampered) Approval(ctx context.Context, id string) (ledger.Approval, error) {
	a, err := s.Store.Approval(ctx, id)
	s.change(&a)
	return a, err
}

// TestGateOnce has many carry out the same approval at once: one does.
func TestGateOnce(t *testing.T) {
	w := open(t)
	a := w.propose(t, access.AuthorityCreate, "alice")
	w.approve(t, a)
	var wait sync.WaitGroup
	var won atomic.Int64
	for range 8 {
		wait.Go(func() {
			_, _, err := w.Take(t.Context(), a.ID, access.Principal{Name: "bob", Roles: []access.Role{access.Officer}})
			var d *access.Denial
			switch {
			case err == nil:
				won.Add(1)
			case !errors.As(err, &d) || d.Rule != access.RuleState:
				t.Errorf("the others get %v", err)
			}
		})
	}
	if wait.Wait(); won.Load() != 1 {
		t.Errorf("%d carried it out", won.Load())
	}
}

func TestGateBounds(t *testing.T) {
	w := open(t)
	alice := w.principal(t, "alice")
	for i := range 100 {
		if _, err := w.Propose(t.Context(), access.AuthorityCreate, fmt.Sprint(i), []byte("{}"), alice); err != nil {
			t.Fatal(err)
		}
	}
	_, err := w.Propose(t.Context(), access.AuthorityCreate, "one more", []byte("{}"), alice)
	denied(t, err, access.RuleLimit)
	// Whoever proposes too much stands in nobody else's way.
	if _, err := w.Propose(t.Context(), access.AuthorityRevoke, "one more", []byte("{}"), w.principal(t, "bob")); err != nil {
		t.Error(err)
	}
	w.now = w.now.Add(2 * time.Hour) // what has expired is in nobody's way
	if _, err := w.Propose(t.Context(), access.AuthorityCreate, "one more", []byte("{}"), alice); err != nil {
		t.Error(err)
	}
	_, err = w.Propose(t.Context(), access.AuthorityCreate, strings.Repeat("x", 9000), []byte("{}"), alice)
	denied(t, err, access.RulePlan)
	_, err = w.Propose(t.Context(), access.AuthorityCreate, "\x1b", []byte("\x1b"), alice)
	denied(t, err, access.RulePlan)
	_, err = w.Propose(t.Context(), access.AuthorityCreate, "x", []byte("{}"), w.principal(t, "olga"))
	denied(t, err, access.RuleRole)
}

// TestUnprotected counts who can give a second signature.
func TestUnprotected(t *testing.T) {
	key, other := spki(t, newKey(t)), spki(t, newKey(t))
	officer := []string{"officer"}
	for _, c := range []struct {
		name   string
		people []ledger.Principal
		words  string
	}{
		{"nobody", nil, "no officer has a key"},
		{"no key", []ledger.Principal{{Name: "a", Roles: officer}, {Name: "b", Roles: officer}}, "no officer has a key"},
		{"one", []ledger.Principal{{Name: "a", Roles: officer, Key: key}, {Name: "b", Roles: officer}}, "only one officer has a key (a)"},
		{"one key under two names", []ledger.Principal{{Name: "a", Roles: officer, Key: key}, {Name: "b", Roles: officer, Key: key}}, "only one officer has a key (a)"},
		{"one removed", []ledger.Principal{{Name: "a", Roles: officer, Key: key}, {Name: "b", Roles: officer, Key: other, RemovedAt: time.Now()}}, "only one officer has a key (a)"},
		{"an operator", []ledger.Principal{{Name: "a", Roles: officer, Key: key}, {Name: "b", Roles: []string{"operator"}, Key: other}}, "only one officer has a key (a)"},
		{"a broken key", []ledger.Principal{{Name: "a", Roles: officer, Key: key}, {Name: "b", Roles: officer, Key: []byte{1}}}, "only one officer has a key (a)"},
		{"two", []ledger.Principal{{Name: "a", Roles: officer, Key: key}, {Name: "b", Roles: officer, Key: other}}, ""},
	} {
		words := access.Unprotected(c.people)
		if (words == "") != (c.words == "") || !strings.HasPrefix(words, c.words) {
			t.Errorf("%s: %q", c.name, words)
		}
		said := strings.FieldsFunc(words, func(r rune) bool { return r == ' ' || r == ',' })
		for _, rule := range access.Table {
			if words != "" && slices.Contains(said, string(rule.Operation)) != rule.TwoPersons {
				t.Errorf("%s: %q is wrong about %s", c.name, words, rule.Operation)
			}
		}
	}
}

func TestNames(t *testing.T) {
	for _, good := range []string{"a", "alice", "Line-2", "a.b_c", strings.Repeat("a", 64)} {
		if !access.ValidName(good) {
			t.Errorf("%q is refused", good)
		}
	}
	// The comma and the blank are between names in records.
	for _, bad := range []string{"", "-a", "a-", "a b", "a, approved by b", "a\n", "ä", "a/b", strings.Repeat("a", 65)} {
		if access.ValidName(bad) {
			t.Errorf("%q is taken", bad)
		}
	}
	for _, role := range access.Roles {
		if !access.ValidRole(string(role)) {
			t.Errorf("role %s is none", role)
		}
	}
	if access.ValidRole("root") || access.ValidRole("") {
		t.Error("any word is a role")
	}
}
