package adminhttp_test

import (
	"crypto/x509/pkix"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"mintmark/admin"
	"mintmark/admin/adminhttp"
	"mintmark/internal/pkitest"
)

// TestIssueRA: what two officers agree on says where the registration authority
// enrolls devices, and who proposes something that cannot be issued hears of it
// before anybody signs.
func TestIssueRA(t *testing.T) {
	p := populate(t)
	request := string(pkitest.PEM("CERTIFICATE REQUEST", pkitest.CSR(t, pkitest.NewKey(t), pkix.Name{CommonName: "gateway 7"})))
	ask := func(who string, in admin.Issue) (int, string, admin.Approval) {
		answer := p.ask(t, who, "POST", wire{path: "/v1/certificates", body: in})
		var a admin.Approval
		json.Unmarshal(answer.Body.Bytes(), &a)
		return answer.Code, ruleOf(answer), a
	}
	status, _, a := ask("alice", admin.Issue{Profile: "ra", Issuer: "issuing", CSR: request})
	if status != http.StatusAccepted || !strings.Contains(a.Words, `subject "CN=gateway 7"`) || !strings.Contains(a.Words, `can enroll any device at the labels "line"`) {
		t.Errorf("answered %d: %q", status, a.Words)
	}
	for name, c := range map[string]struct {
		who    string
		in     admin.Issue
		status int
		rule   string
	}{
		"operator":          {"olga", admin.Issue{Profile: "ra", Issuer: "issuing", CSR: request}, http.StatusForbidden, "role"},
		"station":           {"line-1", admin.Issue{Profile: "ra", Issuer: "issuing", CSR: request}, http.StatusForbidden, "role"},
		"officer's device":  {"alice", admin.Issue{Profile: "device", Issuer: "issuing", CSR: request}, http.StatusForbidden, "role"},
		"officer's server":  {"alice", admin.Issue{Profile: "server", Issuer: "issuing", CSR: request}, http.StatusForbidden, "role"},
		"under the claims":  {"alice", admin.Issue{Profile: "ra", Issuer: "claims", CSR: request}, http.StatusForbidden, "issuer"},
		"no such CA":        {"alice", admin.Issue{Profile: "ra", Issuer: "nobody", CSR: request}, http.StatusNotFound, "authority"},
		"paid by an order":  {"alice", admin.Issue{Profile: "ra", Issuer: "issuing", CSR: request, Order: "WO-1"}, http.StatusBadRequest, "order"},
		"broken signature":  {"alice", admin.Issue{Profile: "ra", Issuer: "issuing", CSR: broken(t)}, http.StatusBadRequest, "csr-pem"},
		"unknown profile":   {"alice", admin.Issue{Profile: "nobody", Issuer: "issuing", CSR: request}, http.StatusNotFound, "profile"},
		"officer's profile": {"alice", admin.Issue{Profile: "officer", Issuer: "issuing", CSR: request}, http.StatusNotFound, "profile"},
	} {
		before := p.pending(t)
		if status, rule, _ := ask(c.who, c.in); status != c.status || rule != c.rule || p.pending(t) != before {
			t.Errorf("%s: answered %d by rule %s, want %d by %s", name, status, rule, c.status, c.rule)
		}
	}
}

// broken is a request whose signature is wrong.
func broken(t *testing.T) string {
	der := pkitest.CSR(t, pkitest.NewKey(t), pkix.Name{CommonName: "gateway 7"})
	der[len(der)-1] ^= 1
	return string(pkitest.PEM("CERTIFICATE REQUEST", der))
}

// TestIssueRAAlone: without two officers who could agree it is done at once, by
// an officer and by nobody else.
func TestIssueRAAlone(t *testing.T) {
	w := open(t, func(c *adminhttp.Config) { c.Labels = map[string]adminhttp.Label{} }).hierarchy(t)
	request := string(pkitest.PEM("CERTIFICATE REQUEST", pkitest.CSR(t, pkitest.NewKey(t), pkix.Name{CommonName: "gateway 7"})))
	issued, err := w.client.Issue(t.Context(), admin.Issue{Profile: "ra", Issuer: "issuing", CSR: request})
	if err != nil || issued.Certificate.Purpose != "ra" || issued.Certificate.Device != "" {
		t.Fatalf("issued %+v, %v", issued, err)
	}
	text := pkitest.OpenSSL(t, "x509", "-noout", "-ext", "extendedKeyUsage", "-in", pkitest.WriteFile(t, "ra.pem", []byte(issued.Certificate.PEM)))
	// RFC 6402, Section 2.10: id-kp-cmcRA.
	if !strings.Contains(text, "CMC Registration Authority") && !strings.Contains(text, "1.3.6.1.5.5.7.3.28") {
		t.Errorf("openssl says:\n%s", text)
	}
	list, err := w.client.Certificates(t.Context(), admin.Query{Purpose: "ra"})
	if err != nil || len(list.Certificates) != 1 {
		t.Errorf("found %+v, %v", list, err)
	}
	if list, err = w.client.Certificates(t.Context(), admin.Query{Purpose: "gateway"}); err != nil || len(list.Certificates) != 0 {
		t.Errorf("found %+v, %v", list, err)
	}
}
