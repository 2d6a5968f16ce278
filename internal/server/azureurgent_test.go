package server

import (
	"fmt"
	"net/http"
	"testing"

	"mintmark/dpsreg"
	"mintmark/internal/ledger"
)

// TestAzureRevocationOvertakes: while new enrollments wait for the service's quota, a
// revocation gets through.
func TestAzureRevocationOvertakes(t *testing.T) {
	p := newPlant(t, "      ops_per_minute: 60\n")
	p.apply(t)
	d := newDevice(t, "press-1")
	c := p.enroll(t, "line", d)
	if r := p.register(t, d, c); r.Status != "assigned" {
		t.Fatalf("%+v", r)
	}
	for i := range 60 {
		p.enroll(t, "pinned", newDevice(t, fmt.Sprintf("robot-%d", i)))
	}
	waiting := func() int {
		t.Helper()
		backlog, err := p.ledger.Backlog(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return backlog[dpsreg.TaskKind(p.azure.list[0])]
	}
	if waiting() < 20 {
		t.Fatal("nothing waits for the quota")
	}
	if _, err := p.ra.Revoke(t.Context(), ledger.Selector{Device: "press-1"}, ledger.KeyCompromise, "test"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the revoked device is shut out", func() bool { return p.register(t, d, c).HTTP == http.StatusUnauthorized })
	if waiting() == 0 {
		t.Error("all enrollments were made before")
	}
}
