package dpssim

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// TestRegistryWithTheVendorsClient lets azure-iothub of npm judge the identity registry: it
// reads the errors by their bodies.
func TestRegistryWithTheVendorsClient(t *testing.T) {
	p := newPlant(t)
	host, thumbprint := p.sim.Config().Hubs[0], strings.Repeat("aB", 32)
	connection := fmt.Sprintf("HostName=%s;SharedAccessKeyName=%s;SharedAccessKey=", host, hubPolicy)
	out := p.node("hub.js", map[string]string{
		"SIM_ADDRESS": p.sim.Addr(), "THUMBPRINT": thumbprint,
		"SIM_CONNECTION":     connection + p.sim.Config().Keys[hubPolicy],
		"SIM_BAD_CONNECTION": connection + p.sim.Config().Keys[ownerPolicy],
	})
	type result struct {
		Step, Error, Message string

		Body any
	}
	steps := map[string]result{}
	for line := range strings.Lines(out) {
		var r result
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		steps[r.Step] = r
	}
	for name, want := range map[string]string{
		"create": "", "create again": "DeviceAlreadyExistsError", "get": "", "get in lower case": "DeviceNotFoundError", "disable": "", "list": "",
		"twin": "", "twin with an old etag": "InvalidEtagError", "update twin": "", "bad thumbprint": "ArgumentError", "delete": "", "delete again": "DeviceNotFoundError",
		"unauthorized": "UnauthorizedError",
	} {
		if got, ran := steps[name]; !ran || got.Error != want {
			t.Errorf("%s: %q %s, want %q", name, got.Error, got.Message, want)
		}
	}
	// body reads a member of what a step was answered.
	body := func(step string, path ...string) any {
		v := steps[step].Body
		for _, name := range path {
			m, _ := v.(map[string]any)
			v = m[name]
		}
		return v
	}
	for _, tt := range []struct {
		step, path string
		want       any
	}{
		{"get", "deviceId", "Press-1"}, {"get", "status", "enabled"}, {"get", "authentication.type", "selfSigned"},
		{"get", "authentication.x509Thumbprint.primaryThumbprint", thumbprint}, {"get", "capabilities.iotEdge", true},
		{"disable", "status", "disabled"}, {"disable", "statusReason", "mintmark: held"},
		{"twin", "status", "disabled"}, {"twin", "authenticationType", "selfSigned"}, {"twin", "capabilities.iotEdge", true},
		{"update twin", "tags.line", 2.0}, {"update twin", "properties.desired.rate", 5.0}, {"update twin", "tags.gone", nil},
	} {
		if got := body(tt.step, strings.Split(tt.path, ".")...); got != tt.want {
			t.Errorf("%s: %s is %v, want %v", tt.step, tt.path, got, tt.want)
		}
	}
	if list, _ := steps["list"].Body.([]any); len(list) != 1 {
		t.Errorf("list %v", steps["list"].Body)
	}
	if scope, _ := body("get", "deviceScope").(string); !strings.HasPrefix(scope, "ms-azure-iot-edge://Press-1-") {
		t.Errorf("the scope of an Edge device is %q", scope)
	}
}

// What a client that guards its writes relies on, by bare requests.
func TestRegistryEtags(t *testing.T) {
	s := startSim(t)
	host := s.Config().Hubs[0]
	at := func(path string) string { return "https://" + host + path + "?api-version=2021-04-12" }
	do := func(method, path, body, ifMatch string) (int, string, map[string]any) {
		t.Helper()
		header := []string{"Authorization", s.sas(t, host), "Content-Type", "application/json"}
		if ifMatch != "" {
			header = append(header, "If-Match", ifMatch)
		}
		status, h, answer := s.call(t, method, at(path), body, header...)
		if answer == "" {
			return status, "", nil
		}
		if strings.HasPrefix(answer, "[") {
			return status, "", nil
		}
		return status, h.Get("ETag"), parseJSON(t, answer)
	}
	one := `{"deviceId":"one","authentication":{"type":"selfSigned","x509Thumbprint":{"primaryThumbprint":"` + strings.Repeat("0", 40) + `"}}}`
	if status, _, body := do("PUT", "/devices/one", one, `"x"`); status != 404 {
		t.Errorf("an update of what is not there: %d %v", status, body)
	}
	status, etag, body := do("PUT", "/devices/one", one, "")
	if status != 200 || etag != `"`+body["etag"].(string)+`"` {
		t.Fatalf("%d %s %v", status, etag, body)
	}
	generation := body["generationId"]
	for ifMatch, want := range map[string]int{"": 409, `"x"`: 412, "x": 412} {
		if status, _, body := do("PUT", "/devices/one", one, ifMatch); status != want {
			t.Errorf("If-Match %q: %d %v", ifMatch, status, body)
		}
	}
	for _, form := range []string{"%s", `W/"%s"`, `"%s"`} {
		status, _, body := do("GET", "/devices/one", "", "")
		if status != 200 {
			t.Fatal(status)
		}
		// What was read is written back, with one change; what clients do not know stays.
		body["status"], body["statusReason"] = "disabled", "mintmark: revoked"
		text, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		status, _, body = do("PUT", "/devices/one", string(text), fmt.Sprintf(form, body["etag"]))
		if status != 200 || body["statusReason"] != "mintmark: revoked" || body["generationId"] != generation {
			t.Errorf("%s: %d %v", form, status, body)
		}
	}
	for _, body := range []string{
		``, `{}`, `[]`, `{"deviceId":"two"}`, `{"deviceId":"one","status":"held"}`, `{"deviceId":"one","statusReason":"` + strings.Repeat("a", 129) + `"}`,
		`{"deviceId":"one","authentication":{"type":"magic"}}`, `{"deviceId":"one","authentication":{"type":"selfSigned","x509Thumbprint":{"primaryThumbprint":"00"}}}`,
		`{"deviceId":"one"} {}`,
	} {
		if status, _, answer := do("PUT", "/devices/one", body, "*"); status != 400 {
			t.Errorf("%.60q: %d %v", body, status, answer)
		}
	}
	if status, _, _ := do("PUT", "/devices/a%20b", `{"deviceId":"a b"}`, ""); status != 400 {
		t.Errorf("an id with a blank: %d", status)
	}
	if status, _, _ := do("DELETE", "/devices/one", "", ""); status != 412 {
		t.Errorf("a deletion without If-Match: %d", status)
	}
	for _, tt := range []struct {
		method, path string
		status       int
	}{
		{"GET", "/modules/one", 404}, {"POST", "/devices/query", 404}, {"GET", "/devices/one/modules", 404}, {"PUT", "/twins/one", 404}, {"GET", "/twins/two", 404},
		{"PATCH", "/twins/two", 400},
	} {
		if status, _, body := do(tt.method, tt.path, "", ""); status != tt.status {
			t.Errorf("%s %s: %d %v", tt.method, tt.path, status, body)
		}
	}
	if status, _, _ := s.call(t, "GET", "https://"+host+"/devices?api-version=1999-01-01", "", "Authorization", s.sas(t, host)); status != 400 {
		t.Errorf("an api-version that is not there: %d", status)
	}
	for query, want := range map[string]int{"": 200, "&top=1": 200, "&top=0": 400, "&top=x": 400, "&top=1001": 400} {
		if status, _, _ := s.call(t, "GET", at("/devices")+query, "", "Authorization", s.sas(t, host)); status != want {
			t.Errorf("list %q: %d", query, status)
		}
	}
	deep := strings.Repeat(`{"a":`, 11) + "1" + strings.Repeat("}", 11)
	if status, _, _ := do("PATCH", "/twins/one", `{"tags":`+deep+`}`, ""); status != 400 {
		t.Errorf("a twin of 11 levels: %d", status)
	}
	if status, _, body := do("PATCH", "/twins/one", `{"tags":{"a":{"b":1,"c":2}}}`, ""); status != 200 {
		t.Errorf("%d %v", status, body)
	}
	if _, _, body := do("PATCH", "/twins/one", `{"tags":{"a":{"b":null}}}`, ""); fmt.Sprint(body["tags"]) != "map[a:map[c:2]]" {
		t.Errorf("tags %v", body["tags"])
	}
}

func FuzzHubBody(f *testing.F) {
	f.Add([]byte(`{"deviceId":"a","status":"disabled","statusReason":"b","authentication":{"type":"selfSigned","x509Thumbprint":{"primaryThumbprint":"` + strings.Repeat("0", 40) + `"}}}`))
	f.Add([]byte(`{"tags":{"a":{"b":null}},"properties":{"desired":{"c":[1,{"d":2}]}}}`))
	f.Add([]byte(`{}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		d, err := parseDevice(body, "a")
		if (err == nil) != (d != nil) {
			t.Fatalf("%v %v", d, err)
		}
		if d != nil && d.authentication()["type"] == "" {
			t.Fatalf("%+v", d)
		}
		twin, err := parseTwin(body)
		if (err == nil) != (twin != nil) {
			t.Fatalf("%v %v", twin, err)
		}
		if twin != nil {
			once := merge(nil, twin.Tags)
			if twice := merge(once, twin.Tags); fmt.Sprint(twice) != fmt.Sprint(once) {
				t.Fatalf("%v is not %v", twice, once)
			}
		}
	})
}
