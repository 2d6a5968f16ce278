package adminhttp_test

import (
	"bytes"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"mintmark/admin"
	"mintmark/admin/adminhttp"
	"mintmark/internal/ledger"
	"mintmark/internal/pkitest"
	"mintmark/internal/reconcile"
)

const fleetLabel = "aws:line-f/pumps"

// fleetWorld has an EST label and a fleet at AWS that take work orders.
func fleetWorld(t *testing.T) (*world, *cloud) {
	c := new(cloud)
	w := open(t, func(config *adminhttp.Config) {
		config.AWS, config.Outbox = c, c
		config.Labels = map[string]adminhttp.Label{
			"line":     {Profile: "device", Issuer: "issuing", Orders: true},
			fleetLabel: {Profile: adminhttp.FleetProfile, Orders: true, Target: "line-f"},
		}
		config.ClaimIssuer, config.ClaimProfile = "claims", "claim"
		config.Spool = t.TempDir()
	}).hierarchy(t)
	if _, err := w.client.CreateAuthority(t.Context(), admin.AuthoritySpec{Name: "claims", Issuer: "root", Subject: admin.Name{CommonName: "Claims"}, ValiditySeconds: 10 * 365 * 86400}); err != nil {
		t.Fatal(err)
	}
	return w, c
}

func claimCSR(t *testing.T) string {
	return string(pkitest.PEM("CERTIFICATE REQUEST", pkitest.CSR(t, pkitest.NewKey(t), pkix.Name{CommonName: "claim"})))
}

func fleetOrder(id string) admin.OrderSpec {
	return admin.OrderSpec{ID: id, Label: fleetLabel, Quantity: 10, NotAfter: time.Now().Add(time.Hour)}
}

// TestFleetOrder: an order for a fleet has no secret, bounds nothing that AWS does
// not tell, and every change of it is told.
func TestFleetOrder(t *testing.T) {
	w, c := fleetWorld(t)
	for name, test := range map[string]struct {
		change func(*admin.OrderSpec)
		rule   string
	}{
		"another profile":  {func(s *admin.OrderSpec) { s.Profile = "device" }, "profile"},
		"networks":         {func(s *admin.OrderSpec) { s.Networks = []string{"10.0.0.0/8"} }, "order-spec"},
		"no such fleet":    {func(s *admin.OrderSpec) { s.Label = "aws:line-f/presses" }, "label"},
		"no such target":   {func(s *admin.OrderSpec) { s.Label = "aws:line-z/pumps" }, "label"},
		"target and label": {func(s *admin.OrderSpec) { s.Label = "aws:line-f/pumps " }, "label"},
	} {
		spec := fleetOrder("WO-X")
		test.change(&spec)
		_, err := w.client.CreateOrder(t.Context(), spec)
		t.Run(name, func(t *testing.T) { refused(t, err, http.StatusBadRequest, test.rule) })
	}
	if len(c.told) != 0 {
		t.Errorf("told of what was refused: %v", c.told)
	}

	made, err := w.client.CreateOrder(t.Context(), fleetOrder("WO-1"))
	if err != nil {
		t.Fatal(err)
	}
	if made.Secret != "" || made.Order.Secret || made.Order.Profile != adminhttp.FleetProfile || made.Order.Label != fleetLabel {
		t.Errorf("order %+v, secret %q", made.Order, made.Secret)
	}
	_, err = w.client.NewOrderSecret(t.Context(), "WO-1")
	refused(t, err, http.StatusConflict, "order-credential")

	if _, err := w.client.SetOrderQuantity(t.Context(), "WO-1", 5); err != nil {
		t.Fatal(err)
	}
	if _, err := w.client.ExtendOrder(t.Context(), "WO-1", time.Now().Add(2*time.Hour)); err != nil {
		t.Fatal(err)
	}
	if _, err := w.client.KillOrder(t.Context(), "WO-1"); err != nil {
		t.Fatal(err)
	}
	if c.told["order WO-1"] != 4 || c.woken < 4 {
		t.Errorf("told %v, woken %d times; want 4 of the order", c.told, c.woken)
	}
	// The tasks are in the ledger, from the transactions of the changes.
	if backlog, err := w.ra.Ledger.Backlog(t.Context()); err != nil || backlog["aws/test"] == 0 {
		t.Errorf("backlog %v, %v", backlog, err)
	}
}

// TestHoldIsTold: holds, releases and lists reach the outbox, and what is refused
// does not.
func TestHoldIsTold(t *testing.T) {
	w, c := fleetWorld(t)
	if _, err := w.client.ImportDevices(t.Context(), strings.NewReader("device\nSN-1\n"), admin.ListImport{File: "l.csv", Media: admin.MediaCSV}, func(admin.ListProgress) {}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.client.HoldDevice(t.Context(), "SN-1", "lost"); err != nil {
		t.Fatal(err)
	}
	if _, err := w.client.ReleaseDevice(t.Context(), "SN-1", "found"); err != nil {
		t.Fatal(err)
	}
	if _, err := w.client.ReleaseDevice(t.Context(), "SN-2", "no such"); err == nil {
		t.Error("released a device that is not there")
	}
	if c.told["import any"] != 1 || c.told["device SN-1"] != 2 || c.woken != 3 {
		t.Errorf("told %v, woken %d times", c.told, c.woken)
	}
	due, err := w.ra.Ledger.Due(t.Context(), "aws/test", time.Now().Add(time.Hour), 10)
	if err != nil {
		t.Fatal(err)
	}
	keys := make(map[string]bool)
	for _, task := range due {
		keys[task.Key] = true
	}
	if !keys["device/SN-1"] || !keys["import/any"] || keys["device/SN-2"] {
		t.Errorf("tasks %v", keys)
	}
}

// TestHoldUnknown: a device that came by AWS, under an order without a list, can be
// taken out of service, and the answer says that nothing was known of it.
func TestHoldUnknown(t *testing.T) {
	w, c := fleetWorld(t)
	held, err := w.client.HoldDevice(t.Context(), "SN-7", "stolen")
	if err != nil || !held.Unknown || held.State != admin.Held || held.Listed || held.Count != 0 {
		t.Fatalf("held %+v, %v", held, err)
	}
	shown, err := w.client.Device(t.Context(), "SN-7")
	if err != nil || shown.Unknown || shown.State != admin.Held || shown.Note != "stolen" {
		t.Errorf("shown %+v, %v", shown, err)
	}
	if again, err := w.client.RetireDevice(t.Context(), "SN-7", "scrapped"); err != nil || again.Unknown {
		t.Errorf("retired %+v, %v", again, err)
	}
	if released, err := w.client.ReleaseDevice(t.Context(), "SN-7", "found"); err != nil || released.State != admin.Expected {
		t.Errorf("released %+v, %v", released, err)
	}
	if retired, err := w.client.RetireDevice(t.Context(), "SN-8", "scrapped"); err != nil || !retired.Unknown || retired.State != admin.Retired {
		t.Errorf("retired %+v, %v", retired, err)
	}
	// No fleet has a device of such a name.
	_, err = w.client.HoldDevice(t.Context(), "SN 7", "stolen")
	refused(t, err, http.StatusNotFound, "not-found")
	if c.told["device SN-7"] < 3 {
		t.Errorf("told %v", c.told)
	}
	if backlog, err := w.ra.Ledger.Backlog(t.Context()); err != nil || backlog["aws/test"] != 2 {
		t.Errorf("backlog %v, %v; want one task a device", backlog, err)
	}
}

func TestAWSClaims(t *testing.T) {
	w, c := fleetWorld(t)
	for _, spec := range []admin.OrderSpec{fleetOrder("WO-1"), fleetOrder("WO-2")} {
		if _, err := w.client.CreateOrder(t.Context(), spec); err != nil {
			t.Fatal(err)
		}
	}
	est := fleetOrder("WO-EST")
	est.Label = "line"
	if _, err := w.client.CreateOrder(t.Context(), est); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		target string
		in     admin.AWSClaimRequest
		status int
		rule   string
	}{
		"no order":               {"line-f", admin.AWSClaimRequest{CSR: claimCSR(t)}, http.StatusBadRequest, "order"},
		"no such order":          {"line-f", admin.AWSClaimRequest{Order: "WO-9", CSR: claimCSR(t)}, http.StatusNotFound, "not-found"},
		"an EST label's order":   {"line-f", admin.AWSClaimRequest{Order: "WO-EST", CSR: claimCSR(t)}, http.StatusConflict, "order-label"},
		"another target's order": {"line-a", admin.AWSClaimRequest{Order: "WO-1", CSR: claimCSR(t)}, http.StatusConflict, "order-label"},
		"no such target":         {"line-z", admin.AWSClaimRequest{Order: "WO-1", CSR: claimCSR(t)}, http.StatusNotFound, "aws-target"},
		"no request":             {"line-f", admin.AWSClaimRequest{Order: "WO-1"}, http.StatusBadRequest, "csr-pem"},
		"no request for AWS":     {"line-f", admin.AWSClaimRequest{Order: "WO-1", AWSIssued: true}, http.StatusBadRequest, "csr-pem"},
		"bytes for AWS": {"line-f", admin.AWSClaimRequest{Order: "WO-1", AWSIssued: true,
			CSR: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: []byte("x")}))}, http.StatusBadRequest, "csr"},
		"somebody else's key": {"line-f", admin.AWSClaimRequest{Order: "WO-1", AWSIssued: true, CSR: tampered(t)}, http.StatusBadRequest, "csr"},
	} {
		_, err := w.client.AWSClaim(t.Context(), test.target, test.in)
		t.Run(name, func(t *testing.T) { refused(t, err, test.status, test.rule) })
	}
	if len(c.claims) != 0 {
		t.Fatalf("AWS was asked for %v", c.claims)
	}

	ours, err := w.client.AWSClaim(t.Context(), "line-f", admin.AWSClaimRequest{Order: "WO-1", CSR: claimCSR(t)})
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := w.client.AWSClaim(t.Context(), "line-f", admin.AWSClaimRequest{Order: "WO-1", CSR: claimCSR(t), AWSIssued: true})
	if err != nil {
		t.Fatal(err)
	}
	if ours.Claim.Serial == "" || !strings.Contains(ours.Certificate, "BEGIN CERTIFICATE") || !strings.Contains(ours.Chain, "BEGIN CERTIFICATE") || theirs.Certificate != "PEM of AWS" || theirs.Claim.Serial != "" {
		t.Errorf("ours %+v, theirs %+v", ours, theirs)
	}
	list, err := w.client.AWSClaims(t.Context(), "line-f", "WO-1")
	if err != nil {
		t.Fatal(err)
	}
	if len(list.Claims) != 2 || list.Used != 7 || list.Claims[0].Status != "ACTIVE" || list.Claims[1].CertificateID != ours.Claim.CertificateID || list.Claims[1].Status != "" {
		t.Errorf("claims %+v", list)
	}

	// A dead order gets no more, and its claims end.
	killed, err := w.client.KillOrder(t.Context(), "WO-1")
	if err != nil || len(killed.Revoked) != 1 || killed.Revoked[0] != ours.Claim.Serial {
		t.Errorf("killed %+v, %v", killed, err)
	}
	for aws, status := range map[bool]int{true: http.StatusConflict, false: http.StatusForbidden} {
		_, err := w.client.AWSClaim(t.Context(), "line-f", admin.AWSClaimRequest{Order: "WO-1", CSR: claimCSR(t), AWSIssued: aws})
		refused(t, err, status, "order-killed")
	}
	w.ahead.Store(int64(2 * time.Hour))
	_, err = w.client.AWSClaim(t.Context(), "line-f", admin.AWSClaimRequest{Order: "WO-2", CSR: claimCSR(t), AWSIssued: true})
	refused(t, err, http.StatusConflict, "order-expired")
}

// tampered is a request whose signature is not by its key.
func tampered(t *testing.T) string {
	der := pkitest.CSR(t, pkitest.NewKey(t), pkix.Name{CommonName: "claim"})
	der[bytes.Index(der, []byte("claim"))] = 'C'
	return string(pkitest.PEM("CERTIFICATE REQUEST", der))
}

func TestAWSDrift(t *testing.T) {
	w, c := fleetWorld(t)
	before, err := w.client.AWSDrift(t.Context(), "line-f")
	if err != nil || before.At != nil || before.Left == nil {
		t.Errorf("before the first comparison: %+v, %v", before, err)
	}
	drift, err := w.client.AWSReconcile(t.Context(), "line-f", admin.AWSReconcile{Adopt: true})
	if err != nil {
		t.Fatal(err)
	}
	if drift.Checked != 3 || drift.Unknown != 1 || drift.Target != "line-f" || drift.At == nil {
		t.Errorf("drift %+v", drift)
	}
	if len(c.adopted) != 1 || c.adopted[0] != "local:tester, for aws/line-f, up to 10" {
		t.Errorf("adopted as %q", c.adopted)
	}
	if after, err := w.client.AWSDrift(t.Context(), "line-f"); err != nil || after.Unknown != 1 {
		t.Errorf("afterwards: %+v, %v", after, err)
	}
	_, err = w.client.AWSReconcile(t.Context(), "line-r", admin.AWSReconcile{})
	refused(t, err, http.StatusConflict, "comparing")
	if status, err := w.client.Status(t.Context()); err != nil || len(status.AWSDrift) == 0 || !strings.Contains(status.AWSDrift[0], "never issued here") {
		t.Errorf("status says %q, %v", status.AWSDrift, err)
	}
}

func TestAWSBulk(t *testing.T) {
	w, c := fleetWorld(t)
	c.lines = []string{`{"ThingName":"a"}`, `{"ThingName":"b"}`}
	var out bytes.Buffer
	bulk, err := w.client.AWSBulk(t.Context(), "line-f", "", &out)
	if err != nil {
		t.Fatal(err)
	}
	if bulk.Things != 2 || string(bulk.Template) != `{"Resources":{}}` || out.String() != c.lines[0]+"\n"+c.lines[1]+"\n" {
		t.Errorf("bulk %+v:\n%s", bulk, out.String())
	}
	_, err = w.client.AWSBulk(t.Context(), "line-f", "WO-9", &out)
	refused(t, err, http.StatusNotFound, "not-found")

	// What ends in an error says so in its last line, and never looks whole.
	c.fail = errors.New("the ledger went away")
	_, err = w.client.AWSBulk(t.Context(), "line-f", "", &out)
	refused(t, err, http.StatusBadGateway, "aws")
	c.fail = nil
	for name, line := range map[string]string{"long": `"` + strings.Repeat("x", 256<<10) + `"`, "not JSON": "{"} {
		c.lines = []string{line + " "}
		_, err := w.client.AWSBulk(t.Context(), "line-f", "", &out)
		t.Run(name, func(t *testing.T) { refused(t, err, http.StatusBadGateway, "aws") })
	}
}

func TestConnection(t *testing.T) {
	w, _ := fleetWorld(t)
	_, err := w.client.AWSConnection(t.Context(), "line-f", "SN-1")
	refused(t, err, http.StatusNotFound, "not-found")
	if _, err := w.client.ImportDevices(t.Context(), strings.NewReader("device\nSN-1\n"), admin.ListImport{File: "l.csv", Media: admin.MediaCSV}, func(admin.ListProgress) {}); err != nil {
		t.Fatal(err)
	}
	_, err = w.client.AWSConnection(t.Context(), "line-f", "SN-1")
	refused(t, err, http.StatusConflict, "certificate")

	issued, err := w.client.Issue(t.Context(), admin.Issue{Profile: "device", Issuer: "issuing",
		CSR: string(pkitest.PEM("CERTIFICATE REQUEST", pkitest.CSR(t, pkitest.NewKey(t), pkix.Name{CommonName: "SN-1"})))})
	if err != nil {
		t.Fatal(err)
	}
	got, err := w.client.AWSConnection(t.Context(), "line-f", "SN-1")
	if err != nil {
		t.Fatal(err)
	}
	if got.Thing != "thing-SN-1" || got.Endpoint != "data.example" || got.Mode != "DEFAULT" || got.Serial != issued.Certificate.Serial || strings.Count(got.Chain, "BEGIN") != 1 || len(got.CertificateID) != 64 {
		t.Errorf("connection %+v", got)
	}
	_, err = w.client.AWSConnection(t.Context(), "line-r", "SN-1")
	refused(t, err, http.StatusConflict, "certificate")
	if _, err := w.ra.Revoke(t.Context(), ledger.Selector{Device: "SN-1"}, ledger.KeyCompromise, "test"); err != nil {
		t.Fatal(err)
	}
	_, err = w.client.AWSConnection(t.Context(), "line-f", "SN-1")
	refused(t, err, http.StatusConflict, "certificate")
}

// TestRetire: with fewer than two officers one does it alone, the answer streams,
// and a plan that changed is not carried out.
func TestRetire(t *testing.T) {
	w, c := fleetWorld(t)
	plan, err := w.client.AWSPlan(t.Context(), "line-r")
	if err != nil || !plan.Destructive || !plan.Changes[1].Destructive || plan.Changes[0].Destructive {
		t.Fatalf("plan %+v, %v", plan, err)
	}
	c.swept = 3
	_, err = w.client.AWSApply(t.Context(), "line-r", admin.Apply{Hash: plan.Hash}, nil)
	refused(t, err, http.StatusConflict, "plan-changed")
	if _, err := w.client.AWSApply(t.Context(), "line-r", admin.Apply{}, nil); err != nil || c.retirements() != 1 {
		t.Errorf("carried out %d times: %v", c.retirements(), err)
	}
}

// TestRetireStale: what two persons have signed is the plan with that hash, and no
// other.
func TestRetireStale(t *testing.T) {
	p := populate(t)
	c := p.cloud
	answer := p.ask(t, "olga", "POST", wire{path: "/v1/aws/targets/line-r/apply", body: admin.Apply{}})
	var a admin.Approval
	decodeInto(t, answer.Body.Bytes(), &a)
	if answer.Code != http.StatusAccepted || !strings.Contains(a.Words, `delete ca "old"`) || !strings.Contains(a.Words, "with 1 other changes") {
		t.Fatalf("answered %d %s", answer.Code, answer.Body)
	}
	decodeInto(t, p.ask(t, "adam", "GET", wire{path: "/v1/approvals/" + a.ID}).Body.Bytes(), &a)
	if code := p.sign(t, p.signers["bob"], "bob", a, a.Statement); code != http.StatusOK {
		t.Fatal(code)
	}
	c.mu.Lock()
	c.swept = 1000
	c.mu.Unlock()
	answer = p.ask(t, "olga", "POST", wire{path: "/v1/approvals/" + a.ID + "/run", body: struct{}{}})
	if answer.Code != http.StatusConflict || ruleOf(answer) != "plan-changed" || c.retirements() != 0 {
		t.Errorf("answered %d %s; carried out %d times", answer.Code, answer.Body, c.retirements())
	}
}

// TestRetireInBetween: what one person may do alone does not become what takes two,
// because the plan is another when it is carried out.
func TestRetireInBetween(t *testing.T) {
	for name, test := range map[string]struct {
		before []reconcile.Change
		rule   string
	}{
		"it was refused":      {[]reconcile.Change{{Kind: "table", Subject: "t", Action: reconcile.Refuse, After: "it is DELETING"}}, "plan-refused"},
		"it took nothing out": {[]reconcile.Change{{Kind: "policy", Subject: "p", Action: reconcile.Create}}, "plan-changed"},
	} {
		p := populate(t)
		p.cloud.before = test.before
		answer := p.ask(t, "olga", "POST", wire{path: "/v1/aws/targets/line-r/apply", body: admin.Apply{}})
		if p.cloud.retirements() != 0 || p.cloud.agreed.Destructive || !strings.Contains(answer.Body.String(), `"rule":"`+test.rule+`"`) {
			t.Errorf("%s: answered %d %s, carried out %d times, agreed %+v", name, answer.Code, answer.Body, p.cloud.retirements(), p.cloud.agreed)
		}
	}
	// With a hash, that very plan is what is agreed to.
	w, c := fleetWorld(t)
	plan, err := w.client.AWSPlan(t.Context(), "line-r")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.client.AWSApply(t.Context(), "line-r", admin.Apply{Hash: plan.Hash}, nil); err != nil || !c.agreed.Destructive || hex.EncodeToString(c.agreed.Hash[:]) != plan.Hash {
		t.Errorf("agreed %+v, %v", c.agreed, err)
	}
}
