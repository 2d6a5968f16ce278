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
