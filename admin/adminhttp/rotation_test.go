package adminhttp_test

import (
	"encoding/json"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"mintmark/admin"
	"mintmark/ca/rotation"
	"mintmark/internal/access"
	"mintmark/internal/ledger"
	"mintmark/internal/pkitest"
)

// TestRotationSpec refuses what makes no sense before anything is looked at, and records
// nothing.
func TestRotationSpec(t *testing.T) {
	p := populate(t)
	seconds := func(n int64) *int64 { return &n }
	for name, test := range map[string]struct {
		in     admin.RotationSpec
		status int
		rule   string
	}{
		"no name":            {admin.RotationSpec{Old: "root"}, 400, "rotation-spec"},
		"no old":             {admin.RotationSpec{New: "root2"}, 400, "rotation-spec"},
		"the same":           {admin.RotationSpec{Old: "root", New: "root"}, 400, "rotation-spec"},
		"name with @":        {admin.RotationSpec{Old: "root", New: "root@2"}, 400, "rotation-spec"},
		"unknown CA":         {admin.RotationSpec{Old: "nothing", New: "root2"}, 404, "authority"},
		"unknown kind":       {admin.RotationSpec{Old: "root", New: "root2", Kind: "bridge"}, 400, "rotation-spec"},
		"unknown key":        {admin.RotationSpec{Old: "root", New: "root2", Key: "P-257"}, 400, "rotation-spec"},
		"secret in key URI":  {admin.RotationSpec{Old: "root", New: "root2", KeyURI: "pkcs11:token=a;object=b?pin-value=1234"}, 400, "key-uri"},
		"long key URI":       {admin.RotationSpec{Old: "root", New: "root2", KeyURI: strings.Repeat("x", 1025)}, 400, "rotation-spec"},
		"long common name":   {admin.RotationSpec{Old: "root", New: "root2", CommonName: strings.Repeat("x", 65)}, 400, "rotation-spec"},
		"NUL in common name": {admin.RotationSpec{Old: "root", New: "root2", CommonName: "a\x00b"}, 400, "rotation-spec"},
		"negative validity":  {admin.RotationSpec{Old: "root", New: "root2", ValidityDays: -1}, 400, "rotation-spec"},
		"long validity":      {admin.RotationSpec{Old: "root", New: "root2", ValidityDays: 40000}, 400, "rotation-spec"},
		"canary above 100":   {admin.RotationSpec{Old: "root", New: "root2", CanaryPercent: 101}, 400, "rotation-spec"},
		"negative canary":    {admin.RotationSpec{Old: "root", New: "root2", CanaryPercent: -1}, 400, "rotation-spec"},
		"unknown label":      {admin.RotationSpec{Old: "root", New: "root2", CanaryLabels: []string{"line", "nowhere"}}, 400, "rotation-spec"},
		"label of a fleet":   {admin.RotationSpec{Old: "root", New: "root2", CanaryLabels: []string{fleetLabel}}, 400, "rotation-spec"},
		"too many labels":    {admin.RotationSpec{Old: "root", New: "root2", CanaryLabels: slices.Repeat([]string{"line"}, 101)}, 400, "rotation-spec"},
		"one officer":        {admin.RotationSpec{Old: "root", New: "root2", Gates: admin.RotationGates{Officers: 1}}, 400, "rotation-spec"},
		"21 officers":        {admin.RotationSpec{Old: "root", New: "root2", Gates: admin.RotationGates{Officers: 21}}, 400, "rotation-spec"},
		"officers who lack":  {admin.RotationSpec{Old: "root", New: "root2", Gates: admin.RotationGates{Officers: 3}}, 409, "rotation-officers"},
		"share above 100":    {admin.RotationSpec{Old: "root", New: "root2", Gates: admin.RotationGates{Trusting: 10001}}, 400, "rotation-spec"},
		"negative share":     {admin.RotationSpec{Old: "root", New: "root2", Gates: admin.RotationGates{Moved: -1}}, 400, "rotation-spec"},
		"negative time":      {admin.RotationSpec{Old: "root", New: "root2", Gates: admin.RotationGates{WatchSeconds: seconds(-1)}}, 400, "rotation-spec"},
		"endless time":       {admin.RotationSpec{Old: "root", New: "root2", Gates: admin.RotationGates{DrainSeconds: seconds(1 << 40)}}, 400, "rotation-spec"},
		"overflowing time":   {admin.RotationSpec{Old: "root", New: "root2", Gates: admin.RotationGates{SilentSeconds: 1 << 62}}, 400, "rotation-spec"},
		"emergency waits":    {admin.RotationSpec{Old: "root", New: "root2", Emergency: true, Gates: admin.RotationGates{WatchSeconds: seconds(1)}}, 400, "rotation-spec"},
		"issuing elsewhere":  {admin.RotationSpec{Old: "issuing", New: "issuing2", Elsewhere: true}, 400, "rotation-spec"},
	} {
		t.Run(name, func(t *testing.T) {
			answer := p.ask(t, "alice", "POST", wire{path: "/v1/rotations", body: test.in})
			if answer.Code != test.status || ruleOf(answer) != test.rule {
				t.Errorf("answered %d %s, want %d by rule %s", answer.Code, answer.Body, test.status, test.rule)
			}
		})
	}
	for name, body := range map[string]string{
		"unknown field": `{"old":"root","new":"root2","gates":{"officer":3}}`,
		"no JSON":       `old=root`,
		"two values":    `{"old":"root","new":"root2"}{}`,
	} {
		if answer := p.ask(t, "alice", "POST", wire{path: "/v1/rotations", body: body, media: "application/json"}); answer.Code != 400 {
			t.Errorf("%s was answered %d %s", name, answer.Code, answer.Body)
		}
	}
	if answer := p.ask(t, "alice", "POST", wire{path: "/v1/rotations", body: strings.Repeat(" ", admin.MaxRequest+1), media: "application/json"}); answer.Code != 413 {
		t.Errorf("a large body was answered %d", answer.Code)
	}
	if list, err := p.ra.Ledger.Rotations(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("rotations are recorded: %v, %v", list, err)
	}
}

// status asks for a rotation, and checks that its plan is the one of the hash.
func (p *people) status(t *testing.T, id string) (admin.RotationStatus, admin.RotationPlan) {
	t.Helper()
	answer := p.ask(t, "adam", "GET", wire{path: "/v1/rotations/" + id})
	if answer.Code != http.StatusOK {
		t.Fatalf("answered %d %s", answer.Code, answer.Body)
	}
	var s admin.RotationStatus
	decodeInto(t, answer.Body.Bytes(), &s)
	plan, err := s.ReadPlan()
	if err != nil {
		t.Fatal(err)
	}
	return s, plan
}

func TestRotationPlan(t *testing.T) {
	p := populate(t)
	zero := int64(0)
	answer := p.ask(t, "alice", "POST", wire{path: "/v1/rotations", body: admin.RotationSpec{
		Old: "issuing", New: "issuing2", Key: "p-384", CanaryLabels: []string{"line"}, CanaryPercent: 5, Gates: admin.RotationGates{WatchSeconds: &zero, Trusting: 9900},
	}})
	if answer.Code != http.StatusCreated {
		t.Fatalf("answered %d %s", answer.Code, answer.Body)
	}
	var s admin.RotationStatus
	decodeInto(t, answer.Body.Bytes(), &s)
	plan, err := s.ReadPlan()
	if err != nil {
		t.Fatal(err)
	}
	r, spec := s.Rotation, plan.Spec
	if r.Kind != "issuing" || r.State != "PLANNED" || r.Serving != "old" || r.Actor != "alice" || r.Over || r.Hash == "" {
		t.Errorf("planned %+v", r)
	}
	if spec.Kind != "issuing" || spec.Key != "P-384" || spec.Canary.Percent != 5 || !slices.Equal(spec.Canary.Labels, []string{"line"}) ||
		spec.Gates.Officers != 2 || spec.Gates.Trusting != 9900 || spec.Gates.Moved != 10000 || spec.Gates.Watch != 0 || spec.Gates.Drain.Hours() != 30*24 {
		t.Errorf("the plan is for %+v", spec)
	}
	if s.Gate == nil || s.Gate.State != "APPROVED" || s.Gate.Officers != 2 || len(s.Gate.Signed) != 0 || !strings.Contains(s.Gate.Statement, r.Hash) || len(s.Blocked) == 0 {
		t.Errorf("the next gate is %+v, and misses %q", s.Gate, s.Blocked)
	}
	if want := "mintmark rotate approve " + r.ID + " --key THEIR.key"; len(s.Next) == 0 || s.Next[0] != want {
		t.Errorf("next is %q, want %q", s.Next, want)
	}
	// What the client reads is all that is signed.
	var exact, read any
	decodeInto(t, []byte(s.Plan), &exact)
	again, err := json.Marshal(plan)
	if err != nil {
		t.Fatal(err)
	}
	decodeInto(t, again, &read)
	if a, b := indented(t, exact), indented(t, read); a != b {
		t.Errorf("the client does not know all of the plan:\n%s\nit reads\n%s", a, b)
	}
	// Only one runs.
	answer = p.ask(t, "bob", "POST", wire{path: "/v1/rotations", body: admin.RotationSpec{Old: "root", New: "root2"}})
	if answer.Code != http.StatusConflict || ruleOf(answer) != "rotation-overlap" || !strings.Contains(answer.Body.String(), r.ID) {
		t.Errorf("a second one was answered %d %s", answer.Code, answer.Body)
	}
	if p.hasAuthority("issuing2") {
		t.Error("planning has made the CA")
	}
}

func indented(t *testing.T, v any) string {
	t.Helper()
	text, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestReadPlan: a plan that is not the one of the hash is not shown to anybody.
func TestReadPlan(t *testing.T) {
	p := populate(t)
	s, _ := p.status(t, p.rotation(t, "root2", nil).ID)
	for name, change := range map[string]func(*admin.RotationStatus){
		"another text": func(s *admin.RotationStatus) { s.Plan = strings.Replace(s.Plan, "root2", "root3", 1) },
		"another hash": func(s *admin.RotationStatus) { s.Rotation.Hash = strings.Repeat("0", 64) },
		"another ID":   func(s *admin.RotationStatus) { s.Rotation.ID = "other" },
		"no hash":      func(s *admin.RotationStatus) { s.Rotation.Hash = "" },
	} {
		changed := s
		change(&changed)
		if _, err := changed.ReadPlan(); err == nil {
			t.Errorf("%s: it was read", name)
		}
	}
}

func TestRotationSign(t *testing.T) {
	p := populate(t)
	r := p.rotation(t, "root2", nil)
	sign := func(who string, gate rotation.State, signature []byte) (int, string) {
		t.Helper()
		answer := p.ask(t, who, "POST", wire{path: "/v1/rotations/" + r.ID + "/sign", body: admin.RotationSign{Gate: string(gate), Signature: signature}})
		return answer.Code, ruleOf(answer)
	}
	by := func(signer string, gate rotation.State, r ledger.Rotation) []byte {
		t.Helper()
		signature, err := access.Sign(p.signers[signer], rotation.Statement(r, gate))
		if err != nil {
			t.Fatal(err)
		}
		return signature
	}
	other := r
	other.Plan = append(slices.Clone(r.Plan), ' ')
	for name, test := range map[string]struct {
		who       string
		gate      rotation.State
		signature []byte
		status    int
		rule      string
	}{
		"another's key":      {"alice", rotation.Approved, by("bob", rotation.Approved, r), 403, "rotation-signature"},
		"another plan":       {"alice", rotation.Approved, by("alice", rotation.Approved, other), 403, "rotation-signature"},
		"for another gate":   {"alice", rotation.Approved, by("alice", rotation.Switched, r), 403, "rotation-signature"},
		"in advance":         {"alice", rotation.Switched, by("alice", rotation.Switched, r), 409, "rotation-gate"},
		"a state for nobody": {"alice", rotation.Certified, by("alice", rotation.Certified, r), 409, "rotation-gate"},
		"no gate":            {"alice", "", by("alice", "", r), 409, "rotation-gate"},
		"nothing":            {"alice", rotation.Approved, nil, 403, "rotation-signature"},
		"long":               {"alice", rotation.Approved, make([]byte, 4096), 403, "rotation-signature"},
		"without a key":      {"carol", rotation.Approved, by("alice", rotation.Approved, r), 403, "rotation-signer"},
		"an operator":        {"olga", rotation.Approved, by("olga", rotation.Approved, r), 403, "role"},
	} {
		t.Run(name, func(t *testing.T) {
			if status, rule := sign(test.who, test.gate, test.signature); status != test.status || rule != test.rule {
				t.Errorf("answered %d by rule %s, want %d by rule %s", status, rule, test.status, test.rule)
			}
		})
	}
	if n := len(p.now(t, r.ID).Signatures); n != 0 {
		t.Fatalf("%d signatures are recorded", n)
	}
	if status, rule := sign("alice", rotation.Approved, by("alice", rotation.Approved, r)); status != http.StatusOK {
		t.Fatalf("answered %d %s", status, rule)
	}
	if status, rule := sign("alice", rotation.Approved, by("alice", rotation.Approved, r)); status != 409 || rule != "rotation-signed" {
		t.Errorf("the second time was answered %d %s", status, rule)
	}
	s, _ := p.status(t, r.ID)
	if !slices.Equal(s.Gate.Signed, []string{"alice"}) || len(s.Rotation.Signatures) != 1 || s.Rotation.Signatures[0].Gate != "APPROVED" {
		t.Errorf("signed: %+v", s.Rotation.Signatures)
	}
	// Whoever is removed does not count any more.
	gone := p.add(t, "gone", access.Officer, true)
	if status, rule := sign("gone", rotation.Approved, by("gone", rotation.Approved, r)); status != http.StatusOK {
		t.Fatalf("answered %d %s", status, rule)
	}
	gone.RemovedAt = p.ra.Now()
	p.put(t, gone)
	if s, _ = p.status(t, r.ID); !slices.Equal(s.Gate.Signed, []string{"alice"}) {
		t.Errorf("signatures of %q count", s.Gate.Signed)
	}
}

// stream reads the lines of a run or a rollback.
func (p *people) stream(t *testing.T, who, path string, body any) (entries []admin.RotationEntry, done *admin.RotationDone, failed *admin.Error) {
	t.Helper()
	answer := p.ask(t, who, "POST", wire{path: path, body: body})
	if answer.Code != http.StatusOK || answer.Header().Get("Content-Type") != "application/x-ndjson" {
		t.Fatalf("answered %d %s", answer.Code, answer.Body)
	}
	for line := range strings.Lines(answer.Body.String()) {
		if done != nil || failed != nil {
			t.Errorf("a line behind the last one: %s", line)
		}
		var one admin.RotationProgress
		decodeInto(t, []byte(line), &one)
		switch {
		case one.Entry != nil:
			entries = append(entries, *one.Entry)
		case one.Done != nil:
			done = one.Done
		default:
			failed = one.Error
		}
	}
	return entries, done, failed
}

func TestRotationRun(t *testing.T) {
	p := populate(t)
	r := p.signGate(t, p.rotation(t, "root2", nil), rotation.Approved, "alice", "bob")
	path := "/v1/rotations/" + r.ID
	entries, done, failed := p.stream(t, "alice", path+"/run", admin.RotationRun{To: "KEY_GENERATED"})
	if failed != nil || done == nil || !done.Moved || done.Rotation.State != "KEY_GENERATED" || len(entries) == 0 {
		t.Fatalf("done: %+v, failed: %+v", done, failed)
	}
	if !p.hasAuthority("root2") {
		t.Error("the new CA was not made")
	}
	again, done, failed := p.stream(t, "bob", path+"/run", admin.RotationRun{To: "KEY_GENERATED"})
	if failed != nil || done == nil || done.Moved || len(again) != 0 {
		t.Errorf("the second time %d lines were written: %+v, %+v", len(again), done, failed)
	}

	// The journal is what was streamed, in pages of any size.
	var journal []admin.RotationEntry
	for after := "0"; ; {
		answer := p.ask(t, "adam", "GET", wire{path: path + "/journal", query: "?limit=2&after=" + after})
		var page admin.RotationJournal
		decodeInto(t, answer.Body.Bytes(), &page)
		journal = append(journal, page.Entries...)
		if page.Next == 0 {
			break
		}
		text, _ := json.Marshal(page.Next)
		after = string(text)
	}
	for i, e := range journal {
		if e.Number != int64(i+1) {
			t.Fatalf("entry %d has number %d", i+1, e.Number)
		}
	}
	if tail := journal[len(journal)-len(entries):]; !slices.Equal(tail, entries) {
		t.Errorf("the journal ends with %+v, and streamed was %+v", tail, entries)
	}
	all, err := p.machineJournal(t, r.ID)
	if err != nil || len(all) != len(journal) {
		t.Errorf("the client reads %d entries, want %d: %v", len(all), len(journal), err)
	}

	for _, test := range []struct {
		path, query string
		body        any
		status      int
		rule        string
	}{
		{"/run", "", admin.RotationRun{To: "NOWHERE"}, 409, "rotation-state"},
		{"/run", "", admin.RotationRun{To: strings.Repeat("x", 100000)}, 409, "rotation-state"},
		{"/pause", "", admin.RotationReason{}, 400, "rotation-spec"},
		{"/pause", "", admin.RotationReason{Reason: "two\nlines"}, 400, "rotation-spec"},
		{"/pause", "", admin.RotationReason{Reason: strings.Repeat("x", 5000)}, 400, "rotation-spec"},
		{"/rollback", "", admin.RotationReason{}, 400, "rotation-spec"},
		{"/bring", "", admin.RotationBring{}, 400, "rotation-certificates"},
		{"/bring", "", admin.RotationBring{Certificates: string(pkitest.PEM("PRIVATE KEY", []byte{1}))}, 400, "rotation-certificates"},
		{"/bring", "", admin.RotationBring{Certificates: string(pkitest.PEM("CERTIFICATE", []byte{1}))}, 400, "rotation-certificates"},
	} {
		answer := p.ask(t, "alice", "POST", wire{path: path + test.path, query: test.query, body: test.body})
		if answer.Code != test.status || ruleOf(answer) != test.rule {
			t.Errorf("%s %.80v was answered %d %.300s, want %d by rule %s", test.path, test.body, answer.Code, answer.Body, test.status, test.rule)
		}
		if answer.Body.Len() > 4096 {
			t.Errorf("%s: what was sent comes back in %d bytes", test.path, answer.Body.Len())
		}
	}
	for _, query := range []string{"?after=-1", "?after=x", "?limit=0", "?limit=1001", "?at=1"} {
		if answer := p.ask(t, "alice", "GET", wire{path: path + "/journal", query: query}); answer.Code != 400 {
			t.Errorf("%s was answered %d", query, answer.Code)
		}
	}
	for _, route := range []string{"GET ", "GET /journal", "POST /sign", "POST /run", "POST /bring", "POST /pause", "POST /resume", "POST /rollback"} {
		method, verb, _ := strings.Cut(route, " ")
		in := wire{path: "/v1/rotations/nothing" + verb}
		if method == "POST" {
			in.body = map[string]string{"/pause": "x", "/rollback": "x"}
			switch verb {
			case "/pause", "/rollback":
				in.body = admin.RotationReason{Reason: "x"}
			case "/bring":
				in.body = admin.RotationBring{Certificates: "x"}
			default:
				in.body = none
			}
		}
		if answer := p.ask(t, "alice", method, in); answer.Code != 404 || ruleOf(answer) != "rotation" {
			t.Errorf("%s of no rotation was answered %d %s", route, answer.Code, answer.Body)
		}
	}
}

// machineJournal reads a journal with the client.
func (p *people) machineJournal(t *testing.T, id string) ([]admin.RotationEntry, error) {
	t.Helper()
	client := admin.New(named{p, "adam"})
	page, err := client.RotationJournal(t.Context(), id, 0)
	return page.Entries, err
}

// named is a transport over which one principal asks.
type named struct {
	p    *people
	name string
}

func (n named) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Principal", n.name)
	return admin.InProcess(n.p.handler).RoundTrip(r)
}

// TestRotationFails: a step that fails is the last line, with the rule failed and the
// reason, and the same run goes on from there.
func TestRotationFails(t *testing.T) {
	p := populate(t)
	r := p.signGate(t, p.rotation(t, "root2", nil), rotation.Approved, "alice", "bob")
	client := admin.New(named{p, "alice"})
	p.keys.full.Store(true)
	var seen []admin.RotationEntry
	_, err := client.RunRotation(t.Context(), r.ID, "KEY_GENERATED", func(e admin.RotationEntry) { seen = append(seen, e) })
	refused, ok := err.(*admin.Error)
	if !ok || refused.Rule != "failed" || !strings.Contains(refused.Text, "KEY_GENERATED") || refused.RequestID == "" {
		t.Fatalf("the run ended with %v", err)
	}
	if len(seen) == 0 || seen[len(seen)-1].Event != "failed" {
		t.Errorf("streamed was %+v", seen)
	}
	p.keys.full.Store(false)
	done, err := client.RunRotation(t.Context(), r.ID, "KEY_GENERATED", nil)
	if err != nil || !done.Moved || done.Rotation.State != "KEY_GENERATED" {
		t.Errorf("it went on to %s: %v", done.Rotation.State, err)
	}
	back, err := client.RollBackRotation(t.Context(), r.ID, "the test is over", nil)
	if err != nil || !back.Rotation.Over || back.Gate != nil || len(back.Next) != 0 {
		t.Errorf("rolled back: %+v, %v", back, err)
	}
	_, err = client.PauseRotation(t.Context(), r.ID, "too late")
	if refused, ok := err.(*admin.Error); !ok || refused.Status != http.StatusConflict || refused.Rule != "rotation-state" {
		t.Errorf("pausing what is over: %v", err)
	}
}

// TestRotationRules: docs/admin-api.md names every rule.
func TestRotationRules(t *testing.T) {
	content, err := os.ReadFile("../../docs/admin-api.md")
	if err != nil {
		t.Fatal(err)
	}
	own := []string{"rotation", "rotation-certificates", "rotation-stale", "rotation-waiting"}
	for _, rule := range append(own, rotation.Rules...) {
		if !strings.Contains(string(content), "`"+rule+"`") {
			t.Errorf("docs/admin-api.md does not name rule %s", rule)
		}
	}
}
