package dps

import (
	"encoding/json"
	"reflect"
	"testing"
)

// FuzzGroup: what is read without an error can be sent back, and is then read as the
// same.
func FuzzGroup(f *testing.F) {
	f.Add([]byte(later))
	f.Add([]byte(`{"enrollmentGroupId":"a"}`))
	f.Add([]byte(`{"enrollmentGroupId":"a","etag":"1","attestation":{"x509":{"caReferences":{"primary":"x"}}},"initialTwin":null}`))
	f.Add([]byte(`{"enrollmentGroupId":"a","etag":"1","capabilities":{},"attestation":{"type":"tpm","tpm":{"endorsementKey":"k"}}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		g, err := parseGroup(data, "")
		if err != nil {
			if !reflect.DeepEqual(g, Group{}) {
				t.Errorf("an error and %+v", g)
			}
			return
		}
		body, err := g.body()
		if err != nil {
			t.Fatalf("read and cannot be sent: %v", err)
		}
		again, err := json.Marshal(body)
		if err != nil {
			t.Fatalf("read and cannot be sent: %v", err)
		}
		h, err := parseGroup(again, g.ID)
		if err != nil {
			t.Fatalf("sent and cannot be read: %v", err)
		}
		if h.Status != g.Status || h.Attestation.Type != g.Attestation.Type || len(h.Hubs) != len(g.Hubs) {
			t.Errorf("%s became %s", data, again)
		}
	})
}

// FuzzEnrollment is as FuzzGroup.
func FuzzEnrollment(f *testing.F) {
	f.Add([]byte(`{"registrationId":"a","etag":"1","optionalDeviceInformation":{"mintmark":"pinned"},"later":1}`))
	f.Add([]byte(`{"registrationId":"a","attestation":{"type":"x509","x509":{"clientCertificates":{"primary":{"info":{"sha256Thumbprint":"aa"}}}}}}`))
	f.Add([]byte(`{"registrationId":"a","optionalDeviceInformation":null,"registrationState":{"registrationId":"a"}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := parseEnrollment(data, "")
		if err != nil {
			return
		}
		body, err := e.body()
		if err != nil {
			t.Fatalf("read and cannot be sent: %v", err)
		}
		again, err := json.Marshal(body)
		if err != nil {
			t.Fatalf("read and cannot be sent: %v", err)
		}
		h, err := parseEnrollment(again, e.RegistrationID)
		if err != nil {
			t.Fatalf("sent and cannot be read: %v", err)
		}
		if h.DeviceID != e.DeviceID || h.Status != e.Status || (h.Information == nil) != (e.Information == nil) {
			t.Errorf("%s became %s", data, again)
		}
	})
}
