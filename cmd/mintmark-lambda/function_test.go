package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"mintmark/awsreg/awssim"
	"mintmark/awsreg/hook"
)

const templateARN = "arn:aws:iot:eu-central-1:111122223333:provisioningtemplate/fleet"

var claimID = strings.Repeat("c1", 32)

func idOf(n int) string { return fmt.Sprintf("%064x", n) }

// fleet is what the server pushes for an order of three devices.
func (w *world) fleet() {
	w.put(
		hook.Template{Name: "fleet", Fleet: "fleet", Prefix: "press_"}.Item(),
		hook.Template{Name: "fleet-rotation", Fleet: "fleet", Prefix: "press_", Rotation: true}.Item(),
		hook.Order{
			ID: "WO-1", State: "open", Template: "fleet", Quantity: 3, NotBefore: time.Now().Add(-day), NotAfter: time.Now().Add(day),
			Ranges: []string{"SN-001..SN-900"},
		}.Item(),
		hook.Claim{CertificateID: claimID, Order: "WO-1"}.Item(),
	)
}

func asks(device string, certificate int) hook.HookEvent {
	return hook.HookEvent{
		ClaimCertificateID: claimID, CertificateID: idOf(certificate), CertificatePEM: "pem", TemplateARN: templateARN, ClientID: "c",
		Parameters: map[string]string{hook.SerialNumber: device},
	}
}

const denied = `{"allowProvisioning":false}`

func admitted(device string, at time.Time) string {
	return fmt.Sprintf(`{"allowProvisioning":true,"parameterOverrides":{"CertDate":%q,"SerialNumber":%q}}`, at.UTC().Format("20060102"), device)
}

// malformed are events that no handler may take for anything.
func malformed(t testing.TB, good any) map[string][]byte {
	text := string(marshal(t, good))
	return map[string][]byte{
		"nothing": nil, "null": []byte("null"), "empty": []byte("{}"), "a list": []byte("[]"), "a text": []byte(`"x"`), "no JSON": []byte("{"),
		"twice": []byte(text + text), "cut off": []byte(text[:len(text)-1]),
		"oversized": []byte(`{"pad":"` + strings.Repeat("x", 300<<10) + `",` + text[1:]),
	}
}

func TestProvisionFunction(t *testing.T) {
	w := newWorld(t)
	w.fleet()
	f := start(t, "provision", w.env("MINTMARK_ROTATION_TABLE=rotation")...)
	for name, payload := range malformed(t, asks("SN-001", 1)) {
		if answer, err := f.invoke(payload, long); err == nil {
			t.Errorf("%s: %s", name, answer)
		}
	}
	// One process, in turn: no answer sticks.
	today := time.Now()
	f.asks(asks("SN-999", 1), denied)
	f.asks(asks("SN-001", 1), admitted("SN-001", today))
	f.asks(asks("SN-999", 2), denied)
	f.asks(asks("SN-001", 2), denied)
	f.asks(asks("SN-001", 1), admitted("SN-001", today))
	w.put(hook.HeldItem("press_SN-002", "SN-002"))
	f.asks(asks("SN-002", 2), denied)
	w.remove(hook.HeldKey("press_SN-002"))
	f.asks(asks("SN-002", 2), admitted("SN-002", today))
	f.asks(asks("SN-003", 3), admitted("SN-003", today))
	f.asks(asks("SN-004", 4), denied)
	if d := w.rotating("press_SN-003"); d.Current != idOf(3) {
		t.Errorf("rotation is %+v", d)
	}
	other := asks("SN-003", 3)
	other.TemplateARN = strings.Replace(templateARN, account.ID, "444455556666", 1)
	f.asks(other, denied)
	w.remove("head")
	f.asks(asks("SN-001", 1), denied)
	for _, reason := range []string{"wrong-device", "busy", "held", "order-full", "wrong-template", "stale-manifest"} {
		f.logs(`"reason":"` + reason + `"`)
	}
}

// A table that is slow: the answer comes before AWS's 5 seconds, or the function's
// own time-out, are over, and it is no, for that reason. What was not decided is
// not done.
func TestFunctionsAnswerInTime(t *testing.T) {
	w := newWorld(t)
	w.fleet()
	current, _ := w.certificate()
	next, _ := w.certificate()
	w.put(hook.Entry{CertificateID: current, Device: "press_SN-001", Serial: "01", State: hook.Revoked}.Items()...)
	w.putIn("rotation", hook.Rotating{
		Thing: "press_SN-001", Device: "SN-001", Current: current, IssuedAt: time.Now().Add(-361 * day), Next: next, NextAt: time.Now().Truncate(time.Second),
	}.Item())
	ca := "MINTMARK_EST_CA=" + newCA(t)
	event := asks("SN-001", 1)
	const late, ended = "no decision in time", "deadline exceeded"
	for _, test := range []struct {
		handler string
		env     []string
		payload any
		why     string // in the error, or in the log of an answer
	}{
		{"provision", nil, event, late},
		{"rotate", []string{"MINTMARK_ROTATION_TABLE=rotation"}, event, late},
		{"certificate-provider", []string{"MINTMARK_EST_URL=https://127.0.0.1:1", "MINTMARK_EST_LABEL=l", "MINTMARK_SECRET=s", ca}, hook.ProviderEvent{
			CertificateSigningRequest: newRequest(t, "SN-001"), PrincipalID: claimID,
		}, late},
		{"connect", nil, connection(t, newCA(t)), late},
		// These may take all of the function's time, and Lambda asks again.
		{"jitr", []string{"MINTMARK_POLICY=device"}, registration(current), ended},
		{"presence", []string{"MINTMARK_ROTATION_TABLE=rotation"}, presence(next), ended},
		{"monitor", []string{"MINTMARK_ROTATION_TABLE=rotation", "MINTMARK_DATA_ENDPOINT=" + w.sim.ControlURL()}, scheduled(), ended},
	} {
		t.Run(test.handler, func(t *testing.T) {
			f := start(t, test.handler, w.env(test.env...)...)
			w.sim.Inject(awssim.Fault{Operation: "dynamodb:*", Latency: 20 * time.Second, Every: 1, Times: 1})
			const limit = 1500 * time.Millisecond
			before := time.Now()
			answer, err := f.invoke(marshal(t, test.payload), limit)
			// The table would have answered after 20 seconds.
			if took := time.Since(before); took > 10*time.Second {
				t.Errorf("answered after %s", took)
			}
			if test.handler == "connect" {
				if err != nil || answer != `{"isAuthenticated":false}` {
					t.Errorf("answer %s, %v", answer, err)
				}
				f.logs(test.why)
			} else if err == nil || !strings.Contains(err.Error(), test.why) {
				t.Errorf("answer %s, error %v", answer, err)
			}
		})
	}
	for _, call := range w.sim.Calls() {
		switch call {
		case "UpdateCertificate", "iotdata:Publish", "secretsmanager:GetSecretValue":
			t.Errorf("%s was called", call)
		}
	}
	if d := w.rotating("press_SN-001"); d.Current != current || d.Next != next || !d.Told.IsZero() || w.status(current) != "ACTIVE" || w.status(next) != "ACTIVE" {
		t.Errorf("rotation is %+v, %s, %s", d, w.status(current), w.status(next))
	}
}

// registration is the event of a certificate that was registered just in time.
func registration(certificate string) hook.Event {
	return hook.Event{CertificateID: certificate, CACertificateID: strings.Repeat("ca", 32), CertificateStatus: "PENDING_ACTIVATION"}
}

// presence is the event of a client that has connected with a certificate.
func presence(principal string) map[string]any {
	return map[string]any{
		"clientId": "press_SN-001", "timestamp": time.Now().UnixMilli(), "eventType": "connected", "sessionIdentifier": "00000000-0000-0000-0000-000000000000",
		"principalIdentifier": principal, "ipAddress": "192.0.2.1", "versionNumber": 0,
	}
}

// scheduled is the event of EventBridge's schedules.
func scheduled() map[string]any {
	return map[string]any{
		"version": "0", "id": "53dc4d37-cffa-4f76-80c9-8b7d4a4d2eaa", "detail-type": "Scheduled Event", "source": "aws.events",
		"account": account.ID, "time": time.Now().UTC().Format(time.RFC3339), "region": region,
		"resources": []string{"arn:aws:events:eu-central-1:111122223333:rule/daily"}, "detail": map[string]any{},
	}
}

func TestRotateFunction(t *testing.T) {
	w := newWorld(t)
	w.fleet()
	current, _ := w.certificate()
	w.put(hook.Admitted{CertificateID: current, Thing: "press_SN-001", Device: "SN-001", Template: "fleet", At: time.Now()}.Item())
	w.putIn("rotation", hook.Rotating{Thing: "press_SN-001", Device: "SN-001", Current: current, IssuedAt: time.Now().Add(-359 * day)}.Item())
	f := start(t, "rotate", w.env("MINTMARK_ROTATION_TABLE=rotation")...)
	event := asks("SN-001", 2)
	event.ClaimCertificateID, event.TemplateARN = current, templateARN+"-rotation"
	for name, payload := range malformed(t, event) {
		if answer, err := f.invoke(payload, long); err == nil {
			t.Errorf("%s: %s", name, answer)
		}
	}
	f.asks(event, denied) // not due
	w.putIn("rotation", hook.Rotating{Thing: "press_SN-001", Device: "SN-001", Current: current, IssuedAt: time.Now().Add(-361 * day)}.Item())
	another := event
	another.Parameters = map[string]string{hook.SerialNumber: "SN-002"}
	f.asks(another, denied)
	f.asks(event, admitted("SN-001", time.Now()))
	f.asks(another, denied)
	if d := w.rotating("press_SN-001"); d.Next != idOf(2) || d.Current != current || w.status(current) != "ACTIVE" {
		t.Errorf("rotation is %+v, the current one %s", d, w.status(current))
	}
}

func TestPresenceFunction(t *testing.T) {
	w := newWorld(t)
	current, _ := w.certificate()
	next, _ := w.certificate()
	w.put(hook.Admitted{CertificateID: next, Thing: "press_SN-001", Device: "SN-001", Template: "fleet", At: time.Now()}.Item())
	w.putIn("rotation", hook.Rotating{
		Thing: "press_SN-001", Device: "SN-001", Current: current, IssuedAt: time.Now().Add(-361 * day), Next: next, NextAt: time.Now().Truncate(time.Second),
	}.Item())
	f := start(t, "presence", w.env("MINTMARK_ROTATION_TABLE=rotation")...)
	for name, payload := range malformed(t, presence(next)) {
		if answer, err := f.invoke(payload, long); err == nil {
			t.Errorf("%s: %s", name, answer)
		}
	}
	f.asks(presence(current), "null")
	f.asks(presence("AROAEXAMPLE:me"), "null")
	if w.status(current) != "ACTIVE" {
		t.Fatalf("the current one is %s", w.status(current))
	}
	// The answer to the update is lost; Lambda's second attempt finishes.
	w.sim.Inject(awssim.Fault{Operation: "UpdateCertificate", Code: "InternalFailureException", Status: 500, AfterEffect: true, Every: 1, Times: 3})
	if _, err := f.invoke(marshal(t, presence(next)), long); err != nil {
		t.Logf("first attempt: %v", err)
	}
	f.asks(presence(next), "null")
	if d := w.rotating("press_SN-001"); d.Current != next || d.Next != "" || w.status(current) != "INACTIVE" || w.status(next) != "ACTIVE" {
		t.Errorf("rotation is %+v, %s, %s", d, w.status(current), w.status(next))
	}
	f.asks(presence(next), "null")
}

func TestMonitorFunction(t *testing.T) {
	w := newWorld(t)
	for i, age := range []time.Duration{359, 361, 380} {
		w.putIn("rotation", hook.Rotating{Thing: fmt.Sprintf("press_%d", i), Device: fmt.Sprint(i), Current: idOf(i + 1), IssuedAt: time.Now().Add(-age * day)}.Item())
	}
	f := start(t, "monitor", w.env("MINTMARK_ROTATION_TABLE=rotation", "MINTMARK_ALERT_TOPIC=factory/<thing>/alerts", "MINTMARK_DATA_ENDPOINT="+w.sim.ControlURL())...)
	for name, payload := range malformed(t, scheduled()) {
		if answer, err := f.invoke(payload, long); err == nil {
			t.Errorf("%s: %s", name, answer)
		}
	}
	f.fails(marshal(t, presence(idOf(1))), "no event of a schedule")
	if slices.Contains(w.sim.Calls(), "dynamodb:Scan") {
		t.Error("a malformed event ran the job")
	}
	f.asks(scheduled(), `{"devices":3,"due":2,"told":2,"overdue":1,"held":0,"failed":0,"complete":true}`)
	f.asks(scheduled(), `{"devices":3,"due":2,"told":0,"overdue":1,"held":0,"failed":0,"complete":true}`)
	published := 0
	for _, call := range w.sim.Calls() {
		if call == "iotdata:Publish" {
			published++
		}
	}
	if published != 2 {
		t.Errorf("%d messages were published", published)
	}
	f.logs("device is overdue")
	w.remove("head")
	f.fails(marshal(t, scheduled()), "the manifest has no head")
}

func TestJITRFunction(t *testing.T) {
	w := newWorld(t)
	certificate, _ := w.certificate()
	f := start(t, "jitr", w.env("MINTMARK_POLICY=device")...)
	event := registration(certificate)
	for name, payload := range malformed(t, event) {
		if answer, err := f.invoke(payload, long); err == nil {
			t.Errorf("%s: %s", name, answer)
		}
	}
	f.fails(marshal(t, event), "not-in-manifest")
	w.put(hook.Entry{CertificateID: certificate, Device: "x", Serial: "01", State: hook.Revoked}.Items()...)
	f.asks(event, "null")
	if w.status(certificate) != "REVOKED" {
		t.Errorf("the revoked one is %s", w.status(certificate))
	}
}

// A function that lacks something never starts: exit status 1, and words.
func TestFunctionsRefuseToStart(t *testing.T) {
	for handler, want := range map[string]string{
		"bootstrap": `handler "bootstrap" is unknown: set the function's handler to one of certificate-provider, connect, jitr, monitor, presence, provision, rotate`,
		"provision": "MINTMARK_TABLE is not set: handler provision needs it",
	} {
		f := start(t, handler)
		<-f.ended
		if f.err == nil || f.err.Error() != "exit status 1" || !strings.Contains(f.out.String(), "mintmark-lambda: "+want) {
			t.Errorf("%s: %v\n%s", handler, f.err, f.out)
		}
	}
}
