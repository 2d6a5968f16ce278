package dps

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"mintmark/dpsreg/rest"
)

// TestBulkCounts: a bulk operation takes as much of the quota as it has enrollments, and
// every other call takes one.
func TestBulkCounts(t *testing.T) {
	var taken []int
	c := serve(t, say(`{"isSuccessful":true}`))
	c = New(&rest.Client{Base: c.rest.Base, APIVersion: APIVersion, HTTP: c.rest.HTTP, Wait: func(_ context.Context, n int) error {
		taken = append(taken, n)
		return nil
	}})
	for _, n := range []int{1, 7, MaxBulk} {
		list := make([]Enrollment, n)
		for i := range list {
			list[i] = Enrollment{RegistrationID: fmt.Sprintf("pump-%d", i), Attestation: Attestation{Type: "x509"}}
		}
		if _, err := c.Bulk(t.Context(), BulkCreate, list); err != nil {
			t.Fatal(err)
		}
	}
	_, _ = c.Enrollment(t.Context(), "pump-1")
	if want := []int{1, 7, MaxBulk, 1}; !slices.Equal(taken, want) {
		t.Errorf("taken %v, want %v", taken, want)
	}
}
