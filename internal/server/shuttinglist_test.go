package server

import (
	"testing"
	"time"

	"mintmark/issuer"
)

// TestRevoking: what is revoked is listed until it is on the CRL and the clouds have taken it, and
// no longer.
func TestRevoking(t *testing.T) {
	inOutageWorld(t, func(t *testing.T, w *outageWorld) {
		list := func(most int, wantMore bool) (serials []string) {
			t.Helper()
			found, more, err := w.revoking(t.Context(), most)
			if err != nil || more != wantMore {
				t.Fatalf("more %t, want %t, %v", more, wantMore, err)
			}
			for _, c := range found {
				serials = append(serials, string(c.Serial))
			}
			return serials
		}
		one, two := w.enroll("one"), w.enroll("two")
		w.nothingLeft(time.Minute)
		if got := list(100, false); len(got) != 0 {
			t.Errorf("nothing is revoked: %q", got)
		}
		w.keys.away.Store(true)
		w.cloud.away.Store(true)
		w.mustRevoke(one)
		time.Sleep(time.Minute)
		if got := list(100, false); len(got) != 1 || got[0] != string(issuer.SerialOf(one.SerialNumber)) {
			t.Errorf("neither on the CRL nor at a cloud: %q", got)
		}
		w.mustRevoke(two)
		if got := list(1, true); len(got) != 1 {
			t.Errorf("one of two: %q", got)
		}
		w.cloud.away.Store(false)
		w.nothingLeft(20 * time.Minute)
		if got := list(100, false); len(got) != 2 {
			t.Errorf("not on the CRL: %q", got)
		}
		w.cloud.away.Store(true)
		w.keys.away.Store(false)
		w.until("both are on the CRL", onCRL, func() bool { return w.listed(one) && w.listed(two) })
		if got := list(100, false); len(got) != 0 {
			t.Errorf("everywhere: %q", got)
		}
		three := w.enroll("three")
		w.mustRevoke(three)
		w.until("it is on the CRL", onCRL, func() bool { return w.listed(three) })
		if got := list(100, false); len(got) != 1 || got[0] != string(issuer.SerialOf(three.SerialNumber)) {
			t.Errorf("not at a cloud: %q", got)
		}
		w.cloud.away.Store(false)
		w.nothingLeft(20 * time.Minute)
		if got := list(100, false); len(got) != 0 {
			t.Errorf("everywhere again: %q", got)
		}
	})
}
