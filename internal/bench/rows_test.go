package bench

import (
	"bytes"
	"slices"
	"strings"
	"testing"
)

func TestSelectRows(t *testing.T) {
	all, err := selectRows(nil, 0)
	if err != nil || len(all) != len(rows(0)) {
		t.Errorf("without names: %d of %d, %v", len(all), len(rows(0)), err)
	}
	some, err := selectRows([]string{"raw", "est_200k_ratio"}, 200_000)
	if err != nil || !some.wants(rawFigure) || some.wants(keepalive64) || !some.group(groupScale, 200_000) || some.group(groupBatch, 200_000) {
		t.Errorf("two names: %v, %v", some, err)
	}
	for _, name := range []string{"est", "est_200k_ratio", ""} {
		if _, err := selectRows([]string{name}, 0); err == nil || !strings.Contains(err.Error(), "--list") {
			t.Errorf("%q: %v", name, err)
		}
	}
	for n, want := range map[int]string{0: "5m", 5_000_000: "5m", 200_000: "200k", 1_500_000: "1500k", 1234: "1234"} {
		if got := scaleName(n); got != want {
			t.Errorf("%d certificates are called %q, want %q", n, got, want)
		}
	}
}

// Loads run for what is measured after them, too: memory under load is that under all of them.
func TestNeeds(t *testing.T) {
	for only, want := range map[string][]string{
		keepalive8: {keepalive8},
		halfLoad:   {keepalive64},
		rssLoad:    {keepalive8, keepalive64, newTLS8, newTLS64, newTLS64X25519},
		rawFigure:  nil,
	} {
		var got []string
		for _, load := range loads {
			if (selection{only: true}).needs(load.name) {
				got = append(got, load.name)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s takes %v, want %v", only, got, want)
		}
	}
}

func TestList(t *testing.T) {
	var out bytes.Buffer
	if err := List(&out, 0); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{
		"raw", "est_keepalive_8", "est_keepalive_64", "est_newtls_8", "est_newtls_64", "ocsp_presigned", "hsm_p256_ratio", "hsm_sessions_ratio", "batch_p256", "keygen_create_2cores",
		"postgres_64", "est_p99_half_load", "est_5m_ratio", "query_5m_worst", "bytes_per_certificate", "bytes_per_certificate_log", "rss_idle", "rss_load", "start_5m",
	} {
		if !strings.Contains(out.String(), "  "+name+" ") {
			t.Errorf("%s is not in the list", name)
		}
	}
}
