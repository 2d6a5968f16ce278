package dps

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
)

// later is a group as a service of a later api-version shows it, with fields that this
// package does not know, at every level.
const later = `{
	"enrollmentGroupId": "pumps", "etag": "\"1\"", "provisioningStatus": "enabled",
	"credentialPolicyName": "policy-a", "unknown": {"a": [1, null]},
	"attestation": {"type": "x509", "later": true, "x509": {"later": 1, "signingCertificates": {"later": 2,
		"primary": {"info": {"subjectName": "CN=one", "sha256Thumbprint": "AA", "later": 3, "notAfterUtc": "2030-01-01T00:00:00.1234567Z"}},
		"secondary": {"info": {"sha256Thumbprint": "BB"}}}}},
	"capabilities": {"iotEdge": false, "later": 4},
	"reprovisionPolicy": {"updateHubAssignment": true, "migrateDeviceData": true, "later": 5},
	"initialTwin": {"later": 6, "tags": {"n": 12345678901234567890}, "properties": {"later": 7, "desired": {"n": 12345678901234567890}}},
	"allocationPolicy": "hashed", "iotHubs": ["a.azure-devices.net"],
	"createdDateTimeUtc": "2026-01-01T00:00:00Z", "lastUpdatedDateTimeUtc": "2026-01-01T00:00:00Z"
}`

func sent(t *testing.T, g Group) string {
	t.Helper()
	body, err := g.body()
	if err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// same compares JSON to the digit.
func same(t *testing.T, got, want string) {
	t.Helper()
	read := func(s string) any {
		d := json.NewDecoder(strings.NewReader(s))
		d.UseNumber()
		var v any
		if err := d.Decode(&v); err != nil {
			t.Fatalf("%v: %s", err, s)
		}
		return v
	}
	if !reflect.DeepEqual(read(got), read(want)) {
		t.Errorf("sent\n%s\nwant\n%s", got, want)
	}
}

// TestKeep: an update sends back everything that was read, to the digit, but for what
// was changed and what the service sets.
func TestKeep(t *testing.T) {
	g, err := parseGroup([]byte(later), "Pumps")
	if err != nil {
		t.Fatal(err)
	}
	unchanged := strings.NewReplacer(`"etag": "\"1\"", `, "", `,
	"createdDateTimeUtc": "2026-01-01T00:00:00Z", "lastUpdatedDateTimeUtc": "2026-01-01T00:00:00Z"`, "").Replace(later)
	same(t, sent(t, g), unchanged)

	g.Status = Disabled
	g.Capabilities.Edge = true
	g.Attestation.X509.Signing.Primary = &Certificate{Certificate: "PEM"}
	g.Attestation.X509.Signing.Secondary = nil
	g.Twin.Tags = map[string]any{"m": 1}
	same(t, sent(t, g), strings.NewReplacer(
		`"provisioningStatus": "enabled"`, `"provisioningStatus": "disabled"`,
		`"iotEdge": false`, `"iotEdge": true`,
		`"primary": {"info": {"subjectName": "CN=one", "sha256Thumbprint": "AA", "later": 3, "notAfterUtc": "2030-01-01T00:00:00.1234567Z"}},
		"secondary": {"info": {"sha256Thumbprint": "BB"}}`, `"primary": {"certificate": "PEM"}`,
		`"tags": {"n": 12345678901234567890}`, `"tags": {"m": 1}`,
	).Replace(unchanged))

	// What is created anew holds nothing of what was read elsewhere.
	g.Etag = ""
	if body := sent(t, g); strings.Contains(body, "later") || strings.Contains(body, "credentialPolicyName") {
		t.Errorf("created with what was read: %s", body)
	}
}

// TestKeepOtherAttestation: that of a group with symmetric keys is not ours to drop.
func TestKeepOtherAttestation(t *testing.T) {
	const body = `{"enrollmentGroupId":"keys","attestation":{"type":"symmetricKey","symmetricKey":{"primaryKey":"a"}}}`
	g, err := parseGroup([]byte(strings.Replace(body, "{", `{"etag":"1",`, 1)), "")
	if err != nil {
		t.Fatal(err)
	}
	same(t, sent(t, g), body)
}

func TestKeepEnrollment(t *testing.T) {
	e, err := parseEnrollment([]byte(`{"registrationId":"pump-1","etag":"1","deviceId":"d","credentialPolicyName":"p",
		"optionalDeviceInformation":{"mintmark":"pinned","n":12345678901234567890},
		"registrationState":{"registrationId":"pump-1","status":"assigned"},
		"attestation":{"type":"x509","x509":{"clientCertificates":{"primary":{"info":{"sha256Thumbprint":"aa"}}}}}}`), "pump-1")
	if err != nil {
		t.Fatal(err)
	}
	e.Status = Disabled
	body, err := e.body()
	if err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	same(t, string(data), `{"registrationId":"pump-1","deviceId":"d","credentialPolicyName":"p","provisioningStatus":"disabled",
		"optionalDeviceInformation":{"mintmark":"pinned","n":12345678901234567890},
		"attestation":{"type":"x509","x509":{"clientCertificates":{"primary":{"info":{"sha256Thumbprint":"aa"}}}}}}`)
}
