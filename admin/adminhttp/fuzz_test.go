package adminhttp_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"mintmark/admin"
	"mintmark/admin/adminhttp"
)

// FuzzHandler sends anything to the operations that read or issue. Whatever
// comes, the answer is JSON, and it is never the server's fault.
func FuzzHandler(f *testing.F) {
	w := open(f, func(c *adminhttp.Config) { c.Azure = new(azure) }).hierarchy(f)
	issued := w.issue(f, "press-1")
	issue, err := json.Marshal(admin.Issue{Profile: "device", Issuer: "issuing", CSR: csr(f, "press-2")})
	if err != nil {
		f.Fatal(err)
	}
	f.Add("POST", "/v1/certificates", "", issue)
	f.Add("POST", "/v1/certificates", "", []byte(`{"profile":"device","issuer":"issuing","csr":"-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n"}`))
	f.Add("POST", "/v1/revocations", "", []byte(`{"serial":"`+issued.Certificate.Serial+`","reason":"superseded"}`))
	f.Add("POST", "/v1/revocations", "", []byte(`{"device":"press-1"}`))
	f.Add("PUT", "/v1/authorities/x/certificate", "", []byte(`{"certificates":"-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"}`))
	f.Add("GET", "/v1/certificates", "state=valid&limit=3&key="+issued.Certificate.Key, []byte(nil))
	f.Add("GET", "/v1/certificates/"+issued.Certificate.Serial, "", []byte(nil))
	f.Add("GET", "/v1/devices/press%2f1", "", []byte(nil))
	f.Add("GET", "/v1/devices", "after=%00&limit=1000", []byte(nil))
	waiting := w.queued(f, "press-3").ID
	f.Add("GET", "/v1/enrollments", "state=expired&label=line&limit=1&after="+waiting, []byte(nil))
	f.Add("GET", "/v1/enrollments/"+waiting, "", []byte(nil))
	f.Add("POST", "/v1/enrollments/"+waiting+"/approve", "", []byte(`{"note":"x","for_seconds":3600}`))
	f.Add("POST", "/v1/enrollments/%00/reject", "", []byte(`{"for_seconds":-1}`))
	f.Add("POST", "/v1/secrets", "", []byte(`{"devices":["press-1","a:b"],"ttl_seconds":60}`))
	f.Add("PUT", "/v1/secrets", "", []byte(`{"secrets":[{"device":"press-1","secret":"QJ7K2M4N6P8R3T5V"}]}`))
	f.Add("DELETE", "/v1/devices/press-1/secret", "", []byte(nil))
	f.Add("POST", "/v1/rollovers", "", []byte(`{"old":"root","new":"issuing","compromised":true}`))
	f.Add("POST", "/v1/rollovers/end", "", []byte(`{"old":"root","new":""}`))
	f.Add("POST", "/v1/rotations", "", []byte(`{"kind":"root","old":"root","new":"root2","canary_percent":5,"gates":{"officers":2,"trusting":9950,"watch_seconds":0}}`))
	f.Add("GET", "/v1/rotations/k3f7q2xw4m/journal", "after=1&limit=2", []byte(nil))
	f.Add("POST", "/v1/rotations/k3f7q2xw4m/sign", "", []byte(`{"gate":"APPROVED","signature":"AAAA"}`))
	f.Add("POST", "/v1/rotations/k3f7q2xw4m/bring", "", []byte(`{"certificates":"-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"}`))
	f.Add("GET", "/v1/azure/targets/plant/status", "count=true", []byte(nil))
	f.Add("POST", "/v1/azure/targets/plant/apply", "", []byte(`{"hash":"00"}`))
	f.Add("POST", "/v1/azure/targets/plant/prove", "", []byte(`{"version":1,"target":"plant","proofs":[{"name":"root-01","authority":"root","sha256":"00","code":"00AB"}]}`))
	f.Fuzz(func(t *testing.T, method, path, query string, body []byte) {
		u, err := url.ParseRequestURI(path)
		if err != nil || u.Host != "" {
			t.Skip()
		}
		u.RawQuery = query
		if strings.HasSuffix(u.Path, "/csr") || method == http.MethodPost && u.Path == "/v1/authorities" {
			t.Skip() // makes keys, which takes long
		}
		r := &http.Request{Method: method, URL: u, Host: "mintmark", Header: http.Header{"Content-Type": {"application/json"}}, Body: http.NoBody}
		r = r.WithContext(t.Context())
		if len(body) > 0 {
			r.Body = httptest.NewRequest("POST", "/", strings.NewReader(string(body))).Body
		}
		answer := httptest.NewRecorder()
		w.handler.ServeHTTP(answer, r)
		if answer.Code == http.StatusInternalServerError {
			t.Errorf("%s %s %q: %d %s", method, u, body, answer.Code, answer.Body)
		}
		lines := answer.Header().Get("Content-Type") == "application/x-ndjson"
		if answer.Header().Get("X-Request-Id") != "" && !lines && !json.Valid(answer.Body.Bytes()) {
			t.Errorf("%s %s: the answer is not JSON: %s", method, u, answer.Body)
		}
	})
}
