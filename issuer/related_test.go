package issuer_test

import (
	"slices"
	"testing"

	"mintmark/ca/rotation"
)

// TestRelated: a CA that replaces another one is related to it once it has issued, and those before
// and after it are, too.
func TestRelated(t *testing.T) {
	ra := withHierarchy(t, newRA(t, newLedger(t), nil))
	wants := func(name string, want ...string) {
		t.Helper()
		got := ra.Related(name)
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("related to %q: %q, want %q", name, got, want)
		}
	}
	wants("")
	wants("nobody", "nobody")
	x := rotate(t, ra, issuingSpec)
	x.to(t, rotation.Distributing)
	wants("issuing", "issuing")
	x.to(t, rotation.Switched)
	wants("issuing", "issuing", "issuing-b")
	wants("issuing-b", "issuing", "issuing-b")
	wants("root", "root")
	x.to(t, rotation.Retired)
	third := issuingSpec
	third.Old, third.New, third.CommonName = "issuing-b", "issuing-c", "Test Issuing C"
	rotate(t, ra, third).to(t, rotation.Switched)
	for _, name := range []string{"issuing", "issuing-b", "issuing-c"} {
		wants(name, "issuing", "issuing-b", "issuing-c")
	}
}
