package doctor

import (
	"crypto/x509"
	"strings"
	"testing"
	"time"

	"mintmark/dpsreg/attest"
	"mintmark/dpsreg/attest/attesttest"
)

var now = time.Date(2027, 3, 1, 12, 0, 0, 0, time.UTC)

// options is what a case of attesttest is to the doctor.
func options(c attesttest.Case) Options {
	o := Options{RegistrationID: c.Presented.RegistrationID, APIVersion: c.Presented.APIVersion, Verified: c.CAs, Groups: c.Groups, Now: c.Presented.Now}
	for _, i := range c.Individuals {
		if strings.EqualFold(i.RegistrationID, c.Presented.RegistrationID) {
			o.Individual = &Individual{Certificates: []*x509.Certificate{i.Certificate}, Disabled: i.Disabled}
		}
	}
	return o
}

// check runs Check, which must not fail.
func check(t *testing.T, chain []*x509.Certificate, o Options) Report {
	t.Helper()
	r, err := Check(chain, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// found is the finding of a rule with a severity; nil for none.
func (r Report) found(severity Severity, rule string) *Finding {
	for i, f := range r.Findings {
		if f.Severity == severity && f.Rule == rule {
			return &r.Findings[i]
		}
	}
	return nil
}

// works is a chain of three CAs with a device, and everything around it.
type works struct {
	root, upper, line attesttest.Entity
	device            attesttest.Entity
}

func newWorks(t testing.TB, changes ...func(*x509.Certificate)) works {
	t.Helper()
	return newWorksAt(t, now, changes...)
}

func newWorksAt(t testing.TB, at time.Time, changes ...func(*x509.Certificate)) works {
	t.Helper()
	w := works{root: attesttest.NewRoot(t, "Example Root", at)}
	w.upper = w.root.Sub(t, "Example Works")
	w.line = w.upper.Sub(t, "Example Line")
	w.device = w.line.Device(t, "press-0042", changes...)
	return w
}

func (w works) chain() []*x509.Certificate {
	return []*x509.Certificate{w.device.Certificate, w.line.Certificate, w.upper.Certificate, w.root.Certificate}
}

func (w works) options() Options {
	return Options{
		Verified: []attest.CA{{Name: "root", Certificate: w.root.Certificate, Verified: true}},
		Groups:   []attest.Group{{ID: "line", Anchors: []*x509.Certificate{w.line.Certificate}}, {ID: "all", Anchors: []*x509.Certificate{w.root.Certificate}}},
		Now:      now,
	}
}
