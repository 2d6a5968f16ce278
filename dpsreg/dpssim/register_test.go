package dpssim

import (
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// device makes a call of the device API with a certificate.
func (p *plant) device(c *http.Client, method, path, body string) reply {
	p.t.Helper()
	return p.do(c, method, "https://"+globalHost+"/"+p.sim.Config().IDScope+"/registrations/"+path+"?api-version=2021-06-01", body)
}

// enter registers a device over HTTPS until it is assigned or failed, and returns the last
// answer; a refusal is returned as it is.
func (p *plant) enter(d *party, above ...*x509.Certificate) reply {
	p.t.Helper()
	c, id := p.client(d.tls(above...)), d.cert.Subject.CommonName
	r := p.device(c, "PUT", id+"/register", object{"registrationId": id}.String())
	if r.status != http.StatusAccepted {
		return r
	}
	for range 20 {
		if r = p.device(c, "GET", id+"/operations/"+r.body["operationId"].(string), ""); r.status != http.StatusAccepted {
			return r
		}
	}
	p.t.Fatalf("the registration does not end: %s", r.text)
	return reply{}
}

// assigned is enter for a device that has to get in. It returns registrationState.
func (p *plant) assigned(d *party, above ...*x509.Certificate) map[string]any {
	p.t.Helper()
	r := p.enter(d, above...)
	state, _ := r.body["registrationState"].(map[string]any)
	if r.status != http.StatusOK || r.body["status"] != "assigned" || state["status"] != "assigned" {
		p.t.Fatalf("HTTP %d: %s\n%+v", r.status, r.text, p.events("device.refused"))
	}
	return state
}

// identity is a device at a hub, as it is stored.
func (p *plant) identity(host, id string) *hubDevice {
	p.sim.store.mu.Lock()
	defer p.sim.store.mu.Unlock()
	return p.sim.store.hubs[host].devices[id]
}

func (d *hubDevice) thumbprint(slot string) any {
	return d.wire["authentication"].(map[string]any)["x509Thumbprint"].(map[string]any)[slot+"Thumbprint"]
}

// TestRegisterWithCurl registers a device of a group by curl, step by step, and reads
// what each step answers.
func TestRegisterWithCurl(t *testing.T) {
	p := newPlant(t)
	p.group("Line-A", object{
		"capabilities": object{"iotEdge": true},
		"initialTwin":  object{"tags": object{"line": "a"}, "properties": object{"desired": object{"interval": 5}}},
	})
	dir := t.TempDir()
	device := newParty(t, "press-0042", false, p.line)
	chain, key := device.files(t, dir)
	curl := func(method, path, body string) (status int, header http.Header, answer map[string]any) {
		t.Helper()
		url := "https://" + globalHost + "/" + p.sim.Config().IDScope + "/registrations/" + path + "?api-version=2021-06-01"
		args := []string{"-sS", "--cacert", filepath.Join(p.sim.Config().StateDir, "root.pem"), "--connect-to", "::" + p.sim.Addr(),
			"--cert", chain, "--key", key, "-X", method, "-w", "\n%{http_code} %{header_json}", url}
		if body != "" {
			args = append(args, "-H", "Content-Type: application/json", "-d", body)
		}
		out, err := exec.CommandContext(t.Context(), tool(t, "curl"), args...).CombinedOutput()
		if err != nil {
			t.Fatalf("curl: %v: %s", err, out)
		}
		text, rest, _ := strings.Cut(string(out), "\n")
		code, names, _ := strings.Cut(rest, " ")
		fmt.Sscan(code, &status)
		lower := map[string][]string{}
		if err := json.Unmarshal([]byte(names), &lower); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		header = http.Header{}
		for k, v := range lower {
			header[http.CanonicalHeaderKey(k)] = v
		}
		if err := json.Unmarshal([]byte(text), &answer); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return status, header, answer
	}

	if status, _, answer := curl("POST", "press-0042", `{"registrationId":"press-0042"}`); status != 404 {
		t.Errorf("lookup before the registration: HTTP %d %v", status, answer)
	}
	status, header, answer := curl("PUT", "press-0042/register", `{"registrationId":"press-0042","payload":{"model":"press"}}`)
	operation, _ := answer["operationId"].(string)
	if status != 202 || answer["status"] != "assigning" || header.Get("Retry-After") != "1" || !strings.HasPrefix(header.Get("Content-Type"), "application/json") ||
		!strings.Contains(header.Get("Location"), "/registrations/press-0042/operations/"+operation) {
		t.Fatalf("register: HTTP %d %v %v", status, answer, header)
	}
	status, header, answer = curl("GET", "press-0042/operations/"+operation, "")
	state, _ := answer["registrationState"].(map[string]any)
	if status != 202 || answer["status"] != "assigning" || state["registrationId"] != "press-0042" || header.Get("Retry-After") != "1" {
		t.Errorf("first poll: HTTP %d %v", status, answer)
	}
	status, _, answer = curl("GET", "press-0042/operations/"+operation, "")
	state, _ = answer["registrationState"].(map[string]any)
	hub := p.sim.Config().Hubs[0]
	if status != 200 || answer["status"] != "assigned" || state["assignedHub"] != hub || state["deviceId"] != "press-0042" ||
		state["substatus"] != firstAssignment || state["etag"] == "" || state["createdDateTimeUtc"] == nil {
		t.Fatalf("second poll: HTTP %d %v", status, answer)
	}
	shown, _ := state["x509"].(map[string]any)
	certificate, _ := shown["certificateInfo"].(map[string]any)
	signer, _ := shown["signingCertificateInfo"].(map[string]any)
	if shown["enrollmentGroupId"] != "Line-A" || certificate["sha256Thumbprint"] != sha256Thumbprint(device.cert) || signer["sha256Thumbprint"] != sha256Thumbprint(p.line.cert) {
		t.Errorf("x509 of the state: %v", shown)
	}
	if status, _, answer = curl("POST", "press-0042", `{"registrationId":"press-0042"}`); status != 200 || answer["assignedHub"] != hub {
		t.Errorf("lookup: HTTP %d %v", status, answer)
	}
	if status, _, answer = curl("GET", "press-0042/operations/4.1.2", ""); status != 404 || answer["errorCode"] != float64(codeNoOperation) || answer["message"] != "Operation not found." {
		t.Errorf("another operation: HTTP %d %v", status, answer)
	}

	d := p.identity(hub, "press-0042")
	if d == nil || d.tags["line"] != "a" || d.desired["interval"] != float64(5) || d.wire["capabilities"].(map[string]any)["iotEdge"] != true ||
		d.thumbprint("primary") != sha256Thumbprint(device.cert) || d.thumbprint("secondary") != sha256Thumbprint(device.cert) {
		t.Errorf("the identity is %+v", d)
	}
	if r := p.must("GET", "/registrations/PRESS-0042", ""); r.body["status"] != "assigned" || r.body["x509"] != nil {
		t.Errorf("the state for the service: %s", r.text)
	}
	if r := p.must("POST", "/registrations/line-a/query", `{"query":"SELECT * FROM registrations"}`); !strings.Contains(r.text, "press-0042") {
		t.Errorf("the states of the group: %s", r.text)
	}
	want := []string{"enrollmentGroups.put", "devices.lookup", "devices.register", "devices.operation", "devices.operation", "devices.lookup",
		"devices.operation", "registrations.get", "registrations.query"}
	if got := p.sim.Calls(); !slices.Equal(got, want) {
		t.Errorf("calls: %v, want %v", got, want)
	}
}

// TestRegisterWithTheVendorsClient registers with azure-iot-provisioning-device over
// HTTPS: by a group, by an individual enrollment with another device id, and a device
// that is blocked.
func TestRegisterWithTheVendorsClient(t *testing.T) { vendorRegisters(t, "http") }

func vendorRegisters(t *testing.T, transport string) {
	t.Parallel() // it waits for Retry-After
	p := newPlant(t)
	p.group("line-a", object{"initialTwin": object{"tags": object{"line": "a"}}})
	dir := t.TempDir()
	address := p.sim.Addr()
	if transport == "mqtt" {
		address = p.sim.MQTTAddr()
	}
	register := func(d *party) map[string]any {
		t.Helper()
		chain, key := d.files(t, dir)
		out := p.node("register.js", map[string]string{"SIM_TRANSPORT": transport, "SIM_ADDRESS": address, "SIM_SCOPE": p.sim.Config().IDScope,
			"SIM_REGISTRATION": d.cert.Subject.CommonName, "SIM_CHAIN": chain, "SIM_KEY": key})
		var state map[string]any
		if err := json.Unmarshal([]byte(out), &state); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return state
	}
	hub := p.sim.Config().Hubs[0]
	if state := register(newParty(t, "press-1", false, p.line)); state["status"] != "assigned" || state["assignedHub"] != hub || state["deviceId"] != "press-1" {
		t.Errorf("by the group: %v", state)
	}
	pinned := newParty(t, "press-2", false, p.line)
	p.must("PUT", "/enrollments/press-2", x509Individual("press-2", pinned.pem()).with(object{"deviceId": "Press-two"}).String())
	if state := register(pinned); state["status"] != "assigned" || state["deviceId"] != "Press-two" {
		t.Errorf("by the individual enrollment: %v", state)
	}
	blocked := newParty(t, "press-3", false, p.line)
	p.must("PUT", "/enrollments/press-3", x509Individual("press-3", blocked.pem()).with(object{"provisioningStatus": "disabled"}).String())
	state := register(blocked)
	if text := fmt.Sprint(state); state["error"] != "UnauthorizedError" && !strings.Contains(text, "Unauthorized") {
		t.Errorf("blocked: %v", state)
	}
	if d := p.identity(hub, "press-3"); d != nil {
		t.Errorf("the blocked device has an identity: %+v", d.wire)
	}
	p.sim.store.mu.Lock()
	defer p.sim.store.mu.Unlock()
	if got := string(p.sim.store.registered["press-1"].payload); got != `{"model":"press"}` {
		t.Errorf("the payload of press-1 is %s", got)
	}
}

// TestWhoGetsIn presents chains over TLS: the decisions are those of dpsreg/attest, which
// has its own tests; here it is that they are asked about what was really presented, and
// that the answer has the documented form.
func TestWhoGetsIn(t *testing.T) {
	p := newPlant(t)
	p.group("line-a", nil)
	other := newParty(t, "Other Root CA", true, nil)
	above := []*x509.Certificate{p.line.cert, p.root.cert}
	device := newParty(t, "press-1", false, p.line)
	stranger := newParty(t, "press-9", false, other)
	allow := func(name string, d *party, above ...*x509.Certificate) {
		t.Helper()
		if r := p.enter(d, above...); r.status != http.StatusOK {
			t.Errorf("%s: HTTP %d %s", name, r.status, r.text)
		}
	}
	deny := func(name, message string, d *party, above ...*x509.Certificate) {
		t.Helper()
		before := len(p.events("device.refused"))
		r := p.enter(d, above...)
		if r.status != http.StatusUnauthorized || r.code() != 401002 || r.body["message"] != message || r.body["trackingId"] == "" || r.body["timestampUtc"] == "" ||
			r.header.Get("X-Ms-Error-Code") != "401002" {
			t.Errorf("%s: HTTP %d %v %s, want 401002 %q", name, r.status, r.header, r.text, message)
		}
		refused := p.events("device.refused")
		if len(refused) != before+1 {
			t.Fatalf("%s: %d events", name, len(refused)-before)
		}
		if last := refused[len(refused)-1]; message == "" && !strings.HasPrefix(last.Message, "text unknown: ") {
			t.Errorf("%s: the event does not say that the text is unknown: %+v", name, last)
		}
	}
	allow("leaf, line and root", device, above...)
	deny("leaf alone", "CA certificate not found.", device)
	deny("leaf and line, and only the root is verified", "CA certificate not found.", device, p.line.cert)
	deny("another root", "CA certificate not found.", stranger, other.cert)
	p.upload("line-1", p.line, true)
	allow("leaf and line, which is verified, too", device, p.line.cert)
	p.must("PUT", "/enrollments/press-1", x509Individual("press-1", device.pem()).with(object{"provisioningStatus": "disabled"}).String())
	deny("disabled, though the group would let it in", "Unauthorized", device, above...)
	p.must("PUT", "/enrollments/press-1", x509Individual("press-1", stranger.pem()).String(), "If-Match", "*")
	deny("pinned to another certificate", "Invalid certificate.", device, above...)
	p.must("DELETE", "/enrollments/press-1", "")
	allow("after the release", device, above...)
	p.must("PUT", "/enrollmentGroups/line-a", x509Group("line-a", p.line.pem()).with(object{"provisioningStatus": "disabled"}).String(), "If-Match", "*")
	deny("the group is disabled", "Unauthorized", device, above...)
	p.must("DELETE", "/enrollmentGroups/line-a", "")
	p.must("PUT", "/enrollmentGroups/by-name", object{"enrollmentGroupId": "by-name", "attestation": object{"type": "x509", "x509": object{"caReferences": object{"primary": "plant-root"}}}}.String())
	allow("a group by reference to the root", device, above...)

	c := p.client(device.tls(above...))
	r := p.device(c, "PUT", "press-2/register", `{"registrationId":"press-2"}`)
	if r.status != http.StatusUnauthorized || r.body["message"] != "" {
		t.Errorf("a registration id that is not the common name: HTTP %d %s", r.status, r.text)
	}
	r = p.do(p.client(nil), "PUT", "https://"+globalHost+"/"+p.sim.Config().IDScope+"/registrations/press-1/register?api-version=2021-06-01", `{"registrationId":"press-1"}`)
	if r.status != http.StatusUnauthorized {
		t.Errorf("no certificate: HTTP %d %s", r.status, r.text)
	}
	// The service's own name takes devices, too.
	r = p.do(c, "PUT", "https://"+p.sim.Config().serviceHost()+"/"+p.sim.Config().IDScope+"/registrations/press-1/register?api-version=2019-03-31", `{"registrationId":"press-1"}`)
	if r.status != http.StatusAccepted {
		t.Errorf("at the service's own name: HTTP %d %s", r.status, r.text)
	}
	// Whoever may not register may not ask for the operation of another certificate either.
	renewed := newParty(t, "press-1", false, p.line)
	if r = p.device(p.client(renewed.tls(above...)), "GET", "press-1/operations/"+r.body["operationId"].(string), ""); r.status != http.StatusNotFound || r.code() != codeNoOperation {
		t.Errorf("the operation of another certificate: HTTP %d %s", r.status, r.text)
	}
}

// TestDeviceRefusals has the requests that are wrong in themselves.
func TestDeviceRefusals(t *testing.T) {
	p := newPlant(t)
	p.group("line-a", nil)
	d := newParty(t, "press-1", false, p.line)
	c := p.client(d.tls(p.line.cert, p.root.cert))
	base := "https://" + globalHost + "/" + p.sim.Config().IDScope + "/registrations/press-1"
	const version = "?api-version=2021-06-01"
	for name, one := range map[string]struct {
		method, url, body, contentType string
		status                         int
	}{
		"no api-version":        {"PUT", base + "/register", `{}`, "application/json", 400},
		"unknown api-version":   {"PUT", base + "/register?api-version=2020-01-01", `{}`, "application/json", 400},
		"form":                  {"PUT", base + "/register" + version, `{}`, "application/x-www-form-urlencoded", 415},
		"no body":               {"PUT", base + "/register" + version, "", "application/json", 400},
		"no JSON":               {"PUT", base + "/register" + version, "{", "application/json", 400},
		"two values":            {"PUT", base + "/register" + version, "{}{}", "application/json", 400},
		"unknown member":        {"PUT", base + "/register" + version, `{"registration":"press-1"}`, "application/json", 400},
		"another id":            {"PUT", base + "/register" + version, `{"registrationId":"press-2"}`, "application/json", 400},
		"TPM":                   {"PUT", base + "/register" + version, `{"tpm":{"endorsementKey":"a"}}`, "application/json", 400},
		"certification request": {"PUT", base + "/register" + version, `{"csr":"a"}`, "application/json", 400},
		"too much":              {"PUT", base + "/register" + version, `{"payload":"` + strings.Repeat("a", maxDeviceBody) + `"}`, "application/json", 400},
		"another scope":         {"PUT", strings.Replace(base, p.sim.Config().IDScope, "0ne00000000", 1) + "/register" + version, `{}`, "application/json", 404},
		"wrong method":          {"POST", base + "/register" + version, `{}`, "application/json", 405},
		"unknown resource":      {"GET", base + "/credentials" + version, "", "application/json", 404},
		"empty id":              {"PUT", "https://" + globalHost + "/" + p.sim.Config().IDScope + "/registrations//register" + version, `{}`, "application/json", 404},
	} {
		r := p.do(c, one.method, one.url, one.body, "Content-Type", one.contentType)
		if r.status != one.status || r.code()/1000 != one.status || r.body["trackingId"] == nil {
			t.Errorf("%s: HTTP %d %s, want %d", name, r.status, r.text, one.status)
		}
	}
}

// TestQuotasOfDevices counts registrations of all and polls of one.
func TestQuotasOfDevices(t *testing.T) {
	now := time.Now()
	p := newPlant(t, func(c *Config) {
		c.Limits = &Limits{Registrations: 2, Polls: 3}
		c.Assigning = 100
		c.Now = func() time.Time { return now }
	})
	p.group("line-a", nil)
	one, two := newParty(t, "press-1", false, p.line), newParty(t, "press-2", false, p.line)
	first, second := p.client(one.tls(p.line.cert, p.root.cert)), p.client(two.tls(p.line.cert, p.root.cert))
	r := p.device(first, "PUT", "press-1/register", `{}`)
	operation := "press-1/operations/" + r.body["operationId"].(string)
	for i, want := range []int{202, 202, 202, 429} {
		if r := p.device(first, "GET", operation, ""); r.status != want || r.header.Get("Retry-After") == "" {
			t.Errorf("poll %d: HTTP %d %v, want %d with Retry-After", i, r.status, r.header, want)
		}
	}
	r = p.device(second, "PUT", "press-2/register", `{}`)
	if r := p.device(second, "GET", "press-2/operations/"+r.body["operationId"].(string), ""); r.status != 202 {
		t.Errorf("the other device's first poll: HTTP %d", r.status)
	}
	if r := p.device(second, "PUT", "press-2/register", `{}`); r.status != 429 {
		t.Errorf("the third registration of a minute: HTTP %d", r.status)
	}
	now = now.Add(time.Minute)
	if r := p.device(second, "PUT", "press-2/register", `{}`); r.status != 202 {
		t.Errorf("a minute later: HTTP %d", r.status)
	}
	if r := p.device(first, "GET", operation, ""); r.status != 202 {
		t.Errorf("a poll a minute later: HTTP %d", r.status)
	}
}
