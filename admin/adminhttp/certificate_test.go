package adminhttp_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"mintmark/admin"
	"mintmark/admin/adminhttp"
	"mintmark/internal/ledger"
)

func TestIssue(t *testing.T) {
	w := open(t, nil).hierarchy(t)
	issued := w.issue(t, "press-1")
	one := issued.Certificate
	if one.State != "valid" || one.Device != "press-1" || one.Requester != (admin.Requester{Kind: "admin", Name: "local:tester"}) || one.IssuedAt == nil {
		t.Errorf("issued %+v", one)
	}
	c := parse(t, one.PEM)
	if err := c.CheckSignatureFrom(parse(t, issued.Chain)); err != nil {
		t.Error(err)
	}
	shown, err := w.client.Certificate(t.Context(), one.Serial)
	if err != nil {
		t.Fatal(err)
	}
	if shown.PEM != one.PEM || shown.Key != one.Key {
		t.Errorf("issued %+v, shown %+v", one, shown)
	}
	for _, c := range []struct {
		name   string
		in     admin.Issue
		status int
		rule   string
	}{
		{"no PEM", admin.Issue{Profile: "device", Issuer: "issuing", CSR: "press"}, 400, "csr-pem"},
		{"a certificate", admin.Issue{Profile: "device", Issuer: "issuing", CSR: one.PEM}, 400, "csr-pem"},
		{"two", admin.Issue{Profile: "device", Issuer: "issuing", CSR: csr(t, "a") + csr(t, "b")}, 400, "csr-pem"},
		{"no profile", admin.Issue{Profile: "nothing", Issuer: "issuing", CSR: csr(t, "a")}, 404, "profile"},
		{"the server's own profile", admin.Issue{Profile: "verification", Issuer: "issuing", CSR: csr(t, "a")}, 404, "profile"},
		{"no issuer", admin.Issue{Profile: "device", Issuer: "nobody", CSR: csr(t, "a")}, 404, "authority"},
		{"subject", admin.Issue{Profile: "device", Issuer: "issuing", CSR: csr(t, "a b")}, 400, "subject"},
		{"clone", admin.Issue{Profile: "device", Issuer: "issuing", CSR: csr(t, "press-1")}, 409, "clone"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := w.client.Issue(t.Context(), c.in)
			refused(t, err, c.status, c.rule)
		})
	}
}

// TestExpired: what is over is listed as such and no more as valid, on pages that
// are as full as asked.
func TestExpired(t *testing.T) {
	w := open(t, nil).hierarchy(t)
	var old []string
	for i := range 5 {
		old = append(old, w.issue(t, fmt.Sprintf("press-%d", i)).Certificate.Serial)
	}
	end, err := w.client.Certificate(t.Context(), old[0])
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.client.Revoke(t.Context(), admin.Revocation{Serial: old[4], Reason: "superseded"}); err != nil {
		t.Fatal(err)
	}
	w.ahead.Store(int64(time.Until(end.NotAfter) - time.Hour))
	list := func(q admin.Query) (serials []string) {
		t.Helper()
		for q.Limit = 2; ; {
			page, err := w.client.Certificates(t.Context(), q)
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range page.Certificates {
				serials = append(serials, c.Serial)
			}
			if page.Next == "" {
				return serials
			}
			if len(page.Certificates) != 2 {
				t.Errorf("%+v: a page of %d, and another follows", q, len(page.Certificates))
			}
			q.After = page.Next
		}
	}
	if got := list(admin.Query{State: "valid", Profile: "device"}); !slices.Equal(got, slices.Sorted(slices.Values(old[:4]))) {
		t.Errorf("an hour before the end, valid are %v", got)
	}
	w.ahead.Add(int64(2 * time.Hour))
	if got := list(admin.Query{State: "valid", Profile: "device"}); len(got) > 0 {
		t.Errorf("an hour after the end, valid are %v", got)
	}
	want := slices.Sorted(slices.Values(old[:4])) // without the revoked one
	if got := list(admin.Query{State: "expired"}); !slices.Equal(got, want) {
		t.Errorf("expired are %v, want %v", got, want)
	}
	if got := list(admin.Query{State: "expired", ExpiresBefore: time.Now()}); len(got) > 0 {
		t.Errorf("expired by now are %v", got)
	}
	if got := list(admin.Query{State: "expired", ExpiresBefore: w.ra.Now().AddDate(1, 0, 0), Device: "press-1"}); !slices.Equal(got, old[1:2]) {
		t.Errorf("expired of press-1 are %v", got)
	}
}

func TestLists(t *testing.T) {
	w := open(t, nil).hierarchy(t)
	var serials []string
	for i := range 5 {
		serials = append(serials, w.issue(t, fmt.Sprintf("press-%d", i)).Certificate.Serial)
	}
	slices.Sort(serials)

	var paged []string
	q := admin.Query{Profile: "device", Limit: 2}
	for pages := 1; ; pages++ {
		page, err := w.client.Certificates(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range page.Certificates {
			paged = append(paged, c.Serial)
			if c.PEM != "" {
				t.Error("a list holds certificates")
			}
		}
		if q.After = page.Next; page.Next == "" {
			break
		}
		if pages > 3 {
			t.Fatal("the pages do not end")
		}
	}
	if !slices.Equal(paged, serials) {
		t.Errorf("paged %v, want %v", paged, serials)
	}

	count := func(q admin.Query, want int) {
		t.Helper()
		page, err := w.client.Certificates(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		if len(page.Certificates) != want {
			t.Errorf("%+v selects %d, want %d", q, len(page.Certificates), want)
		}
	}
	first, err := w.client.Certificate(t.Context(), serials[0])
	if err != nil {
		t.Fatal(err)
	}
	count(admin.Query{Purpose: "ca"}, 2)
	count(admin.Query{Issuer: "issuing"}, 5)
	count(admin.Query{Requester: "local:tester", Purpose: "device"}, 5)
	count(admin.Query{State: "revoked"}, 0)
	count(admin.Query{Key: first.Key}, 1)
	count(admin.Query{Device: first.Device}, 1)
	count(admin.Query{Profile: "device", ExpiresBefore: time.Now().AddDate(1, 0, 0)}, 0)
	count(admin.Query{Profile: "device", ExpiresBefore: time.Now().AddDate(3, 0, 0)}, 5)

	count(admin.Query{State: "expired"}, 0)
	count(admin.Query{State: "valid", Profile: "device"}, 5)

	devices, err := w.client.Devices(t.Context(), admin.DeviceQuery{After: "press-1", Limit: 2})
	if err != nil {
		t.Fatal(err)
	}
	if len(devices.Devices) != 2 || devices.Devices[0].ID != "press-2" || devices.Next != "press-3" {
		t.Errorf("devices after press-1: %+v", devices)
	}
	_, err = w.client.Device(t.Context(), "press/9 ?")
	refused(t, err, http.StatusNotFound, "not-found")
	_, err = w.client.Certificate(t.Context(), "ffff")
	refused(t, err, http.StatusNotFound, "not-found")
}

func TestRevoke(t *testing.T) {
	w := open(t, nil).hierarchy(t)
	issued := w.issue(t, "press-1")
	before, err := w.client.CRL(t.Context(), "issuing")
	if err != nil {
		t.Fatal(err)
	}
	revoked, err := w.client.Revoke(t.Context(), admin.Revocation{Serial: issued.Certificate.Serial, Reason: "keyCompromise"})
	if err != nil {
		t.Fatal(err)
	}
	if len(revoked.Serials) != 1 || revoked.Serials[0] != issued.Certificate.Serial || revoked.Warning != "" {
		t.Errorf("revoked %+v", revoked)
	}
	if after, err := w.client.CRL(t.Context(), "issuing"); err != nil || after.Number <= before.Number {
		t.Errorf("no CRL was signed: %d after %d, %v", after.Number, before.Number, err)
	}
	shown, err := w.client.Certificate(t.Context(), issued.Certificate.Serial)
	if err != nil {
		t.Fatal(err)
	}
	if shown.State != "revoked" || shown.Reason != "keyCompromise" || shown.RevokedBy != "local:tester" || shown.RevokedAt == nil {
		t.Errorf("shown %+v", shown)
	}

	root, err := w.client.Authority(t.Context(), "root")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		in     admin.Revocation
		status int
		rule   string
	}{
		{"nothing", admin.Revocation{}, 400, "selector"},
		{"both", admin.Revocation{Serial: "00ff", Device: "press-1"}, 400, "selector"},
		{"unknown reason", admin.Revocation{Serial: "00ff", Reason: "bored"}, 400, "reason"},
		{"unknown serial", admin.Revocation{Serial: "00ff"}, 404, "not-found"},
		{"bad serial", admin.Revocation{Serial: "ff:00"}, 400, "serial"},
		{"unknown device", admin.Revocation{Device: "press-9"}, 404, "not-found"},
		{"authority by a slip", admin.Revocation{Serial: root.Serial}, 409, "authority-revocation"},
		{"device as authority", admin.Revocation{Device: "press-1", Authority: true}, 400, "selector"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := w.client.Revoke(t.Context(), c.in)
			refused(t, err, c.status, c.rule)
		})
	}
}

func TestStatus(t *testing.T) {
	w := open(t, nil).hierarchy(t)
	s, err := w.client.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if s.Version != "test" || s.Server != "test" || s.Actor != "local:tester" || s.Ledger != "ok" || s.Authorities != 2 || !slices.Equal(s.Profiles, []string{"device", "ra", "server"}) {
		t.Errorf("status %+v", s)
	}
}

// TestRevokingList: what is being revoked is listed by itself, with a limit and nothing else.
func TestRevokingList(t *testing.T) {
	var asked int
	var found []ledger.Certificate
	w := open(t, func(c *adminhttp.Config) {
		c.Revoking = func(_ context.Context, most int) ([]ledger.Certificate, bool, error) {
			asked = most
			return found[:min(most, len(found))], len(found) > most, nil
		}
	}).hierarchy(t)
	for _, name := range []string{"press-1", "press-2"} {
		one, err := w.ra.Ledger.Certificate(t.Context(), ledger.Serial(w.issue(t, name).Certificate.Serial))
		if err != nil {
			t.Fatal(err)
		}
		found = append(found, one)
	}
	list, err := w.client.Certificates(t.Context(), admin.Query{Revoking: true})
	if err != nil || len(list.Certificates) != 2 || list.More || asked != admin.DefaultPage {
		t.Errorf("listed %+v of %d, %v", list, asked, err)
	}
	if list, err = w.client.Certificates(t.Context(), admin.Query{Revoking: true, Limit: 1}); err != nil || len(list.Certificates) != 1 || !list.More || list.Certificates[0].Serial != string(found[0].Serial) {
		t.Errorf("listed %+v, %v", list, err)
	}
	for _, q := range []admin.Query{{Revoking: true, Device: "press-1"}, {Revoking: true, State: "revoked"}, {Revoking: true, Limit: admin.MaxPage + 1}} {
		_, err := w.client.Certificates(t.Context(), q)
		refused(t, err, http.StatusBadRequest, "query")
	}
	bare := open(t, nil).hierarchy(t)
	if list, err := bare.client.Certificates(t.Context(), admin.Query{Revoking: true}); err != nil || len(list.Certificates) != 0 {
		t.Errorf("where nothing follows it: %+v, %v", list, err)
	}
}
