package server

import (
	"errors"
	"net/http"
	"slices"
	"testing"

	"mintmark/dpsreg/dpssim"
	"mintmark/issuer/est"
)

// TestAzurePasswordRenewal: a pinned device that gets its next certificate by a password
// keeps the one that lets it in until DPS has the next, as one that renews by itself does.
func TestAzurePasswordRenewal(t *testing.T) {
	p := &plant{sim: startAzure(t)}
	dir := newState(t)
	p.configure(t, dir, p.sim.Addr(), "")
	editConfig(t, dir, "{name: pinned, profile: plain,", "{name: pinned, second_key: allow, profile: plain,")
	p.local = serveLocal(t, dir, nil)
	p.apply(t)
	first := newDevice(t, "robot-1")
	old := p.enroll(t, "pinned", first)
	eventually(t, "the device has its enrollment", func() bool { _, ok := p.pins(t, "robot-1"); return ok })

	by := &est.Client{URL: "https://" + p.est, Label: "pinned", RootCAs: roots(t, p.dir), User: "line", Password: lineSecret}
	defer by.Close()
	both := &est.Client{URL: by.URL, Label: by.Label, RootCAs: by.RootCAs, User: by.User, Password: by.Password, Certificate: old}
	defer both.Close()
	p.sim.Inject(dpssim.Fault{Operation: "enrollments.*", Status: http.StatusServiceUnavailable})
	next := newDevice(t, "robot-1")
	var answer *est.StatusError
	if _, err := by.Enroll(t.Context(), next.csr); !errors.As(err, &answer) || answer.Code != http.StatusServiceUnavailable || answer.RetryAfter == 0 {
		t.Errorf("by password while DPS is away: %v", err)
	}
	if _, err := both.Reenroll(t.Context(), next.csr); !errors.As(err, &answer) || answer.Code != http.StatusServiceUnavailable {
		t.Errorf("by password and certificate while DPS is away: %v", err)
	}
	if r := p.register(t, first, old); r.Status != "assigned" {
		t.Errorf("the certificate that the device kept: %+v", r)
	}
	p.sim.ClearFaults()
	c, err := by.Enroll(t.Context(), next.csr)
	if err != nil {
		t.Fatal(err)
	}
	renewed := held(next, c)
	e, _ := p.pins(t, "robot-1")
	if slots := e.slots(); !slices.Contains(slots[:], thumbprint(renewed)) {
		t.Errorf("the device has a certificate that DPS has not: %v", slots)
	}
	if r := p.register(t, next, renewed); r.Status != "assigned" {
		t.Errorf("the next certificate: %+v", r)
	}
}
