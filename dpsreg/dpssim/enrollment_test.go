package dpssim

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// TestDataRefusals has the calls that the data plane refuses, each with its status.
func TestDataRefusals(t *testing.T) {
	p := newPlant(t)
	leaf, second := newParty(t, "press-1", false, p.line), newParty(t, "Line 2 CA", true, p.root)
	p.upload("not-proven", second, false)
	p.group("line-a", nil)
	line, group, press := p.line.pem(), x509Group("line-b", p.line.pem()), x509Individual("press-1", leaf.pem())
	x := func(forms object) object {
		return group.with(object{"attestation": object{"type": "x509", "x509": forms}})
	}
	slot := func(certificate any) object { return object{"primary": certificate} }
	der, err := x509.MarshalECPrivateKey(leaf.key)
	if err != nil {
		t.Fatal(err)
	}
	const put, b = "PUT", "/enrollmentGroups/line-b"
	type call struct {
		method, path string
		body         any
		status       int
		header       []string
	}
	for name, c := range map[string]call{
		"no attestation":                       {put, b, object{"enrollmentGroupId": "line-b"}, 400, nil},
		"another id in the body":               {put, b, x509Group("line-c", line), 400, nil},
		"no id in the body":                    {put, b, group.with(object{"enrollmentGroupId": nil}), 400, nil},
		"an id that ends in a dot":             {put, "/enrollmentGroups/line.", x509Group("line.", line), 400, nil},
		"an id that is too long":               {put, "/enrollmentGroups/" + strings.Repeat("a", 129), x509Group(strings.Repeat("a", 129), line), 400, nil},
		"unknown member":                       {put, b, group.with(object{"provisionigStatus": "enabled"}), 400, nil},
		"a group with a device id":             {put, b, group.with(object{"deviceId": "d"}), 400, nil},
		"unknown status":                       {put, b, group.with(object{"provisioningStatus": "on"}), 400, nil},
		"unknown allocation":                   {put, b, group.with(object{"allocationPolicy": "nearest"}), 400, nil},
		"static without a hub":                 {put, b, group.with(object{"allocationPolicy": "static"}), 400, nil},
		"custom without a function":            {put, b, group.with(object{"allocationPolicy": "custom"}), 400, nil},
		"a function that nobody calls":         {put, b, group.with(object{"customAllocationDefinition": object{"webhookUrl": "https://example.com/", "apiVersion": "1"}}), 400, nil},
		"a hub that is not linked":             {put, b, group.with(object{"iotHubs": []string{"other.azure-devices.net"}}), 400, nil},
		"two forms of x509":                    {put, b, x(object{"signingCertificates": slot(object{"certificate": line}), "caReferences": slot("plant-root")}), 400, nil},
		"no form of x509":                      {put, b, x(object{}), 400, nil},
		"a group with client certificates":     {put, b, x(object{"clientCertificates": slot(object{"certificate": leaf.pem()})}), 400, nil},
		"no primary":                           {put, b, x(object{"signingCertificates": object{"secondary": object{"certificate": line}}}), 400, nil},
		"an empty slot":                        {put, b, x(object{"signingCertificates": slot(object{})}), 400, nil},
		"info that is in no slot":              {put, b, x(object{"signingCertificates": slot(object{"info": object{"sha256Thumbprint": sha256Thumbprint(p.line.cert)}})}), 400, nil},
		"a reference to nothing":               {put, b, x(object{"caReferences": slot("no-such")}), 400, nil},
		"a reference to what is not verified":  {put, b, x(object{"caReferences": slot("not-proven")}), 400, nil},
		"a device's certificate for a group":   {put, b, x509Group("line-b", leaf.pem()), 400, nil},
		"a chain in a slot":                    {put, b, x509Group("line-b", line+second.pem()), 400, nil},
		"a key in a slot":                      {put, b, x509Group("line-b", "-----BEGIN EC PRIVATE KEY-----\n"+base64.StdEncoding.EncodeToString(der)+"\n-----END EC PRIVATE KEY-----\n"), 400, nil},
		"no certificate in a slot":             {put, b, x509Group("line-b", "abc!"), 400, nil},
		"base64 of something else":             {put, b, x509Group("line-b", "AAAA"), 400, nil},
		"TPM for a group":                      {put, b, group.with(object{"attestation": object{"type": "tpm", "tpm": object{"endorsementKey": "a"}}}), 400, nil},
		"type and form differ":                 {put, b, group.with(object{"attestation": object{"type": "symmetricKey", "x509": object{}}}), 400, nil},
		"unknown type":                         {put, b, group.with(object{"attestation": object{"type": "none"}}), 400, nil},
		"an individual with a reference":       {put, "/enrollments/press-1", press.with(object{"attestation": object{"type": "x509", "x509": object{"caReferences": slot("plant-root")}}}), 400, nil},
		"a device id with a space":             {put, "/enrollments/press-1", press.with(object{"deviceId": "press 1"}), 400, nil},
		"an etag for what is not there":        {put, b, group, 404, []string{"If-Match", `"00000000-0000-0000-0000-000000000001"`}},
		"a group that is there":                {put, "/enrollmentGroups/LINE-A", x509Group("Line-A", line), 409, nil},
		"another etag":                         {put, "/enrollmentGroups/line-a", x509Group("line-a", line), 412, []string{"If-Match", `"00000000-0000-0000-0000-000000000000"`}},
		"an etag without quotes":               {put, "/enrollmentGroups/line-a", x509Group("line-a", line), 400, []string{"If-Match", `00000000-0000-0000-0000-000000000000`}},
		"an etag in quotes of quotes":          {put, "/enrollmentGroups/line-a", x509Group("line-a", line), 400, []string{"If-Match", `""00000000-0000-0000-0000-000000000000""`}},
		"deletion by another etag":             {"DELETE", "/enrollmentGroups/line-a", nil, 412, []string{"If-Match", `"0"`}},
		"deletion of nothing":                  {"DELETE", b, nil, 404, nil},
		"a form":                               {put, b, group, 415, []string{"Content-Type", "application/x-www-form-urlencoded"}},
		"no id":                                {"GET", "/enrollmentGroups", nil, 405, nil},
		"PATCH":                                {"PATCH", b, group, 405, nil},
		"another collection":                   {"GET", "/enrollmentLists/a", nil, 404, nil},
		"too deep":                             {"GET", "/enrollments/a/b/c", nil, 404, nil},
		"no query":                             {"POST", "/enrollments/query", object{}, 400, nil},
		"a query for the other collection":     {"POST", "/enrollments/query", object{"query": "SELECT * FROM enrollmentGroups"}, 400, nil},
		"a query with a condition":             {"POST", "/enrollments/query", object{"query": "SELECT * FROM enrollments WHERE deviceId = 'a'"}, 400, nil},
		"pages of nothing":                     {"POST", "/enrollments/query", object{"query": "SELECT *"}, 400, []string{"x-ms-max-item-count", "0"}},
		"a continuation that nobody gave":      {"POST", "/enrollments/query", object{"query": "SELECT *"}, 400, []string{"x-ms-continuation", "?"}},
		"states of a group that is not there":  {"POST", "/registrations/line-z/query", object{"query": "SELECT *"}, 404, nil},
		"bulk without a mode":                  {"POST", "/enrollments", object{"enrollments": []object{press}}, 400, nil},
		"bulk of nothing":                      {"POST", "/enrollments", object{"mode": "create", "enrollments": []object{}}, 400, nil},
		"bulk of groups among the individuals": {"POST", "/enrollments", object{"mode": "create", "enrollmentGroups": []object{group}}, 400, nil},
		"a body that is too long":              {put, b, group.with(object{"initialTwin": object{"tags": object{"a": strings.Repeat("a", maxBody)}}}), 400, nil},
	} {
		body := ""
		if c.body != nil {
			body = fmt.Sprint(c.body)
		}
		r := p.data(c.method, c.path, body, c.header...)
		if r.status != c.status || r.code()/1000 != c.status || r.body["message"] == "" || r.body["trackingId"] == nil || r.body["timestampUtc"] == nil ||
			r.header.Get("X-Ms-Error-Code") != fmt.Sprint(r.code()) {
			t.Errorf("%s: HTTP %d %s, want %d", name, r.status, r.text, c.status)
		}
	}
	for name, r := range map[string]reply{
		"no token":       p.do(p.client(nil), "GET", "https://"+p.sim.Config().serviceHost()+"/enrollmentGroups/line-a?api-version=2021-10-01", ""),
		"no api-version": p.do(p.client(nil), "GET", "https://"+p.sim.Config().serviceHost()+"/enrollmentGroups/line-a", "", "Authorization", p.signature()),
	} {
		want := map[string]int{"no token": 401, "no api-version": 400}[name]
		if r.status != want {
			t.Errorf("%s: HTTP %d %s, want %d", name, r.status, r.text, want)
		}
	}
	p.sim.store.mu.Lock()
	defer p.sim.store.mu.Unlock()
	if len(p.sim.store.groups) != 1 || len(p.sim.store.enrollments) != 0 {
		t.Errorf("%d groups and %d enrollments after refusals only", len(p.sim.store.groups), len(p.sim.store.enrollments))
	}
}

// TestSlots follows a rotation: what is sent with info only stays, what is not sent goes,
// and certificates come as PEM or base64 of DER.
func TestSlots(t *testing.T) {
	p := newPlant(t)
	next := newParty(t, "Line 2 CA", true, p.root)
	etag := p.group("line-a", object{"credentialPolicyName": "short"}).body["etag"].(string)
	signing := func(slots object) string {
		return object{"enrollmentGroupId": "line-a", "attestation": object{"type": "x509", "x509": object{"signingCertificates": slots}}}.String()
	}
	kept := object{"info": object{"sha256Thumbprint": strings.ToLower(sha256Thumbprint(p.line.cert))}}
	der := base64.StdEncoding.EncodeToString(next.cert.Raw)
	r := p.must("PUT", "/enrollmentGroups/line-a", signing(object{"primary": kept, "secondary": object{"certificate": der}}), "If-Match", etag)
	if got := held(p, "line-a"); got != "Line 1 CA, Line 2 CA" {
		t.Errorf("after the second slot: %s", got)
	}
	// Promotion by info of the other slot is not documented, and refused.
	if r := p.data("PUT", "/enrollmentGroups/line-a", signing(object{"primary": object{"info": object{"sha256Thumbprint": sha256Thumbprint(next.cert)}}}), "If-Match", "*"); r.status != 400 {
		t.Errorf("info of the other slot: HTTP %d %s", r.status, r.text)
	}
	p.must("PUT", "/enrollmentGroups/line-a", signing(object{"primary": object{"certificate": next.pem()}, "secondary": nil}), "If-Match", r.body["etag"].(string))
	if got := held(p, "line-a"); got != "Line 2 CA, " {
		t.Errorf("after the promotion: %s", got)
	}
	if r := p.must("GET", "/enrollmentGroups/line-a", ""); strings.Contains(r.text, "secondary") || strings.Contains(r.text, "credentialPolicyName") {
		t.Errorf("what was not sent is still there: %s", r.text)
	}
}

// held names the certificates in the slots of a group.
func held(p *plant, id string) string {
	p.sim.store.mu.Lock()
	defer p.sim.store.mu.Unlock()
	name := func(c *x509.Certificate) string {
		if c == nil {
			return ""
		}
		return c.Subject.CommonName
	}
	g := p.sim.store.groups[id]
	return name(g.primary) + ", " + name(g.secondary)
}

// TestOtherAttestation keeps enrollments with keys, and shows their keys only where Azure does.
func TestOtherAttestation(t *testing.T) {
	p := newPlant(t)
	r := p.must("PUT", "/enrollments/sensor-1", object{"registrationId": "sensor-1", "attestation": object{"type": "symmetricKey", "symmetricKey": object{"primaryKey": "c2VjcmV0"}}}.String())
	if strings.Contains(r.text, "c2VjcmV0") || !strings.Contains(r.text, `"status":"unassigned"`) {
		t.Errorf("PUT shows %s", r.text)
	}
	if r := p.must("POST", "/enrollments/sensor-1/attestationmechanism", ""); !strings.Contains(r.text, "c2VjcmV0") {
		t.Errorf("attestationmechanism shows %s", r.text)
	}
}

// TestNullIsNothing takes null for what is not there, as some clients write it.
func TestNullIsNothing(t *testing.T) {
	p := newPlant(t)
	d := newParty(t, "press-1", false, p.line)
	slots := object{"primary": object{"certificate": d.pem(), "info": nil}, "secondary": nil}
	body := object{
		"registrationId": "press-1", "deviceId": nil, "optionalDeviceInformation": nil, "capabilities": nil, "initialTwin": nil, "iotHubs": nil,
		"attestation": object{"type": "x509", "tpm": nil, "symmetricKey": nil, "x509": object{"clientCertificates": slots, "signingCertificates": nil, "caReferences": nil}},
	}
	if r := p.must("PUT", "/enrollments/press-1", body.String()); strings.Contains(r.text, "null") {
		t.Errorf("PUT shows %s", r.text)
	}
	r := p.device(p.client(d.tls()), "PUT", "press-1/register", `{"registrationId":"press-1","payload":null,"tpm":null,"csr":null}`)
	if r.status != http.StatusAccepted {
		t.Errorf("register: HTTP %d %s", r.status, r.text)
	}
}

// TestGroupLimit makes a hundred groups with X.509 and not one more.
func TestGroupLimit(t *testing.T) {
	p := newPlant(t)
	for i := range maxGroups / 10 {
		var list []object
		for j := range 10 {
			list = append(list, x509Group(fmt.Sprintf("g-%d", i*10+j), p.line.pem()))
		}
		if r := p.must("POST", "/enrollmentGroups", object{"mode": "create", "enrollmentGroups": list}.String()); r.body["isSuccessful"] != true {
			t.Fatalf("bulk %d: %s", i, r.text)
		}
	}
	if r := p.data("PUT", "/enrollmentGroups/one-more", x509Group("one-more", p.line.pem()).String()); r.status != 400 || !strings.Contains(r.text, "100") {
		t.Errorf("group %d: HTTP %d %s", maxGroups+1, r.status, r.text)
	}
	p.must("PUT", "/enrollmentGroups/keys", object{"enrollmentGroupId": "keys", "attestation": object{"type": "symmetricKey"}}.String())
	if r := p.data("PUT", "/enrollmentGroups/keys", x509Group("keys", p.line.pem()).String(), "If-Match", "*"); r.status != 400 {
		t.Errorf("a group with keys becomes number %d: HTTP %d %s", maxGroups+1, r.status, r.text)
	}
	p.must("PUT", "/enrollmentGroups/g-7", x509Group("g-7", p.line.pem()).String(), "If-Match", "*")
}

// TestBulkCounts takes a bulk call for as many operations as it has enrollments.
func TestBulkCounts(t *testing.T) {
	clock := newClock()
	p := newPlant(t, func(c *Config) { c.Limits, c.Now = &Limits{Operations: 15}, clock.now })
	bulk := func(prefix string, n int) reply {
		var list []object
		for i := range n {
			id := fmt.Sprintf("%s-%d", prefix, i)
			list = append(list, x509Individual(id, p.line.pem()))
		}
		return p.data("POST", "/enrollments", object{"mode": "create", "enrollments": list}.String())
	}
	if r := bulk("a", 10); r.status != 200 {
		t.Fatalf("ten: HTTP %d %s", r.status, r.text)
	}
	r := bulk("b", 6)
	if r.status != http.StatusTooManyRequests || r.header.Get("Retry-After") != "1" {
		t.Errorf("six more of fifteen: HTTP %d %v", r.status, r.header)
	}
	if r := bulk("c", 5); r.status != 200 {
		t.Errorf("five more of fifteen: HTTP %d %s", r.status, r.text)
	}
	if r := p.data("GET", "/enrollments/a-1", ""); r.status != http.StatusTooManyRequests {
		t.Errorf("one more: HTTP %d", r.status)
	}
	clock.move(61e9)
	if r := p.data("GET", "/enrollments/b-1", ""); r.status != 404 {
		t.Errorf("an enrollment of the bulk call that was refused: HTTP %d", r.status)
	}
}

// TestPages deletes and makes enrollments between pages: what is there all the time is
// seen once.
func TestPages(t *testing.T) {
	p := newPlant(t)
	for _, id := range []string{"a", "c", "e", "g"} {
		p.must("PUT", "/enrollments/"+id, x509Individual(id, p.line.pem()).String())
	}
	ids := func(r reply) string {
		var page []record
		if err := json.Unmarshal([]byte(r.text), &page); err != nil {
			t.Fatalf("%v: %s", err, r.text)
		}
		var out []string
		for _, e := range page {
			out = append(out, e.RegistrationID)
		}
		return strings.Join(out, " ")
	}
	query := object{"query": "select * from Enrollments"}.String()
	first := p.must("POST", "/enrollments/query", query, "x-ms-max-item-count", "2")
	if ids(first) != "a c" || first.header.Get("X-Ms-Item-Type") != "enrollment" {
		t.Fatalf("first page: %s %v", ids(first), first.header)
	}
	p.must("DELETE", "/enrollments/c", "")
	p.must("PUT", "/enrollments/b", x509Individual("b", p.line.pem()).String())
	p.must("PUT", "/enrollments/d", x509Individual("d", p.line.pem()).String())
	second := p.must("POST", "/enrollments/query", query, "x-ms-max-item-count", "2", "x-ms-continuation", first.header.Get("X-Ms-Continuation"))
	third := p.must("POST", "/enrollments/query", query, "x-ms-continuation", second.header.Get("X-Ms-Continuation"))
	if ids(second) != "d e" || ids(third) != "g" || third.header.Get("X-Ms-Continuation") != "" {
		t.Errorf("second page %q, third %q with continuation %q", ids(second), ids(third), third.header.Get("X-Ms-Continuation"))
	}
}

// TestFaultsOfTheDataPlane cuts a call before and after its effect.
func TestFaultsOfTheDataPlane(t *testing.T) {
	p := newPlant(t)
	body := x509Group("line-a", p.line.pem()).String()
	for _, after := range []bool{false, true} {
		p.sim.Inject(Fault{Operation: "enrollmentGroups.put", Times: 1, Status: 500, Code: 500001, AfterEffect: after})
		if r := p.data("PUT", "/enrollmentGroups/line-a", body); r.status != 500 || r.code() != 500001 {
			t.Errorf("after the effect %v: HTTP %d %s", after, r.status, r.text)
		}
		want := map[bool]int{false: 404, true: 200}[after]
		if r := p.data("GET", "/enrollmentGroups/line-a", ""); r.status != want {
			t.Errorf("after the effect %v, then GET: HTTP %d, want %d", after, r.status, want)
		}
	}
}

// TestDistinguishedName prints names as the vendor's reference shows them.
func TestDistinguishedName(t *testing.T) {
	for want, name := range map[string]pkix.Name{
		"CN=ROOT, OU=Azure IoT, O=MSFT, C=US": {CommonName: "ROOT", OrganizationalUnit: []string{"Azure IoT"}, Organization: []string{"MSFT"}, Country: []string{"US"}},
		`CN="Press ""4"", hall 2"`:            {CommonName: `Press "4", hall 2`},
		"OID.1.2.3=x, CN=a":                   {CommonName: "a", ExtraNames: []pkix.AttributeTypeAndValue{{Type: asn1.ObjectIdentifier{1, 2, 3}, Value: "x"}}},
		"":                                    {},
	} {
		raw, err := asn1.Marshal(name.ToRDNSequence())
		if err != nil {
			t.Fatal(err)
		}
		if got := distinguishedName(raw); got != want {
			t.Errorf("%+v is %q, want %q", name, got, want)
		}
	}
	if got := distinguishedName([]byte{0x30, 0x03, 0x01}); got != "" {
		t.Errorf("what is no name is %q", got)
	}
}
