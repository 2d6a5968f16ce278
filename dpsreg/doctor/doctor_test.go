package doctor

import (
	"crypto/x509"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"mintmark/dpsreg/attest"
	"mintmark/dpsreg/attest/attesttest"
)

// TestFixtures: every refusal on record is predicted with exactly its code and text.
func TestFixtures(t *testing.T) {
	for _, f := range attesttest.Fixtures(t) {
		t.Run(f.Name, func(t *testing.T) {
			c := f.Case(t, now)
			r := check(t, c.Presented.Chain, options(c))
			first := r.Findings[0]
			if r.Prediction != Refused || r.Rule != f.Rule || r.Code != f.Code || r.Message != f.Message {
				t.Errorf("%+v", r)
			}
			if first.Severity != SeverityRefused || first.Rule != f.Rule || first.Message != f.Message {
				t.Errorf("the first finding is %+v", first)
			}
			var out strings.Builder
			if err := r.Render(&out, "chain.pem"); err != nil || !strings.Contains(strings.Join(strings.Fields(out.String()), " "), f.Message) {
				t.Errorf("%v: %q is not in\n%s", err, f.Message, out.String())
			}
		})
	}
}

func TestAccepted(t *testing.T) {
	w := newWorks(t)
	r := check(t, w.chain(), w.options())
	if r.Prediction != Accepted || r.Group != "line" || r.Rule != "" || r.Message != "" || r.Order != nil {
		t.Errorf("%+v", r)
	}
	for _, rule := range []string{"registration-id", "order", "verified", "group", "client-auth", "expired"} {
		if r.found(SeverityOK, rule) == nil {
			t.Errorf("it does not say that %s is right: %+v", rule, r.Findings)
		}
	}
	if len(r.Findings) != 6 {
		t.Errorf("more is found: %+v", r.Findings)
	}
	if f := r.found(SeverityOK, "group"); f != nil && (!strings.Contains(f.Text, `"line"`) || !strings.Contains(f.Text, `not asked, since further up: "all"`)) {
		t.Errorf("it does not say why: %s", f.Text)
	}
	var roles []string
	for _, m := range r.Chain {
		roles = append(roles, m.Role)
	}
	if want := []string{"device", "group line", "", "group all, verified"}; !slices.Equal(roles, want) {
		t.Errorf("roles %q, want %q", roles, want)
	}
}

func TestIndividual(t *testing.T) {
	w := newWorks(t)
	o := w.options()
	o.Groups[0].Disabled = true
	o.Individual = &Individual{Certificates: []*x509.Certificate{w.line.Certificate, w.device.Certificate}}
	r := check(t, w.chain()[:1], o)
	if r.Prediction != Accepted || r.Individual != "press-0042" || r.Group != "" || r.found(SeverityOK, "individual-certificate") == nil {
		t.Errorf("%+v", r)
	}
	o.Individual.Disabled = true
	if r := check(t, w.chain(), o); r.Prediction != Refused || r.Rule != "disabled" || r.found(SeverityOK, "individual-certificate") != nil {
		t.Errorf("disabled: %+v", r)
	}
}

// TestOrder: the right order is said, and what is wrong beside it.
func TestOrder(t *testing.T) {
	w := newWorks(t)
	right := w.chain()
	for _, test := range []struct {
		name  string
		chain []*x509.Certificate
		order []int
		rule  string
	}{
		{"reversed", []*x509.Certificate{right[3], right[2], right[1], right[0]}, []int{4, 3, 2, 1}, "common-name"},
		{"root second", []*x509.Certificate{right[0], right[3], right[1], right[2]}, []int{1, 3, 4, 2}, "order"},
		{"twice", []*x509.Certificate{right[0], right[1], right[1], right[2], right[3]}, []int{1, 2, 4, 5, 3}, "order"},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := check(t, test.chain, w.options())
			if !slices.Equal(r.Order, test.order) || r.Rule != test.rule || r.found(SeverityWarning, "sort") == nil || r.found(SeverityOK, "order") != nil {
				t.Errorf("%+v", r)
			}
		})
	}
	// What does not belong to the chain does not begin it.
	stray := attesttest.NewRoot(t, "Stray Root", now).Certificate
	if r := check(t, append([]*x509.Certificate{stray}, right...), w.options()); !slices.Equal(r.Order, []int{2, 3, 4, 5, 1}) || r.RegistrationID != "press-0042" {
		t.Errorf("a stray root first: %+v", r)
	}
	own := attesttest.NewRoot(t, "press-0042", now, func(c *x509.Certificate) { c.IsCA, c.KeyUsage = false, x509.KeyUsageDigitalSignature }).Certificate
	if r := check(t, []*x509.Certificate{stray, own}, w.options()); !slices.Equal(r.Order, []int{2, 1}) {
		t.Errorf("a stray root before a self-signed device: %+v", r)
	}
	// What is still wrong in the right order is said, too.
	w = newWorks(t, func(c *x509.Certificate) { c.NotAfter = now.Add(-time.Hour) })
	right = w.chain()
	r := check(t, []*x509.Certificate{right[0], right[3], right[2], right[1]}, w.options())
	if f := r.found(SeverityUnknown, "expired"); f == nil || r.found(SeverityWarning, "sort") != nil || r.Prediction != Unknown {
		t.Errorf("%+v", r)
	}
}

// TestUnknown: what Microsoft documents nothing about is not guessed.
func TestUnknown(t *testing.T) {
	for _, test := range []struct {
		rule     string
		change   func(*x509.Certificate)
		accepted bool
	}{
		{"client-auth", func(c *x509.Certificate) { c.ExtKeyUsage = nil }, true},
		{"device-ca", func(c *x509.Certificate) { c.IsCA, c.KeyUsage = true, x509.KeyUsageCertSign }, true},
		{"expired", func(c *x509.Certificate) { c.NotAfter = now.Add(-time.Second) }, false},
		{"not-yet-valid", func(c *x509.Certificate) { c.NotBefore = now.Add(time.Second) }, false},
	} {
		w := newWorks(t, test.change)
		r := check(t, w.chain(), w.options())
		f := r.found(SeverityUnknown, test.rule)
		if rest := slices.DeleteFunc(slices.Clone(r.Findings), func(f Finding) bool { return f.Severity == SeverityOK }); len(rest) != 1 {
			t.Errorf("%s: more is found: %+v", test.rule, rest)
		}
		if r.Prediction != Unknown || f == nil || f.Unknown == "" || f.Message != "" || (r.Rule == "") != test.accepted {
			t.Errorf("%s: %+v", test.rule, r)
		}
	}
}

// TestSupposed: what is not said of DPS is supposed, and that is said.
func TestSupposed(t *testing.T) {
	w := newWorks(t)
	r := check(t, w.chain(), Options{Now: now})
	if r.Prediction != Accepted || r.Group != "" || r.found(SeverityWarning, "supposed") == nil || r.found(SeverityOK, "verified") != nil || r.Chain[3].Role != "supposed to be verified" {
		t.Errorf("nothing given: %+v", r)
	}
	o := Options{Now: now, Verified: []attest.CA{{Name: "root", Certificate: w.root.Certificate, Verified: true}}}
	if r := check(t, w.chain(), o); r.Prediction != Accepted || r.Group != "" || r.found(SeverityWarning, "supposed") == nil || r.found(SeverityOK, "verified") == nil {
		t.Errorf("verified given: %+v", r)
	}
	if r := check(t, w.chain()[:2], o); r.Message != "CA certificate not found." {
		t.Errorf("verified given, and not sent: %+v", r)
	}
	o = Options{Now: now, Groups: w.options().Groups}
	if r := check(t, w.chain(), o); r.Prediction != Refused || r.Rule != "unverified" || r.found(SeverityWarning, "supposed") != nil {
		t.Errorf("groups given and nothing verified: %+v", r)
	}
}

// TestWarnings: each warning has a case in which it is found, and is not where it
// should not be.
func TestWarnings(t *testing.T) {
	cases := map[string]func(t *testing.T) ([]*x509.Certificate, Options){
		"supposed": func(t *testing.T) ([]*x509.Certificate, Options) { return newWorks(t).chain(), Options{Now: now} },
		"sort": func(t *testing.T) ([]*x509.Certificate, Options) {
			w := newWorks(t)
			chain := w.chain()
			slices.Reverse(chain)
			return chain, w.options()
		},
		"capitals": func(t *testing.T) ([]*x509.Certificate, Options) {
			w := newWorks(t, func(c *x509.Certificate) { c.Subject.CommonName = "Press-0042" })
			return w.chain(), w.options()
		},
		"long-name": func(t *testing.T) ([]*x509.Certificate, Options) {
			w := newWorks(t, func(c *x509.Certificate) { c.Subject.CommonName = strings.Repeat("a", 65) })
			return w.chain(), w.options()
		},
		"expires-soon": func(t *testing.T) ([]*x509.Certificate, Options) {
			w := newWorks(t, func(c *x509.Certificate) { c.NotAfter = now.AddDate(0, 0, 29) })
			return w.chain(), w.options()
		},
		"outlives-issuer": func(t *testing.T) ([]*x509.Certificate, Options) {
			w := newWorks(t, func(c *x509.Certificate) { c.NotAfter = now.AddDate(11, 0, 0) })
			return w.chain(), w.options()
		},
		"duplicate": func(t *testing.T) ([]*x509.Certificate, Options) {
			w := newWorks(t)
			return append(w.chain(), w.line.Certificate), w.options()
		},
		"second-root": func(t *testing.T) ([]*x509.Certificate, Options) {
			w := newWorks(t)
			return append(w.chain(), attesttest.NewRoot(t, "Other Root", now).Certificate), w.options()
		},
		"gateway": func(t *testing.T) ([]*x509.Certificate, Options) {
			w := newWorks(t)
			gateway := w.line.Sub(t, "aziot-edge CA gateway-1", func(c *x509.Certificate) { c.MaxPathLen, c.MaxPathLenZero = 0, true })
			return append([]*x509.Certificate{gateway.Device(t, "press-0042").Certificate, gateway.Certificate}, w.chain()[1:]...), w.options()
		},
	}
	for _, rule := range Warnings() {
		t.Run(rule.Name, func(t *testing.T) {
			prepare := cases[rule.Name]
			if prepare == nil {
				t.Fatal("there is no case")
			}
			chain, o := prepare(t)
			r := check(t, chain, o)
			f := r.found(SeverityWarning, rule.Name)
			if f == nil || f.Text == "" || f.Message != "" {
				t.Errorf("%+v", r.Findings)
			}
			for _, f := range r.Findings {
				if f.Severity == SeverityWarning && f.Rule != rule.Name {
					t.Errorf("%s is found, too: %s", f.Rule, f.Text)
				}
			}
		})
	}
}

// TestOutlives: of a device's certificate that is valid for longer than one above it, what
// happens when that one expires is not known.
func TestOutlives(t *testing.T) {
	w := newWorks(t, func(c *x509.Certificate) { c.NotAfter = now.AddDate(11, 0, 0) })
	f := check(t, w.chain(), w.options()).found(SeverityWarning, "outlives-issuer")
	if f == nil || f.Unknown != attest.RuleOf("expired").Unknown || !strings.Contains(f.Text, "expect a refusal") {
		t.Errorf("%+v", f)
	}
}

// TestNoWarning: what looks like a mistake and is none.
func TestNoWarning(t *testing.T) {
	w := newWorks(t)
	gateway := w.line.Sub(t, "aziot-edge CA gateway-1", func(c *x509.Certificate) { c.MaxPathLen, c.MaxPathLenZero = 0, true })
	chain := append([]*x509.Certificate{gateway.Device(t, "press-0042").Certificate, gateway.Certificate}, w.chain()[1:]...)
	o := w.options()
	o.Groups = append(o.Groups, attest.Group{ID: "gateway-1", Anchors: []*x509.Certificate{gateway.Certificate}})
	if r := check(t, chain, o); r.Group != "gateway-1" || r.found(SeverityWarning, "gateway") != nil {
		t.Errorf("a group of the gateway's own: %+v", r)
	}
	o = w.options()
	o.Groups = []attest.Group{{ID: "both", Anchors: []*x509.Certificate{w.root.Certificate, w.line.Certificate}}}
	if f := check(t, w.chain(), o).found(SeverityOK, "group"); f == nil || strings.Contains(f.Text, "not asked") {
		t.Errorf("a group with both: %+v", f)
	}
}

func TestRefusedInput(t *testing.T) {
	if _, err := Check(nil, Options{Now: now}); err == nil || !strings.Contains(err.Error(), "no certificate") {
		t.Errorf("no chain: %v", err)
	}
	if _, err := Check(newWorks(t).chain(), Options{}); !errors.Is(err, ErrNoTime) {
		t.Errorf("no time: %v", err)
	}
}
