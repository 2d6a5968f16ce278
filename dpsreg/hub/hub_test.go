package hub

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"

	"mintmark/dpsreg/rest"
)

// identity is one as a hub shows it (identity registry, device identity properties).
const identity = `{"deviceId":"Pump-1","generationId":"637","etag":"MTIz","connectionState":"Disconnected","status":"enabled","statusReason":null,
	"cloudToDeviceMessageCount":0,"later":{"a":12345678901234567890},"capabilities":{"iotEdge":true},
	"authentication":{"symmetricKey":{"primaryKey":null,"secondaryKey":null},"x509Thumbprint":{"primaryThumbprint":"AABB","secondaryThumbprint":null},"type":"selfSigned"}}`

func serve(t *testing.T, handler http.HandlerFunc) *Client {
	t.Helper()
	server := httptest.NewTLSServer(handler)
	t.Cleanup(server.Close)
	return New(&rest.Client{Base: server.URL, APIVersion: APIVersion, HTTP: server.Client()})
}

func TestSetStatus(t *testing.T) {
	var sent []byte
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.String() != "/devices/Pump-1?api-version=2021-04-12" {
			t.Errorf("called %s", r.URL)
		}
		if r.Method == http.MethodPut {
			if got := r.Header.Get("If-Match"); got != `"MTIz"` {
				t.Errorf("If-Match: %s", got)
			}
			sent, _ = io.ReadAll(r.Body)
			io.WriteString(w, strings.Replace(string(sent), "MTIz", "MTI0", 1))
			return
		}
		io.WriteString(w, identity)
	})
	d, err := c.Device(t.Context(), "Pump-1")
	if err != nil || d.Primary != "AABB" || d.Secondary != "" || d.Status != Enabled || d.Etag != "MTIz" {
		t.Fatalf("%+v, %v", d, err)
	}
	d, err = c.SetStatus(t.Context(), d, Disabled, "mintmark: held")
	if err != nil || d.Status != Disabled || d.StatusReason != "mintmark: held" || d.Etag != "MTI0" {
		t.Errorf("%+v, %v", d, err)
	}
	want := strings.NewReplacer(`"status":"enabled"`, `"status":"disabled"`, `"statusReason":null`, `"statusReason":"mintmark: held"`).Replace(identity)
	if got, want := exact(t, string(sent)), exact(t, want); !reflect.DeepEqual(got, want) {
		t.Errorf("sent\n%s\nwant\n%s", sent, want)
	}
}

// exact reads JSON to the digit.
func exact(t *testing.T, s string) any {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(s))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		t.Fatal(err)
	}
	return v
}

func TestRefused(t *testing.T) {
	c := serve(t, func(_ http.ResponseWriter, r *http.Request) { t.Errorf("called %s %s", r.Method, r.URL) })
	read := Device{ID: "a", Etag: "1", raw: map[string]json.RawMessage{}}
	for name, try := range map[string]func() error{
		"no id":            func() error { _, err := c.Device(t.Context(), ""); return err },
		"never read":       func() error { _, err := c.SetStatus(t.Context(), Device{ID: "a", Etag: "1"}, Disabled, ""); return err },
		"another status":   func() error { _, err := c.SetStatus(t.Context(), read, "deleted", ""); return err },
		"a long reason":    func() error { _, err := c.SetStatus(t.Context(), read, Disabled, strings.Repeat("x", 129)); return err },
		"an id that is up": func() error { _, err := c.Device(t.Context(), ".."); return err },
	} {
		if try() == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// TestAnswers: what is not about the identity that was asked for is an error.
func TestAnswers(t *testing.T) {
	for name, body := range map[string]string{
		"another":         strings.Replace(identity, "Pump-1", "Pump-2", 1),
		"in another case": strings.Replace(identity, "Pump-1", "pump-1", 1),
		"null":            "null",
		"a wrong type":    `{"deviceId":"Pump-1","authentication":5}`,
	} {
		c := serve(t, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, body) })
		if d, err := c.Device(t.Context(), "Pump-1"); err == nil || d.ID != "" {
			t.Errorf("%s: %+v, %v", name, d, err)
		}
	}
	c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(404)
		io.WriteString(w, `{"Message":"ErrorCode:DeviceNotFound;E2E","ExceptionMessage":"Tracking ID:9-TimeStamp:1"}`)
	})
	_, err := c.Device(t.Context(), "Pump-1")
	var refused *rest.Error
	if !errors.As(err, &refused) || refused.Status != 404 || refused.TrackingID != "9" {
		t.Errorf("missing: %v", err)
	}
}

// TestThumbprints: only an identity that is let in by thumbprint has them.
func TestThumbprints(t *testing.T) {
	for kind, want := range map[string]string{"selfSigned": "AABB", "certificateAuthority": "", "sas": ""} {
		d, err := parseDevice([]byte(strings.Replace(identity, `"selfSigned"`, `"`+kind+`"`, 1)), "Pump-1")
		if err != nil || d.Primary != want {
			t.Errorf("%s: %+v, %v", kind, d, err)
		}
	}
}

func FuzzDevice(f *testing.F) {
	f.Add([]byte(identity))
	f.Add([]byte(`{"deviceId":"Pump-1"}`))
	f.Add([]byte(`{"deviceId":"Pump-1","authentication":{"type":"selfSigned"}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		d, err := parseDevice(data, "Pump-1")
		switch {
		case err != nil && !reflect.DeepEqual(d, Device{}):
			t.Errorf("an error and %+v", d)
		case err == nil && (d.ID != "Pump-1" || d.raw == nil):
			t.Errorf("read as %+v", d)
		}
	})
}
