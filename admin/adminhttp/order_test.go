package adminhttp_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"mintmark/admin"
	"mintmark/admin/adminhttp"
	"mintmark/internal/ledger"
	"mintmark/issuer"
)

// written writes the refusals that wait.
func (w *world) written(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	w.ra.KeepRefusals(ctx)
}

// factory is a world with a label for work orders and a CA for their claims.
func factory(t *testing.T) *world {
	t.Helper()
	w := open(t, func(c *adminhttp.Config) {
		c.Labels = map[string]adminhttp.Label{
			"line-1": {Profile: "device", Issuer: "issuing", Orders: true},
			"field":  {Profile: "device", Issuer: "issuing"},
		}
		c.ClaimIssuer, c.ClaimProfile = "claims", "claim"
	}).hierarchy(t)
	_, err := w.client.CreateAuthority(t.Context(), admin.AuthoritySpec{
		Name: "claims", Issuer: "root", Subject: admin.Name{CommonName: "Test Claims"}, ValiditySeconds: 5 * 365 * 86400,
	})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// workOrder is an order that is well formed.
func workOrder() admin.OrderSpec {
	return admin.OrderSpec{
		ID: "WO-1", Product: "pump", Label: "line-1", Station: "line 1", Quantity: 2,
		Ranges: []admin.Range{{First: "SN-001", Last: "SN-100"}}, Networks: []string{"10.20.0.0/16", "192.0.2.1"},
		NotAfter: time.Now().Add(24 * time.Hour).UTC().Truncate(time.Second),
	}
}

func (w *world) create(t *testing.T, spec admin.OrderSpec) admin.OrderCredential {
	t.Helper()
	made, err := w.client.CreateOrder(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	if made.Warning != "" {
		t.Fatal(made.Warning)
	}
	return made
}

func (w *world) issueUnder(t *testing.T, order, device string) error {
	t.Helper()
	issued, err := w.client.Issue(t.Context(), admin.Issue{Profile: "device", Issuer: "issuing", CSR: csr(t, device), Order: order})
	if err == nil && issued.Certificate.Order != order {
		t.Errorf("the certificate of %s is under order %q, want %q", device, issued.Certificate.Order, order)
	}
	return err
}

func TestOrderLife(t *testing.T) {
	w := factory(t)
	made := w.create(t, workOrder())
	o := made.Order
	if len(made.Secret) < 26 || made.Certificate != nil || !o.Secret || o.State != admin.OrderOpen || o.Profile != "device" || o.CreatedBy != "local:tester" ||
		strings.Join(o.Networks, " ") != "10.20.0.0/16 192.0.2.1/32" || len(o.Ranges) != 1 {
		t.Errorf("made %+v", made)
	}
	// The secret works where it should, and only its hash is kept.
	taken, err := w.ra.OrderCredential(t.Context(), "line-1", "WO-1", made.Secret)
	if err != nil || taken.ID != "WO-1" {
		t.Errorf("the secret gives %+v, %v", taken, err)
	}
	_, err = w.client.CreateOrder(t.Context(), workOrder())
	refused(t, err, http.StatusConflict, "order-exists")

	if err := w.issueUnder(t, "WO-1", "SN-001"); err != nil {
		t.Fatal(err)
	}
	refused(t, w.issueUnder(t, "WO-1", "SN-101"), http.StatusForbidden, "order-range")
	if err := w.issueUnder(t, "WO-1", "SN-002"); err != nil {
		t.Fatal(err)
	}
	refused(t, w.issueUnder(t, "WO-1", "SN-003"), http.StatusForbidden, "order-exhausted")
	refused(t, w.issueUnder(t, "WO-2", "SN-003"), http.StatusForbidden, "order-unknown")
	w.written(t)
	o, err = w.client.Order(t.Context(), "WO-1")
	if err != nil || o.Report == nil || o.Report.Issued != 2 || o.Report.Left != 0 || o.Report.Open != 0 || o.Report.Last == nil ||
		o.Report.Refused["order-range"] != 1 || o.Report.Refused["order-exhausted"] != 1 || o.Taken != 2 {
		t.Errorf("the order is %+v with report %+v, %v", o, o.Report, err)
	}
	page, err := w.client.Certificates(t.Context(), admin.Query{Order: "WO-1"})
	if err != nil || len(page.Certificates) != 2 {
		t.Errorf("certificates are %+v, %v", page, err)
	}

	// A quantity: one more needs no second officer here, where there are not two.
	if o, err = w.client.SetOrderQuantity(t.Context(), "WO-1", 3); err != nil || o.Quantity != 3 {
		t.Errorf("raised: %+v, %v", o, err)
	}
	if err := w.issueUnder(t, "WO-1", "SN-003"); err != nil {
		t.Error(err)
	}
	_, err = w.client.SetOrderQuantity(t.Context(), "WO-1", 2)
	refused(t, err, http.StatusConflict, "order-exhausted")
	_, err = w.client.SetOrderQuantity(t.Context(), "WO-1", 0)
	refused(t, err, http.StatusBadRequest, "order-spec")
	_, err = w.client.SetOrderQuantity(t.Context(), "WO-1", 101)
	if refused(t, err, http.StatusBadRequest, "order-spec"); !strings.Contains(err.Error(), "hold 100 identifiers, which is less than the quantity of 101") {
		t.Error(err)
	}
	if o, err = w.client.SetOrderQuantity(t.Context(), "WO-1", 100); err != nil {
		t.Error(err)
	}

	// Its window.
	later := time.Now().Add(48 * time.Hour).UTC().Truncate(time.Second)
	if o, err = w.client.ExtendOrder(t.Context(), "WO-1", later); err != nil || !o.NotAfter.Equal(later) || o.ChangedBy != "local:tester" {
		t.Errorf("extended: %+v, %v", o, err)
	}
	_, err = w.client.ExtendOrder(t.Context(), "WO-1", time.Now().Add(-time.Hour))
	refused(t, err, http.StatusBadRequest, "order-spec")

	// Another secret ends the one before.
	again, err := w.client.NewOrderSecret(t.Context(), "WO-1")
	if err != nil || again.Secret == made.Secret || again.Secret == "" {
		t.Errorf("new secret: %+v, %v", again, err)
	}
	if _, err := w.ra.OrderCredential(t.Context(), "line-1", "WO-1", made.Secret); err == nil {
		t.Error("the old secret is taken")
	}
	if _, err := w.ra.OrderCredential(t.Context(), "line-1", "WO-1", again.Secret); err != nil {
		t.Error(err)
	}

	if o, err = w.client.CloseOrder(t.Context(), "WO-1"); err != nil || o.State != admin.OrderClosed {
		t.Errorf("closed: %+v, %v", o, err)
	}
	refused(t, w.issueUnder(t, "WO-1", "SN-004"), http.StatusForbidden, "order-closed")
	_, err = w.client.ExtendOrder(t.Context(), "WO-1", later)
	refused(t, err, http.StatusConflict, "order-closed")
	_, err = w.client.SetOrderQuantity(t.Context(), "WO-1", 4)
	refused(t, err, http.StatusConflict, "order-closed")
	_, err = w.client.NewOrderSecret(t.Context(), "WO-1")
	refused(t, err, http.StatusConflict, "order-closed")
	for _, id := range []string{"WO-2", "a:b", "\x00"} {
		_, err = w.client.Order(t.Context(), id)
		refused(t, err, http.StatusNotFound, "not-found")
		_, err = w.client.CloseOrder(t.Context(), id)
		refused(t, err, http.StatusNotFound, "not-found")
	}
}

func TestOrderList(t *testing.T) {
	w := factory(t)
	for _, id := range []string{"WO-1", "WO-2", "WO-3"} {
		spec := workOrder()
		spec.ID = id
		if id == "WO-3" {
			spec.Product, spec.Station = "valve", "line 2"
		}
		w.create(t, spec)
	}
	if _, err := w.client.CloseOrder(t.Context(), "WO-2"); err != nil {
		t.Fatal(err)
	}
	for _, one := range []struct {
		query admin.OrderQuery
		want  string
	}{
		{admin.OrderQuery{}, "WO-1 WO-2 WO-3"},
		{admin.OrderQuery{State: admin.OrderOpen}, "WO-1 WO-3"},
		{admin.OrderQuery{Product: "valve"}, "WO-3"},
		{admin.OrderQuery{Station: "line 1"}, "WO-1 WO-2"},
		{admin.OrderQuery{After: "WO-1", Limit: 1}, "WO-2"},
	} {
		page, err := w.client.Orders(t.Context(), one.query)
		var ids []string
		for _, o := range page.Orders {
			ids = append(ids, o.ID)
		}
		if got := strings.Join(ids, " "); err != nil || got != one.want {
			t.Errorf("%+v finds %q, %v; want %q", one.query, got, err, one.want)
		}
		if full := len(page.Orders) == one.query.Limit; full != (page.Next != "") {
			t.Errorf("%+v: next is %q", one.query, page.Next)
		}
	}
	_, err := w.client.Orders(t.Context(), admin.OrderQuery{State: "done"})
	refused(t, err, http.StatusBadRequest, "query")
}

func TestOrderRefused(t *testing.T) {
	w := factory(t)
	deny := func(rule, want string, change func(*admin.OrderSpec)) {
		t.Helper()
		spec := workOrder()
		change(&spec)
		_, err := w.client.CreateOrder(t.Context(), spec)
		status := http.StatusBadRequest
		if rule == "claim" {
			status = http.StatusConflict
		}
		refused(t, err, status, rule)
		if !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	deny("order-spec", `id: "a:b" must be`, func(s *admin.OrderSpec) { s.ID = "a:b" })
	deny("order-spec", "quantity: 0 is not between", func(s *admin.OrderSpec) { s.Quantity = 0 })
	deny("order-spec", "hold 100 identifiers", func(s *admin.OrderSpec) { s.Quantity = 101 })
	deny("order-spec", "is past", func(s *admin.OrderSpec) { s.NotAfter = time.Now().Add(-time.Minute) })
	deny("order-spec", "label: must be set", func(s *admin.OrderSpec) { s.Label, s.Profile = "", "device" })
	deny("order-spec", `network "line": must be`, func(s *admin.OrderSpec) { s.Networks = []string{"line"} })
	deny("label", `label "field" takes no work orders: those that do are line-1`, func(s *admin.OrderSpec) { s.Label = "field" })
	deny("label", `label "x" takes no work orders`, func(s *admin.OrderSpec) { s.Label = "x" })
	deny("profile", `issues under profile "device", not "claim"`, func(s *admin.OrderSpec) { s.Profile = "claim" })
	deny("csr-pem", "not a certification request", func(s *admin.OrderSpec) { s.ClaimCSR = "x" })
	if page, err := w.client.Orders(t.Context(), admin.OrderQuery{}); err != nil || len(page.Orders) > 0 {
		t.Errorf("orders are %+v, %v", page, err)
	}

	// Without a CA for claims, and with one that issues to devices.
	for want, change := range map[string]func(*adminhttp.Config){
		"no issuing CA is configured": func(*adminhttp.Config) {},
		`issues to devices at the label "line-1"`: func(c *adminhttp.Config) {
			c.ClaimIssuer, c.ClaimProfile = "issuing", "claim"
		},
	} {
		w := open(t, func(c *adminhttp.Config) {
			c.Labels = map[string]adminhttp.Label{"line-1": {Profile: "device", Issuer: "issuing", Orders: true}}
			change(c)
		})
		spec := workOrder()
		spec.ClaimCSR = csr(t, "WO-1")
		_, err := w.client.CreateOrder(t.Context(), spec)
		if refused(t, err, http.StatusConflict, "claim"); !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

func TestOrderClaim(t *testing.T) {
	w := factory(t)
	spec := workOrder()
	spec.ClaimCSR = csr(t, "whatever")
	made := w.create(t, spec)
	c := made.Certificate
	if made.Secret != "" || made.Order.Secret || c == nil || c.Purpose != "claim" || c.Order != "WO-1" || c.Subject != "CN=WO-1" || c.Issuer != "claims" || made.Chain == "" {
		t.Fatalf("made %+v", made)
	}
	if !c.NotAfter.Equal(spec.NotAfter) {
		t.Errorf("the claim ends %v, the order %v", c.NotAfter, spec.NotAfter)
	}
	block, _ := pem.Decode([]byte(c.PEM))
	claim, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	holder, err := w.ra.Holder(t.Context(), claim)
	if err != nil || holder.Purpose != ledger.ForClaim {
		t.Fatalf("the claim is %+v, %v", holder, err)
	}
	order, err := w.ra.ClaimOrder(t.Context(), "line-1", holder)
	if err != nil || order.ID != "WO-1" {
		t.Errorf("the claim is for %+v, %v", order, err)
	}
	if err := w.issueUnder(t, "WO-1", "SN-001"); err != nil {
		t.Fatal(err)
	}

	second, err := w.client.NewOrderClaim(t.Context(), "WO-1", csr(t, "x"))
	if err != nil || second.Certificate == nil || second.Certificate.Serial == c.Serial {
		t.Fatalf("second claim: %+v, %v", second, err)
	}
	o, err := w.client.Order(t.Context(), "WO-1")
	if err != nil || len(o.Claims) != 2 || o.Report.Issued != 1 || o.Report.Left != 1 {
		t.Errorf("the order is %+v with %+v, %v", o, o.Report, err)
	}

	// Killed: both claims are revoked, the device's certificate is not.
	killed, err := w.client.KillOrder(t.Context(), "WO-1")
	if err != nil || killed.Order.State != admin.OrderKilled || len(killed.Revoked) != 2 || killed.Warning != "" {
		t.Errorf("killed: %+v, %v", killed, err)
	}
	if one, err := w.client.Certificate(t.Context(), c.Serial); err != nil || one.State != "revoked" || one.Reason != "privilegeWithdrawn" {
		t.Errorf("the claim is %+v, %v", one, err)
	}
	if _, err := w.ra.Holder(t.Context(), claim); err == nil {
		t.Error("a claim of a killed order authenticates")
	}
	page, err := w.client.Certificates(t.Context(), admin.Query{Order: "WO-1", State: "valid"})
	if err != nil || len(page.Certificates) != 1 || page.Certificates[0].Device != "SN-001" {
		t.Errorf("valid are %+v, %v", page, err)
	}
	refused(t, w.issueUnder(t, "WO-1", "SN-002"), http.StatusForbidden, "order-killed")
	// Killing again is no error, and finds nothing left to do.
	if killed, err = w.client.KillOrder(t.Context(), "WO-1"); err != nil || len(killed.Revoked) != 0 {
		t.Errorf("killed again: %+v, %v", killed, err)
	}
	_, err = w.client.CloseOrder(t.Context(), "WO-1")
	refused(t, err, http.StatusConflict, "order-killed")
	_, err = w.client.NewOrderClaim(t.Context(), "WO-1", csr(t, "x"))
	refused(t, err, http.StatusForbidden, "order-killed")
	revoked, err := w.client.Revoke(t.Context(), admin.Revocation{Order: "WO-1"})
	if err != nil || len(revoked.Serials) != 1 {
		t.Errorf("revoked %+v, %v", revoked, err)
	}
}

// Only listed devices, and only under this order.
func TestOrderListed(t *testing.T) {
	w := factory(t)
	spec := workOrder()
	spec.Listed = true
	w.create(t, spec)
	refused(t, w.issueUnder(t, "WO-1", "SN-001"), http.StatusForbidden, "device-unlisted")
	w.list(t, "device,order\nSN-001,WO-1\nSN-002,WO-2\n", csvList)
	if err := w.issueUnder(t, "WO-1", "SN-001"); err != nil {
		t.Error(err)
	}
	refused(t, w.issueUnder(t, "WO-1", "SN-002"), http.StatusForbidden, "device-order")
}

// A claim that cannot be issued leaves an order that says so, and that gets
// another credential.
func TestOrderWithoutCredential(t *testing.T) {
	w := open(t, func(c *adminhttp.Config) {
		c.Labels = map[string]adminhttp.Label{"line-1": {Profile: "device", Issuer: "issuing", Orders: true}}
		c.ClaimIssuer, c.ClaimProfile = "claims", "claim" // there is no such authority yet
	}).hierarchy(t)
	spec := workOrder()
	spec.ClaimCSR = csr(t, "WO-1")
	made, err := w.client.CreateOrder(t.Context(), spec)
	if err != nil || made.Certificate != nil || made.Secret != "" || !strings.Contains(made.Warning, "has no credential yet: authority:") {
		t.Errorf("made %+v, %v", made, err)
	}
	if got, err := w.client.NewOrderSecret(t.Context(), "WO-1"); err != nil || got.Secret == "" {
		t.Errorf("got %+v, %v", got, err)
	}
}

// What a line may do with the secret is bounded by the order's networks.
func TestOrderNetworks(t *testing.T) {
	w := factory(t)
	w.create(t, workOrder())
	for _, one := range []struct{ device, address, rule string }{
		{"SN-001", "10.20.1.1", ""}, {"SN-002", "192.0.2.1", ""}, {"SN-003", "192.0.2.2", "order-network"},
	} {
		block, _ := pem.Decode([]byte(csr(t, one.device)))
		_, err := w.ra.Enroll(t.Context(), issuer.Request{
			Profile: "device", Issuer: "issuing", Label: "line-1", CSR: block.Bytes, Order: "WO-1", Authorize: issuer.ByOrder,
			Requester: ledger.Requester{Kind: "order", Name: "WO-1", Address: netip.MustParseAddr(one.address)},
		})
		if one.rule == "" && err != nil || one.rule != "" && (err == nil || !strings.Contains(err.Error(), one.rule)) {
			t.Errorf("from %s: got %v, want %q", one.address, err, one.rule)
		}
	}
}

// FuzzCreateOrder: whatever is asked for is refused in words or is an order
// that can be shown, with a credential.
func FuzzCreateOrder(f *testing.F) {
	w := open(f, func(c *adminhttp.Config) {
		c.Labels = map[string]adminhttp.Label{"line-1": {Profile: "device", Issuer: "issuing", Orders: true}}
	})
	for _, seed := range []string{
		`{"id":"WO-1","label":"line-1","quantity":1,"not_after":"2027-01-01T00:00:00Z"}`,
		`{"id":"WO-2","label":"line-1","quantity":10,"ranges":[{"first":"A1","last":"A9"}],"networks":["10.0.0.0/8","::1"],"not_after":"2027-01-01T00:00:00Z"}`,
		`{"id":"x\u0000","label":"line-1","quantity":-1,"ranges":[{}],"networks":[""],"not_after":"0001-01-01T00:00:00Z"}`,
		`{"id":"WO-3","label":"line-1","product":"\ud800","quantity":1,"not_before":"2026-01-01T00:00:00Z","not_after":"2030-01-01T00:00:00Z","claim_csr":"x"}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/v1/orders", bytes.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		answer := httptest.NewRecorder()
		w.handler.ServeHTTP(answer, r)
		switch {
		case answer.Code == http.StatusInternalServerError:
			t.Errorf("%s: %s", body, answer.Body)
		case answer.Code == http.StatusCreated:
			var made admin.OrderCredential
			if err := json.Unmarshal(answer.Body.Bytes(), &made); err != nil || made.Secret == "" {
				t.Fatalf("%s: %s, %v", body, answer.Body, err)
			}
			if o, err := w.client.Order(t.Context(), made.Order.ID); err != nil || o.Quantity < 1 || !o.NotAfter.After(o.NotBefore) || o.Report.Left != o.Quantity {
				t.Errorf("%s: %+v, %v", body, o, err)
			}
		}
	})
}
