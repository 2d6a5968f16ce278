package dpsreg_test

import (
	"os"
	"testing"
)

// TestTrustFile: other roots in the file of trust anchors count from the next call on.
func TestTrustFile(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	target := w.target()
	c := w.connections()
	first := w.session(c, target)
	if !first.Same(w.session(c, target)) {
		t.Fatal("the clients of an unchanged target are made again")
	}
	good, err := os.ReadFile(target.Connect.Trust)
	w.ok(err)
	w.file("root.pem", pemBytes(w.authority("root").Certificate))
	bad := w.session(c, target)
	if _, err := bad.DPS.Group(t.Context(), "pumps"); err == nil || isMissing(err) {
		t.Errorf("by roots that are not in the file any more: %v", err)
	}
	w.file("root.pem", good)
	if _, err := w.session(c, target).DPS.Group(t.Context(), "pumps"); !isMissing(err) {
		t.Errorf("by the roots that are in the file again: %v", err)
	}
	w.ok(os.Remove(w.path("root.pem")))
	if _, err := c.Session(target); err == nil {
		t.Error("without the file")
	}
}
