package dpssim

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

// vendorStep is a line of testdata/service.js.
type vendorStep struct {
	Step, Error, Message string
	Status               int
	Body                 json.RawMessage
}

// TestDataPlaneWithTheVendorsClient runs the life of groups and individual enrollments
// with azure-iot-provisioning-service from npm.
func TestDataPlaneWithTheVendorsClient(t *testing.T) {
	p := newPlant(t)
	dir := t.TempDir()
	next, leaf := newParty(t, "Line 2 CA", true, p.root), newParty(t, "press-00", false, p.line)
	env := map[string]string{
		"SIM_ADDRESS":    p.sim.Addr(),
		"SIM_CONNECTION": "HostName=" + p.sim.Config().serviceHost() + ";SharedAccessKeyName=" + ownerPolicy + ";SharedAccessKey=" + p.sim.Config().Keys[ownerPolicy],
	}
	for name, text := range map[string]string{"LINE": p.line.pem(), "NEXT": next.pem(), "LEAF": leaf.pem()} {
		env["SIM_"+name] = filepath.Join(dir, name)
		writeText(t, env["SIM_"+name], text)
	}
	steps := map[string]vendorStep{}
	for line := range strings.Lines(p.node("service.js", env)) {
		var s vendorStep
		if err := json.Unmarshal([]byte(line), &s); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		steps[s.Step] = s
	}
	body := func(step string) record {
		t.Helper()
		var r record
		if s := steps[step]; s.Error != "" || json.Unmarshal(s.Body, &r) != nil {
			t.Fatalf("%s: %+v: %s", step, s, s.Body)
		}
		return r
	}
	refused := func(step string, status, code int) {
		t.Helper()
		var e struct {
			Code                           int `json:"errorCode"`
			TrackingID, Message, Timestamp string
		}
		s := steps[step]
		if err := json.Unmarshal(s.Body, &e); err != nil || s.Status != status || e.Code != code || e.TrackingID == "" || e.Message == "" {
			t.Errorf("%s: HTTP %d %s, want %d and code %d", step, s.Status, s.Body, status, code)
		}
	}

	made := body("create")
	info := made.Attestation.X509.Signing.Primary
	if info.Certificate != "" || info.Info.SHA256 != sha256Thumbprint(p.line.cert) || info.Info.Subject != "CN=Line 1 CA" || info.Info.Issuer != "CN=Plant Root CA" || info.Info.Version != 3 {
		t.Errorf("the slot is shown as %+v %+v", info, info.Info)
	}
	if made.Etag == "" || made.Status != "enabled" || !made.Capabilities.Edge || made.Twin.Tags["line"] != "a" || !made.Reprovision.MigrateData || made.Allocation != "hashed" {
		t.Errorf("the group is shown as %+v", made)
	}
	refused("create again", 409, codeConflict)
	updated := body("update")
	slots := updated.Attestation.X509.Signing
	if slots.Primary.Info.SHA256 != sha256Thumbprint(p.line.cert) || slots.Secondary.Info.SHA256 != sha256Thumbprint(next.cert) {
		t.Errorf("after the update: %+v, %+v", slots.Primary.Info, slots.Secondary.Info)
	}
	if updated.Etag == made.Etag || !updated.Created.Equal(*made.Created) {
		t.Error("an update makes a new etag and keeps the time of creation")
	}
	refused("update with the old etag", 412, codePrecondition)
	refused("update with no etag at all", 400, codeInvalid)
	if m := string(steps["mechanism"].Body); !strings.Contains(m, sha256Thumbprint(next.cert)) || strings.Contains(m, "CERTIFICATE") {
		t.Errorf("mechanism: %s", m)
	}
	refused("missing", 404, codeNoEnrollment)

	bulk := func(step string, want ...string) {
		t.Helper()
		var r bulkResult
		if err := json.Unmarshal(steps[step].Body, &r); err != nil {
			t.Fatalf("%s: %v: %s", step, err, steps[step].Body)
		}
		var got []string
		for _, e := range r.Errors {
			got = append(got, fmt.Sprint(e.RegistrationID, " ", e.Code))
		}
		if fmt.Sprint(got) != fmt.Sprint(want) || r.Successful != (len(want) == 0) {
			t.Errorf("%s: %+v, want the errors %v", step, r, want)
		}
	}
	bulk("bulk create")
	bulk("bulk create, half there", "press-08 409000", "press-09 409000")
	refused("bulk of eleven", 400, codeInvalid)
	bulk("bulk update", "press-04 412000")
	for step, want := range map[string]string{
		"query":               `{"seen":["press-00","press-01","press-02","press-03","press-04","press-05","press-06","press-07","press-08","press-09","press-10","press-11"],"pages":3}`,
		"query groups":        `{"seen":["line-a"],"pages":1}`,
		"query registrations": `{"seen":[],"pages":1}`,
	} {
		if got := string(steps[step].Body); got != want {
			t.Errorf("%s: %s, want %s", step, got, want)
		}
	}
	refused("registration", 404, codeNotFound)
	bulk("bulk delete")
	refused("delete with the old etag", 412, codePrecondition)
	if s := steps["delete"]; s.Error != "" {
		t.Errorf("delete: %+v", s)
	}

	p.sim.store.mu.Lock()
	defer p.sim.store.mu.Unlock()
	if len(p.sim.store.groups) != 0 || len(p.sim.store.enrollments) != 3 {
		t.Errorf("%d groups and %d enrollments are left, want 0 and 3", len(p.sim.store.groups), len(p.sim.store.enrollments))
	}
}
