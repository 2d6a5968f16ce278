package issuer_test

import (
	"crypto/x509"
	"net/netip"
	"testing"

	"mintmark/internal/ledger"
	"mintmark/internal/pkitest"
	"mintmark/issuer"
)

// TestOrderByOwnCertificate: what renews is free. A certificate of another
// profile says who the device is, and what it gets there somebody's order pays.
func TestOrderByOwnCertificate(t *testing.T) {
	l := newLedger(t)
	ra := withEdgeCA(t, withHierarchy(t, newRA(t, l, withEdge(t))))
	order(t, l, "wo", func(o *ledger.Order) {
		o.Quantity = 1
		o.Ranges = []ledger.Range{{First: "dev-1", Last: "dev-2"}}
		o.Networks = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	})
	own := func(profile, device string) issuer.Answer {
		t.Helper()
		answer, err := ra.Enroll(t.Context(), issuer.Request{Profile: profile, Issuer: "issuing", Authorize: issuer.Trusted, Requester: admin,
			CSR: csr(t, pkitest.NewKey(t), device), SecondKey: issuer.AllowSecondKey})
		if err != nil {
			t.Fatal(err)
		}
		return answer
	}
	ask := func(with issuer.Answer, device string, change func(*issuer.Request)) error {
		r := by("")
		r.Requester.Kind, r.Requester.Name, r.Device, r.CSR = "certificate", string(with.Serial), device, csr(t, pkitest.NewKey(t), device)
		change(&r)
		_, err := ra.Enroll(t.Context(), r)
		return err
	}
	for name, change := range map[string]func(*issuer.Request, *x509.Certificate){
		"enrolls":                func(*issuer.Request, *x509.Certificate) {},
		"renews another profile": func(r *issuer.Request, c *x509.Certificate) { r.Renews = c },
		"holds another profile":  func(r *issuer.Request, c *x509.Certificate) { r.Holds = c },
	} {
		with := own("fixed", "dev-1")
		err := ask(with, "dev-1", func(r *issuer.Request) {
			r.CSR = signed(t, pkitest.NewKey(t), with.Certificate.Subject, nil)
			change(r, with.Certificate)
		})
		if refusal := wantRefused(t, err, issuer.Forbidden, "authorize"); refusal.Device != "dev-1" {
			t.Errorf("%s: %+v", name, refusal)
		}
	}
	// The CA certificate of a gateway is no renewal of its identity.
	device := own("device", "dev-1")
	key := pkitest.Key(t, "RSA-2048")
	wantRefused(t, ask(device, "dev-1", func(r *issuer.Request) {
		r.Issuer, r.Gateway, r.Holds, r.CSR = "edge", "edge-ca", device.Certificate, signed(t, key, named("aziot-edge CA dev-1"), edgeCA)
	}), issuer.Forbidden, "authorize")

	// With an order, all of the order holds.
	other := own("fixed", "dev-3")
	wantRefused(t, ask(other, "dev-3", func(r *issuer.Request) { r.Order = "wo" }), issuer.Forbidden, "order-range")
	other = own("fixed", "dev-1")
	wantRefused(t, ask(other, "dev-1", func(r *issuer.Request) { r.Order, r.Requester.Address = "wo", netip.MustParseAddr("198.51.100.1") }), issuer.Forbidden, "order-network")
	if err := ask(other, "dev-1", func(r *issuer.Request) { r.Order = "wo" }); err != nil || taken(t, l, "wo") != 1 {
		t.Errorf("%v, %d units taken", err, taken(t, l, "wo"))
	}
	wantRefused(t, ask(own("fixed", "dev-2"), "dev-2", func(r *issuer.Request) { r.Order = "wo" }), issuer.Forbidden, "order-exhausted")

	for name, change := range map[string]func(*issuer.Request){
		"renewal": func(r *issuer.Request) { r.Renews = device.Certificate },
		"holder":  func(r *issuer.Request) { r.Holds = device.Certificate },
	} {
		if err := ask(device, "dev-1", change); err != nil || taken(t, l, "wo") != 1 {
			t.Errorf("%s: %v, %d units taken", name, err, taken(t, l, "wo"))
		}
	}
}

// TestDeviceNeedsProfileOfDevices: whoever proved to be a device does not get a
// certificate that says nothing of it.
func TestDeviceNeedsProfileOfDevices(t *testing.T) {
	ra := withHierarchy(t, newRA(t, newLedger(t), nil))
	r := issuer.Request{Profile: "server", Issuer: "issuing", Authorize: issuer.Trusted, Device: "press-1",
		Requester: ledger.Requester{Kind: "maker", Name: "01"}, CSR: csr(t, pkitest.NewKey(t), "est.factory")}
	_, err := ra.Enroll(t.Context(), r)
	wantRefused(t, err, issuer.Forbidden, "identity")
}
