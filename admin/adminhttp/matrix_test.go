package adminhttp_test

import (
	"bytes"
	"crypto"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"mintmark/admin"
	"mintmark/admin/adminhttp"
	"mintmark/internal/access"
	"mintmark/internal/ledger"
	"mintmark/internal/pkitest"
)

// people is a world whose principals are in the ledger: one for each role, of
// whom alice and bob are officers with a key and carol is one without.
type people struct {
	*world
	cloud   *cloud
	azure   *azure
	box     *box
	signers map[string]crypto.Signer
}

// whoever has each role in the tests.
var whoever = map[access.Role]string{access.Operator: "olga", access.Officer: "alice", access.Auditor: "adam", access.Station: "line-1"}

func populate(t testing.TB) *people {
	p := &people{cloud: new(cloud), azure: new(azure), box: newBox("factory"), signers: make(map[string]crypto.Signer)}
	p.world = open(t, func(c *adminhttp.Config) {
		c.AWS, c.Azure = p.cloud, p.azure
		c.Tokens = func() []adminhttp.Token { return []adminhttp.Token{p.box} }
		c.Labels = map[string]adminhttp.Label{
			"line":     {Profile: "device", Issuer: "issuing", Orders: true, RegistrationAuthorities: []string{"ra"}},
			fleetLabel: {Profile: adminhttp.FleetProfile, Orders: true, Target: "line-f"},
		}
		c.ClaimIssuer, c.ClaimProfile = "claims", "claim"
		c.OfficerIssuer, c.OfficerProfile = "officers", "officer"
		c.RevokeLimit = 2
		c.Spool = t.TempDir()
		store := c.Ledger
		// As over the socket or TLS: a name from outside, the rest from the ledger.
		c.Actor = func(r *http.Request) (access.Principal, bool, error) {
			list, err := store.Principals(r.Context())
			if err != nil {
				return access.Principal{}, false, err
			}
			found, ok := access.ByName(list, r.Header.Get("Principal"))
			return access.Of(found), ok, nil
		}
	})
	for name, role := range map[string]access.Role{
		"alice": access.Officer, "bob": access.Officer, "carol": access.Officer,
		"olga": access.Operator, "adam": access.Auditor, "line-1": access.Station, "nobody": "",
	} {
		p.add(t, name, role, name != "carol")
	}
	for _, a := range []struct{ name, issuer string }{{"root", ""}, {"issuing", "root"}, {"claims", "root"}, {"officers", "root"}} {
		p.authority(t, a.name, a.issuer)
	}
	return p
}

// add records a principal, past the API.
func (p *people) add(t testing.TB, name string, role access.Role, key bool) ledger.Principal {
	t.Helper()
	one := ledger.Principal{Name: name, AddedAt: time.Now(), AddedBy: "test"}
	if role != "" {
		one.Roles = []string{string(role)}
	}
	if key {
		p.signers[name] = pkitest.NewKey(t)
		one.Key = spki(t, p.signers[name].Public())
	}
	p.put(t, one)
	return one
}

func (p *people) put(t testing.TB, one ledger.Principal) {
	t.Helper()
	if err := p.ra.Ledger.PutPrincipal(t.Context(), one, time.Now()); err != nil {
		t.Fatal(err)
	}
}

// wire is one request to the API.
type wire struct {
	path  string
	body  any    // as JSON, unless it is nil or a string
	media string // of a string
	query string
}

// ask sends a request as somebody.
func (p *people) ask(t testing.TB, name, pattern string, in wire) *httptest.ResponseRecorder {
	t.Helper()
	method, _, _ := strings.Cut(pattern, " ")
	var body io.Reader = http.NoBody
	media := "application/json"
	switch content := in.body.(type) {
	case nil:
	case string:
		body, media = strings.NewReader(content), in.media
	default:
		text, err := json.Marshal(content)
		if err != nil {
			t.Fatal(err)
		}
		body = bytes.NewReader(text)
	}
	r := httptest.NewRequestWithContext(t.Context(), method, in.path+in.query, body)
	r.Header.Set("Content-Type", media)
	r.Header.Set("Principal", name)
	answer := httptest.NewRecorder()
	p.handler.ServeHTTP(answer, r)
	return answer
}

// ruleOf is the rule of an answer that refuses.
func ruleOf(answer *httptest.ResponseRecorder) string {
	var e admin.Error
	json.Unmarshal(answer.Body.Bytes(), &e)
	return e.Rule
}

// second is what becomes of the second signature: given by whom, over what.
type second struct {
	name string
	// agree tries to get the approval signed and returns the status of that, 0
	// for no try; undo ends what it has changed.
	agree func(t *testing.T, p *people, caller string, a admin.Approval) (status int, undo func())
	// signed is what agree must return, passes whether the operation is then
	// carried out, and rule what refuses it if it is not.
	signed int
	passes bool
	rule   string
}

// sign signs an approval as one person and sends it as another.
func (p *people) sign(t *testing.T, signer crypto.Signer, sender string, a admin.Approval, statement string) int {
	t.Helper()
	signature, err := access.Sign(signer, []byte(statement))
	if err != nil {
		t.Fatal(err)
	}
	return p.ask(t, sender, "POST", wire{path: "/v1/approvals/" + a.ID + "/approve", body: admin.Signature{Signature: signature}}).Code
}

var seconds = []second{
	{name: "none", rule: access.RuleState, agree: func(*testing.T, *people, string, admin.Approval) (int, func()) { return 0, nil }},
	{name: "same officer", signed: http.StatusForbidden, rule: access.RuleState,
		agree: func(t *testing.T, p *people, caller string, a admin.Approval) (int, func()) {
			return p.sign(t, p.signers[caller], caller, a, a.Statement), nil
		}},
	{name: "other officer", signed: http.StatusOK, passes: true,
		agree: func(t *testing.T, p *people, _ string, a admin.Approval) (int, func()) {
			return p.sign(t, p.signers["bob"], "bob", a, a.Statement), nil
		}},
	{name: "expired", signed: http.StatusOK, rule: access.RuleExpired,
		agree: func(t *testing.T, p *people, _ string, a admin.Approval) (int, func()) {
			status := p.sign(t, p.signers["bob"], "bob", a, a.Statement)
			p.ahead.Store(int64(73 * time.Hour))
			return status, func() { p.ahead.Store(0) }
		}},
	{name: "too late", signed: http.StatusConflict, rule: access.RuleExpired,
		agree: func(t *testing.T, p *people, _ string, a admin.Approval) (int, func()) {
			p.ahead.Store(int64(73 * time.Hour))
			return p.sign(t, p.signers["bob"], "bob", a, a.Statement), func() { p.ahead.Store(0) }
		}},
	{name: "over another hash", signed: http.StatusForbidden, rule: access.RuleState,
		agree: func(t *testing.T, p *people, _ string, a admin.Approval) (int, func()) {
			return p.sign(t, p.signers["bob"], "bob", a, strings.Replace(a.Statement, "plan-sha256: ", "plan-sha256: 0", 1)), nil
		}},
	{name: "officer without a key", signed: http.StatusForbidden, rule: access.RuleState,
		agree: func(t *testing.T, p *people, _ string, a admin.Approval) (int, func()) {
			return p.sign(t, p.signers["bob"], "carol", a, a.Statement), nil
		}},
	{name: "operator with a key", signed: http.StatusForbidden, rule: access.RuleState,
		agree: func(t *testing.T, p *people, _ string, a admin.Approval) (int, func()) {
			return p.sign(t, p.signers["olga"], "olga", a, a.Statement), nil
		}},
	{name: "removed officer", signed: http.StatusOK, rule: access.RuleRole,
		agree: func(t *testing.T, p *people, _ string, a admin.Approval) (int, func()) {
			gone := p.add(t, "gone-"+a.ID, access.Officer, true)
			status := p.sign(t, p.signers[gone.Name], gone.Name, a, a.Statement)
			gone.RemovedAt = time.Now()
			p.put(t, gone)
			return status, nil
		}},
}

// TestMatrix tries every operation of the table, in every role, with every kind
// of second signature. What must happen follows from access.Table alone.
func TestMatrix(t *testing.T) {
	p := populate(t)
	cells, done := 0, make(map[access.Operation]bool)
	for _, row := range matrix {
		done[row.operation] = true
		rule, ok := access.RuleOf(row.operation)
		if !ok {
			t.Fatalf("%s: operation %q is not in the table", row.pattern, row.operation)
		}
		for _, role := range access.Roles {
			allowed := slices.Contains(rule.Roles, role) && (row.also == "" || access.Can([]access.Role{role}, row.also))
			kinds := seconds
			if !rule.TwoPersons {
				kinds = seconds[:1] // nobody is asked for a second one
			}
			for _, how := range kinds {
				cells++
				t.Run(fmt.Sprintf("%s/%s/%s/%s", row.operation, row.pattern, role, how.name), func(t *testing.T) {
					p.cell(t, row, rule, role, allowed, how)
				})
			}
		}
	}
	for _, rule := range access.Table {
		if !done[rule.Operation] {
			t.Errorf("operation %s is in no row", rule.Operation)
		}
	}
	if cells < len(access.Table)*len(access.Roles)*4 {
		t.Errorf("%d cells", cells)
	}
	t.Logf("%d cells: %d rows of %d operations, %d roles, %d kinds of second signature", cells, len(matrix), len(access.Table), len(access.Roles), len(seconds))
}

func (p *people) cell(t *testing.T, row row, rule access.Rule, role access.Role, allowed bool, how second) {
	caller := whoever[role]
	in, happened := row.prepare(t, p, caller, strings.ToLower(newName()))
	if happened == nil {
		happened = func() bool { return false } // nothing can
	} else if happened() {
		t.Fatal("it has happened before anybody asked")
	}
	keys := p.keys.uses.Load()
	proposals := p.pending(t)
	answer := p.ask(t, caller, row.pattern, in)
	untouched := func() {
		t.Helper()
		if happened() {
			t.Error("it happened all the same")
		}
		if uses := p.keys.uses.Load() - keys; uses != 0 {
			t.Errorf("keys were used %d times", uses)
		}
	}
	switch {
	case !allowed:
		if answer.Code != http.StatusForbidden || ruleOf(answer) != "role" && ruleOf(answer) != access.RuleRole {
			t.Errorf("answered %d %s, want 403 by rule role", answer.Code, answer.Body)
		}
		if p.pending(t) != proposals {
			t.Error("it was proposed")
		}
		untouched()
		return
	case !rule.TwoPersons:
		if answer.Code < 200 || answer.Code > 299 || answer.Code == http.StatusAccepted {
			t.Errorf("answered %d %s, want success", answer.Code, answer.Body)
		}
		if row.changes() && !happened() {
			t.Errorf("it has not happened: %s", answer.Body)
		}
		return
	}
	var a admin.Approval
	if err := json.Unmarshal(answer.Body.Bytes(), &a); answer.Code != http.StatusAccepted || err != nil || a.ID == "" || a.Words == "" || a.Next == "" {
		t.Fatalf("answered %d %s, want a proposal", answer.Code, answer.Body)
	}
	untouched()
	if err := json.Unmarshal(p.ask(t, "adam", "GET", wire{path: "/v1/approvals/" + a.ID}).Body.Bytes(), &a); err != nil || a.Statement == "" {
		t.Fatalf("reading the proposal: %v", err)
	}
	status, undo := how.agree(t, p, caller, a)
	if status != how.signed {
		t.Errorf("signing was answered %d, want %d", status, how.signed)
	}
	run := wire{path: "/v1/approvals/" + a.ID + "/run", body: struct{}{}}
	answer = p.ask(t, caller, "POST", run)
	if undo != nil {
		undo()
	}
	if !how.passes {
		if rule := ruleOf(answer); answer.Code < 400 || answer.Code > 499 || rule != how.rule {
			t.Errorf("carrying it out was answered %d %s, want a refusal by rule %s", answer.Code, answer.Body, how.rule)
		}
		untouched()
		// It is in the way of the bound on what waits.
		p.ask(t, "bob", "POST", wire{path: "/v1/approvals/" + a.ID + "/reject", body: struct{}{}})
		return
	}
	if answer.Code != http.StatusOK || !happened() {
		t.Fatalf("carrying it out was answered %d %s; happened: %v", answer.Code, answer.Body, happened())
	}
	answer = p.ask(t, caller, "POST", run)
	if answer.Code != http.StatusConflict || ruleOf(answer) != access.RuleState {
		t.Errorf("carrying it out again was answered %d %s", answer.Code, answer.Body)
	}
}

func (p *people) pending(t *testing.T) int {
	t.Helper()
	list, err := p.ra.Ledger.Approvals(t.Context(), ledger.Pending, 1000)
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

// TestEveryRoute fails for a route that the matrix does not try under its
// operation.
func TestEveryRoute(t *testing.T) {
	for pattern, operation := range adminhttp.Routes() {
		if !slices.ContainsFunc(matrix, func(r row) bool { return r.pattern == pattern && r.operation == operation }) {
			t.Errorf("%s (%s) is in no row of the matrix", pattern, operation)
		}
	}
	for _, r := range matrix {
		if _, ok := adminhttp.Routes()[r.pattern]; !ok {
			t.Errorf("the matrix tries %s, which is no route", r.pattern)
		}
	}
}

// TestNobody tries every route as someone without a role, as someone unknown and
// as someone who was removed.
func TestNobody(t *testing.T) {
	p := populate(t)
	gone := p.add(t, "gone", access.Officer, true)
	gone.RemovedAt = time.Now()
	p.put(t, gone)
	for pattern := range adminhttp.Routes() {
		_, path, _ := strings.Cut(pattern, " ")
		for name, rule := range map[string]string{"nobody": "role", "mallory": "actor", "gone": "actor", "": "actor"} {
			answer := p.ask(t, name, pattern, wire{path: strings.NewReplacer("{", "", "}", "").Replace(path), body: struct{}{}})
			if answer.Code != http.StatusForbidden || ruleOf(answer) != rule {
				t.Errorf("%s as %q: %d %s, want 403 by rule %s", pattern, name, answer.Code, answer.Body, rule)
			}
		}
	}
}
