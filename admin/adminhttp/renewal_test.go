package adminhttp_test

import (
	"net/http"
	"testing"

	"mintmark/admin"
)

// TestRenewals: every device is in the curve once, and nobody is late at once.
func TestRenewals(t *testing.T) {
	w := open(t, nil).hierarchy(t)
	client := w.client
	for _, name := range []string{"press-1", "press-2"} {
		w.issue(t, name)
	}
	r, err := client.Renewals(t.Context(), 104)
	if err != nil {
		t.Fatal(err)
	}
	renew := 0
	for i, b := range r.Curve {
		if i > 0 && !b.From.Equal(r.Curve[i-1].To) {
			t.Errorf("week %d begins at %v, the one before ended at %v", i, b.From, r.Curve[i-1].To)
		}
		renew += b.Renew
	}
	if r.Devices != 2 || renew != 2 || r.Past80+r.Past90+r.Past100 != 0 || len(r.Curve) != 104 {
		t.Errorf("%d devices, %d renewals in %d weeks, late %d, %d, %d", r.Devices, renew, len(r.Curve), r.Past80, r.Past90, r.Past100)
	}
	late, err := client.Overdue(t.Context(), 80, "", 10)
	if err != nil || len(late.Devices) != 0 {
		t.Errorf("late: %+v; %v", late, err)
	}
	_, err = client.Renewals(t.Context(), 0)
	refused(t, err, http.StatusBadRequest, "query")
	_, err = client.Overdue(t.Context(), 85, "", 10)
	refused(t, err, http.StatusBadRequest, "query")
	_, err = client.Overdue(t.Context(), 90, "", admin.MaxPage+1)
	refused(t, err, http.StatusBadRequest, "query")
}
