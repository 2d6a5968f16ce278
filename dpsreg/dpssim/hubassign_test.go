package dpssim

import (
	"crypto/x509"
	"testing"
)

// TestReprovision registers a device again after its enrollment names another hub, under
// each policy, and with the hub as it was.
func TestReprovision(t *testing.T) {
	const first, second = "one.azure-devices.net", "two.azure-devices.net"
	for name, policy := range map[string]object{
		"migrate": {"updateHubAssignment": true, "migrateDeviceData": true},
		"reset":   {"updateHubAssignment": true, "migrateDeviceData": false},
		"never":   {"updateHubAssignment": false, "migrateDeviceData": false},
	} {
		for _, moves := range []bool{true, false} {
			p := newPlant(t, func(c *Config) { c.Hubs, c.Assigning = []string{first, second}, -1 })
			group := object{
				"allocationPolicy": "static", "iotHubs": []string{first}, "reprovisionPolicy": policy,
				"initialTwin": object{"tags": object{"line": "a"}},
			}
			p.group("line-a", group)
			d := newParty(t, "press-1", false, p.line)
			above := []*x509.Certificate{p.line.cert, p.root.cert}
			if state := p.assigned(d, above...); state["assignedHub"] != first || state["substatus"] != firstAssignment {
				t.Fatalf("%s: the first registration: %v", name, state)
			}
			// In its life the twin gets another tag, and the identity is disabled.
			old := p.identity(first, "press-1")
			p.sim.store.mu.Lock()
			old.tags["seen"] = "yes"
			old.wire["status"], old.wire["statusReason"] = "disabled", "mintmark: held"
			p.sim.store.mu.Unlock()
			hub, gone := first, second
			if moves {
				group["iotHubs"] = []string{second}
				if name != "never" {
					hub, gone = second, first
				}
			}
			p.must("PUT", "/enrollmentGroups/line-a", x509Group("line-a", p.line.pem()).with(group).String(), "If-Match", "*")

			renewed := newParty(t, "press-1", false, p.line)
			state := p.assigned(renewed, above...)
			substatus := map[string]string{"migrate": sameAssignment, "reset": dataReset, "never": sameAssignment}[name]
			if name == "migrate" && moves {
				substatus = dataMigrated
			}
			if state["assignedHub"] != hub || state["substatus"] != substatus {
				t.Errorf("%s, moves %v: %v, want %s %s", name, moves, state, hub, substatus)
			}
			if p.identity(gone, "press-1") != nil {
				t.Errorf("%s, moves %v: the identity at %s is left", name, moves, gone)
			}
			now := p.identity(hub, "press-1")
			if now.thumbprint("primary") != sha256Thumbprint(renewed.cert) {
				t.Errorf("%s, moves %v: the thumbprint is not renewed", name, moves)
			}
			kept := name != "reset"
			if (now.tags["seen"] == "yes") != kept || now.tags["line"] != "a" || (now.wire["status"] == "disabled") != kept {
				t.Errorf("%s, moves %v: tags %v, status %v", name, moves, now.tags, now.wire["status"])
			}
		}
	}
}

// TestHubOfAnIndividual has both slots of an individual enrollment at the hub, so that
// the device connects with either.
func TestHubOfAnIndividual(t *testing.T) {
	p := newPlant(t, func(c *Config) { c.Assigning = -1 })
	old, next := newParty(t, "press-1", false, p.line), newParty(t, "press-1", false, p.line)
	p.must("PUT", "/enrollments/press-1", x509Individual("press-1", old.pem()).String())
	hub := p.assigned(old)["assignedHub"].(string)
	if d := p.identity(hub, "press-1"); d.thumbprint("primary") != sha256Thumbprint(old.cert) || d.thumbprint("secondary") != sha256Thumbprint(old.cert) {
		t.Errorf("one slot: %v", d.wire)
	}
	p.must("PUT", "/enrollments/press-1", x509Individual("press-1", old.pem(), next.pem()).String(), "If-Match", "*")
	p.assigned(next)
	if d := p.identity(hub, "press-1"); d.thumbprint("primary") != sha256Thumbprint(old.cert) || d.thumbprint("secondary") != sha256Thumbprint(next.cert) {
		t.Errorf("two slots: %v", d.wire)
	}
	r := p.must("GET", "/enrollments/press-1", "")
	if state := r.body["registrationState"].(map[string]any); state["status"] != "assigned" || state["deviceId"] != "press-1" {
		t.Errorf("the enrollment shows %v", state)
	}
	p.must("DELETE", "/enrollments/press-1", "")
	if r := p.data("GET", "/registrations/press-1", ""); r.status != 404 {
		t.Errorf("the registration of a deleted individual enrollment: HTTP %d", r.status)
	}
}

// TestAllocation spreads devices by hash, always in the same way, keeps to the hubs
// that the enrollment names, and fails what is custom.
func TestAllocation(t *testing.T) {
	hubs := []string{"one.azure-devices.net", "two.azure-devices.net", "three.azure-devices.net"}
	p := newPlant(t, func(c *Config) { c.Hubs, c.Assigning = hubs, -1 })
	above := []*x509.Certificate{p.line.cert, p.root.cert}
	p.group("line-a", object{"iotHubs": hubs[:2]})
	seen := map[string]int{}
	for _, id := range []string{"a-1", "a-2", "a-3", "a-4", "a-5", "a-6", "a-7", "a-8"} {
		d := newParty(t, id, false, p.line)
		host := p.assigned(d, above...)["assignedHub"].(string)
		if again := p.assigned(d, above...)["assignedHub"]; again != host {
			t.Errorf("%s: first %s, then %v", id, host, again)
		}
		seen[host]++
	}
	if seen[hubs[0]] == 0 || seen[hubs[1]] == 0 || seen[hubs[2]] != 0 {
		t.Errorf("devices by hub: %v", seen)
	}
	p.must("PUT", "/enrollmentGroups/line-a", x509Group("line-a", p.line.pem()).with(object{
		"allocationPolicy": "custom", "customAllocationDefinition": object{"webhookUrl": "https://example.com/", "apiVersion": "2019-03-31"},
	}).String(), "If-Match", "*")
	r := p.enter(newParty(t, "b-1", false, p.line), above...)
	state, _ := r.body["registrationState"].(map[string]any)
	if r.status != 200 || r.body["status"] != "failed" || state["errorMessage"] == nil || state["assignedHub"] != nil {
		t.Errorf("custom allocation: HTTP %d %s", r.status, r.text)
	}
}
