package doctor

import (
	"crypto/x509"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"mintmark/dpsreg/attest"
	"mintmark/dpsreg/attest/attesttest"
)

func render(t *testing.T, r Report, name string) string {
	t.Helper()
	var out strings.Builder
	if err := r.Render(&out, name); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestRender(t *testing.T) {
	w := newWorks(t)
	o := w.options()
	for _, test := range []struct {
		name  string
		chain []*x509.Certificate
		want  string
	}{
		{"accepted", w.chain(), `chain.pem: DPS accepts it, by the group "line"

   1  press-0042     P-256  2027-05-30  device
   2  Example Line   P-256  2037-03-01  group line
   3  Example Works  P-256  2037-03-01
   4  Example Root   P-256  2037-03-01  group all, verified

ok       registration-id: "press-0042" is a legal registration id and the
         device's common name
ok       order: each certificate is followed by its issuer
ok       verified: certificate 4 ("Example Root") is verified, and is sent
ok       group: the group "line" decides: it stands on certificate 2 ("Example
         Line"), the nearest above the device's that a group has; not asked,
         since further up: "all"
ok       client-auth: the device's certificate has clientAuth
ok       expired: all are valid; the first one to expire is "press-0042", on
         2027-05-30
`},
		{"refused", w.chain()[:2], `chain.pem: DPS refuses it:
  401002 "CA certificate not found."

   1  press-0042    P-256  2027-05-30  device
   2  Example Line  P-256  2037-03-01  group line

refused  verified: certificate 2 ("Example Line") is not verified, and its
         issuer "Example Works" does not follow: send all certificates up to the
         verified one, or verify one that is sent. Unknown: that the text is the
         same if more is sent than the device's certificate: it is known for
         that one alone
ok       registration-id: "press-0042" is a legal registration id and the
         device's common name
ok       client-auth: the device's certificate has clientAuth
`},
		{"out of order", []*x509.Certificate{w.chain()[0], w.chain()[3], w.chain()[2], w.chain()[1]}, `chain.pem: it is unknown whether DPS accepts it (order)

   1  press-0042     P-256  2027-05-30  device
   2  Example Root   P-256  2037-03-01  group all, verified
   3  Example Works  P-256  2037-03-01
   4  Example Line   P-256  2037-03-01  group line

      the right order is 1, 4, 3, 2

unknown  order: the device's certificate 1 ("press-0042") is followed by
         certificate 2 ("Example Root"), which has not signed it: send the
         device's certificate first, and after each one its issuer. Expect a
         refusal. Unknown: whether DPS sorts the chain, and with which text it
         refuses; TLS 1.2 demands this order
warning  sort: in the right order, nothing else refuses it
ok       registration-id: "press-0042" is a legal registration id and the
         device's common name
ok       client-auth: the device's certificate has clientAuth
`},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := render(t, check(t, test.chain, o), "chain.pem"); got != test.want {
				t.Errorf("got\n%s\nwant\n%s", got, test.want)
			}
		})
	}
}

// TestWidth: no line is wider than a terminal, whatever is found.
func TestWidth(t *testing.T) {
	var reports []Report
	for _, f := range attesttest.Fixtures(t) {
		c := f.Case(t, now)
		reports = append(reports, check(t, c.Presented.Chain, options(c)))
	}
	long := newWorks(t, func(c *x509.Certificate) { c.Subject.CommonName = strings.Repeat("press ", 10) })
	o := long.options()
	o.Groups = append(o.Groups, attest.Group{ID: strings.Repeat("line-", 25) + "a", Anchors: []*x509.Certificate{long.upper.Certificate}, Disabled: true},
		attest.Group{ID: strings.Repeat("b", 60), Anchors: []*x509.Certificate{long.root.Certificate}})
	reports = append(reports, check(t, long.chain(), o))
	for _, r := range reports {
		for _, line := range strings.Split(render(t, r, "chain.pem"), "\n") {
			if n := len([]rune(line)); n > width {
				t.Errorf("%d columns: %s", n, line)
			}
		}
	}
}

// TestForeignNames: what a certificate says of itself cannot move the cursor.
func TestForeignNames(t *testing.T) {
	w := newWorks(t, func(c *x509.Certificate) { c.Subject.CommonName = "press\x1b[2J\u202e\n42" })
	out := render(t, check(t, w.chain(), w.options()), "ch\x1bain.pem")
	if strings.ContainsAny(out, "\x1b\u202e") || strings.Contains(out, "press\n") {
		t.Errorf("%q", out)
	}
}

// TestJSON: the names of the fields are part of what scripts rely on.
func TestJSON(t *testing.T) {
	w := newWorks(t)
	data, err := json.Marshal(check(t, w.chain()[:1], w.options()))
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]json.RawMessage
	if err := json.Unmarshal(data, &got); err != nil {
		t.Fatal(err)
	}
	var names []string
	for name := range got {
		names = append(names, name)
	}
	slices.Sort(names)
	if want := []string{"chain", "code", "findings", "message", "prediction", "registration_id", "rule"}; !slices.Equal(names, want) {
		t.Errorf("fields %q, want %q", names, want)
	}
	if strings.Contains(string(data), "BEGIN") {
		t.Error("it repeats the certificates")
	}
}
