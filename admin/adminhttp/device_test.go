package adminhttp_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"mintmark/admin"
	"mintmark/admin/adminhttp"
	"mintmark/internal/ledger"
)

var csvList = admin.ListImport{Media: admin.MediaCSV, File: "devices.csv"}

// list imports a device list.
func (w *world) list(t testing.TB, text string, i admin.ListImport) admin.ListImported {
	t.Helper()
	done, err := w.client.ImportDevices(t.Context(), strings.NewReader(text), i, nil)
	if err != nil {
		t.Fatal(err)
	}
	return done
}

func TestImportDevices(t *testing.T) {
	spool := filepath.Join(t.TempDir(), "tmp")
	w := open(t, func(c *adminhttp.Config) { c.Spool = spool }).hierarchy(t)
	var stages []string
	done, err := w.client.ImportDevices(t.Context(), strings.NewReader("device;mac\npress-1;00:01\npress-2;00:02\n"),
		admin.ListImport{Media: admin.MediaCSV, File: "devices.csv", Order: "WO-1", Product: "press"},
		func(p admin.ListProgress) { stages = append(stages, p.Stage) })
	if err != nil {
		t.Fatal(err)
	}
	if done.Devices != 2 || done.New != 2 || done.Known != 0 || done.ID == "" || done.File != "devices.csv" {
		t.Errorf("imported %+v", done)
	}
	if want := []string{admin.StageChecking, admin.StageImporting, admin.StageCommitting}; !slices.Equal(stages, want) {
		t.Errorf("stages were %v, want %v", stages, want)
	}
	if left, err := os.ReadDir(spool); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}

	w.issue(t, "press-2")
	w.issue(t, "other")
	for _, one := range []struct {
		query admin.DeviceQuery
		want  string
	}{
		{admin.DeviceQuery{}, "other press-1 press-2"},
		{admin.DeviceQuery{State: admin.Expected}, "press-1"},
		{admin.DeviceQuery{State: admin.Enrolled}, "other press-2"},
		{admin.DeviceQuery{Order: "WO-1"}, "press-1 press-2"},
		{admin.DeviceQuery{Order: "WO-1", State: admin.Enrolled}, "press-2"},
		{admin.DeviceQuery{Product: "press"}, "press-1 press-2"},
		{admin.DeviceQuery{Product: "pump"}, ""},
		{admin.DeviceQuery{Import: done.ID}, "press-1 press-2"},
		{admin.DeviceQuery{Text: "00:02"}, "press-2"},
		{admin.DeviceQuery{Text: "press"}, "press-1 press-2"},
		{admin.DeviceQuery{Text: "press", After: "press-1"}, "press-2"},
		{admin.DeviceQuery{Limit: 1}, "other"},
	} {
		page, err := w.client.Devices(t.Context(), one.query)
		var ids []string
		for _, d := range page.Devices {
			ids = append(ids, d.ID)
		}
		if got := strings.Join(ids, " "); err != nil || got != one.want {
			t.Errorf("%+v finds %q, %v; want %q", one.query, got, err, one.want)
		}
	}
	d, err := w.client.Device(t.Context(), "press-2")
	if err != nil || !d.Listed || d.Order != "WO-1" || d.Fields["mac"] != "00:02" || d.State != admin.Enrolled || len(d.Certificates) != 1 || d.ListedAt == nil || d.FirstSeen == nil {
		t.Errorf("press-2 is %+v, %v", d, err)
	}
	d, err = w.client.Device(t.Context(), "press-1")
	if err != nil || d.State != admin.Expected || d.FirstSeen != nil || d.Count != 0 {
		t.Errorf("press-1 is %+v, %v", d, err)
	}
	_, err = w.client.Device(t.Context(), "press-3")
	refused(t, err, http.StatusNotFound, "not-found")
	_, err = w.client.Devices(t.Context(), admin.DeviceQuery{State: "lost"})
	refused(t, err, http.StatusBadRequest, "query")
	_, err = w.client.Devices(t.Context(), admin.DeviceQuery{Text: "\x00"})
	refused(t, err, http.StatusBadRequest, "query")
}

func TestImportDevicesRefused(t *testing.T) {
	w := open(t, nil)
	deny := func(text string, i admin.ListImport, status int, rule, want string) {
		t.Helper()
		_, err := w.client.ImportDevices(t.Context(), strings.NewReader(text), i, nil)
		refused(t, err, status, rule)
		if !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	deny("device\na b\n", csvList, http.StatusConflict, "device-list", "nothing was imported:\nrow 1 (line 2): device \"a b\": the identifier must be")
	deny("device\na1\na1\n", csvList, http.StatusConflict, "device-list", "row 2 (line 3): device \"a1\": it is in row 1 already")
	deny("device\na1\n", admin.ListImport{Media: "application/json"}, http.StatusUnsupportedMediaType, "content-type", "text/csv")
	deny("device\na1\n", admin.ListImport{Media: admin.MediaCSV, Order: "a:b"}, http.StatusBadRequest, "query", "order")
	if page, err := w.client.Devices(t.Context(), admin.DeviceQuery{}); err != nil || len(page.Devices) > 0 {
		t.Errorf("there are %+v, %v", page.Devices, err)
	}

	w.list(t, "device,mac\na1,1\n", csvList)
	deny("device,mac\na1,2\n", csvList, http.StatusConflict, "device-list", "row 1 (line 2): device \"a1\": it is listed otherwise")
	update := csvList
	update.Update = true
	if done := w.list(t, "device,mac\na1,2\n", update); done.New != 0 || done.Known != 1 {
		t.Errorf("updated %+v", done)
	}
	check := csvList
	check.Check = true
	if done := w.list(t, "device\na2\na3\n", check); done.Devices != 2 || done.ID != "" || done.New != 0 {
		t.Errorf("checked %+v", done)
	}
	if page, err := w.client.Devices(t.Context(), admin.DeviceQuery{}); err != nil || len(page.Devices) != 1 {
		t.Errorf("there are %+v, %v", page.Devices, err)
	}
}

// A list that does not end in time for the next one is not mixed with it.
func TestImportBusy(t *testing.T) {
	w := open(t, nil)
	reader, writer := io.Pipe()
	arrived := make(chan struct{})
	ended := make(chan error)
	go func() {
		_, err := w.client.ImportDevices(t.Context(), io.MultiReader(&signal{arrived}, reader), csvList, nil)
		ended <- err
	}()
	<-arrived
	_, err := w.client.ImportDevices(t.Context(), strings.NewReader("device\na2\n"), csvList, nil)
	refused(t, err, http.StatusConflict, "import-busy")
	writer.Write([]byte("device\na1\n"))
	writer.Close()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	w.list(t, "device\na2\n", csvList)
}

// signal is an empty reader that says when it is read.
type signal struct{ read chan struct{} }

func (s *signal) Read([]byte) (int, error) {
	close(s.read)
	return 0, io.EOF
}

// The limit of other requests does not hold for lists: this one is larger.
func TestImportLarge(t *testing.T) {
	w := open(t, nil)
	text := "device,x\na1," + strings.Repeat("x", 1000) + "\n" + strings.Repeat("\n", admin.MaxRequest)
	if done := w.list(t, text, csvList); done.New != 1 {
		t.Errorf("imported %+v", done)
	}
}

// The last line of a refused list names the rows for programs.
func TestImportLines(t *testing.T) {
	w := open(t, nil)
	answer, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://mintmark/v1/devices/imports?file=x.ndjson", strings.NewReader("{\"device\":\"-\"}\n{}\n"))
	if err != nil {
		t.Fatal(err)
	}
	answer.Header.Set("Content-Type", "application/x-ndjson")
	got, err := admin.InProcess(w.handler).RoundTrip(answer)
	if err != nil {
		t.Fatal(err)
	}
	content, err := io.ReadAll(got.Body)
	if err != nil {
		t.Fatal(err)
	}
	lines := bytes.Split(bytes.TrimSpace(content), []byte("\n"))
	var last admin.ListLine
	if err := json.Unmarshal(lines[len(lines)-1], &last); err != nil {
		t.Fatal(err)
	}
	if last.Error == nil || last.Error.RequestID == "" || len(last.Rows) != 2 || last.Rows[0].Device != "-" || last.Rows[1].Row != 2 || last.Rows[1].Text != "device is missing" {
		t.Errorf("the last line is %s", lines[len(lines)-1])
	}
}

func TestHoldDevice(t *testing.T) {
	w := open(t, nil).hierarchy(t)
	w.list(t, "device\npress-1\n", csvList)
	d, err := w.client.HoldDevice(t.Context(), "press-1", "ticket 4711")
	if err != nil || d.State != admin.Held || d.Note != "ticket 4711" || d.ChangedBy != "local:tester" || d.ChangedAt == nil {
		t.Errorf("held: %+v, %v", d, err)
	}
	_, err = w.client.Issue(t.Context(), admin.Issue{Profile: "device", Issuer: "issuing", CSR: csr(t, "press-1")})
	refused(t, err, http.StatusForbidden, "device-held")
	if d, err = w.client.ReleaseDevice(t.Context(), "press-1", "found"); err != nil || d.State != admin.Expected {
		t.Errorf("released: %+v, %v", d, err)
	}
	w.issue(t, "press-1")
	if d, err = w.client.RetireDevice(t.Context(), "press-1", "scrapped"); err != nil || d.State != admin.Retired {
		t.Errorf("retired: %+v, %v", d, err)
	}
	_, err = w.client.Issue(t.Context(), admin.Issue{Profile: "device", Issuer: "issuing", CSR: csr(t, "press-1")})
	refused(t, err, http.StatusForbidden, "device-retired")

	_, err = w.client.HoldDevice(t.Context(), "press-2", "x")
	refused(t, err, http.StatusNotFound, "not-found")
	_, err = w.client.HoldDevice(t.Context(), "press-1", "")
	refused(t, err, http.StatusBadRequest, "note")
	_, err = w.client.HoldDevice(t.Context(), "press-1", "a\nb")
	refused(t, err, http.StatusBadRequest, "note")
	_, err = w.client.HoldDevice(t.Context(), "press-1", strings.Repeat("x", 501))
	refused(t, err, http.StatusBadRequest, "note")
}

func TestRefusals(t *testing.T) {
	w := open(t, nil).hierarchy(t)
	issued := w.issue(t, "press-1")
	_, err := w.client.Issue(t.Context(), admin.Issue{Profile: "device", Issuer: "issuing", CSR: csr(t, "press-1")})
	refused(t, err, http.StatusConflict, "clone")
	_, err = w.client.Issue(t.Context(), admin.Issue{Profile: "device", Issuer: "issuing", CSR: csr(t, "no name")})
	refused(t, err, http.StatusBadRequest, "subject")
	w.written(t)

	all, err := w.client.Refusals(t.Context(), admin.RefusalQuery{})
	if err != nil || len(all.Refusals) != 2 || all.Refusals[0].Rule != "subject" || all.Refusals[1].Rule != "clone" {
		t.Fatalf("refusals are %+v, %v", all, err)
	}
	clone := all.Refusals[1]
	if clone.Device != "press-1" || clone.Requester.Kind != "admin" || clone.Requester.Name != "local:tester" || clone.Operation != "certificate.issue" || clone.Key == "" || clone.Key == issued.Certificate.Key {
		t.Errorf("the clone is %+v", clone)
	}
	for _, one := range []struct {
		query admin.RefusalQuery
		want  int
	}{
		{admin.RefusalQuery{Device: "press-1"}, 1},
		{admin.RefusalQuery{Device: "press-2"}, 0},
		{admin.RefusalQuery{Rule: "clone"}, 1},
		{admin.RefusalQuery{Key: clone.Key}, 1},
		{admin.RefusalQuery{Requester: "local:tester"}, 2},
		{admin.RefusalQuery{Address: "192.0.2.1"}, 0},
		{admin.RefusalQuery{Order: "WO-1"}, 0},
		{admin.RefusalQuery{Since: clone.At.AddDate(0, 0, 1)}, 0},
		{admin.RefusalQuery{Since: clone.At.AddDate(0, 0, -1)}, 2},
		{admin.RefusalQuery{Before: all.Refusals[0].ID}, 1},
		{admin.RefusalQuery{Limit: 1}, 1},
	} {
		got, err := w.client.Refusals(t.Context(), one.query)
		if err != nil || len(got.Refusals) != one.want {
			t.Errorf("%+v finds %+v, %v; want %d", one.query, got.Refusals, err, one.want)
		}
	}
	d, err := w.client.Device(t.Context(), "press-1")
	if err != nil || len(d.Refusals) != 1 || d.Refusals[0].ID != clone.ID {
		t.Errorf("press-1 is %+v, %v", d, err)
	}
	_, err = w.client.Device(t.Context(), "no name")
	if refused(t, err, http.StatusNotFound, "not-found"); !strings.Contains(err.Error(), "mintmark refusal list") {
		t.Errorf("got %v", err)
	}
	_, err = w.client.Refusals(t.Context(), admin.RefusalQuery{Address: "line-1"})
	refused(t, err, http.StatusBadRequest, "query")
	_, err = w.client.Refusals(t.Context(), admin.RefusalQuery{Before: -1})
	refused(t, err, http.StatusBadRequest, "query")
}

// TestDeviceWithoutRefusals shows a device to a station, which may not search
// refusals: it gets none of them by this way either.
func TestDeviceWithoutRefusals(t *testing.T) {
	p := populate(t)
	p.certificate(t, "press-1")
	for _, device := range []string{"press-1", "press-2"} {
		refused := ledger.Refused{At: time.Now(), Server: "test", Rule: "clone", Device: device, Text: "told to another"}
		if err := p.ra.Ledger.Refuse(t.Context(), []ledger.Refused{refused}, 1000); err != nil {
			t.Fatal(err)
		}
	}
	for name, sees := range map[string]bool{"line-1": false, "olga": true} {
		known, unknown := p.ask(t, name, "GET", wire{path: "/v1/devices/press-1"}), p.ask(t, name, "GET", wire{path: "/v1/devices/press-2"})
		if known.Code != http.StatusOK || strings.Contains(known.Body.String(), "told to another") != sees {
			t.Errorf("to %s: %d %s", name, known.Code, known.Body)
		}
		if unknown.Code != http.StatusNotFound || strings.Contains(unknown.Body.String(), "were refused") != sees {
			t.Errorf("of a device that is not there, to %s: %d %s", name, unknown.Code, unknown.Body)
		}
	}
}
