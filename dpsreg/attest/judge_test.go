package attest_test

import (
	"crypto/x509"
	"encoding/pem"
	"slices"
	"strings"
	"testing"
	"time"

	"mintmark/dpsreg/attest"
	"mintmark/dpsreg/attest/attesttest"
	"mintmark/internal/pkitest"
)

var now = time.Date(2027, 3, 1, 12, 0, 0, 0, time.UTC)

// TestFixtures: every refusal on record is refused with exactly its code and text.
func TestFixtures(t *testing.T) {
	for _, f := range attesttest.Fixtures(t) {
		t.Run(f.Name, func(t *testing.T) {
			c := f.Case(t, now)
			v := attest.Judge(c.Service(), c.Presented)
			if v.Accepted || v.Rule != f.Rule || v.Code != f.Code || v.Message != f.Message {
				t.Errorf("judged %+v, want rule %s: %d %q", v, f.Rule, f.Code, f.Message)
			}
			if v.Why == "" {
				t.Error("it does not say what to do")
			}
			if (v.Unknown != "") != (f.Inferred != "" || attest.RuleOf(f.Rule).Unknown != "") {
				t.Errorf("unknown %q", v.Unknown)
			}
		})
	}
}

// TestFixturesAreSourced: a fixture has a source, a text that is the source's or says
// why it is not, and a rule with the same text. Every rule with a text has a fixture, and
// a documented one a fixture whose source has the text.
func TestFixturesAreSourced(t *testing.T) {
	covered, quoted := map[string]bool{}, map[string]bool{}
	chains := map[string]string{} // by the report that tells of them
	for _, f := range attesttest.Fixtures(t) {
		r := attest.RuleOf(f.Rule)
		covered[f.Rule] = true
		if r.Message != f.Message || r.Code != f.Code || f.Message == "" {
			t.Errorf("%s: %d %q, and rule %q has %d %q", f.Name, f.Code, f.Message, f.Rule, r.Code, r.Message)
		}
		for _, url := range append(f.Confirms, f.Source) {
			if !strings.HasPrefix(url, "https://") {
				t.Errorf("%s: source %q", f.Name, url)
			}
		}
		switch {
		case f.Inferred != "" && r.Unknown == "":
			t.Errorf("%s is inferred, and rule %s does not say so", f.Name, r.Name)
		case f.Inferred == "" && r.Standing == attest.Inferred:
			t.Errorf("%s is not inferred, and rule %s is", f.Name, r.Name)
		case f.Inferred == "" && chains[f.Source] != "":
			t.Errorf("%s and %s are both said to be the chain of %s", f.Name, chains[f.Source], f.Source)
		case f.Inferred == "":
			quoted[f.Rule], chains[f.Source] = true, f.Name
		}
		if f.Reported == "" && f.Inferred == "" || f.What == "" {
			t.Errorf("%s: nobody reported it", f.Name)
		}
		if f.Then != "" && strings.TrimSuffix(f.Message, ".") != f.Then {
			t.Errorf("%s: the text is %q, and the source's %q", f.Name, f.Message, f.Then)
		}
	}
	for _, r := range attest.Rules() {
		if (r.Message != "") != covered[r.Name] {
			t.Errorf("rule %s: text %q, fixture %v", r.Name, r.Message, covered[r.Name])
		}
		if (r.Standing == attest.Documented) != quoted[r.Name] {
			t.Errorf("rule %s is %s: fixture with the text of its source %v", r.Name, r.Standing, quoted[r.Name])
		}
	}
}

func TestAccepted(t *testing.T) {
	root := attesttest.NewRoot(t, "Example Root", now)
	upper := root.Sub(t, "Example Works")
	line := upper.Sub(t, "Example Line")
	device := line.Device(t, "press-0042")
	whole := []*x509.Certificate{device.Certificate, line.Certificate, upper.Certificate, root.Certificate}
	verified := func(list ...*x509.Certificate) (cas []attest.CA) {
		for _, c := range list {
			cas = append(cas, attest.CA{Name: c.Subject.CommonName, Certificate: c, Verified: true})
		}
		return cas
	}
	group := func(id string, anchors ...*x509.Certificate) attest.Group {
		return attest.Group{ID: id, Anchors: anchors}
	}
	other := attesttest.NewRoot(t, "Example Root 2", now)
	for _, test := range []struct {
		name         string
		cas          []attest.CA
		groups       []attest.Group
		chain        []*x509.Certificate
		id           string
		group        string
		anchor, root int
	}{
		{"root verified and anchored", verified(root.Certificate), []attest.Group{group("g", root.Certificate)}, whole, "press-0042", "g", 3, 3},
		{"root verified, intermediate anchored", verified(root.Certificate), []attest.Group{group("g", line.Certificate)}, whole, "press-0042", "g", 1, 3},
		{"intermediate verified and anchored, root not sent", verified(line.Certificate), []attest.Group{group("g", line.Certificate)}, whole[:2], "press-0042", "g", 1, 1},
		{"the nearest group", verified(root.Certificate), []attest.Group{group("far", root.Certificate), group("near", upper.Certificate)}, whole, "press-0042", "near", 2, 3},
		{"the secondary slot", verified(root.Certificate), []attest.Group{group("g", other.Certificate, root.Certificate)}, whole, "press-0042", "g", 3, 3},
		{"capitals", verified(root.Certificate), []attest.Group{group("g", root.Certificate)}, whole, "PRESS-0042", "g", 3, 3},
	} {
		t.Run(test.name, func(t *testing.T) {
			v := attest.Judge(attest.Service{Verified: test.cas, Groups: test.groups}, attest.Presented{RegistrationID: test.id, Chain: test.chain, Now: now})
			if !v.Accepted || v.Unknown != "" || v.Rule != "" || v.Group != test.group || v.Anchor != test.anchor || v.Root != test.root || v.Path != test.root+1 {
				t.Errorf("%+v", v)
			}
		})
	}
}

// TestSelfIssued: a CA that issued itself a certificate for a new key does not count
// against path lengths (RFC 5280, Section 6.1.4, l).
func TestSelfIssued(t *testing.T) {
	root := attesttest.NewRoot(t, "Root", now, func(c *x509.Certificate) { c.MaxPathLen = 1 })
	next := root.Sub(t, "Root")
	line := next.Sub(t, "Line")
	chain := []*x509.Certificate{line.Device(t, "press-0042").Certificate, line.Certificate, next.Certificate, root.Certificate}
	s := attest.Service{Verified: []attest.CA{{Certificate: root.Certificate, Verified: true}}, Groups: []attest.Group{{ID: "g", Anchors: []*x509.Certificate{root.Certificate}}}}
	if v := attest.Judge(s, attest.Presented{RegistrationID: "press-0042", Chain: chain, Now: now}); !v.Accepted {
		t.Errorf("%+v", v)
	}
}

// TestWaiting: of a CA that is at DPS without its proof, it says what it waits for.
func TestWaiting(t *testing.T) {
	c := attesttest.Accepted(t, now)
	c.CAs = []attest.CA{{Name: "line-2027", Certificate: c.Presented.Chain[1]}}
	for _, chain := range [][]*x509.Certificate{c.Presented.Chain, c.Presented.Chain[:2]} {
		c.Presented.Chain = chain
		if v := attest.Judge(c.Service(), c.Presented); !strings.Contains(v.Why, `is at DPS as "line-2027", but not verified`) {
			t.Errorf("%d certificates: %s", len(chain), v.Why)
		}
	}
}

// TestIndividual: the device's certificate alone counts, whoever issued it, and the
// groups are not asked.
func TestIndividual(t *testing.T) {
	c := attesttest.Accepted(t, now)
	own := attesttest.NewRoot(t, "press-0042", now, func(c *x509.Certificate) {
		c.IsCA, c.KeyUsage, c.ExtKeyUsage = false, x509.KeyUsageDigitalSignature, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	}).Certificate
	c.Individuals = []attesttest.Individual{{RegistrationID: "Press-0042", Certificate: own}}
	c.Groups[0].Disabled = true
	c.Presented.Chain = []*x509.Certificate{own}
	if v := attest.Judge(c.Service(), c.Presented); !v.Accepted || v.Individual != "Press-0042" || v.Group != "" || v.Unknown != "" || v.Path != 1 {
		t.Errorf("%+v", v)
	}
	c.Presented.Now = own.NotAfter.Add(time.Second)
	if v := attest.Judge(c.Service(), c.Presented); v.Rule != "expired" || v.Individual != "Press-0042" {
		t.Errorf("expired: %+v", v)
	}
}

// with changes a certificate that is being made.
type with = func(*x509.Certificate)

// refusal is a case of one rule that refuses, or that notes something.
type refusal struct {
	rule string
	name string
	make func(t *testing.T, c *attesttest.Case)
}

// chain makes root, CAs and device anew: the root changed by the first of changes, the
// next CA by the second, the device by the last one.
func chain(t *testing.T, c *attesttest.Case, names []string, changes ...with) {
	t.Helper()
	change := func(i int) []with {
		if i < len(changes) && changes[i] != nil {
			return []with{changes[i]}
		}
		return nil
	}
	e := attesttest.NewRoot(t, names[0], now, change(0)...)
	list := []*x509.Certificate{e.Certificate}
	for i, name := range names[1 : len(names)-1] {
		e = e.Sub(t, name, change(i+1)...)
		list = append(list, e.Certificate)
	}
	e = e.Device(t, names[len(names)-1], change(len(names)-1)...)
	list = append(list, e.Certificate)
	slices.Reverse(list)
	root := list[len(list)-1]
	c.CAs = []attest.CA{{Name: "root", Certificate: root, Verified: true}}
	c.Groups = []attest.Group{{ID: "all", Anchors: []*x509.Certificate{root}}}
	c.Presented.Chain, c.Key = list, e.Key
}

func certificate(t *testing.T, text []byte) *x509.Certificate {
	t.Helper()
	block, _ := pem.Decode(text)
	if block == nil {
		t.Fatal("no PEM")
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

var plain = []string{"Root", "Line", "press-0042"}

var refusals = []refusal{
	{"no-certificate", "", func(t *testing.T, c *attesttest.Case) { c.Presented.Chain = nil }},
	{"registration-id", "empty", func(t *testing.T, c *attesttest.Case) { c.Presented.RegistrationID = "" }},
	{"registration-id", "too long", func(t *testing.T, c *attesttest.Case) {
		c.Presented.RegistrationID = strings.Repeat("a", 129)
	}},
	{"registration-id", "a character", func(t *testing.T, c *attesttest.Case) { c.Presented.RegistrationID = "press@0042" }},
	{"registration-id", "no ASCII", func(t *testing.T, c *attesttest.Case) { c.Presented.RegistrationID = "pressé" }},
	{"registration-id", "last character", func(t *testing.T, c *attesttest.Case) { c.Presented.RegistrationID = "press-0042." }},
	{"registration-id-case", "", func(t *testing.T, c *attesttest.Case) {
		c.Presented.RegistrationID, c.Presented.APIVersion = "Press-0042", "2018-09-01-preview"
	}},
	{"common-name", "another", func(t *testing.T, c *attesttest.Case) { c.Presented.RegistrationID = "press-0043" }},
	{"common-name", "a Kelvin sign for k", func(t *testing.T, c *attesttest.Case) {
		chain(t, c, []string{"Root", "Line", "ken\u212a"})
		c.Presented.RegistrationID = "kenk"
	}},
	{"common-name", "the chain begins with the root", func(t *testing.T, c *attesttest.Case) { slices.Reverse(c.Presented.Chain) }},
	{"disabled", "before it is looked which certificate", func(t *testing.T, c *attesttest.Case) {
		c.Individuals = []attesttest.Individual{{RegistrationID: "press-0042", Certificate: c.Presented.Chain[1], Disabled: true}}
	}},
	{"disabled", "the same certificate in an enabled group", func(t *testing.T, c *attesttest.Case) {
		c.Groups = []attest.Group{c.Groups[0], {ID: "blocked", Anchors: c.Groups[0].Anchors, Disabled: true}}
	}},
	{"individual-certificate", "", func(t *testing.T, c *attesttest.Case) {
		c.Individuals = []attesttest.Individual{{RegistrationID: "press-0042", Certificate: c.Presented.Chain[1]}}
	}},
	{"signature", "an issuer of the same name", func(t *testing.T, c *attesttest.Case) {
		c.Presented.Chain[1] = attesttest.NewRoot(t, "Example Root", now).Sub(t, "Example Line").Certificate
	}},
	{"order", "root before issuer", func(t *testing.T, c *attesttest.Case) {
		c.Presented.Chain[1], c.Presented.Chain[2] = c.Presented.Chain[2], c.Presented.Chain[1]
	}},
	{"order", "issuer twice", func(t *testing.T, c *attesttest.Case) {
		c.Presented.Chain = slices.Insert(c.Presented.Chain, 2, c.Presented.Chain[1])
	}},
	{"verified", "a gap below the root", func(t *testing.T, c *attesttest.Case) {
		c.Presented.Chain = slices.Delete(c.Presented.Chain, 1, 2)
	}},
	{"verified", "the root is not sent", func(t *testing.T, c *attesttest.Case) { c.Presented.Chain = c.Presented.Chain[:2] }},
	{"verified", "it waits for its proof", func(t *testing.T, c *attesttest.Case) {
		c.CAs = []attest.CA{{Name: "line", Certificate: c.Presented.Chain[1]}}
		c.Presented.Chain = c.Presented.Chain[:2]
	}},
	{"verified", "in the wrong order, and nothing is uploaded", func(t *testing.T, c *attesttest.Case) {
		c.CAs = nil
		c.Presented.Chain[1], c.Presented.Chain[2] = c.Presented.Chain[2], c.Presented.Chain[1]
	}},
	{"unverified", "nothing is uploaded", func(t *testing.T, c *attesttest.Case) { c.CAs = nil }},
	{"unverified", "the same name and key, another certificate", func(t *testing.T, c *attesttest.Case) {
		// A root that was issued anew is another certificate.
		root := attesttest.NewRoot(t, "Example Root", now)
		again := *root.Certificate
		again.SerialNumber = nil
		old := root.Reissue(t, &again, root.Key)
		line := root.Sub(t, "Example Line")
		c.CAs[0].Certificate, c.Groups[0].Anchors[0] = old, old
		c.Presented.Chain = []*x509.Certificate{line.Device(t, "press-0042").Certificate, line.Certificate, root.Certificate}
	}},
	{"group", "", func(t *testing.T, c *attesttest.Case) {
		c.Groups[0].Anchors = []*x509.Certificate{attesttest.NewRoot(t, "Root 2", now).Certificate}
	}},
	{"group", "the group's is above what is sent", func(t *testing.T, c *attesttest.Case) {
		c.CAs[0].Certificate = c.Presented.Chain[1]
		c.Presented.Chain = c.Presented.Chain[:2]
	}},
	{"no-enrollment", "", func(t *testing.T, c *attesttest.Case) { c.Groups = nil }},
	{"anchor-verified", "", func(t *testing.T, c *attesttest.Case) { c.CAs[0].Certificate = c.Presented.Chain[1] }},
	{"expired", "device", func(t *testing.T, c *attesttest.Case) {
		chain(t, c, plain, nil, nil, func(x *x509.Certificate) { x.NotAfter = now.Add(-time.Second) })
	}},
	{"expired", "root", func(t *testing.T, c *attesttest.Case) {
		chain(t, c, plain, func(x *x509.Certificate) { x.NotAfter = now.Add(-time.Second) })
	}},
	{"not-yet-valid", "issuer", func(t *testing.T, c *attesttest.Case) {
		chain(t, c, plain, nil, func(x *x509.Certificate) { x.NotBefore = now.Add(time.Second) })
	}},
	{"issuer-ca", "a device's certificate", func(t *testing.T, c *attesttest.Case) {
		chain(t, c, plain, nil, func(x *x509.Certificate) { x.IsCA, x.KeyUsage, x.MaxPathLen = false, 0, 0 })
	}},
	{"issuer-ca", "no basicConstraints", func(t *testing.T, c *attesttest.Case) {
		chain(t, c, plain, nil, func(x *x509.Certificate) { x.BasicConstraintsValid, x.IsCA, x.MaxPathLen = false, false, 0 })
	}},
	{"issuer-usage", "", func(t *testing.T, c *attesttest.Case) {
		chain(t, c, plain, nil, func(x *x509.Certificate) { x.KeyUsage = x509.KeyUsageDigitalSignature })
	}},
	{"path-length", "a CA below a gateway's", func(t *testing.T, c *attesttest.Case) {
		chain(t, c, []string{"Root", "aziot-edge CA gateway-1", "workload", "press-0042"}, nil, func(x *x509.Certificate) { x.MaxPathLen, x.MaxPathLenZero = 0, true })
	}},
	{"path-length", "a gateway's below a line's CA", func(t *testing.T, c *attesttest.Case) {
		chain(t, c, []string{"Root", "Line", "aziot-edge CA gateway-1", "press-0042"},
			nil, func(x *x509.Certificate) { x.MaxPathLen, x.MaxPathLenZero = 0, true }, func(x *x509.Certificate) { x.MaxPathLen, x.MaxPathLenZero = 0, true })
	}},
	{"client-auth", "another", func(t *testing.T, c *attesttest.Case) {
		chain(t, c, plain, nil, nil, func(x *x509.Certificate) { x.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} })
	}},
	{"client-auth", "none", func(t *testing.T, c *attesttest.Case) {
		chain(t, c, plain, nil, nil, func(x *x509.Certificate) { x.ExtKeyUsage = nil })
	}},
	{"device-ca", "", func(t *testing.T, c *attesttest.Case) {
		chain(t, c, plain, nil, nil, func(x *x509.Certificate) { x.IsCA, x.KeyUsage = true, x509.KeyUsageCertSign })
	}},
	{"key", "P-521", func(t *testing.T, c *attesttest.Case) {
		root := attesttest.NewRoot(t, "Root", now)
		template := *root.Device(t, "press-0042").Certificate
		template.SerialNumber = nil
		c.Presented.Chain = []*x509.Certificate{root.Reissue(t, &template, pkitest.Key(t, "P-521")), root.Certificate}
		c.CAs[0].Certificate, c.Groups[0].Anchors[0] = root.Certificate, root.Certificate
	}},
	{"algorithm", "SHA-1", func(t *testing.T, c *attesttest.Case) {
		root, device := pkitest.ReadFile(t, "testdata/sha1/root.pem"), pkitest.ReadFile(t, "testdata/sha1/device.pem")
		c.Presented.Chain = []*x509.Certificate{certificate(t, device), certificate(t, root)}
		c.CAs[0].Certificate, c.Groups[0].Anchors[0] = c.Presented.Chain[1], c.Presented.Chain[1]
	}},
	{"extra", "a second root", func(t *testing.T, c *attesttest.Case) {
		c.Presented.Chain = append(c.Presented.Chain, attesttest.NewRoot(t, "Root 2", now).Certificate)
	}},
	{"extra", "the root twice", func(t *testing.T, c *attesttest.Case) {
		c.Presented.Chain = append(c.Presented.Chain, c.Presented.Chain[2])
	}},
	{"disabled-above", "", func(t *testing.T, c *attesttest.Case) {
		c.Groups[0].Disabled = true
		c.Groups = append(c.Groups, attest.Group{ID: "line", Anchors: []*x509.Certificate{c.Presented.Chain[1]}})
	}},
	{"two-groups", "", func(t *testing.T, c *attesttest.Case) {
		c.Groups = append(c.Groups, attest.Group{ID: "a", Anchors: c.Groups[0].Anchors})
	}},
}

// TestRules: each rule has a case in which it decides as it says, and each of these is
// a case that DPS would otherwise take.
func TestRules(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range refusals {
		seen[r.rule] = true
		t.Run(r.rule+" "+r.name, func(t *testing.T) {
			c := attesttest.Accepted(t, now)
			if v := attest.Judge(c.Service(), c.Presented); !v.Accepted {
				t.Fatalf("the case is not accepted without its change: %+v", v)
			}
			r.make(t, &c)
			v := attest.Judge(c.Service(), c.Presented)
			rule := attest.RuleOf(r.rule)
			noted := slices.ContainsFunc(v.Notes, func(n attest.Note) bool { return n.Rule == r.rule && n.Why != "" })
			switch {
			case rule.Refuses && (v.Accepted || v.Rule != r.rule || v.Code != rule.Code || v.Message != rule.Message || v.Unknown != rule.Unknown || v.Why == ""):
				t.Errorf("%+v", v)
			case !rule.Refuses && (!v.Accepted || v.Rule != "" || !noted || len(v.Notes) != 1 || !strings.Contains(v.Unknown, rule.Unknown)):
				t.Errorf("%+v", v)
			}
		})
	}
	for _, r := range attest.Rules() {
		if !seen[r.Name] {
			t.Errorf("rule %s has no case", r.Name)
		}
	}
}

// TestRuleTable: what a rule says of itself fits together.
func TestRuleTable(t *testing.T) {
	names := map[string]bool{}
	for _, r := range attest.Rules() {
		if names[r.Name] || attest.RuleOf(r.Name) != r {
			t.Errorf("rule %s stands twice", r.Name)
		}
		names[r.Name] = true
		if r.Says == "" || !strings.HasPrefix(r.Source, "https://") {
			t.Errorf("%s: says %q, source %q", r.Name, r.Says, r.Source)
		}
		if known := r.Standing == attest.Documented || r.Standing == attest.Inferred; known != (r.Message != "") {
			t.Errorf("%s: %s, with text %q", r.Name, r.Standing, r.Message)
		}
		if r.Standing != attest.Documented && r.Unknown == "" {
			t.Errorf("%s is %s, and does not say what is unknown", r.Name, r.Standing)
		}
		if r.Refuses != (r.Code != 0) || !r.Refuses && r.Standing != attest.Undocumented {
			t.Errorf("%s: refuses %v with %d", r.Name, r.Refuses, r.Code)
		}
	}
	if attest.RuleOf("nothing") != (attest.Rule{}) {
		t.Error("there is a rule nothing")
	}
}
