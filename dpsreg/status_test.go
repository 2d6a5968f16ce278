package dpsreg_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"mintmark/dpsreg"
	"mintmark/internal/ledger"
)

func TestStatus(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	target := w.twoGroups()
	target.CAs = append(target.CAs, dpsreg.CA{Authority: "root2"})
	target.Groups = append(target.Groups, dpsreg.Group{ID: "later", Anchors: []string{"root2"}})
	target.Enrollments = []dpsreg.Enrollment{{Name: "pinned", Orders: []string{"pinned-order"}}, {Name: "all-auto", Labels: []string{"auto"}}}

	// Nothing is there yet.
	status, err := w.registrar().Status(t.Context(), target, false)
	w.ok(err)
	if c := status.CAs[0]; c.There || c.Verified || c.Live != -1 || c.Authority != "root" || c.Name != w.nameAtDPS("root") || c.SHA256 != dpsreg.SHA256(w.authority("root").Certificate) {
		t.Errorf("CA %+v", c)
	}
	if g := status.Groups[0]; g.There || g.Assigned != -1 || g.Live != nil || len(g.Labels) != 0 {
		t.Errorf("group %+v", g)
	}
	if got := todo(status.Plan); !slices.Contains(got, "create ca root") || !slices.Contains(got, "create group later") {
		t.Errorf("planned %q", got)
	}
	// The plan is of the same moment: nothing is read twice.
	calls := w.sim.Calls()
	for _, call := range []string{"certificates.list", "enrollmentGroups.query"} {
		if n := len(slices.DeleteFunc(slices.Clone(calls), func(c string) bool { return c != call })); n != 1 {
			t.Errorf("%d times %s", n, call)
		}
	}
	if len(changing(calls)) > 0 {
		t.Errorf("calls %v", calls)
	}

	target.Groups = target.Groups[:2]
	w.apply(target)
	status, err = w.registrar().Status(t.Context(), target, false)
	if err != nil || !status.Plan.Empty() || status.Plan.Target != target.Name {
		t.Errorf("plan %+v, %v", status.Plan, err)
	}
	var devices []device
	for i := range 1003 { // more than one page of the ledger
		devices = append(devices, w.certify("line", fmt.Sprint("pump-", i)))
	}
	w.record(devices...)
	for _, d := range devices[:3] {
		if _, err := w.register(d); err != nil {
			t.Fatal(err)
		}
	}
	w.issue("auto", "car-1")
	w.revoke(devices[0])
	w.order("open-order")
	w.order("pinned-order")
	w.order("other", func(o *ledger.Order) { o.Label = "line2" })
	w.order("closed")
	closed := ledger.OrderClosed
	_, err = w.ledger().ChangeOrder(t.Context(), "closed", ledger.OrderChange{State: &closed}, "test", w.now())
	w.ok(err)

	status, err = w.registrar().Status(t.Context(), target, true)
	w.ok(err)
	if c := status.CAs[0]; !c.There || !c.Verified || c.Live != 1003 { // 1002 pumps and a car
		t.Errorf("CA %+v", c)
	}
	g := status.Groups[0]
	if !g.There || g.Disabled || g.Assigned != 3 || !maps.Equal(g.Live, map[string]int{"line": 1002}) || !slices.Equal(g.Anchors, []string{"line"}) ||
		!slices.Equal(g.Labels, []string{"line"}) || !slices.Equal(g.Orders, []string{"open-order"}) {
		t.Errorf("group %+v", g)
	}
	if g := status.Groups[1]; len(g.Labels) != 0 || g.Assigned != 0 || !slices.Equal(g.Anchors, []string{"lone"}) {
		t.Errorf("group %+v", g)
	}
	if status.CertificateSlots != 3 || status.GroupSlots != 2 || len(status.Unknown) != 0 || len(status.Warnings) != 0 {
		t.Errorf("status %+v", status)
	}

	// Lists are never null.
	status, err = w.registrar().Status(t.Context(), w.target(), false)
	w.ok(err)
	data, err := json.Marshal(status)
	w.ok(err)
	if strings.Contains(string(data), "null") {
		t.Errorf("%s", data)
	}
}
