package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestOCSP: what is not set is filled in, and what cannot work is refused by its key.
func TestOCSP(t *testing.T) {
	c, err := Parse([]byte(good))
	if err != nil {
		t.Fatal(err)
	}
	if want := (OCSP{Lifetime: 24 * time.Hour, Certificate: 7 * 24 * time.Hour, Outage: 5 * time.Minute, Keep: 50_000}); c.OCSP != want {
		t.Errorf("%+v", c.OCSP)
	}
	const device = "  device: {preset: device, "
	for _, tt := range []struct{ name, more, want string }{
		{"enabled", "ocsp: {enabled: true, lifetime: 1h, certificate: 2h, outage: 0s, keep: 100}\n", ""},
		{"short-lived answers", "ocsp: {lifetime: 1s}\n", "ocsp.lifetime"},
		{"long-lived answers", "ocsp: {lifetime: 8d, certificate: 30d}\n", "ocsp.lifetime"},
		{"certificate that ends before answers", "ocsp: {lifetime: 1d, certificate: 1d}\n", "ocsp.certificate"},
		{"long-lived certificate", "ocsp: {certificate: 31d}\n", "ocsp.certificate"},
		{"outage that is longer than answers", "ocsp: {outage: 2d}\n", "ocsp.outage"},
		{"nothing is kept", "ocsp: {keep: 1}\n", "ocsp.keep"},
		{"everything is kept", "ocsp: {keep: 1000001}\n", "ocsp.keep"},
		{"unknown key", "ocsp: {enable: true}\n", "enable"},
		{"named and not served", "", "profiles.device.ocsp"},
		{"named and served", "ocsp: {enabled: true}\n", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			text := good
			if strings.HasPrefix(tt.name, "named") {
				text = strings.Replace(text, device, device+`ocsp: ["http://ca.example:8080/ocsp/{issuer}"], `, 1)
			}
			_, err := Parse([]byte(text + tt.more))
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("%v, not %q", err, tt.want)
			}
		})
	}
}

// TestOCSPDocumented: every key has its row.
func TestOCSPDocumented(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "configuration.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"ocsp.enabled", "ocsp.lifetime", "ocsp.certificate", "ocsp.outage", "ocsp.keep", "validity_jitter"} {
		if !strings.Contains(string(text), "| `"+key+"` |") {
			t.Errorf("docs/configuration.md does not describe %s", key)
		}
	}
}
