package dpsreg_test

import (
	"fmt"
	"slices"
	"testing"

	arms "github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/deviceprovisioningservices/armdeviceprovisioningservices"

	"mintmark/dpsreg"
	"mintmark/dpsreg/dps"
	"mintmark/dpsreg/dpssim"
	"mintmark/internal/pkitest"
)

// TestCallsAgain: what changes nothing is read again when it fails in passing, changes
// are made once, and neither if it does not pass.
func TestCallsAgain(t *testing.T) {
	dpsreg.FailFast(t)
	w := newWorld(t)
	target := w.withHubs(w.target(), true)
	s := w.session(w.connections(), target)
	if _, err := s.Certificates.List(t.Context(), target.ResourceGroup, target.Service, nil); err != nil {
		t.Fatal(err) // which asks for the token
	}
	upload := func() error {
		_, err := s.Certificates.CreateOrUpdate(t.Context(), target.ResourceGroup, target.Service, "root", arms.CertificateResponse{
			Properties: &arms.CertificateProperties{Certificate: w.authority("root").Certificate.Raw},
		}, nil)
		return err
	}
	for _, test := range []struct {
		operation string
		call      func() error
		reads     bool
	}{
		{"certificates.list", func() error {
			_, err := s.Certificates.List(t.Context(), target.ResourceGroup, target.Service, nil)
			return err
		}, true},
		{"certificates.createOrUpdate", upload, false},
		{"certificates.get", func() error {
			_, err := s.Certificates.Get(t.Context(), "root", target.ResourceGroup, target.Service, nil)
			return err
		}, true},
		{"enrollmentGroups.query", func() error { return s.DPS.Groups(t.Context(), func(dps.Group) error { return nil }) }, true},
		{"enrollments.put", func() error {
			_, err := s.DPS.PutEnrollment(t.Context(), w.newEnrollment("pump-1"))
			return err
		}, false},
		{"enrollments.get", func() error { _, err := s.DPS.Enrollment(t.Context(), "pump-1"); return err }, true},
		{"enrollments.bulk", func() error {
			_, err := s.DPS.Bulk(t.Context(), dps.BulkCreate, []dps.Enrollment{w.newEnrollment("pump-2")})
			return err
		}, false},
	} {
		for _, fault := range []dpssim.Fault{{}, {Status: 500}, {Status: 429}, {Status: 403}} {
			fault.Operation, fault.Times = test.operation, 1
			w.sim.Inject(fault)
			before := len(w.sim.Calls())
			err := test.call()
			passing := fault.Status != 403
			// net/http asks again by itself where a connection that it had used before was
			// cut, but never for what changes something.
			if (err == nil) != (test.reads && passing) || err != nil && dpsreg.Passes(err) != passing {
				t.Errorf("%s, fault %d: %v", test.operation, fault.Status, err)
			}
			if calls := w.sim.Calls()[before:]; !test.reads && len(calls) != 1 || slices.ContainsFunc(calls, func(c string) bool { return c != test.operation }) {
				t.Errorf("%s, fault %d: calls %v", test.operation, fault.Status, calls)
			}
		}
		if err := test.call(); err != nil {
			t.Errorf("%s without a fault: %v", test.operation, err)
		}
	}
}

// newEnrollment is an individual enrollment of a new device.
func (w *world) newEnrollment(id string) dps.Enrollment {
	w.t.Helper()
	d := w.certify("line", id)
	return dps.Enrollment{RegistrationID: id, Status: dps.Enabled, Attestation: dps.Attestation{Type: "x509", X509: &dps.X509{
		Client: &dps.Slots{Primary: &dps.Certificate{Certificate: string(pkitest.PEM("CERTIFICATE", d.DER))}},
	}}}
}

// TestThrottledTarget: a 429 stops every call of the service, and no others.
func TestThrottledTarget(t *testing.T) {
	w := newWorld(t)
	target := w.withHubs(w.target(), true)
	s := w.session(w.connections(), target)
	host := target.Service + ".azure-devices-provisioning.net"
	w.sim.Inject(dpssim.Fault{Operation: "enrollments.put", Times: 1, Status: 429, RetryAfter: 60})
	if _, err := s.DPS.PutEnrollment(t.Context(), w.newEnrollment("pump-1")); status(err) != 429 {
		t.Fatal(err)
	}
	if !s.Stopped(host) || s.Stopped(firstHub) || s.Stopped("management.azure.com") {
		t.Error("the wrong calls are stopped")
	}
	w.sim.Inject(dpssim.Fault{Operation: "certificates.delete", Times: 1, Status: 429, RetryAfter: 60})
	if _, err := s.Certificates.Delete(t.Context(), target.ResourceGroup, "x", target.Service, "root", nil); status(err) != 429 {
		t.Fatal(err)
	}
	if !s.Stopped("management.azure.com") {
		t.Error("the resource manager is called on")
	}
}

// TestDataPlane: the client against the simulator: guarded updates, deletions, pages
// and bulk operations.
func TestDataPlane(t *testing.T) {
	w := newWorld(t)
	c, ctx := w.session(w.connections(), w.target()).DPS, t.Context()
	made, err := c.PutEnrollment(ctx, w.newEnrollment("pump-1"))
	if err != nil || made.Etag == "" || made.Attestation.X509.Client.Primary.Info == nil {
		t.Fatalf("%+v, %v", made, err)
	}
	if _, err := c.PutEnrollment(ctx, w.newEnrollment("pump-1")); status(err) != 409 {
		t.Errorf("created twice: %v", err)
	}
	made.Status = dps.Disabled
	changed, err := c.PutEnrollment(ctx, made)
	if err != nil || changed.Status != dps.Disabled || changed.Etag == made.Etag ||
		changed.Attestation.X509.Client.Primary.Info.SHA256 != made.Attestation.X509.Client.Primary.Info.SHA256 {
		t.Errorf("updated: %+v, %v", changed, err)
	}
	if _, err := c.PutEnrollment(ctx, made); status(err) != 412 {
		t.Errorf("updated an old version: %v", err)
	}
	if err := c.DeleteEnrollment(ctx, "pump-1", made.Etag); status(err) != 412 {
		t.Errorf("deleted an old version: %v", err)
	}
	if err := c.DeleteEnrollment(ctx, "pump-1", changed.Etag); err != nil {
		t.Error(err)
	}
	if _, err := c.Enrollment(ctx, "pump-1"); status(err) != 404 {
		t.Errorf("deleted: %v", err)
	}

	var want []string
	for from := 0; from < 250; from += dps.MaxBulk {
		var list []dps.Enrollment
		for i := range dps.MaxBulk {
			list = append(list, w.newEnrollment(fmt.Sprintf("pump-%03d", from+i)))
			want = append(want, list[i].RegistrationID)
		}
		if refused, err := c.Bulk(ctx, dps.BulkCreate, list); err != nil || len(refused) != 0 {
			t.Fatalf("%v, %v", refused, err)
		}
	}
	refused, err := c.Bulk(ctx, dps.BulkCreate, []dps.Enrollment{w.newEnrollment("pump-000"), w.newEnrollment("pump-250")})
	if err != nil || len(refused) != 1 || refused[0].RegistrationID != "pump-000" {
		t.Errorf("a bulk operation of which one is there: %v, %v", refused, err)
	}
	var got []string
	if err := c.Enrollments(ctx, func(e dps.Enrollment) error { got = append(got, e.RegistrationID); return nil }); err != nil {
		t.Fatal(err)
	}
	slices.Sort(got)
	if want = append(want, "pump-250"); !slices.Equal(got, want) {
		t.Errorf("listed %d, want %d", len(got), len(want))
	}
}
