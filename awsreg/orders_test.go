package awsreg_test

import (
	"bytes"
	"context"
	"encoding/pem"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	dynamotypes "github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/iot"

	"mintmark/awsreg"
	"mintmark/awsreg/awssim"
	"mintmark/awsreg/hook"
	"mintmark/internal/ledger"
)

func TestTasksForClaims(t *testing.T) {
	target := everything("")
	none := target
	none.Name, none.Fleets = "line-b", nil
	w := &world{t: t, issuers: map[string]*authority{"elsewhere": newAuthority(t, "elsewhere")}}
	_, _, c := w.issuers["elsewhere"].device(t, "x")
	c.Purpose, c.Device, c.Order = ledger.ForClaim, "", "wo-1"
	for _, state := range []ledger.State{ledger.Valid, ledger.Revoked} {
		c.State = state
		tasks := awsreg.TasksFor([]awsreg.Target{target, none}, c)
		// Also for one without the fleet, which it may have had.
		if len(tasks) != 2 || tasks[0].Key != idOf(c) || tasks[1].Key != idOf(c) {
			t.Errorf("%s: tasks %+v", state, tasks)
		}
	}
	c.Order = ""
	if tasks := awsreg.TasksFor([]awsreg.Target{target}, c); tasks != nil {
		t.Errorf("a claim of no order: %+v", tasks)
	}
}

func TestOrders(t *testing.T) {
	w, target := fleetWorld(t)
	w.order("wo-1", func(o *ledger.Order) {
		o.Listed, o.Ranges = true, []ledger.Range{{First: "a-001", Last: "a-999"}}
	})
	w.order("wo-est", func(o *ledger.Order) { o.Label = "line" })
	var devices []string
	for i := range 1234 {
		devices = append(devices, fmt.Sprintf("a-%04d", i))
	}
	w.list("import-1", "wo-1", devices...)
	w.list("import-2", "wo-est", "b-1")
	w.tellOrder(target, "wo-1")
	w.tellOrder(target, "wo-est")
	w.tellOrder(target, "no such order")
	order, err := hook.DecodeOrder(w.item(manifestTable, "order#wo-1"))
	w.ok(err)
	if order.State != "open" || order.Template != "pumps" || order.Quantity != 10 || !order.Listed || !slices.Equal(order.Ranges, []string{"a-001..a-999"}) {
		t.Errorf("order %+v", order)
	}
	if w.item(manifestTable, "order#wo-est") != nil {
		t.Error("told of an order that is for something else")
	}
	for _, device := range []string{"a-0000", "a-0999", "a-1000", "a-1233"} {
		if textOf(w.item(manifestTable, "expected#"+device), "order") != "wo-1" {
			t.Errorf("device %s is not expected", device)
		}
	}
	template, err := hook.DecodeTemplate(w.item(manifestTable, "template#pumps-rotation"))
	if err != nil || template != (hook.Template{Name: "pumps-rotation", Fleet: "pumps", Prefix: "pump-", Rotation: true}) {
		t.Errorf("template %+v, %v", template, err)
	}

	// A list that comes later.
	w.list("import-3", "wo-1", "a-9999")
	w.deliver(target, awsreg.TasksForImport([]awsreg.Target{target}, "import-3"))
	w.deliver(target, awsreg.TasksForImport([]awsreg.Target{target}, "import-2"))
	if textOf(w.item(manifestTable, "expected#a-9999"), "order") != "wo-1" {
		t.Error("a-9999 is not expected")
	}
	if w.item(manifestTable, "expected#b-1") != nil {
		t.Error("told of a device of another order")
	}
}

func TestClaims(t *testing.T) {
	w, target := fleetWorld(t)
	order := w.order("wo-1")
	w.order("wo-2")
	w.order("wo-est", func(o *ledger.Order) { o.Label = "line" })
	w.tellOrder(target, "wo-1")
	ours, stays, est := w.issueClaim("wo-1"), w.issueClaim("wo-2"), w.issueClaim("wo-est")
	for range 2 {
		w.tell(target, ours, stays, est)
		w.want("told", active, ours, stays)
		w.want("of another order", "", est)
	}
	if names := w.policiesOf(idOf(ours)); !slices.Equal(names, []string{"pumps-claim"}) {
		t.Errorf("policies %v", names)
	}
	if textOf(w.item(manifestTable, hook.ClaimKey(idOf(ours))), "order") != "wo-1" {
		t.Error("the claim is not bound to its order")
	}

	r := w.registrar(first)
	csr := request(t, "station 1")
	aws1, err := r.ClaimFromAWS(t.Context(), target, order, csr)
	w.ok(err)
	aws2, err := r.ClaimFromAWS(t.Context(), target, order, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: csr}))
	w.ok(err)
	if aws1.Status != "ACTIVE" || aws1.Template != "pumps" || aws1.Policy != "pumps-claim" || aws1.CertificateID == aws2.CertificateID || w.statusOf(aws1.CertificateID) != active {
		t.Errorf("claims %+v, %+v", aws1, aws2)
	}
	w.put(manifestTable, hook.Item{"pk": &dynamotypes.AttributeValueMemberS{Value: hook.UsedKey("wo-1")}, "n": &dynamotypes.AttributeValueMemberN{Value: "3"}})
	list := func() map[string]awsreg.Claim {
		t.Helper()
		claims, used, err := r.Claims(t.Context(), target, "wo-1")
		if err != nil || used != 3 {
			t.Fatalf("used %d, %v", used, err)
		}
		byID := make(map[string]awsreg.Claim)
		for _, c := range claims {
			byID[c.CertificateID] = c
		}
		return byID
	}
	claims := list()
	if len(claims) != 3 || claims[idOf(ours)].PEM != "" || claims[idOf(ours)].Status != "ACTIVE" || claims[aws1.CertificateID].PEM != aws1.PEM || claims[aws2.CertificateID].Policy != "pumps-claim" {
		t.Errorf("claims %+v", claims)
	}
	if _, _, err := r.Claims(t.Context(), target, "wo-est"); err == nil {
		t.Error("the claims of an order that is for something else")
	}

	// Closed: all of its claims, of whichever issuer, are out of service, and those
	// of another order are not.
	late := w.issueClaim("wo-1")
	w.changeOrder("wo-1", ledger.OrderClosed)
	w.tellOrder(target, "wo-1")
	w.tell(target, late)
	w.want("closed", inactive, ours)
	w.want("told after it was closed", "", late)
	w.want("another order's", active, stays)
	for id, c := range list() {
		if c.Status != "INACTIVE" {
			t.Errorf("closed: %s is %s", id, c.Status)
		}
	}
	w.tell(target, ours)
	w.want("closed, and told again", inactive, ours)
	if _, err := r.ClaimFromAWS(t.Context(), target, order, csr); err == nil || !strings.Contains(err.Error(), "closed") {
		t.Errorf("a claim under a closed order: %v", err)
	}

	// Killed: ours are revoked for good.
	w.changeOrder("wo-1", ledger.OrderKilled)
	w.tellOrder(target, "wo-1")
	w.want("killed", revoked, ours)
	if status := w.statusOf(aws1.CertificateID); status != inactive {
		t.Errorf("killed: AWS's is %s", status)
	}

	// One claim revoked.
	w.ok(w.revoke(t.Context(), []ledger.Serial{stays.Serial}))
	w.tell(target, stays)
	w.want("revoked", revoked, stays)
	if w.item(manifestTable, "revoked#"+idOf(stays)) == nil || textOf(w.item(manifestTable, hook.ClaimKey(idOf(stays))), "order") != "wo-2" {
		t.Error("a revoked claim is not marked, or not known any more")
	}
}

// doer is an HTTP client.
type doer func(*http.Request) (*http.Response, error)

func (f doer) Do(r *http.Request) (*http.Response, error) { return f(r) }

// An order that is shut while its claim is being made usable.
func TestClaimRace(t *testing.T) {
	for _, shut := range []ledger.OrderState{ledger.OrderClosed, ledger.OrderKilled} {
		for _, operation := range []string{"AttachPolicy", "UpdateCertificate"} {
			t.Run(string(shut)+" "+operation, func(t *testing.T) {
				w, target := fleetWorld(t)
				order := w.order("wo-1")
				c := w.issueClaim("wo-1")
				client := w.http.client
				w.http.client = doer(func(r *http.Request) (*http.Response, error) {
					if calls := w.sim.Calls(); calls[len(calls)-1] == operation && order.State == ledger.OrderOpen {
						order.State = shut
						w.changeOrder("wo-1", shut)
					}
					return client.Do(r)
				})
				if errs := w.registrar(first).Deliver(t.Context(), target, w.tasks(target, c)); errs[0] != nil {
					t.Fatal(errs[0])
				}
				if order.State != shut {
					t.Fatal("the order was not shut in between")
				}
				w.want("shut meanwhile", inactive, c)
			})
		}
	}
}

func TestClaimFromAWSRefusals(t *testing.T) {
	w, target := fleetWorld(t)
	order := w.order("wo-1")
	other := w.order("wo-est", func(o *ledger.Order) { o.Label = "line" })
	r := w.registrar(first)
	good := request(t, "x")
	forged := bytes.Clone(good)
	forged[len(forged)-1] ^= 1
	provided := target
	provided.Provider = everything("").Provider
	for _, test := range []struct {
		name   string
		target awsreg.Target
		order  ledger.Order
		csr    []byte
		says   string
	}{
		{"no request", target, order, []byte("x"), "parsing"},
		{"another PEM", target, order, []byte("-----BEGIN X-----\n-----END X-----\n"), "not one in PEM"},
		{"a long one", target, order, bytes.Repeat([]byte{'x'}, 4097), "4096"},
		{"a wrong signature", target, order, forged, "signature"},
		{"an order for something else", target, other, good, "not for a fleet"},
		{"an unknown order", target, ledger.Order{ID: "nothing"}, good, "not for a fleet"},
		{"with a certificate provider", provided, order, good, "certificate provider"},
	} {
		if _, err := r.ClaimFromAWS(t.Context(), test.target, test.order, test.csr); err == nil || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: %v", test.name, err)
		}
	}
	for _, call := range w.sim.Calls() {
		if call == "CreateCertificateFromCsr" {
			t.Error("AWS issued something")
		}
	}

	// A lost answer, and a refusal on the way: nothing of it is usable.
	w.sim.Inject(awssim.Fault{Operation: "CreateCertificateFromCsr", AfterEffect: true})
	w.sim.Inject(awssim.Fault{Operation: "dynamodb:BatchWriteItem", Code: "AccessDeniedException"})
	if _, err := r.ClaimFromAWS(t.Context(), target, order, good); err == nil || !strings.Contains(err.Error(), "not in service") {
		t.Errorf("without the item: %v", err)
	}
	out := must(w.iot(first).ListCertificates(t.Context(), &iot.ListCertificatesInput{}))(t)
	if len(out.Certificates) != 2 {
		t.Errorf("%d certificates", len(out.Certificates))
	}
	for _, c := range out.Certificates {
		if c.Status != inactive {
			t.Errorf("%s is %s", *c.CertificateId, c.Status)
		}
	}
}

func TestBeatRotation(t *testing.T) {
	w, target := fleetWorld(t)
	target.JITR, target.CAs = nil, nil
	target.Rotation.Period = 100 * time.Hour
	w.ok(w.registrar(first).Beat(context.Background(), target, time.Now()))
	head, err := w.manifest().Head(t.Context())
	if err != nil || head.Period != 100*time.Hour || head.Grace != 14*24*time.Hour || head.MaxAge != 24*time.Hour {
		t.Errorf("head %+v, %v", head, err)
	}
}
