package dpsreg

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// TestQuotaOfTarget: where nothing else is said, the calls of a service are paced for the
// 1000 operations a minute that Azure gives, and otherwise for what is said.
func TestQuotaOfTarget(t *testing.T) {
	for _, test := range []struct{ configured, quota int }{{0, 1000}, {1000, 1000}, {200, 200}} {
		synctest.Test(t, func(t *testing.T) {
			s, err := connect(Target{
				Name: "factory", Service: "plant", SAS: &SAS{Policy: "p", KeyFile: "key"}, OpsPerMinute: test.configured,
				Identity: Identity{TenantID: "00000000-0000-0000-0000-000000000000", ClientID: "00000000-0000-0000-0000-000000000000", SecretFile: "secret"},
			}, nil, func(string) ([]byte, error) { return []byte("MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="), nil }, time.Now)
			if err != nil {
				t.Fatal(err)
			}
			l := s.limiters["plant.azure-devices-provisioning.net"]
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			n := 0
			for l.wait(ctx, 1) == nil {
				n++
			}
			if n > test.quota || n < test.quota*9/10 {
				t.Errorf("%d configured: %d operations leave in a minute", test.configured, n)
			}
		})
	}
}
