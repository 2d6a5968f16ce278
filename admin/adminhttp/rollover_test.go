package adminhttp_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"mintmark/admin"
)

func TestRollover(t *testing.T) {
	w := open(t, nil).hierarchy(t)
	_, err := w.client.CreateAuthority(t.Context(), admin.AuthoritySpec{Name: "root2", Subject: admin.Name{CommonName: "Test Root"}, ValiditySeconds: 30 * 365 * 86400})
	if err != nil {
		t.Fatal(err)
	}
	spec := admin.RolloverSpec{Old: "root", New: "root2"}
	_, err = w.client.BeginRollover(t.Context(), admin.RolloverSpec{Old: "root", New: "issuing"})
	refused(t, err, http.StatusConflict, "rollover-roots")
	_, err = w.client.BeginRollover(t.Context(), admin.RolloverSpec{Old: "root", New: "nobody"})
	refused(t, err, http.StatusNotFound, "authority")
	_, err = w.client.EndRollover(t.Context(), admin.RolloverEnd{Old: "root", New: "root2"})
	refused(t, err, http.StatusConflict, "rollover-none")
	r, err := w.client.BeginRollover(t.Context(), spec)
	if err != nil || !r.Running || r.Compromised || r.Actor != "local:tester" || r.OldWithNew == nil || r.NewWithOld == nil || r.OldWithNew.State != "valid" {
		t.Fatalf("begun: %+v, %v", r, err)
	}
	_, err = w.client.BeginRollover(t.Context(), spec)
	refused(t, err, http.StatusConflict, "rollover-runs")
	for name, want := range map[string]int{"root": 1, "root2": 1, "issuing": 1} {
		if a, err := w.client.Authority(t.Context(), name); err != nil || len(a.Rollovers) != want {
			t.Errorf("%s is in %d rollovers, %v", name, len(a.Rollovers), err)
		}
	}
	// The certificates are those of a CA: found, and revoked as such.
	if c, err := w.client.Certificate(t.Context(), r.NewWithOld.Serial); err != nil || c.Purpose != "ca" || c.Issuer != "root" || c.PEM != r.NewWithOld.PEM {
		t.Errorf("it is recorded as %+v, %v", c, err)
	}
	_, err = w.client.Revoke(t.Context(), admin.Revocation{Serial: r.NewWithOld.Serial})
	refused(t, err, http.StatusConflict, "authority-revocation")
	if _, err := w.client.Revoke(t.Context(), admin.Revocation{Serial: r.NewWithOld.Serial, Authority: true}); err != nil {
		t.Error(err)
	}
	list, err := w.client.Rollovers(t.Context())
	if err != nil || len(list) != 1 || list[0].NewWithOld.State != "revoked" {
		t.Errorf("there are %+v, %v", list, err)
	}
	if len(w.ra.Bridges("issuing")) != 3 {
		t.Errorf("devices get %d", len(w.ra.Bridges("issuing")))
	}
	if r, err = w.client.EndRollover(t.Context(), admin.RolloverEnd{Old: "root", New: "root2"}); err != nil || r.Running || r.EndedBy != "local:tester" {
		t.Errorf("ended: %+v, %v", r, err)
	}
	if a, err := w.client.Authority(t.Context(), "root"); err != nil || len(a.Rollovers) != 0 {
		t.Errorf("root is in %d rollovers, %v", len(a.Rollovers), err)
	}
	// After a compromise nothing leads from one to the other.
	spec.Compromised = true
	_, err = w.client.BeginRollover(t.Context(), spec)
	refused(t, err, http.StatusConflict, "rollover-compromised")
}

// TestRolloverWords: what the second officer signs names both roots by their
// certificates, and says what follows.
func TestRolloverWords(t *testing.T) {
	p := populate(t)
	p.root(t, "root2", 30)
	answer := p.ask(t, "alice", "POST", wire{path: "/v1/rollovers", body: admin.RolloverSpec{Old: "root", New: "root2"}})
	var a admin.Approval
	if err := json.Unmarshal(answer.Body.Bytes(), &a); err != nil || answer.Code != http.StatusAccepted ||
		!strings.Contains(a.Words, "whoever trusts one of them then trusts both") || strings.Count(a.Words, "certificate SHA-256") != 2 {
		t.Errorf("answered %d %q", answer.Code, a.Words)
	}
}
