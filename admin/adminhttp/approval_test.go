package adminhttp_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mintmark/admin"
	"mintmark/admin/adminhttp"
	"mintmark/internal/access"
	"mintmark/internal/ledger"
	"mintmark/internal/pkitest"
)

// agreed proposes a request as alice and has bob sign it.
func (p *people) agreed(t *testing.T, pattern string, in wire) admin.Approval {
	t.Helper()
	var a admin.Approval
	if answer := p.ask(t, "alice", pattern, in); answer.Code != http.StatusAccepted || json.Unmarshal(answer.Body.Bytes(), &a) != nil {
		t.Fatalf("proposing was answered %d %s", answer.Code, answer.Body)
	}
	record, err := p.ra.Ledger.Approval(t.Context(), a.ID)
	if err != nil {
		t.Fatal(err)
	}
	if status := p.sign(t, p.signers["bob"], "bob", a, string(access.Statement(record))); status != http.StatusOK {
		t.Fatalf("signing was answered %d", status)
	}
	return a
}

func runOf(a admin.Approval) wire { return wire{path: "/v1/approvals/" + a.ID + "/run", body: none} }

// TestRunOnce has many carry out one approval at once: it is done once.
func TestRunOnce(t *testing.T) {
	p := populate(t)
	a := p.agreed(t, "POST", wire{path: "/v1/authorities", body: admin.AuthoritySpec{Name: "line-9", Subject: admin.Name{CommonName: "Line 9"}, ValiditySeconds: 86400}})
	var wait sync.WaitGroup
	var won atomic.Int64
	for range 6 {
		wait.Go(func() {
			answer := p.ask(t, "bob", "POST", runOf(a))
			switch {
			case answer.Code == http.StatusOK:
				won.Add(1)
			case answer.Code != http.StatusConflict || ruleOf(answer) != access.RuleState:
				t.Errorf("the others get %d %s", answer.Code, answer.Body)
			}
		})
	}
	if wait.Wait(); won.Load() != 1 {
		t.Errorf("%d have carried it out", won.Load())
	}
	made, err := p.ra.Authority("line-9")
	if err != nil {
		t.Fatal(err)
	}
	serial := made.Certificate().SerialNumber.Bytes()
	record, err := p.ra.Ledger.Certificate(t.Context(), ledger.Serial(hex.EncodeToString(serial)))
	if err != nil || record.Requester.Name != "alice, approved by bob" {
		t.Errorf("on record is %q, %v", record.Requester.Name, err)
	}
}

// TestRunAgain fails the first time: the approval is not used up, and says why.
func TestRunAgain(t *testing.T) {
	p := populate(t)
	p.order(t, "WO-1")
	a := p.agreed(t, "PUT", wire{path: "/v1/orders/WO-1/quantity", body: admin.OrderQuantity{Quantity: 20}})
	// What was read when it was signed is not so any more.
	change := func(quantity int) {
		t.Helper()
		if _, err := p.ra.Ledger.ChangeOrder(t.Context(), "WO-1", ledger.OrderChange{Quantity: &quantity}, "test", time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	change(15)
	answer := p.ask(t, "olga", "POST", runOf(a))
	if answer.Code != http.StatusConflict || ruleOf(answer) != "approval-stale" || !strings.Contains(answer.Body.String(), "from 15 to 20") {
		t.Errorf("answered %d %s", answer.Code, answer.Body)
	}
	record, err := p.ra.Ledger.Approval(t.Context(), a.ID)
	if err != nil || record.State != ledger.Approved || !strings.HasPrefix(record.Outcome, "approval-stale: ") {
		t.Errorf("the approval is %s (%q), %v", record.State, record.Outcome, err)
	}
	change(10)
	if answer := p.ask(t, "olga", "POST", runOf(a)); answer.Code != http.StatusOK {
		t.Errorf("as it was signed: %d %s", answer.Code, answer.Body)
	}
	order, err := p.ra.Ledger.Order(t.Context(), "WO-1")
	if err != nil || order.Quantity != 20 || order.ChangedBy != "alice, approved by bob" {
		t.Errorf("the order has %d, changed by %q, %v", order.Quantity, order.ChangedBy, err)
	}
}

// TestBulkStale signs for three certificates when there are four by then.
func TestBulkStale(t *testing.T) {
	p := populate(t)
	for range 3 {
		p.certificate(t, "press-1")
	}
	a := p.agreed(t, "POST", wire{path: "/v1/revocations", body: admin.Revocation{Device: "press-1"}})
	late := p.certificate(t, "press-1")
	if answer := p.ask(t, "alice", "POST", runOf(a)); ruleOf(answer) != "approval-stale" || !strings.Contains(answer.Body.String(), "all 4 valid") || p.revoked(t, late) {
		t.Errorf("answered %d %s", answer.Code, answer.Body)
	}
}

// forged is a ledger in which someone has written past the server.
type forged struct {
	ledger.Ledger
	change func(*ledger.Approval)
}

func (f *forged) Approval(ctx context.Context, id string) (ledger.Approval, error) {
	a, err := f.Ledger.Approval(ctx, id)
	if f.change != nil {
		f.change(&a)
	}
	return a, err
}

// TestForged changes plans after they were signed: nothing is done and no key is
// touched.
func TestForged(t *testing.T) {
	p := populate(t)
	f := &forged{Ledger: p.ra.Ledger}
	handler := adminhttp.New(adminhttp.Config{
		RA: p.ra, Ledger: f, Version: "test", Logger: p.ra.Logger,
		PublishCRL: func(context.Context, string) error { return nil },
		Actor: func(*http.Request) (access.Principal, bool, error) {
			return access.Principal{Name: "alice", Roles: []access.Role{access.Officer}}, true, nil
		},
	})
	a := p.agreed(t, "POST", wire{path: "/v1/authorities", body: admin.AuthoritySpec{Name: "good", Subject: admin.Name{CommonName: "Good"}, ValiditySeconds: 86400}})
	p.handler = handler
	keys := p.keys.uses.Load()
	for name, change := range map[string]func(*ledger.Approval){
		"plan":      func(a *ledger.Approval) { a.Plan = []byte(strings.Replace(string(a.Plan), "good", "evil", -1)) },
		"method":    func(a *ledger.Approval) { a.Plan = []byte(`{"method":"GET","path":"/v1/status"}`) },
		"nonsense":  func(a *ledger.Approval) { a.Plan = []byte(`{`) },
		"operation": func(a *ledger.Approval) { a.Operation = string(access.OrderRaise) },
		"signature": func(a *ledger.Approval) { a.Signature = nil },
		"state":     func(a *ledger.Approval) { a.DecidedBy, a.State = "alice", ledger.Approved },
	} {
		f.change = change
		if answer := p.ask(t, "alice", "POST", runOf(a)); answer.Code < 400 || answer.Code > 499 {
			t.Errorf("with another %s: %d %s", name, answer.Code, answer.Body)
		}
	}
	if uses := p.keys.uses.Load() - keys; uses != 0 || p.hasAuthority("good") || p.hasAuthority("evil") {
		t.Errorf("keys were used %d times", uses)
	}
	f.change = nil
	if answer := p.ask(t, "alice", "POST", runOf(a)); answer.Code != http.StatusOK || !p.hasAuthority("good") {
		t.Errorf("unchanged: %d %s", answer.Code, answer.Body)
	}
}

// TestPeople changes who may do what, with and without a second officer.
func TestPeople(t *testing.T) {
	w := open(t, nil) // its ledger knows nobody
	key := func() string {
		return string(pkitest.PEM("PUBLIC KEY", spki(t, pkitest.NewKey(t).Public())))
	}
	add := func(name, key string) error {
		_, err := w.client.AddPrincipal(t.Context(), admin.PrincipalSpec{Name: name, Roles: []string{"officer"}, Key: key, UnixUser: name})
		return err
	}
	first := key()
	if err := add("alice", first); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		spec   admin.PrincipalSpec
		status int
		rule   string
	}{
		{"known", admin.PrincipalSpec{Name: "Alice"}, 409, "principal-exists"},
		{"bad name", admin.PrincipalSpec{Name: "a, approved by b"}, 400, "principal-name"},
		{"bad role", admin.PrincipalSpec{Name: "b", Roles: []string{"root"}}, 400, "principal-role"},
		{"role twice", admin.PrincipalSpec{Name: "b", Roles: []string{"officer", "officer"}}, 400, "principal-role"},
		{"same key", admin.PrincipalSpec{Name: "b", Key: first}, 409, "principal-key"},
		{"same user", admin.PrincipalSpec{Name: "b", UnixUser: "alice"}, 409, "principal-user"},
		{"bad user", admin.PrincipalSpec{Name: "b", UnixUser: "a b"}, 400, "principal-user"},
		{"not a key", admin.PrincipalSpec{Name: "b", Key: "key"}, 400, "principal-key"},
		{"two keys", admin.PrincipalSpec{Name: "b", Key: first + first}, 400, "principal-key"},
		{"no way in", admin.PrincipalSpec{Name: "b", Roles: []string{"officer"}}, 400, "principal-access"},
		{"a private key", admin.PrincipalSpec{Name: "b", Key: string(pkitest.PEM("PRIVATE KEY", []byte("x")))}, 400, "principal-key"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := w.client.AddPrincipal(t.Context(), c.spec)
			refused(t, err, c.status, c.rule)
		})
	}
	_, err := w.client.RemovePrincipal(t.Context(), "alice")
	refused(t, err, http.StatusConflict, "last-officer")
	_, err = w.client.ChangePrincipal(t.Context(), admin.PrincipalSpec{Name: "alice", Roles: []string{"auditor"}, UnixUser: "alice"})
	refused(t, err, http.StatusConflict, "last-officer")
	_, err = w.client.ChangePrincipal(t.Context(), admin.PrincipalSpec{Name: "bob"})
	refused(t, err, http.StatusNotFound, "principal")
	_, err = w.client.EnrollPrincipal(t.Context(), "alice", admin.PrincipalEnroll{CSR: csr(t, "alice")})
	refused(t, err, http.StatusConflict, "officer-issuer")

	list, err := w.client.Principals(t.Context())
	if err != nil || len(list.Principals) != 1 || list.Principals[0].Key != first || !strings.Contains(list.Unprotected, "only one officer") {
		t.Errorf("there are %+v, %v", list, err)
	}
	if err := add("bob", key()); err != nil {
		t.Fatal(err)
	}
	// From now on one alone changes nothing.
	var proposed *admin.Proposed
	if err := add("carol", key()); !errors.As(err, &proposed) || !strings.Contains(err.Error(), "afterwards 3 officers have a key") {
		t.Errorf("adding carol: %v", err)
	}
	if _, err := w.client.RemovePrincipal(t.Context(), "bob"); !errors.As(err, &proposed) || !strings.Contains(err.Error(), "NOTHING NEEDS A SECOND SIGNATURE") {
		t.Errorf("removing bob: %v", err)
	}
	if list, err := w.client.Principals(t.Context()); err != nil || len(list.Principals) != 2 || list.Unprotected != "" {
		t.Errorf("there are %+v, %v", list, err)
	}
	if waiting, err := w.client.Approvals(t.Context(), admin.ApprovalPending); err != nil || len(waiting) != 2 || waiting[0].Statement != "" {
		t.Errorf("there wait %+v, %v", waiting, err)
	}
	one, err := w.client.Approval(t.Context(), proposed.Approval.ID)
	if err != nil || !access.StatementOf(one.Statement, one.ID) || string(one.Plan) != `{"method":"DELETE","path":"/v1/principals/bob"}` {
		t.Errorf("the proposal is %+v, %v", one, err)
	}
	if one, err = w.client.Reject(t.Context(), one.ID); err != nil || one.State != admin.ApprovalRejected {
		t.Errorf("rejecting: %+v, %v", one, err)
	}
	_, err = w.client.RunApproval(t.Context(), one.ID)
	refused(t, err, http.StatusConflict, access.RuleState)
	_, err = w.client.Approve(t.Context(), "nothing", nil)
	refused(t, err, http.StatusNotFound, "not-found")
	_, err = w.client.Approvals(t.Context(), "lost")
	refused(t, err, http.StatusBadRequest, "query")
}

// TestAlone has fewer than two officers with a key: one may do alone what needs
// two otherwise, and who has not the role may not all the same.
func TestAlone(t *testing.T) {
	p := populate(t)
	bob, _ := p.find(t, "bob")
	bob.RemovedAt = time.Now()
	p.put(t, bob)
	for range 3 {
		p.certificate(t, "press-1")
	}
	serial := p.authority(t, "line-9", "root")
	for name, in := range map[string]admin.Revocation{"many": {Device: "press-1"}, "a CA": {Serial: string(serial), Authority: true}} {
		request := wire{path: "/v1/revocations", body: in}
		if answer := p.ask(t, "olga", "POST", request); answer.Code != http.StatusForbidden || ruleOf(answer) != "role" {
			t.Errorf("an operator revokes %s: %d %s", name, answer.Code, answer.Body)
		}
		if answer := p.ask(t, "alice", "POST", request); answer.Code != http.StatusOK {
			t.Errorf("the officer revokes %s: %d %s", name, answer.Code, answer.Body)
		}
	}
}

// TestAloneInTheLog: what one person did alone is logged once it is done, and not where
// nothing was.
func TestAloneInTheLog(t *testing.T) {
	var log bytes.Buffer
	w := open(t, func(c *adminhttp.Config) {
		c.Logger = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelWarn}))
	})
	spec := admin.AuthoritySpec{Name: "alone", Subject: admin.Name{CommonName: "Alone"}, ValiditySeconds: 86400, KeyURI: "softkms:path=alone.pem"}
	if _, err := w.client.CreateAuthority(t.Context(), spec); err != nil || strings.Count(log.String(), "done without a second officer") != 1 {
		t.Errorf("%v, logged %s", err, log.String())
	}
	log.Reset()
	spec.Name = "again"
	_, err := w.client.CreateAuthority(t.Context(), spec)
	refused(t, err, http.StatusConflict, "key-exists")
	if strings.Contains(log.String(), "second officer") {
		t.Errorf("nothing was done, and logged %s", log.String())
	}
}

// TestPIN keeps the PIN of a token out of what is on record for everyone.
func TestPIN(t *testing.T) {
	w := open(t, nil)
	spec := admin.AuthoritySpec{Name: "x", Subject: admin.Name{CommonName: "x"}, ValiditySeconds: 86400}
	text := string(pkitest.PEM("CERTIFICATE", elsewhere(t).Raw))
	for _, spec.KeyURI = range []string{"pkcs11:token=a;object=b?pin-value=1234", "pkcs11:token=a,pin-value=1234", "azurekms:vault=a;client_secret=1234", "pkcs11:token=a?code=1234"} {
		_, err := w.client.CreateAuthority(t.Context(), spec)
		refused(t, err, http.StatusBadRequest, "key-uri")
		_, err = w.client.ImportAuthority(t.Context(), "x", admin.AuthorityImport{Certificates: text, KeyURI: spec.KeyURI})
		refused(t, err, http.StatusBadRequest, "key-uri")
		if strings.Contains(err.Error(), "1234") {
			t.Error(err)
		}
	}
}

// TestWordsOfConstraints words name constraints so that a value is not taken for
// the words around it, and refuses what would make no certificate before anybody
// is asked to sign it and a key is made.
func TestWordsOfConstraints(t *testing.T) {
	p := populate(t)
	request := func(dns string) wire {
		return wire{path: "/v1/authorities/line-9/csr", body: admin.AuthoritySpec{
			Subject: admin.Name{CommonName: "Line 9"}, Permit: admin.Names{DNS: []string{dns, "example.net"}, Email: []string{"example.com"}},
		}}
	}
	var a admin.Approval
	if answer := p.ask(t, "alice", "POST", request("line9.example.org")); answer.Code != http.StatusAccepted || json.Unmarshal(answer.Body.Bytes(), &a) != nil {
		t.Fatalf("answered %d %s", answer.Code, answer.Body)
	}
	if want := `only DNS "line9.example.org" "example.net", only e-mail "example.com"`; !strings.HasSuffix(a.Words, want) {
		t.Errorf("the words are %s", a.Words)
	}
	proposals := p.pending(t)
	if answer := p.ask(t, "alice", "POST", request("line9.example.org, path length 0")); answer.Code != http.StatusBadRequest || p.pending(t) != proposals {
		t.Errorf("answered %d %s", answer.Code, answer.Body)
	}
}
