package issuer_test

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"slices"
	"strings"
	"testing"

	"mintmark/internal/ledger"
	"mintmark/internal/pkcs10"
	"mintmark/internal/pkitest"
	"mintmark/issuer"
)

// subjectDER encodes a subject.
func subjectDER(t testing.TB, name pkix.Name) []byte {
	t.Helper()
	der, err := asn1.Marshal(name.ToRDNSequence())
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// dnsDER encodes GeneralNames of DNS names.
func dnsDER(t testing.TB, names ...string) []byte {
	t.Helper()
	var list []asn1.RawValue
	for _, n := range names {
		list = append(list, asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 2, Bytes: []byte(n)})
	}
	der, err := asn1.Marshal(list)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// asking is a request of subject and DNS names that asks for others.
func asking(t testing.TB, key crypto.Signer, subject pkix.Name, dns []string, change pkcs10.ChangeSubject) []byte {
	t.Helper()
	der, err := pkcs10.Create(&x509.CertificateRequest{Subject: subject, DNSNames: dns}, pkcs10.Attributes{ChangeSubject: &change}, key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func withNames(t testing.TB) func(*issuer.Config) {
	return func(c *issuer.Config) {
		c.Profiles["named"] = profile(t, "named", issuer.ProfileConfig{Preset: "device", SAN: issuer.SANConfig{DNS: `[a-z0-9-]+\.example`}})
	}
}

// TestChangeNames renews under other names (RFC 7030, Section 4.2.2).
func TestChangeNames(t *testing.T) {
	ra := withHierarchy(t, newRA(t, newLedger(t), withNames(t)))
	old := pkix.Name{CommonName: "press-1", SerialNumber: "4711"}
	r := issuer.Request{Profile: "named", Issuer: "issuing", Authorize: issuer.Trusted, Requester: password,
		CSR: signed(t, pkitest.NewKey(t), old, func(r *x509.CertificateRequest) { r.DNSNames = []string{"a.example"} })}
	first, err := ra.Enroll(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	renewal := issuer.Request{Profile: "named", Issuer: "issuing", Authorize: issuer.Trusted, Device: "press-1", Renews: first.Certificate,
		Requester: ledger.Requester{Kind: "certificate", Name: string(first.Serial)}, ChangeNames: true}
	subject, alternative := subjectDER(t, pkix.Name{CommonName: "press-1", SerialNumber: "4712"}), dnsDER(t, "b.example", "c.example")
	for _, test := range []struct {
		name    string
		subject pkix.Name
		dns     []string
		change  pkcs10.ChangeSubject
		adapt   func(*issuer.Request)
		kind    issuer.Kind
		rule    string // empty if it succeeds
		serial  string
		want    []string
	}{
		{"both", old, []string{"a.example"}, pkcs10.ChangeSubject{Subject: subject, SubjectAlt: alternative}, nil, 0, "", "4712", []string{"b.example", "c.example"}},
		{"the subject only", old, []string{"a.example"}, pkcs10.ChangeSubject{Subject: subject}, nil, 0, "", "4712", []string{"a.example"}},
		{"alternative names only", old, []string{"a.example"}, pkcs10.ChangeSubject{SubjectAlt: alternative}, nil, 0, "", "4711", []string{"b.example", "c.example"}},
		{"not allowed", old, []string{"a.example"}, pkcs10.ChangeSubject{Subject: subject}, func(r *issuer.Request) { r.ChangeNames = false }, issuer.Forbidden, "change-names", "", nil},
		// The request's own names are still those of the certificate.
		{"from another subject", pkix.Name{CommonName: "press-1"}, []string{"a.example"}, pkcs10.ChangeSubject{Subject: subject}, nil, issuer.Malformed, "renewal-subject", "", nil},
		{"from other names", old, nil, pkcs10.ChangeSubject{SubjectAlt: alternative}, nil, issuer.Malformed, "renewal-san", "", nil},
		{"another device", old, []string{"a.example"}, pkcs10.ChangeSubject{Subject: subjectDER(t, named("press-2"))}, nil, issuer.Forbidden, "identity", "", nil},
		{"another device, whoever asks", old, []string{"a.example"}, pkcs10.ChangeSubject{Subject: subjectDER(t, named("press-2"))}, func(r *issuer.Request) { r.Device = "" }, issuer.Forbidden, "identity", "", nil},
		{"against the profile", old, []string{"a.example"}, pkcs10.ChangeSubject{SubjectAlt: dnsDER(t, "b.elsewhere")}, nil, issuer.Malformed, "san", "", nil},
		{"no subject by the profile", old, []string{"a.example"}, pkcs10.ChangeSubject{Subject: subjectDER(t, pkix.Name{Organization: []string{"x"}})}, nil, issuer.Malformed, "subject", "", nil},
		// What is asked for by name is granted or refused, never left out.
		{"an attribute beyond the profile", old, []string{"a.example"}, pkcs10.ChangeSubject{Subject: subjectDER(t, pkix.Name{CommonName: "press-1", Organization: []string{"x"}})}, nil, issuer.Malformed, "change-names", "", nil},
		{"a kind of name beyond the profile", old, []string{"a.example"}, pkcs10.ChangeSubject{SubjectAlt: []byte("\x30\x06\x87\x04\x0a\x00\x00\x01")}, nil, issuer.Malformed, "change-names", "", nil},
		{"a kind of name beyond all profiles", old, []string{"a.example"}, pkcs10.ChangeSubject{SubjectAlt: []byte("\x30\x04\x88\x02\x2a\x03")}, nil, issuer.Malformed, "change-names", "", nil},
		{"no DNS name", old, []string{"a.example"}, pkcs10.ChangeSubject{SubjectAlt: dnsDER(t, "\xff")}, nil, issuer.Malformed, "csr-attribute", "", nil},
		{"too many", old, []string{"a.example"}, pkcs10.ChangeSubject{SubjectAlt: dnsDER(t, slices.Repeat([]string{"b.example"}, 33)...)}, nil, issuer.Malformed, "san", "", nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := renewal
			r.CSR = asking(t, pkitest.NewKey(t), test.subject, test.dns, test.change)
			if test.adapt != nil {
				test.adapt(&r)
			}
			answer, err := ra.Enroll(t.Context(), r)
			if test.rule != "" {
				wantRefused(t, err, test.kind, test.rule)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if c := answer.Certificate; c.Subject.SerialNumber != test.serial || !slices.Equal(c.DNSNames, test.want) {
				t.Errorf("issued to %s, %v", c.Subject, c.DNSNames)
			}
		})
	}

	t.Run("holder", func(t *testing.T) {
		r := renewal
		r.Renews, r.Holds = nil, first.Certificate
		r.CSR = asking(t, pkitest.NewKey(t), old, nil, pkcs10.ChangeSubject{SubjectAlt: alternative})
		if _, err := ra.Enroll(t.Context(), r); err != nil {
			t.Error(err)
		}
		r.CSR = asking(t, pkitest.NewKey(t), old, []string{"a.example"}, pkcs10.ChangeSubject{Subject: subject})
		if answer, err := ra.Enroll(t.Context(), r); err != nil || answer.Certificate.Subject.SerialNumber != "4712" {
			t.Errorf("another subject: %v", err)
		}
		// What is not asked for by the attribute is held to the certificate.
		r.CSR = asking(t, pkitest.NewKey(t), old, []string{"d.example"}, pkcs10.ChangeSubject{Subject: subject})
		_, err := ra.Enroll(t.Context(), r)
		wantRefused(t, err, issuer.Forbidden, "identity")
		r.CSR = asking(t, pkitest.NewKey(t), pkix.Name{CommonName: "press-1", SerialNumber: "4713"}, nil, pkcs10.ChangeSubject{SubjectAlt: alternative})
		_, err = ra.Enroll(t.Context(), r)
		wantRefused(t, err, issuer.Forbidden, "identity")
	})

	t.Run("fixed attribute", func(t *testing.T) {
		for organization, rule := range map[string]string{"Example": "", "Other": "change-names"} {
			r := issuer.Request{Profile: "fixed", Issuer: "issuing", Authorize: issuer.Trusted, Requester: ledger.Requester{Kind: "maker", Name: "01"}, ChangeNames: true}
			change := pkix.Name{Country: []string{"DE"}, Organization: []string{organization}, CommonName: "dev-1"}
			r.CSR = asking(t, pkitest.NewKey(t), named("dev-1"), nil, pkcs10.ChangeSubject{Subject: subjectDER(t, change)})
			if _, err := ra.Enroll(t.Context(), r); rule != "" {
				wantRefused(t, err, issuer.Malformed, rule)
			} else if err != nil {
				t.Error(err)
			}
		}
	})

	t.Run("maker", func(t *testing.T) {
		// Its certificate names no device of ours, the request asks for the names.
		r := issuer.Request{Profile: "named", Issuer: "issuing", Authorize: issuer.Trusted, Requester: ledger.Requester{Kind: "maker", Name: "01"}, Device: "press-9", ChangeNames: true}
		r.CSR = asking(t, pkitest.NewKey(t), pkix.Name{SerialNumber: "press-9", Organization: []string{"Maker"}}, nil, pkcs10.ChangeSubject{Subject: subjectDER(t, named("press-9"))})
		answer, err := ra.Enroll(t.Context(), r)
		if err != nil || answer.Certificate.Subject.String() != "CN=press-9" {
			t.Errorf("issued %v, %v", answer.Certificate, err)
		}
		r.CSR = asking(t, pkitest.NewKey(t), pkix.Name{SerialNumber: "press-9"}, nil, pkcs10.ChangeSubject{Subject: subjectDER(t, named("press-8"))})
		_, err = ra.Enroll(t.Context(), r)
		wantRefused(t, err, issuer.Forbidden, "identity")
	})
}

// TestChangeNamesUnderApproval: what was approved are the names that were asked
// for, which neither key nor subject show.
func TestChangeNamesUnderApproval(t *testing.T) {
	l := newLedger(t)
	ra := withHierarchy(t, newRA(t, l, withNames(t)))
	key := pkitest.NewKey(t)
	first, err := ra.Enroll(t.Context(), issuer.Request{Profile: "named", Issuer: "issuing", Authorize: issuer.Trusted, Requester: password, CSR: csr(t, key, "press-1")})
	if err != nil {
		t.Fatal(err)
	}
	r := issuer.Request{Profile: "named", Issuer: "issuing", Authorize: issuer.Trusted, Device: "press-1", Renews: first.Certificate,
		Requester: ledger.Requester{Kind: "certificate", Name: string(first.Serial)}, ChangeNames: true, Approval: true}
	r.CSR = asking(t, key, named("press-1"), nil, pkcs10.ChangeSubject{SubjectAlt: dnsDER(t, "harmless.example")})
	_, err = ra.Enroll(t.Context(), r)
	wantRefused(t, err, issuer.Pending, "approval-pending")
	decide(t, l, enrollments(t, l)[0].ID, true)
	for _, change := range []pkcs10.ChangeSubject{{SubjectAlt: dnsDER(t, "other.example")}, {Subject: subjectDER(t, pkix.Name{CommonName: "press-1", SerialNumber: "1"}), SubjectAlt: dnsDER(t, "harmless.example")}} {
		other := r
		other.CSR = asking(t, key, named("press-1"), nil, change)
		_, err = ra.Enroll(t.Context(), other)
		wantRefused(t, err, issuer.Conflict, "approval-other")
	}
	other := r
	other.CSR = csr(t, key, "press-1")
	_, err = ra.Enroll(t.Context(), other)
	wantRefused(t, err, issuer.Conflict, "approval-other")
	answer, err := ra.Enroll(t.Context(), r)
	if err != nil || answer.Prior || !slices.Equal(answer.Certificate.DNSNames, []string{"harmless.example"}) {
		t.Errorf("issued %v, %v", answer.Certificate, err)
	}
}

// FuzzChangeNames: whatever names are asked for, the key is the request's.
func FuzzChangeNames(f *testing.F) {
	key := pkitest.NewKey(f)
	subject, alternative := subjectDER(f, named("press-2")), dnsDER(f, "a.example", strings.Repeat("b", 300))
	f.Add(asking(f, key, named("press-1"), nil, pkcs10.ChangeSubject{Subject: subject}))
	f.Add(asking(f, key, named("press-1"), []string{"x.example"}, pkcs10.ChangeSubject{SubjectAlt: alternative}))
	f.Add(asking(f, key, named("press-1"), []string{"x.example"}, pkcs10.ChangeSubject{Subject: subject, SubjectAlt: alternative}))
	f.Add(csr(f, key, "press-1"))
	f.Fuzz(func(t *testing.T, der []byte) {
		names, changed, err := issuer.NamesOf(der)
		if err != nil {
			if names != nil {
				t.Error("names beside an error")
			}
			return
		}
		own, err := x509.ParseCertificateRequest(der)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(names.RawSubjectPublicKeyInfo, own.RawSubjectPublicKeyInfo) {
			t.Error("another key")
		}
		if !changed && !bytes.Equal(names.Raw, own.Raw) {
			t.Error("other names, which nobody has asked for")
		}
	})
}
