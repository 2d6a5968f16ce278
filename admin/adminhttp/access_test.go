package adminhttp_test

import (
	"bytes"
	"errors"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"

	"mintmark/admin"
	"mintmark/admin/adminhttp"
	"mintmark/internal/access"
)

// operations are all operations of the API.
var operations = []string{
	"GET /v1/status",
	"GET /v1/authorities", "POST /v1/authorities", "GET /v1/authorities/root", "POST /v1/authorities/new/csr",
	"PUT /v1/authorities/new/certificate", "GET /v1/authorities/root/crl", "POST /v1/authorities/root/crl",
	"GET /v1/certificates", "POST /v1/certificates", "GET /v1/certificates/00ff", "POST /v1/revocations",
	"GET /v1/devices", "GET /v1/devices/press-1",
	"GET /v1/aws/targets", "GET /v1/aws/targets/x/plan", "GET /v1/aws/targets/x/status", "POST /v1/aws/targets/x/apply",
}

func TestDeniedByDefault(t *testing.T) {
	w := open(t, func(c *adminhttp.Config) {
		c.Actor = func(*http.Request) (access.Principal, bool, error) { return access.Principal{}, false, nil }
	})
	for _, operation := range operations {
		method, path, _ := strings.Cut(operation, " ")
		r := httptest.NewRequest(method, path, strings.NewReader("{}"))
		r.Header.Set("Content-Type", "application/json")
		answer := httptest.NewRecorder()
		w.handler.ServeHTTP(answer, r)
		if answer.Code != http.StatusForbidden || !strings.Contains(answer.Body.String(), `"rule":"actor"`) {
			t.Errorf("%s without an actor: %d %s", operation, answer.Code, answer.Body)
		}
	}
	if list := w.ra.Authorities(); len(list) != 0 {
		t.Errorf("authorities were made: %v", list)
	}
}

// TestStrangersAreShort sends a long path as nobody: it does not fill the log.
func TestStrangersAreShort(t *testing.T) {
	var log bytes.Buffer
	w := open(t, func(c *adminhttp.Config) {
		c.Logger = slog.New(slog.NewTextHandler(&log, nil))
		c.Actor = func(*http.Request) (access.Principal, bool, error) { return access.Principal{}, false, nil }
	})
	answer := httptest.NewRecorder()
	w.handler.ServeHTTP(answer, httptest.NewRequestWithContext(t.Context(), "GET", "/v1/devices/"+strings.Repeat("x%1b", 4000), http.NoBody))
	if answer.Code != http.StatusForbidden || log.Len() > 2<<10 {
		t.Errorf("status %d, %d bytes logged", answer.Code, log.Len())
	}
}

func TestMalformed(t *testing.T) {
	w := open(t, nil)
	for _, c := range []struct {
		name, operation, contentType, body string
		status                             int
		rule                               string
	}{
		{"unknown field", "POST /v1/authorities", "application/json", `{"name":"root","validity":"20y"}`, 400, "json"},
		{"not JSON", "POST /v1/certificates", "application/json", `profile=device`, 400, "json"},
		{"empty", "POST /v1/certificates", "application/json", ``, 400, "json"},
		{"two values", "POST /v1/revocations", "application/json", `{"serial":"00ff"}{}`, 400, "json"},
		{"wrong type", "POST /v1/revocations", "application/json", `{"serial":7}`, 400, "json"},
		{"form", "POST /v1/revocations", "application/x-www-form-urlencoded", `serial=00ff`, 415, "content-type"},
		{"no type", "POST /v1/revocations", "", `{"serial":"00ff"}`, 415, "content-type"},
		{"too large", "POST /v1/certificates", "application/json", `{"csr":"` + strings.Repeat("A", admin.MaxRequest) + `"}`, 413, "request-size"},
		{"unknown parameter", "GET /v1/certificates?devise=press-1", "", "", 400, "query"},
		{"parameter twice", "GET /v1/certificates?device=a&device=b", "", "", 400, "query"},
		{"unknown state", "GET /v1/certificates?state=lost", "", "", 400, "query"},
		{"unknown purpose", "GET /v1/certificates?purpose=fun", "", "", 400, "query"},
		{"bad key", "GET /v1/certificates?key=00", "", "", 400, "query"},
		{"bad time", "GET /v1/certificates?expires_before=tomorrow", "", "", 400, "query"},
		{"bad serial", "GET /v1/certificates?after=XYZ", "", "", 400, "query"},
		{"no limit", "GET /v1/certificates?limit=0", "", "", 400, "query"},
		{"beyond the limit", "GET /v1/devices?limit=1001", "", "", 400, "query"},
		{"broken query", "GET /v1/devices?after=%zz", "", "", 400, "query"},
		{"serial in capitals", "GET /v1/certificates/00FF", "", "", 400, "serial"},
		{"long serial", "GET /v1/certificates/" + strings.Repeat("11", 21), "", "", 400, "serial"},
	} {
		t.Run(c.name, func(t *testing.T) {
			method, path, _ := strings.Cut(c.operation, " ")
			r := httptest.NewRequest(method, path, strings.NewReader(c.body))
			if c.contentType != "" {
				r.Header.Set("Content-Type", c.contentType)
			}
			answer := httptest.NewRecorder()
			w.handler.ServeHTTP(answer, r)
			if answer.Code != c.status || !strings.Contains(answer.Body.String(), `"rule":"`+c.rule+`"`) {
				t.Errorf("answered %d %s, want %d by rule %s", answer.Code, answer.Body, c.status, c.rule)
			}
		})
	}
}

// TestInternal checks that what went wrong inside is logged and not told.
func TestInternal(t *testing.T) {
	var log bytes.Buffer
	w := open(t, func(c *adminhttp.Config) { c.Logger = slog.New(slog.NewTextHandler(&log, nil)) }).hierarchy(t)
	if err := w.ra.Ledger.Close(); err != nil {
		t.Fatal(err)
	}
	_, err := w.client.Devices(t.Context(), admin.DeviceQuery{})
	refused(t, err, http.StatusInternalServerError, admin.Internal)
	var e *admin.Error
	errors.As(err, &e)
	if e.Text != "internal error" {
		t.Errorf("told %q", e.Text)
	}
	if !strings.Contains(log.String(), "level=ERROR") || !strings.Contains(log.String(), e.RequestID) {
		t.Errorf("logged nothing of request %s:\n%s", e.RequestID, log.String())
	}
}

func TestDial(t *testing.T) {
	w := open(t, nil).hierarchy(t)
	socket := w.listen(t)
	client, err := admin.Dial(socket)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	dialled, err := client.Authority(t.Context(), "issuing")
	if err != nil {
		t.Fatal(err)
	}
	hosted, err := w.client.Authority(t.Context(), "issuing")
	if err != nil {
		t.Fatal(err)
	}
	if dialled.Certificate != hosted.Certificate || dialled.Chain != hosted.Chain || dialled.Certificate == "" {
		t.Errorf("dialled %+v, hosted %+v", dialled, hosted)
	}

	if _, err := admin.Dial(socket + "x"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("dialling where nothing is: %v", err)
	}
	stale := w.listenAndLeave(t)
	if _, err := admin.Dial(stale); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("dialling a stale socket: %v", err)
	}
}
