package server

import (
	"bytes"
	"log/slog"
	"mintmark/internal/keystore/token"
	tokenwire "mintmark/internal/keystore/token/wire"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"mintmark/internal/pkitest"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/crypto/ocsp"
)

// TestMetrics scrapes a server that has just begun to serve: every series that
// docs/operations.md alerts on is there. One that appears with its first event
// would hide that event from a rule on its rise.
func TestMetrics(t *testing.T) {
	dir := newState(t)
	editConfig(t, dir, "profiles:\n", `ocsp: {enabled: true}
crl:
  publish:
    - dir: published
aws:
  targets:
    - name: line-a
      account_id: "123456789012"
      region: eu-central-1
      endpoint: http://127.0.0.1:9
      cas:
        - {issuer: issuing, mode: SNI_ONLY, use: none}
azure:
  targets:
    - name: plant
      subscription_id: 01234567-89ab-cdef-0123-456789abcdef
      resource_group: rg-plant
      service: plant-dps
      identity: {tenant_id: 11111111-2222-3333-4444-555555555555, client_id: 66666666-7777-8888-9999-aaaaaaaaaaaa, secret_file: nowhere}
      connect: {address: "127.0.0.1:9"}

profiles:
`)
	if err := os.Mkdir(filepath.Join(dir, "published"), 0o755); err != nil {
		t.Fatal(err)
	}
	server := serveLocal(t, dir, nil)
	if _, err := newClient(t, dir, server.est).Enroll(t.Context(), newDevice(t, "press-1").csr); err != nil {
		t.Fatal(err)
	}
	// A responder certifies itself when it is first asked.
	device := issue(t, server.Server, "device", "press-2").Leaf
	authority, err := server.ra.Authority("issuing")
	if err != nil {
		t.Fatal(err)
	}
	request, err := ocsp.CreateRequest(device, authority.Certificate(), nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.Post("http://"+server.http+"/ocsp/issuing", "application/ocsp-request", bytes.NewReader(request))
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	named := regexp.MustCompile(`mintmark_[a-z_]+`).FindAllString(string(pkitest.ReadFile(t, "../../docs/operations.md")), -1)
	slices.Sort(named)
	named = slices.Compact(named)
	if len(named) < 6 {
		t.Fatalf("docs/operations.md names %v", named)
	}
	var page string
	eventually(t, "the CRL job has run", func() bool {
		_, page = get(t, "http://"+server.metrics+"/metrics")
		return strings.Contains(page, `mintmark_crl_next_update_timestamp_seconds{issuer="issuing"}`)
	})
	// Those of tokens are there when one is configured.
	factory, err := token.Open(token.Config{Name: "factory", Logger: slog.New(slog.DiscardHandler), Primary: token.Source{Module: "/none.so", Token: tokenwire.Selector{Label: "factory"}}})
	if err != nil {
		t.Fatal(err)
	}
	defer factory.Close()
	descriptions := make(chan *prometheus.Desc, 100)
	for _, c := range factory.Metrics() {
		c.Describe(descriptions)
	}
	close(descriptions)
	ofTokens := ""
	for d := range descriptions {
		ofTokens += d.String()
	}
	for _, name := range named {
		if of, ok := strings.CutPrefix(name, "mintmark_token_"); ok {
			if !strings.Contains(ofTokens, `fqName: "token_`+of+`"`) {
				t.Errorf("tokens have no series %s", name)
			}
			continue
		}
		if !regexp.MustCompile(`(?m)^` + name + `(\{.*\})? `).MatchString(page) {
			t.Errorf("there is no series %s", name)
		}
	}
	for _, series := range []string{
		`mintmark_ledger_healthy 1`,
		`mintmark_alarms_total{kind="clone"} 0`,
		`mintmark_registration_backlog{kind="azure/plant"} 0`,
		`mintmark_registration_backlog{kind="azure/plant/urgent"} 0`,
		`mintmark_alarms_total{kind="certificate-unknown"} 0`,
		`mintmark_label_usable{label=""} 1`,
		`mintmark_registration_backlog{kind="aws/line-a"} 0`,
		`mintmark_issuance_seconds_count{issuer="issuing",outcome="issued",profile="device"} 2`,
		`mintmark_est_requests_total{code="200",label="",op="simpleenroll",rule=""} 1`,
	} {
		if !strings.Contains(page, series+"\n") {
			t.Errorf("there is no %s", series)
		}
	}
	for _, authority := range []string{"root", "issuing"} {
		for _, name := range []string{"ca_not_after_timestamp_seconds", "crl_next_update_timestamp_seconds"} {
			if !strings.Contains(page, "mintmark_"+name+`{issuer="`+authority+`"}`) {
				t.Errorf("there is no %s of %s", name, authority)
			}
		}
	}
	if strings.Contains(page, "press-1") || strings.Contains(page, dir) {
		t.Error("the metrics name a device or a path")
	}
	for _, path := range []string{"/healthz", "/readyz"} {
		if code, body := get(t, "http://"+server.metrics+path); code != 200 || !strings.HasPrefix(body, `{"status":"ok",`) || strings.Contains(body, "findings") {
			t.Errorf("%s: %d %q", path, code, body)
		}
	}
}
