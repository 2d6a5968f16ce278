package ca

import "testing"

// A wildcard stands for every label, also for those that are not in the
// permitted subtree.
func TestWildcardIsWiderThanOneHost(t *testing.T) {
	for _, subtree := range []string{"x.factory.example", "line1.factory.example", "*.factory.example.other"} {
		if dnsWithin("*.factory.example", subtree, false) {
			t.Errorf("*.factory.example is inside %s", subtree)
		}
	}
	for _, subtree := range []string{"factory.example", ".factory.example", ""} {
		if !dnsWithin("*.factory.example", subtree, false) {
			t.Errorf("*.factory.example is not inside %q", subtree)
		}
	}
	if !dnsWithin("*.factory.example", "x.factory.example", true) {
		t.Error("*.factory.example does not touch x.factory.example")
	}
}
