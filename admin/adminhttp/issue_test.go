package adminhttp_test

import (
	"net/http"
	"testing"

	"mintmark/admin"
)

// TestIssueUnderOwnCA asks for a device's certificate from the CAs of people and
// of work orders, whose holders nobody takes for devices.
func TestIssueUnderOwnCA(t *testing.T) {
	p := populate(t)
	for _, name := range []string{"officers", "claims"} {
		uses := p.keys.uses.Load()
		answer := p.ask(t, "line-1", "POST", wire{path: "/v1/certificates", body: admin.Issue{Profile: "device", Issuer: name, CSR: csr(t, "press-"+name)}})
		if answer.Code != http.StatusForbidden || ruleOf(answer) != "issuer" {
			t.Errorf("under CA %q: %d %s, want 403 by rule issuer", name, answer.Code, answer.Body)
		}
		if p.keys.uses.Load() != uses {
			t.Errorf("the key of CA %q was used", name)
		}
	}
}

// TestStationIssues bounds what a station may ask for to what labels issue.
func TestStationIssues(t *testing.T) {
	p := populate(t)
	for _, c := range []struct {
		who, issuer string
		status      int
	}{{"line-1", "issuing", http.StatusCreated}, {"line-1", "root", http.StatusForbidden}, {"olga", "root", http.StatusCreated}} {
		answer := p.ask(t, c.who, "POST", wire{path: "/v1/certificates", body: admin.Issue{Profile: "device", Issuer: c.issuer, CSR: csr(t, "press-"+c.who+c.issuer)}})
		if answer.Code != c.status || c.status == http.StatusForbidden && ruleOf(answer) != "station" {
			t.Errorf("%s under CA %q: %d %s, want %d", c.who, c.issuer, answer.Code, answer.Body, c.status)
		}
	}
}
