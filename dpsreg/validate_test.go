package dpsreg_test

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"mintmark/dpsreg"
)

// valid is a target with something of everything.
func valid() dpsreg.Target {
	shape := dpsreg.Shape{
		Edge: true, Hubs: []string{firstHub, secondHub}, Allocation: dpsreg.AllocateCustom, Webhook: "https://pick.azurewebsites.net/api/hub?code=secret", WebhookAPI: "2021-10-01",
		Reprovision: dpsreg.ReprovisionNever, Tags: map[string]any{"site": "ulm", "line": map[string]any{"no": 2, "on": true}}, Desired: map[string]any{"rate": 1.5},
	}
	pinned := shape
	pinned.Tags = map[string]any{"order": "${order}", "batch": "${field.batch}"}
	return dpsreg.Target{
		Name: "factory", SubscriptionID: "0f8fad5b-d9cb-469f-a165-70867728950e", ResourceGroup: "rg-1_(a).b", Service: "dps-ulm", IDScope: "0ne00AABBCC",
		Identity: dpsreg.Identity{TenantID: "example.onmicrosoft.com", ClientID: "7c9e6679-7425-40de-944b-e07fc1f90ae7", SecretFile: "secret"},
		SAS:      &dpsreg.SAS{Policy: "provisioningserviceowner", KeyFile: "key"},
		Connect:  dpsreg.Connect{Address: "127.0.0.1:4433"},
		CAs:      []dpsreg.CA{{Authority: "root"}, {Authority: "lone", Name: "Lone.1-a_b"}, {Authority: "root2", State: dpsreg.StateDeleted}},
		Groups: []dpsreg.Group{
			{ID: "pumps", Anchors: []string{"line", "line-2"}, Labels: []string{"line"}, Shape: shape},
			{ID: "all", Anchors: []string{"root", "lone"}, Reference: true},
			{ID: "gone", State: dpsreg.StateDeleted},
		},
		Enrollments: []dpsreg.Enrollment{{Name: "pinned", Labels: []string{"auto"}, DeviceID: "${device}", Shape: pinned}},
		Hubs:        []dpsreg.Hub{{Host: firstHub}, {Host: secondHub, SAS: &dpsreg.SAS{Policy: "iothubowner", KeyFile: "key"}}},
	}
}

func TestValidate(t *testing.T) {
	if err := valid().Validate(); err != nil {
		t.Fatal(err)
	}
	deep := func(n int) map[string]any {
		m := map[string]any{"end": true}
		for range n - 1 {
			m = map[string]any{"a": m}
		}
		return m
	}
	for _, test := range []struct {
		want   string
		change func(*dpsreg.Target)
	}{
		{"without a name", func(t *dpsreg.Target) { t.Name = "" }},
		{"the name must be", func(t *dpsreg.Target) { t.Name = "a/b" }},
		{"subscription id", func(t *dpsreg.Target) { t.SubscriptionID = "1" }},
		{"resource group", func(t *dpsreg.Target) { t.ResourceGroup = "rg." }},
		{"resource group", func(t *dpsreg.Target) { t.ResourceGroup = "a/../b" }},
		{"service", func(t *dpsreg.Target) { t.Service = "dps.example" }},
		{"service", func(t *dpsreg.Target) { t.Service = "-dps" }},
		{"id scope", func(t *dpsreg.Target) { t.IDScope = "0ne/0" }},
		{"operations a minute", func(t *dpsreg.Target) { t.OpsPerMinute = -1 }},
		{"a client secret and a certificate", func(t *dpsreg.Target) { t.Identity.CertificateFile = "c" }},
		{"without a secret or certificate", func(t *dpsreg.Target) { t.Identity.SecretFile = "" }},
		{"tenant id and the client id", func(t *dpsreg.Target) { t.Identity.TenantID = "" }},
		{"client id", func(t *dpsreg.Target) { t.Identity.ClientID = "me" }},
		{"tenant id", func(t *dpsreg.Target) { t.Identity.TenantID = "a/b" }},
		{"shared access policy", func(t *dpsreg.Target) { t.SAS.Policy = "a&b" }},
		{"no file with its key", func(t *dpsreg.Target) { t.SAS.KeyFile = "" }},
		{"not HOST:PORT", func(t *dpsreg.Target) { t.Connect.Address = "localhost" }},
		{"names no authority", func(t *dpsreg.Target) { t.CAs[0].Authority = "" }},
		{`CA "root" is listed twice`, func(t *dpsreg.Target) { t.CAs[1].Authority = "root" }},
		{"1 to 256 letters", func(t *dpsreg.Target) { t.CAs[1].Name = "a b" }},
		{"1 to 256 letters", func(t *dpsreg.Target) { t.CAs[1].Name = strings.Repeat("a", 257) }},
		{`have the name "lone.1-A_b" at DPS both`, func(t *dpsreg.Target) { t.CAs[2].Name = "lone.1-A_b" }},
		{`state "gone"`, func(t *dpsreg.Target) { t.CAs[0].State = "gone" }},
		{"deleted and self-attested", func(t *dpsreg.Target) { t.CAs[2].SelfAttested = true }},
		{"26 CAs: a DPS instance takes 25", func(t *dpsreg.Target) {
			t.CAs = nil
			for i := range 26 {
				t.CAs = append(t.CAs, dpsreg.CA{Authority: fmt.Sprint("ca", i)})
			}
			t.Groups = nil
		}},
		{"101 groups: a DPS instance takes 100", func(t *dpsreg.Target) {
			t.Groups = nil
			for i := range 101 {
				t.Groups = append(t.Groups, dpsreg.Group{ID: fmt.Sprint("g", i), Anchors: []string{fmt.Sprint("ca", i)}})
			}
		}},
		{"the id must be", func(t *dpsreg.Target) { t.Groups[0].ID = "a." }},
		{"the id must be", func(t *dpsreg.Target) { t.Groups[0].ID = "a/b" }},
		{"the id must be", func(t *dpsreg.Target) { t.Groups[0].ID = strings.Repeat("a", 129) }},
		{"does not look at case", func(t *dpsreg.Target) { t.Groups[1].ID = "PUMPS" }},
		{`state "x"`, func(t *dpsreg.Target) { t.Groups[0].State = "x" }},
		{"stands on no authority", func(t *dpsreg.Target) { t.Groups[0].Anchors, t.Groups[0].Labels = nil, nil }},
		{"3 anchors", func(t *dpsreg.Target) { t.Groups[0].Anchors = []string{"a", "b", "c"} }},
		{"both anchors are", func(t *dpsreg.Target) { t.Groups[0].Anchors = []string{"a", "a"} }},
		{"an anchor names no authority", func(t *dpsreg.Target) { t.Groups[0].Anchors = []string{""} }},
		{`groups "pumps" and "all" both stand on "root"`, func(t *dpsreg.Target) { t.Groups[0].Anchors = []string{"line", "root"} }},
		{`label "line" is expected in the groups`, func(t *dpsreg.Target) { t.Groups[1].Labels = []string{"line"} }},
		{"devices of label", func(t *dpsreg.Target) { t.Groups[2].Labels = []string{"x"} }},
		{"is not among the target's", func(t *dpsreg.Target) { t.Groups[1].Anchors = []string{"root", "other"} }},
		{"is not among the target's", func(t *dpsreg.Target) { t.Groups[1].Anchors = []string{"root", "root2"} }}, // deleted
		{"placeholders are for individual", func(t *dpsreg.Target) { t.Groups[0].Tags = map[string]any{"a": map[string]any{"b": "${device}"}} }},
		{"allocation", func(t *dpsreg.Target) { t.Groups[0].Allocation = "nearest" }},
		{"reprovision", func(t *dpsreg.Target) { t.Groups[0].Reprovision = "always" }},
		{"no hub is named", func(t *dpsreg.Target) { t.Groups[1].Allocation = dpsreg.AllocateStatic }},
		{"an allocation function is named", func(t *dpsreg.Target) { t.Groups[0].Allocation = "" }},
		{"https URL", func(t *dpsreg.Target) { t.Groups[0].Webhook = "http://pick.example/?code=secret" }},
		{"api version", func(t *dpsreg.Target) { t.Groups[0].WebhookAPI = "" }},
		{"NAME.azure-devices.net", func(t *dpsreg.Target) { t.Groups[0].Hubs = []string{"hub.example"} }},
		{"is listed twice", func(t *dpsreg.Target) {
			t.Groups[0].Hubs = []string{firstHub, strings.ToUpper(firstHub[:4]) + firstHub[4:]}
		}},
		{"control character", func(t *dpsreg.Target) { t.Groups[0].Tags = map[string]any{"a.b": 1} }},
		{"control character", func(t *dpsreg.Target) { t.Groups[0].Tags = map[string]any{"$a": 1} }},
		{"control character", func(t *dpsreg.Target) { t.Groups[0].Desired = map[string]any{"a": map[string]any{"b c": 1}} }},
		{"control character", func(t *dpsreg.Target) { t.Groups[0].Desired = map[string]any{"a\u0085": 1} }},
		{"empty or longer", func(t *dpsreg.Target) { t.Groups[0].Desired = map[string]any{"": 1} }},
		{"empty or longer", func(t *dpsreg.Target) { t.Groups[0].Desired = map[string]any{strings.Repeat("k", 1025): 1} }},
		{"more than 10 levels", func(t *dpsreg.Target) { t.Groups[0].Desired = deep(11) }},
		{"null deletes", func(t *dpsreg.Target) { t.Groups[0].Tags = map[string]any{"a": nil} }},
		{"none of text, number", func(t *dpsreg.Target) { t.Groups[0].Tags = map[string]any{"a": []any{1}} }},
		{"is beyond", func(t *dpsreg.Target) { t.Groups[0].Tags = map[string]any{"a": 4503599627370496} }},
		{"is beyond", func(t *dpsreg.Target) { t.Groups[0].Tags = map[string]any{"a": -4503599627370497} }},
		{"no number in JSON", func(t *dpsreg.Target) { t.Groups[0].Tags = map[string]any{"a": math.Inf(1)} }},
		{"a text of 4097 bytes", func(t *dpsreg.Target) { t.Groups[0].Tags = map[string]any{"a": strings.Repeat("x", 4097)} }},
		{"tags: ", func(t *dpsreg.Target) {
			t.Groups[0].Tags = map[string]any{"a": strings.Repeat("x", 4000), "b": strings.Repeat("x", 4000), "c": strings.Repeat("x", 400)}
		}},
		{"two enrollments", func(t *dpsreg.Target) { t.Enrollments = append(t.Enrollments, t.Enrollments[0]) }},
		{"the name must be", func(t *dpsreg.Target) { t.Enrollments[0].Name = "" }},
		{"no profile, label or order", func(t *dpsreg.Target) { t.Enrollments[0].Labels = nil }},
		{"empty name", func(t *dpsreg.Target) { t.Enrollments[0].Orders = []string{""} }},
		{`enrollment "pinned": allocation`, func(t *dpsreg.Target) { t.Enrollments[0].Allocation = "x" }},
		{"${nobody}", func(t *dpsreg.Target) { t.Enrollments[0].DeviceID = "${nobody}" }},
		{"hub \"x\"", func(t *dpsreg.Target) { t.Hubs[0].Host = "x" }},
		{"is listed twice", func(t *dpsreg.Target) { t.Hubs[0].Host = secondHub }},
		{"shared access policy", func(t *dpsreg.Target) { t.Hubs[1].SAS.Policy = "" }},
	} {
		target := valid()
		test.change(&target)
		err := target.Validate()
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("want %q, got %v", test.want, err)
		}
		if err != nil && strings.Contains(err.Error(), "code=secret") {
			t.Errorf("the key of an allocation function is in the error: %v", err)
		}
	}
	target := valid()
	target.Groups[0].Desired = deep(10)
	if err := target.Validate(); err != nil {
		t.Errorf("10 levels: %v", err)
	}
}

func TestValidateTargets(t *testing.T) {
	one, two := valid(), valid()
	two.Name, two.Service = "other", "dps-bonn"
	if err := dpsreg.ValidateTargets([]dpsreg.Target{one, two}); err != nil {
		t.Fatal(err)
	}
	two.Service = "DPS-Ulm"
	if err := dpsreg.ValidateTargets([]dpsreg.Target{one, two}); err == nil || !strings.Contains(err.Error(), "the same DPS instance") {
		t.Errorf("got %v", err)
	}
	two.Name = one.Name
	if err := dpsreg.ValidateTargets([]dpsreg.Target{one, two}); err == nil || !strings.Contains(err.Error(), "are called") {
		t.Errorf("got %v", err)
	}
	one.Service = ""
	if err := dpsreg.ValidateTargets([]dpsreg.Target{one}); err == nil {
		t.Error("no error")
	}
}

// What depends on the CAs is said before any call is made.
func TestCheck(t *testing.T) {
	w := newWorld(t)
	w.newIssuing("below", w.authority("line"))
	w.newIssuing("claims", w.newRoot("own"))
	w.newRoot("officers")
	w.configure = append(w.configure, func(c *dpsreg.Config) {
		c.Strangers = func() map[string]string {
			return map[string]string{"edge": "CA certificates of gateways", "officers": "certificates of officers", "claims": "claim certificates", "nobody": "nothing"}
		}
		c.LabelIssuer["below"] = "below"
	})
	for _, test := range []struct {
		want   string
		change func(*dpsreg.Target)
	}{
		{`CA "nobody": there is no authority`, func(t *dpsreg.Target) { t.CAs[0].Authority = "nobody" }},
		{`group "pumps": there is no authority "nobody"`, func(t *dpsreg.Target) { t.Groups[0].Anchors = []string{"nobody"} }},
		{`CA "edge" issues CA certificates of gateways, with which others would come in as devices`, func(t *dpsreg.Target) { t.CAs = append(t.CAs, dpsreg.CA{Authority: "edge"}) }},
		{`anchor "edge" issues CA certificates of gateways, with`, func(t *dpsreg.Target) { t.Groups[0].Anchors = []string{"edge"} }},
		{`below anchor "root" stands "edge", which issues CA certificates of gateways`, func(t *dpsreg.Target) { t.Groups[0].Anchors = []string{"root"} }},
		{`CA "officers" issues certificates of officers`, func(t *dpsreg.Target) { t.CAs = append(t.CAs, dpsreg.CA{Authority: "officers"}) }},
		{`anchor "officers" issues certificates of officers`, func(t *dpsreg.Target) { t.Groups[0].Anchors = []string{"officers"} }},
		{`anchor "claims" issues claim certificates`, func(t *dpsreg.Target) { t.Groups[0].Anchors = []string{"line", "claims"} }},
		{`below anchor "own" stands "claims", which issues claim certificates`, func(t *dpsreg.Target) { t.Groups[0].Anchors = []string{"own"} }},
		{`have the name "` + w.nameAtDPS("root") + `" at DPS both`, func(t *dpsreg.Target) { t.CAs[1].Name = w.nameAtDPS("root") }},
		{`there is no label "nothing"`, func(t *dpsreg.Target) { t.Groups[0].Labels = []string{"nothing"} }},
		{`stands below none of its anchors (line)`, func(t *dpsreg.Target) { t.Groups[0].Labels = []string{"line2"} }},
		{`devices of label "below" end in group "nearer"`, func(t *dpsreg.Target) {
			t.Groups[0].Labels = []string{"below"}
			t.Groups = append(t.Groups, dpsreg.Group{ID: "nearer", Anchors: []string{"below"}})
		}},
		{"service", func(t *dpsreg.Target) { t.Service = "" }},
	} {
		target := w.twoGroups()
		test.change(&target)
		if err := w.registrar().Check(target); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("want %q, got %v", test.want, err)
		}
		if _, err := w.registrar().Plan(t.Context(), target); err == nil {
			t.Errorf("%s: planned", test.want)
		}
		if _, err := w.registrar().Status(t.Context(), target, false); err == nil {
			t.Errorf("%s: asked for the status", test.want)
		}
		if _, err := w.registrar().Bundle(t.Context(), target); err == nil {
			t.Errorf("%s: bundled", test.want)
		}
	}
	if calls := w.sim.Calls(); len(calls) > 0 {
		t.Errorf("calls %v", calls)
	}
	w.ok(w.registrar().Check(w.twoGroups()))
}
