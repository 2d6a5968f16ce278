package dps

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"mintmark/dpsreg/rest"
)

// serve starts a server that answers as it is told, and returns a client of it.
func serve(t *testing.T, handler http.HandlerFunc) *Client {
	t.Helper()
	server := httptest.NewTLSServer(handler)
	t.Cleanup(server.Close)
	return New(&rest.Client{Base: server.URL, APIVersion: APIVersion, HTTP: server.Client()})
}

func say(body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, body) }
}

// TestRefusedAnswers: answers that are not about what was asked for are errors, and
// nothing is returned.
func TestRefusedAnswers(t *testing.T) {
	for name, body := range map[string]string{
		"another one":     `{"enrollmentGroupId":"other","registrationId":"other","attestation":{"type":"x509"}}`,
		"no id":           `{"attestation":{"type":"x509"}}`,
		"null":            `null`,
		"a list":          `[]`,
		"a wrong type":    `{"enrollmentGroupId":"pumps","registrationId":"pumps","iotHubs":"a","attestation":5,"status":7}`,
		"a time that isn": `{"enrollmentGroupId":"pumps","registrationId":"pumps","createdDateTimeUtc":"yesterday"}`,
	} {
		t.Run(name, func(t *testing.T) {
			c := serve(t, say(body))
			if g, err := c.Group(t.Context(), "pumps"); err == nil || g.ID != "" {
				t.Errorf("group %+v, %v", g, err)
			}
			if e, err := c.Enrollment(t.Context(), "pumps"); err == nil || e.RegistrationID != "" {
				t.Errorf("enrollment %+v, %v", e, err)
			}
			if s, err := c.Registration(t.Context(), "pumps"); err == nil {
				t.Errorf("registration %+v, %v", s, err)
			}
			if g, err := c.PutGroup(t.Context(), Group{ID: "pumps"}); err == nil {
				t.Errorf("put group %+v, %v", g, err)
			}
			if e, err := c.PutEnrollment(t.Context(), Enrollment{RegistrationID: "pumps"}); err == nil {
				t.Errorf("put enrollment %+v, %v", e, err)
			}
		})
	}
}

// TestRefusedRequests: these never leave.
func TestRefusedRequests(t *testing.T) {
	c := serve(t, func(_ http.ResponseWriter, r *http.Request) { t.Errorf("called: %s %s", r.Method, r.URL) })
	eleven := make([]Enrollment, MaxBulk+1)
	for name, call := range map[string]func(context.Context) error{
		"a group without an id":     func(ctx context.Context) error { _, err := c.Group(ctx, ""); return err },
		"a group above":             func(ctx context.Context) error { _, err := c.Group(ctx, ".."); return err },
		"put of it":                 func(ctx context.Context) error { _, err := c.PutGroup(ctx, Group{ID: ".."}); return err },
		"an enrollment above":       func(ctx context.Context) error { _, err := c.Enrollment(ctx, ".."); return err },
		"deletion without a tag":    func(ctx context.Context) error { return c.DeleteGroup(ctx, "pumps", "") },
		"the same of an enrollment": func(ctx context.Context) error { return c.DeleteEnrollment(ctx, "pump-1", "") },
		"too many":                  func(ctx context.Context) error { _, err := c.Bulk(ctx, BulkCreate, eleven); return err },
		"a guarded update without a tag": func(ctx context.Context) error {
			_, err := c.Bulk(ctx, BulkMatch, []Enrollment{{RegistrationID: "pump-1"}})
			return err
		},
	} {
		if err := call(t.Context()); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if refused, err := c.Bulk(t.Context(), BulkCreate, nil); refused != nil || err != nil {
		t.Errorf("nothing in bulk: %v, %v", refused, err)
	}
}

// TestBulkAnswers: what a service may say of a bulk operation.
func TestBulkAnswers(t *testing.T) {
	one := `{"registrationId":"pump-1","errorCode":409201,"errorStatus":"exists"}`
	for _, test := range []struct {
		name, body string
		errors     int
		fails      bool
	}{
		{"success", `{"isSuccessful":true,"errors":[]}`, 0, false},
		{"one refused", `{"isSuccessful":false,"errors":[` + one + `]}`, 1, false},
		{"failed without a word", `{"isSuccessful":false,"errors":null}`, 0, true},
		{"no verdict", `{}`, 0, true},
		{"more errors than enrollments", `{"isSuccessful":false,"errors":[` + one + `,` + one + `]}`, 0, true},
		{"a wrong type", `{"isSuccessful":"yes"}`, 0, true},
	} {
		refused, err := serve(t, say(test.body)).Bulk(t.Context(), BulkCreate, []Enrollment{{RegistrationID: "pump-1"}})
		if len(refused) != test.errors || (err != nil) != test.fails {
			t.Errorf("%s: %v, %v", test.name, refused, err)
		}
	}
}

// TestBulkBody: the tag of each enrollment is in the body, and nothing but ids in a
// deletion.
func TestBulkBody(t *testing.T) {
	type request struct {
		Mode        BulkMode
		Enrollments []map[string]any
	}
	var got request
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		got = request{}
		if err := json.NewDecoder(r.Body).Decode(&got); err != nil {
			t.Error(err)
		}
		io.WriteString(w, `{"isSuccessful":true}`)
	})
	e := Enrollment{RegistrationID: "pump-1", Etag: `"1"`, Status: Enabled, Attestation: Attestation{Type: "x509"}}
	for _, mode := range []BulkMode{BulkCreate, BulkUpdate, BulkMatch, BulkDelete} {
		if _, err := c.Bulk(t.Context(), mode, []Enrollment{e}); err != nil {
			t.Fatal(err)
		}
		_, tagged := got.Enrollments[0]["etag"]
		_, whole := got.Enrollments[0]["provisioningStatus"]
		if got.Mode != mode || tagged != (mode != BulkCreate) || whole != (mode != BulkDelete) {
			t.Errorf("%s sent %v", mode, got)
		}
	}
}

// pages serves listings: page i, from 0, has what make(i) says and is followed by
// another if it says so.
func pages(t *testing.T, page func(i int) (body string, next string)) *Client {
	n := 0
	return serve(t, func(w http.ResponseWriter, r *http.Request) {
		if got := r.Header.Get("X-Ms-Max-Item-Count"); got != "100" {
			t.Errorf("asked for %s items", got)
		}
		body, next := page(n)
		if n++; next != "" {
			w.Header().Set("X-Ms-Continuation", next)
		}
		io.WriteString(w, body)
	})
}

func TestPages(t *testing.T) {
	c := pages(t, func(i int) (string, string) {
		if i == 3 {
			return `[{"enrollmentGroupId":"last"}]`, ""
		}
		if i == 1 { // a page may be empty without being the last
			return `[]`, "token-1"
		}
		return fmt.Sprintf(`[{"enrollmentGroupId":"a%d"},{"enrollmentGroupId":"b%d"}]`, i, i), fmt.Sprintf("token-%d", i)
	})
	var ids []string
	if err := c.Groups(t.Context(), func(g Group) error { ids = append(ids, g.ID); return nil }); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(ids, " "); got != "a0 b0 a2 b2 last" {
		t.Errorf("listed %s", got)
	}
}

// TestPagesStop: a listing ends with the caller's error, and at the first page that is
// none.
func TestPagesStop(t *testing.T) {
	enough := errors.New("enough")
	c := pages(t, func(i int) (string, string) {
		if i > 0 {
			t.Error("another page was asked for")
		}
		return `[{"enrollmentGroupId":"a"},{"enrollmentGroupId":"b"}]`, "next"
	})
	if err := c.Groups(t.Context(), func(Group) error { return enough }); err != enough {
		t.Error(err)
	}
	for name, body := range map[string]string{"an object": `{}`, "an item without id": `[{}]`, "a number": `[1]`} {
		c := pages(t, func(int) (string, string) { return body, "" })
		if err := c.Groups(t.Context(), func(Group) error { return nil }); err == nil {
			t.Errorf("groups: %s: no error", name)
		}
		if err := c.Enrollments(t.Context(), func(Enrollment) error { return nil }); err == nil {
			t.Errorf("enrollments: %s: no error", name)
		}
		if err := c.Registrations(t.Context(), "g", func(RegistrationState) error { return nil }); err == nil {
			t.Errorf("registrations: %s: no error", name)
		}
	}
}

// TestPagesWithoutEnd: a service that never ends is left.
func TestPagesWithoutEnd(t *testing.T) {
	for name, page := range map[string]func(int) (string, string){
		"the same page":    func(int) (string, string) { return `[{"enrollmentGroupId":"a"}]`, "again" },
		"pages of nothing": func(i int) (string, string) { return `[]`, fmt.Sprint("token-", i) },
	} {
		if err := pages(t, page).Groups(t.Context(), func(Group) error { return nil }); err == nil || !strings.Contains(err.Error(), "listing does not") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestPageAgain: a page that failed is asked for again, and nothing is listed twice.
func TestPageAgain(t *testing.T) {
	failed := false
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch next := r.Header.Get("X-Ms-Continuation"); {
		case next == "":
			w.Header().Set("X-Ms-Continuation", "two")
			io.WriteString(w, `[{"registrationId":"a","status":"assigned"}]`)
		case !failed:
			failed = true
			w.WriteHeader(500)
		default:
			io.WriteString(w, `[{"registrationId":"b","status":"assigned"}]`)
		}
	})
	c.rest.Again = func(context.Context, int, error) error { return nil }
	var ids string
	if err := c.Registrations(t.Context(), "g", func(s RegistrationState) error { ids += s.RegistrationID; return nil }); err != nil || ids != "ab" {
		t.Errorf("%v, listed %s", err, ids)
	}
}
