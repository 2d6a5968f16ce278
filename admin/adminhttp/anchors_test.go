package adminhttp_test

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"mintmark/admin"
	"mintmark/admin/adminhttp"
	"mintmark/ca"
	"mintmark/ca/rotation"
	"mintmark/internal/ledger"
	"mintmark/issuer"
)

// rotating records a rotation of the root, or of the issuing CA, in a state, as far as
// devices are concerned; its new CA is made.
func (w *world) rotating(t testing.TB, id string, kind ledger.RotationKind, state rotation.State, edit ...func(*ledger.Rotation)) ledger.Rotation {
	t.Helper()
	spec := issuer.AuthoritySpec{
		Spec: ca.Spec{Name: "new-" + id, Subject: pkix.Name{CommonName: "New " + id}, Validity: 25 * 365 * 24 * time.Hour, Backdate: time.Hour}, Key: ca.P256,
	}
	r := ledger.Rotation{ID: id, Kind: kind, Old: "root", New: spec.Name, State: string(state), At: time.Now().Add(-time.Hour), Since: time.Now(), Actor: "test", Version: 1}
	if kind == ledger.RotateIssuing {
		r.Old, spec.Issuer, spec.Validity = "issuing", "root", 5*365*24*time.Hour
	}
	for _, e := range edit {
		e(&r)
	}
	if _, err := w.ra.CreateAuthority(t.Context(), spec, ledger.Requester{Kind: "admin", Name: "test"}); err != nil {
		t.Fatal(err)
	}
	plan, err := json.Marshal(rotation.Plan{
		Version: 1, ID: id, Made: r.At.UTC(), Affected: []string{"issuing"},
		Spec: rotation.Spec{Kind: kind, Old: r.Old, New: r.New, Emergency: r.Emergency, Gates: rotation.Gates{Officers: 2}},
	})
	if err != nil {
		t.Fatal(err)
	}
	r.Plan = plan
	// Over as far as others are concerned, which may be planned beside it.
	if err := w.ra.Ledger.PutRotation(t.Context(), r, ledger.RotationEntry{At: r.At, Actor: "test", State: r.State, Step: "plan", Event: "done"}, true); err != nil {
		t.Fatal(err)
	}
	if err := w.ra.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	return r
}

// anchor is what is known of a device in a rotation.
func (w *world) anchor(t testing.TB, id, device string) admin.AnchorDevice {
	t.Helper()
	list := w.anchors(t, id, admin.AnchorQuery{Limit: admin.MaxPage})
	for _, d := range list.Devices {
		if d.Device == device {
			return d
		}
	}
	return admin.AnchorDevice{}
}

func (w *world) anchors(t testing.TB, id string, q admin.AnchorQuery) admin.AnchorDevices {
	t.Helper()
	list, err := w.client.AnchorDevices(t.Context(), id, q)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// device records a certificate of a device under the issuing CA, past the issuance cycle.
func (w *world) device(t testing.TB, name, label, order string, from, to time.Time) {
	t.Helper()
	sum := sha256.Sum256([]byte(name + from.String()))
	sum[0] = sum[0]&0x3f | 0x40
	results, err := w.ra.Ledger.ImportCertificates(t.Context(), []ledger.Certificate{{
		Serial: ledger.Serial(hex.EncodeToString(sum[:16])), Issuer: "issuing", Profile: "device", Label: label, Order: order, Purpose: ledger.ForDevice,
		Device: name, Subject: "CN=" + name, Key: sum, NotBefore: from, NotAfter: to, State: ledger.Valid, DER: sum[:], IntentAt: from, IssuedAt: from,
		Requester: ledger.Requester{Kind: "password", Name: "test"},
	}}, "test", time.Now())
	if err != nil || len(results) != 1 || results[0] != nil {
		t.Fatalf("recording %s: %v %v", name, results, err)
	}
}

// TestAnchorDevices classifies devices of every kind, and adds them up: none is lost.
func TestAnchorDevices(t *testing.T) {
	w := open(t, func(c *adminhttp.Config) { c.Labels = map[string]adminhttp.Label{"pinned": {OldPath: true}} }).hierarchy(t)
	w.rotating(t, "r1", ledger.RotateRoot, rotation.Draining)
	now := time.Now()
	year, later := now.AddDate(-1, -1, 0), now.AddDate(1, 0, 0)
	recent := now.AddDate(0, 0, -3)
	want := map[string]string{}
	put := func(name, class string, from ...time.Time) {
		for _, at := range from {
			w.device(t, name, "", "", at, later)
		}
		want[name] = class
	}
	put("never-online", "never", year)
	put("offline-a-year", "silent", year.AddDate(0, -1, 0), year)
	put("left-behind", "left", year, recent)
	put("moved", "moved", year, recent)
	put("trusts", "trusts", year, recent)
	put("waived", "waived", year)
	w.device(t, "expired", "", "", year.AddDate(-2, 0, 0), year)
	want["expired"] = "expired"
	for _, from := range []time.Time{year, recent} {
		w.device(t, "pinned-device", "pinned", "", from, later)
	}
	want["pinned-device"] = "left"
	if err := w.ra.Ledger.NoteAnchors(t.Context(), "r1", []ledger.AnchorNote{
		{Device: "moved", Trusts: recent, How: "fetched", Chains: now}, {Device: "trusts", Trusts: recent, How: "proved"},
		{Device: "waived", Waived: now, WaivedBy: "alice", Why: "scrapped"},
	}); err != nil {
		t.Fatal(err)
	}
	all := w.anchors(t, "r1", admin.AnchorQuery{})
	if all.Total != len(want) || len(all.Devices) != len(want) || all.Next != "" {
		t.Errorf("%d counted, %d listed of %d, next %q", all.Total, len(all.Devices), len(want), all.Next)
	}
	sums := map[string]int{}
	for _, d := range all.Devices {
		sums[d.Class]++
		if d.Class != want[d.Device] {
			t.Errorf("%s is %s, want %s", d.Device, d.Class, want[d.Device])
		}
		if pinned := d.Device == "pinned-device"; d.Pinned != pinned {
			t.Errorf("%s pinned %v", d.Device, d.Pinned)
		}
	}
	for class, n := range all.Counts {
		if sums[class] != n {
			t.Errorf("%d of class %s are counted and %d listed", n, class, sums[class])
		}
	}
	// Page by page, and by class, they are the same.
	seen := map[string]bool{}
	for q := (admin.AnchorQuery{Limit: 3}); ; {
		page := w.anchors(t, "r1", q)
		if (page.Counts != nil) != (q.After == "") {
			t.Errorf("counts on the page after %q: %v", q.After, page.Counts)
		}
		for _, d := range page.Devices {
			if seen[d.Device] {
				t.Errorf("%s is on two pages", d.Device)
			}
			seen[d.Device] = true
		}
		if q.After = page.Next; page.Next == "" {
			break
		}
	}
	sum := 0
	for _, class := range admin.AnchorClasses {
		sum += len(w.anchors(t, "r1", admin.AnchorQuery{Class: class}).Devices)
	}
	if len(seen) != len(want) || sum != len(want) {
		t.Errorf("%d by pages, %d by class, want %d", len(seen), sum, len(want))
	}
}

// TestWaive takes devices out by name, work order and class.
func TestWaive(t *testing.T) {
	w := open(t, nil).hierarchy(t)
	w.rotating(t, "r1", ledger.RotateRoot, rotation.Distributing)
	now := time.Now()
	for i := range 5 {
		w.device(t, fmt.Sprintf("stock-%d", i), "", "WO-1", now.AddDate(0, -6, 0), now.AddDate(1, 0, 0))
		w.device(t, fmt.Sprintf("other-%d", i), "", "WO-2", now.AddDate(0, -6, 0), now.AddDate(1, 0, 0))
	}
	if err := w.ra.Ledger.NoteAnchors(t.Context(), "r1", []ledger.AnchorNote{{Device: "stock-0", Trusts: now, How: "fetched", Chains: now}}); err != nil {
		t.Fatal(err)
	}
	waive := func(in admin.Waiver, devices int) {
		t.Helper()
		done, err := w.client.WaiveDevices(t.Context(), "r1", in)
		if err != nil || done.Devices != devices || len(done.Hash) != 64 {
			t.Errorf("%+v: %+v, %v", in, done, err)
		}
	}
	waive(admin.Waiver{Devices: []string{"stock-1"}, Reason: "lost"}, 1)
	if d := w.anchor(t, "r1", "stock-1"); d.Class != "waived" || d.Why != "lost" || d.WaivedBy != "local:tester" {
		t.Errorf("%+v", d)
	}
	waive(admin.Waiver{Order: "WO-1", Reason: "in the warehouse"}, 3) // one has moved, one is waived
	if d := w.anchor(t, "r1", "stock-1"); d.Why != "lost" {
		t.Errorf("the first reason is gone: %+v", d)
	}
	waive(admin.Waiver{Class: "never", Reason: "in the warehouse"}, 5)
	if counts := w.anchors(t, "r1", admin.AnchorQuery{}).Counts; counts["moved"] != 1 || counts["waived"] != 9 {
		t.Errorf("%v", counts)
	}
	many := make([]string, admin.MaxWaived+1)
	for i := range many {
		many[i] = fmt.Sprint(i)
	}
	w.rotating(t, "done", ledger.RotateRoot, rotation.Archived)
	w.rotating(t, "young", ledger.RotateRoot, rotation.KeyGenerated)
	for name, bad := range map[string]struct {
		id   string
		in   admin.Waiver
		rule string
		text string
	}{
		"nobody":           {"r1", admin.Waiver{Reason: "x"}, "rotation-waiver", "exactly one"},
		"two ways":         {"r1", admin.Waiver{Order: "WO-1", Class: "never", Reason: "x"}, "rotation-waiver", "exactly one"},
		"no reason":        {"r1", admin.Waiver{Class: "never"}, "rotation-waiver", "say why"},
		"a long reason":    {"r1", admin.Waiver{Class: "never", Reason: strings.Repeat("x", 501)}, "rotation-waiver", "one line"},
		"two lines":        {"r1", admin.Waiver{Class: "never", Reason: "a\nb"}, "rotation-waiver", "one line"},
		"class moved":      {"r1", admin.Waiver{Class: "moved", Reason: "x"}, "rotation-waiver", "cannot be waived"},
		"class trusts":     {"r1", admin.Waiver{Class: "trusts", Reason: "x"}, "rotation-waiver", "cannot be waived"},
		"class unknown":    {"r1", admin.Waiver{Class: "all", Reason: "x"}, "rotation-waiver", "cannot be waived"},
		"unknown device":   {"r1", admin.Waiver{Devices: []string{"stock-2", "nobody-1"}, Reason: "x"}, "rotation-waiver", "nobody-1"},
		"twice":            {"r1", admin.Waiver{Devices: []string{"a", "a"}, Reason: "x"}, "rotation-waiver", "twice"},
		"empty name":       {"r1", admin.Waiver{Devices: []string{""}, Reason: "x"}, "rotation-waiver", "devices[0]"},
		"a zero in a name": {"r1", admin.Waiver{Devices: []string{"a\x00b"}, Reason: "x"}, "rotation-waiver", "devices[0]"},
		"too many":         {"r1", admin.Waiver{Devices: many, Reason: "x"}, "rotation-waiver", "at once"},
		"has moved":        {"r1", admin.Waiver{Devices: []string{"stock-0"}, Reason: "x"}, "rotation-waiver", "nothing to waive"},
		"unknown order":    {"r1", admin.Waiver{Order: "WO-9", Reason: "x"}, "rotation-waiver", "nothing to waive"},
		"none of class":    {"r1", admin.Waiver{Class: "silent", Reason: "x"}, "rotation-waiver", "nothing to waive"},
		"no rotation":      {"r9", admin.Waiver{Class: "never", Reason: "x"}, "rotation", "there is no rotation"},
		"over":             {"done", admin.Waiver{Class: "never", Reason: "x"}, "rotation-state", "is over"},
		"nothing new yet":  {"young", admin.Waiver{Class: "never", Reason: "x"}, "rotation-state", "KEY_GENERATED"},
	} {
		_, err := w.client.WaiveDevices(t.Context(), bad.id, bad.in)
		refusedBy(t, name, err, bad.rule, bad.text)
	}
	if counts := w.anchors(t, "r1", admin.AnchorQuery{}).Counts; counts["moved"] != 1 || counts["waived"] != 9 {
		t.Errorf("a refused waiver has changed something: %v", counts)
	}
}

func refusedBy(t *testing.T, name string, err error, rule, text string) {
	t.Helper()
	refused, ok := err.(*admin.Error)
	if !ok || refused.Rule != rule || !strings.Contains(refused.Text, text) || refused.Status < 400 || refused.Status > 499 {
		t.Errorf("%s: %v, want a refusal by %s with %q", name, err, rule, text)
	}
}

// TestReportedByOne: one officer alone does not move what the gates count.
func TestReportedByOne(t *testing.T) {
	p := populate(t)
	p.rotating(t, "r1", ledger.RotateRoot, rotation.Distributing)
	now := time.Now()
	for _, name := range []string{"d-1", "d-2"} {
		p.device(t, name, "", "", now.AddDate(0, -6, 0), now.AddDate(1, 0, 0))
	}
	known := func(device string) admin.AnchorDevice {
		t.Helper()
		var list admin.AnchorDevices
		answer := p.ask(t, "adam", "GET", wire{path: "/v1/rotations/r1/devices"})
		if err := json.Unmarshal(answer.Body.Bytes(), &list); err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(list.Devices, func(d admin.AnchorDevice) bool { return d.Device == device })
		if i < 0 {
			t.Fatalf("no %s: %s", device, answer.Body)
		}
		return list.Devices[i]
	}
	at := now.UTC().Truncate(time.Second)
	in := admin.AnchorReport{Devices: []admin.ReportedDevice{{Device: "d-2", At: &at, Chains: true}, {Device: "d-1"}}}
	answer := p.ask(t, "alice", "POST", wire{path: "/v1/rotations/r1/reports", body: in})
	var a admin.Approval
	if err := json.Unmarshal(answer.Body.Bytes(), &a); err != nil || answer.Code != http.StatusAccepted {
		t.Fatalf("%d %s", answer.Code, answer.Body)
	}
	sum := sha256.Sum256([]byte("d-1\tnow\t\nd-2\t" + at.Format(time.RFC3339) + "\tchains\n"))
	for _, want := range []string{"2 devices", "1 of them the path under the new root", hex.EncodeToString(sum[:])} {
		if !strings.Contains(a.Words, want) {
			t.Errorf("the words lack %q: %s", want, a.Words)
		}
	}
	for _, device := range []string{"d-1", "d-2"} {
		if d := known(device); d.Trusts != nil || d.Chains != nil {
			t.Errorf("noted for one officer: %+v", d)
		}
	}
	if err := json.Unmarshal(p.ask(t, "adam", "GET", wire{path: "/v1/approvals/" + a.ID}).Body.Bytes(), &a); err != nil {
		t.Fatal(err)
	}
	if status := p.sign(t, p.signers["bob"], "bob", a, a.Statement); status != http.StatusOK {
		t.Fatal(status)
	}
	if answer = p.ask(t, "alice", "POST", wire{path: "/v1/approvals/" + a.ID + "/run", body: none}); answer.Code != http.StatusOK {
		t.Fatalf("%d %s", answer.Code, answer.Body)
	}
	if d := known("d-2"); d.Class != "moved" || d.How != "reported" || !d.Trusts.Equal(at) {
		t.Errorf("%+v", d)
	}
	if d := known("d-1"); d.Class != "trusts" {
		t.Errorf("%+v", d)
	}
}

// TestWaiveStale has another device join the class between the signature and the run.
func TestWaiveStale(t *testing.T) {
	p := populate(t)
	p.rotating(t, "r1", ledger.RotateRoot, rotation.Distributing)
	now := time.Now()
	p.device(t, "stock-1", "", "", now.AddDate(0, -6, 0), now.AddDate(1, 0, 0))
	answer := p.ask(t, "alice", "POST", wire{path: "/v1/rotations/r1/waivers", body: admin.Waiver{Class: "never", Reason: "warehouse"}})
	var a admin.Approval
	if err := json.Unmarshal(answer.Body.Bytes(), &a); err != nil || answer.Code != http.StatusAccepted || !strings.Contains(a.Words, "waive 1 devices") {
		t.Fatalf("%d %s", answer.Code, answer.Body)
	}
	sum := sha256.Sum256([]byte("stock-1\n"))
	if !strings.Contains(a.Words, hex.EncodeToString(sum[:])) {
		t.Errorf("the words lack the hash of the list: %s", a.Words)
	}
	if err := json.Unmarshal(p.ask(t, "adam", "GET", wire{path: "/v1/approvals/" + a.ID}).Body.Bytes(), &a); err != nil {
		t.Fatal(err)
	}
	if status := p.sign(t, p.signers["bob"], "bob", a, a.Statement); status != http.StatusOK {
		t.Fatal(status)
	}
	p.device(t, "stock-2", "", "", now.AddDate(0, -6, 0), now.AddDate(1, 0, 0))
	answer = p.ask(t, "alice", "POST", wire{path: "/v1/approvals/" + a.ID + "/run", body: none})
	if ruleOf(answer) != "approval-stale" {
		t.Errorf("%d %s", answer.Code, answer.Body)
	}
	answer = p.ask(t, "adam", "GET", wire{path: "/v1/rotations/r1/devices"})
	if strings.Contains(answer.Body.String(), `"waived_by"`) {
		t.Errorf("a device is waived: %s", answer.Body)
	}
}

// TestReported takes what an update system knows, and refuses what it cannot know.
func TestReported(t *testing.T) {
	w := open(t, nil).hierarchy(t)
	w.rotating(t, "i1", ledger.RotateIssuing, rotation.Distributing) // first: nothing new comes below a root that is replaced
	w.rotating(t, "r1", ledger.RotateRoot, rotation.Distributing)
	w.rotating(t, "done", ledger.RotateRoot, rotation.RolledBack)
	now := time.Now().Truncate(time.Second)
	for i := range 3 {
		w.device(t, fmt.Sprintf("d-%d", i), "", "", now.AddDate(0, -6, 0), now.AddDate(1, 0, 0))
	}
	at := now.Add(-time.Minute)
	done, err := w.client.ReportAnchors(t.Context(), "r1", admin.AnchorReport{Devices: []admin.ReportedDevice{
		{Device: "d-0", At: &at}, {Device: "d-1", Chains: true}, {Device: "stranger"},
	}})
	if err != nil || done.Noted != 2 || done.Unknown != 1 || len(done.Names) != 1 || done.Names[0] != "stranger" {
		t.Fatalf("%+v %v", done, err)
	}
	if d := w.anchor(t, "r1", "d-0"); d.Class != "trusts" || d.How != "reported" || !d.Trusts.Equal(at) {
		t.Errorf("%+v", d)
	}
	if d := w.anchor(t, "r1", "d-1"); d.Class != "moved" {
		t.Errorf("%+v", d)
	}
	if d := w.anchor(t, "r1", "d-2"); d.Class != "never" {
		t.Errorf("%+v", d)
	}
	if d := w.anchor(t, "i1", "d-0"); d.Trusts != nil {
		t.Errorf("another rotation has it: %+v", d)
	}
	before, future := now.Add(-2*time.Hour), now.Add(2*time.Hour)
	many := make([]admin.ReportedDevice, admin.MaxReported+1)
	for i := range many {
		many[i].Device = fmt.Sprint(i)
	}
	one := func(d admin.ReportedDevice) admin.AnchorReport {
		return admin.AnchorReport{Devices: []admin.ReportedDevice{d}}
	}
	for name, bad := range map[string]struct {
		id   string
		in   admin.AnchorReport
		rule string
		text string
	}{
		"nobody":             {"r1", admin.AnchorReport{}, "rotation-report", "names no device"},
		"too many":           {"r1", admin.AnchorReport{Devices: many}, "rotation-report", "at once"},
		"no name":            {"r1", one(admin.ReportedDevice{}), "rotation-report", "devices[0]"},
		"a long name":        {"r1", one(admin.ReportedDevice{Device: strings.Repeat("x", 257)}), "rotation-report", "devices[0]"},
		"twice":              {"r1", admin.AnchorReport{Devices: []admin.ReportedDevice{{Device: "d-0"}, {Device: "d-0"}}}, "rotation-report", "twice"},
		"before there was":   {"r1", one(admin.ReportedDevice{Device: "d-2", At: &before}), "rotation-report", "before"},
		"in the future":      {"r1", one(admin.ReportedDevice{Device: "d-2", At: &future}), "rotation-report", "to come"},
		"chains of a leaf":   {"i1", one(admin.ReportedDevice{Device: "d-2", Chains: true}), "rotation-report", "leave chains out"},
		"over":               {"done", one(admin.ReportedDevice{Device: "d-2"}), "rotation-state", "is over"},
		"there is no such":   {"r9", one(admin.ReportedDevice{Device: "d-2"}), "rotation", "there is no rotation"},
		"before a bad entry": {"r1", admin.AnchorReport{Devices: []admin.ReportedDevice{{Device: "d-2"}, {Device: ""}}}, "rotation-report", "devices[1]"},
	} {
		_, err := w.client.ReportAnchors(t.Context(), bad.id, bad.in)
		refusedBy(t, name, err, bad.rule, bad.text)
	}
	if d := w.anchor(t, "r1", "d-2"); d.Trusts != nil {
		t.Errorf("a refused report has noted something: %+v", d)
	}
}

// TestAnchorBundle hands out the roots that are asked for, and no compromised one.
func TestAnchorBundle(t *testing.T) {
	w := open(t, nil).hierarchy(t)
	w.rotating(t, "i1", ledger.RotateIssuing, rotation.Distributing) // first: nothing new comes below a root that is replaced
	// A rotation begins its rollover itself: one from before stands for that.
	w.rotating(t, "r0", ledger.RotateRoot, rotation.RolledBack)
	if _, err := w.ra.BeginRollover(t.Context(), "root", "new-r0", false, ledger.Requester{Kind: "admin", Name: "test"}); err != nil {
		t.Fatal(err)
	}
	w.rotating(t, "r2", ledger.RotateRoot, rotation.Distributing, func(r *ledger.Rotation) { r.New = "new-r0" })
	w.rotating(t, "r1", ledger.RotateRoot, rotation.Distributing)
	w.rotating(t, "e1", ledger.RotateRoot, rotation.Approved, func(r *ledger.Rotation) { r.Emergency = true })
	w.rotating(t, "p1", ledger.RotateRoot, rotation.Planned, func(r *ledger.Rotation) { r.New = "not-yet" })
	kinds := func(id, trust string, bridges bool) (string, error) {
		b, err := w.client.AnchorBundle(t.Context(), id, trust, bridges)
		var list []string
		for _, c := range b.Certificates {
			list = append(list, c.Kind)
			sum := sha256.Sum256(c.DER)
			if hex.EncodeToString(sum[:]) != c.SHA256 {
				t.Errorf("%s: another hash", c.Kind)
			}
			authority := map[string]string{"old-root": "root", "new-root": strings.Replace("new-"+id, "r2", "r0", 1)}[c.Kind]
			if authority == "" {
				continue
			}
			if a, err := w.ra.Authority(authority); err != nil || !bytes.Equal(a.Certificate().Raw, c.DER) {
				t.Errorf("%s is not %s", c.Kind, authority)
			}
		}
		return strings.Join(list, " "), err
	}
	check := func(id, trust string, bridges bool, want string) {
		t.Helper()
		if got, err := kinds(id, trust, bridges); err != nil || got != want {
			t.Errorf("%s %s %v: %q %v, want %q", id, trust, bridges, got, err, want)
		}
	}
	check("r1", "old", false, "old-root")
	check("r1", "both", false, "old-root new-root")
	check("r1", "new", false, "new-root")
	check("e1", "new", false, "new-root")
	check("p1", "old", false, "old-root")
	_, err := kinds("r1", "both", true)
	refusedBy(t, "bridges before there are", err, "rotation-bundle", "DISTRIBUTING")
	if got, err := kinds("r2", "both", true); err != nil || len(strings.Fields(got)) != 4 || !strings.Contains(got, "old-with-new") || !strings.Contains(got, "new-with-old") {
		t.Errorf("%q %v", got, err)
	}
	for name, bad := range map[string][3]string{
		"whose":         {"r1", "", "query"},
		"what":          {"r1", "all", "query"},
		"an issuing CA": {"i1", "both", "rotation-bundle"},
		"compromised":   {"e1", "old", "rotation-bundle"},
		"both of them":  {"e1", "both", "rotation-bundle"},
		"not there":     {"p1", "new", "rotation-bundle"},
		"unknown":       {"r9", "new", "rotation"},
	} {
		_, err := kinds(bad[0], bad[1], false)
		refusedBy(t, name, err, bad[2], "")
	}
}

// noted is what the ledger knows of the device of a rotation that has its name.
func (p *people) noted(t *testing.T, name string) ledger.AnchorDevice {
	t.Helper()
	q := ledger.AnchorQuery{Rotation: name, Issuers: []string{"issuing"}, Now: time.Now(), Limit: 1000}
	for {
		devices, next, err := p.ra.Ledger.Anchors(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range devices {
			if d.Device == name {
				return d
			}
		}
		if q.After = next; next == "" {
			return ledger.AnchorDevice{}
		}
	}
}
