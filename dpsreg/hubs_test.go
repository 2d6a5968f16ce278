package dpsreg_test

import (
	"crypto/tls"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"mintmark/dpsreg"
	"mintmark/dpsreg/dps"
	"mintmark/dpsreg/dpssim"
	"mintmark/dpsreg/rest"
	"mintmark/internal/ledger"
)

// TestHubWithoutRegistration: the identity of a revoked device is found by the id that its
// enrollment gave it, after a person deleted enrollment and registration.
func TestHubWithoutRegistration(t *testing.T) {
	w := newWorld(t)
	target := w.pinned()
	target.Enrollments[0].DeviceID = "lab-${device}"
	d := w.issue("line", "pump-1", ofProfile("pinned"))
	w.tell(target, "pump-1")
	state, err := w.register(d)
	w.ok(err)
	if state.DeviceID != "lab-pump-1" {
		t.Fatalf("%+v", state)
	}
	w.remove("pump-1")
	w.noRegistration("pump-1")
	w.revoke(d)
	w.tell(target, "pump-1")
	w.atHub(state.AssignedHub, "lab-pump-1", "disabled", "mintmark: revoked")
	back := w.issue("line", "pump-1", ofProfile("pinned"))
	w.tell(target, "pump-1")
	w.atHub(state.AssignedHub, "lab-pump-1", "enabled", "")
	if _, err := w.register(back); err != nil {
		t.Error(err)
	}
}

// noRegistration makes the service forget a registration.
func (w *world) noRegistration(id string) {
	w.t.Helper()
	if _, err := w.dps().Registration(w.t.Context(), id); isMissing(err) {
		return
	}
	request, err := http.NewRequestWithContext(w.t.Context(), http.MethodDelete,
		"https://"+w.sim.Config().Service+".azure-devices-provisioning.net/registrations/"+id+"?api-version="+dps.APIVersion, nil)
	w.ok(err)
	policy := "provisioningserviceowner"
	sas, err := rest.NewSAS(request.URL.Host, policy, w.sim.Config().Keys[policy], w.now)
	w.ok(err)
	authorization, err := sas.Header(w.t.Context())
	w.ok(err)
	request.Header.Set("Authorization", authorization)
	answer, err := w.http().Do(request)
	w.ok(err)
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusNoContent {
		w.t.Fatalf("deleting registration %s: HTTP %d", id, answer.StatusCode)
	}
}

// TestHubWhileAssigning: a device that is revoked while the service assigns it to a hub is
// not done with before it is known where.
func TestHubWhileAssigning(t *testing.T) {
	dpsreg.FailFast(t)
	w := newWorld(t, func(c *dpssim.Config) { c.Assigning = 3 })
	target := w.pinned()
	d := w.issue("line", "pump-1")
	certificate := tls.Certificate{PrivateKey: d.key, Certificate: [][]byte{d.leaf.Raw}}
	for _, c := range d.chain {
		certificate.Certificate = append(certificate.Certificate, c.Raw)
	}
	client, base := w.http(certificate), "https://global.azure-devices-provisioning.net/"+w.sim.Config().IDScope+"/registrations/pump-1"
	_, err := w.deviceCall(client, http.MethodPut, base+"/register", map[string]any{"registrationId": "pump-1"})
	w.ok(err)
	if state, err := w.dps().Registration(t.Context(), "pump-1"); err != nil || state.Status != "assigning" {
		t.Fatalf("%+v, %v", state, err)
	}
	w.revoke(d)
	err = w.deliver(w.devices(), target, "pump-1")[0]
	if err == nil || !strings.Contains(err.Error(), "assigning") || !dpsreg.Passes(err) {
		t.Errorf("%v", err)
	}
	if e := w.enrollment("pump-1"); e == nil || e.Status != dps.Disabled {
		t.Errorf("%+v", e)
	}
}

// TestHubKeyMissing: the key of one hub is not there; DPS and the other hub are told all the
// same, and the hub once its key is back.
func TestHubKeyMissing(t *testing.T) {
	w := newWorld(t)
	target := w.pinned()
	old := w.issue("line", "pump-1", ofProfile("pinned"))
	w.tell(target, "pump-1")
	_, err := w.register(old) // at the second hub
	w.ok(err)
	key := w.path("hub-key")
	target.Hubs[1].SAS = &dpsreg.SAS{Policy: "iothubowner", KeyFile: key}
	w.advance(time.Second)
	ds := w.devices()
	w.ok(ds.Handover(t.Context(), target, w.renew(old).Certificate))
	w.hold("pump-1", ledger.Held)
	if err := w.deliver(ds, target, "pump-1")[0]; err == nil || !strings.Contains(err.Error(), key) || !strings.Contains(err.Error(), secondHub) {
		t.Errorf("%v", err)
	}
	w.shutOut(old)
	w.atHub(secondHub, "pump-1", "enabled", "")
	w.ok(os.WriteFile(key, []byte(w.sim.Config().Keys["iothubowner"]), 0o600))
	for _, err := range w.deliver(ds, target, "pump-1") {
		w.ok(err)
	}
	w.atHub(secondHub, "pump-1", "disabled", "mintmark: held")
}
