package issuer_test

import (
	"crypto/x509/pkix"
	"encoding/asn1"
	"strings"
	"testing"

	"mintmark/internal/ledger"
	"mintmark/internal/pkcs10"
	"mintmark/internal/pkitest"
	"mintmark/issuer"
)

// withUnits adds a profile whose subjects say more than the device.
func withUnits(t testing.TB) func(*issuer.Config) {
	return func(c *issuer.Config) {
		c.Profiles["units"] = profile(t, "units", issuer.ProfileConfig{Preset: "device", Subject: map[string]issuer.Attribute{
			"commonName": {Pattern: `press-[0-9]+`}, "organizationalUnit": {Pattern: `(?s).+`},
		}})
	}
}

// TestApprovalIsForOneSubject: two subjects may have one text by which they are
// found, which is clipped and made printable, and are two requests all the same.
func TestApprovalIsForOneSubject(t *testing.T) {
	for name, test := range map[string]struct{ harmless, other, filler string }{
		"past the end":           {"harmless", "safety controllers", strings.Repeat("+", 1500)}, // each is two characters of text
		"what cannot be printed": {"line 7", "line\u200b7", ""},
	} {
		l := newLedger(t)
		ra := withHierarchy(t, newRA(t, l, withUnits(t)))
		key := pkitest.NewKey(t)
		request := func(unit string) issuer.Request {
			subject := pkix.Name{CommonName: "press-1", OrganizationalUnit: []string{unit}}
			if test.filler != "" {
				subject.ExtraNames = []pkix.AttributeTypeAndValue{{Type: asn1.ObjectIdentifier{2, 5, 4, 5}, Value: test.filler}}
			}
			r := approved(t, key, "press-1")
			r.Profile, r.CSR = "units", signed(t, key, subject, nil)
			return r
		}
		_, err := ra.Enroll(t.Context(), request(test.harmless))
		wantRefused(t, err, issuer.Pending, "approval-pending")
		decide(t, l, enrollments(t, l)[0].ID, true)
		_, err = ra.Enroll(t.Context(), request(test.other))
		wantRefused(t, err, issuer.Conflict, "approval-other")
		if n := count(t, l)[ledger.Valid]; n != 0 {
			t.Fatalf("%s: %d certificates for what nobody approved", name, n)
		}
		if answer, err := ra.Enroll(t.Context(), request(test.harmless)); err != nil || answer.Certificate.Subject.OrganizationalUnit[0] != test.harmless {
			t.Errorf("%s: the one that was approved: %v", name, err)
		}
	}
}

// TestWouldSign: what a person is shown is what is signed.
func TestWouldSign(t *testing.T) {
	l := newLedger(t)
	ra := withHierarchy(t, newRA(t, l, func(c *issuer.Config) {
		withUnits(t)(c)
		c.Profiles["units"] = profile(t, "units", issuer.ProfileConfig{Preset: "device", SAN: issuer.SANConfig{DNS: `[a-z]+\.example`}, Subject: map[string]issuer.Attribute{
			"commonName": {Pattern: `press-[0-9]+`}, "organizationalUnit": {Pattern: `.+`}, "organization": {Value: "Example"},
		}})
	}))
	key := pkitest.NewKey(t)
	r := approved(t, key, "press-1")
	r.Profile, r.ChangeNames = "units", true
	r.CSR = asking(t, key, pkix.Name{CommonName: "press-1", OrganizationalUnit: []string{"harmless"}}, []string{"a.example"}, pkcs10.ChangeSubject{
		Subject:    subjectDER(t, pkix.Name{CommonName: "press-99", OrganizationalUnit: []string{"safety controllers"}}),
		SubjectAlt: dnsDER(t, "b.example", "c.example"),
	})
	_, err := ra.Enroll(t.Context(), r)
	wantRefused(t, err, issuer.Pending, "approval-pending")
	entry := enrollments(t, l)[0]
	subject, names, err := ra.WouldSign(entry)
	if err != nil || entry.Subject != "OU=harmless,CN=press-1" && entry.Subject != "CN=press-1,OU=harmless" {
		t.Fatalf("entry %q, %v", entry.Subject, err)
	}
	decide(t, l, entry.ID, true)
	answer, err := ra.Enroll(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	if got := answer.Certificate.Subject.String(); got != subject || subject != "CN=press-99,OU=safety controllers,O=Example" {
		t.Errorf("shown %q, issued %q", subject, got)
	}
	if got := strings.Join(names, " "); got != "DNS:b.example DNS:c.example" || strings.Join(answer.Certificate.DNSNames, " ") != "b.example c.example" {
		t.Errorf("shown %q, issued %q", got, answer.Certificate.DNSNames)
	}
	entry.Profile = "fixed"
	if _, _, err := ra.WouldSign(entry); err == nil {
		t.Error("names that the profile does not take")
	}
	entry.Profile = "nowhere"
	if _, _, err := ra.WouldSign(entry); err == nil {
		t.Error("names under no profile")
	}
}

// TestApprovalQueueOfOneDevice: whoever makes new keys leaves room for others, and
// raises one alarm for each entry.
func TestApprovalQueueOfOneDevice(t *testing.T) {
	l := newLedger(t)
	ra := withHierarchy(t, newRA(t, l, nil))
	mustEnroll(t, ra, pkitest.NewKey(t), "press-1")
	held := func(device string) issuer.Request {
		r := under(issuer.Trusted)
		r.SecondKey, r.CSR = issuer.HoldSecondKey, csr(t, pkitest.NewKey(t), device)
		return r
	}
	var all []issuer.Request
	for range ledger.MostOfOne {
		all = append(all, held("press-1"))
		_, err := ra.Enroll(t.Context(), all[len(all)-1])
		wantRefused(t, err, issuer.Pending, "approval-pending")
	}
	for _, r := range []issuer.Request{held("press-1"), approved(t, pkitest.NewKey(t), "press-1")} {
		r.SecondKey = issuer.HoldSecondKey
		_, err := ra.Enroll(t.Context(), r)
		wantRefused(t, err, issuer.Unavailable, "approval-queue")
	}
	for _, r := range append(all, approved(t, pkitest.NewKey(t), "press-2")) {
		_, err := ra.Enroll(t.Context(), r)
		wantRefused(t, err, issuer.Pending, "approval-pending")
	}
	if n := counters(t, ra)["alarms_total clone"]; n != ledger.MostOfOne {
		t.Errorf("%v alarms", n)
	}
}

// TestApprovalHeld: a device that is held does not get its certificate again, by
// an approval or without.
func TestApprovalHeld(t *testing.T) {
	l := newLedger(t)
	ra := withHierarchy(t, newRA(t, l, nil))
	first, second := approved(t, pkitest.NewKey(t), "press-1"), under(issuer.Trusted)
	_, err := ra.Enroll(t.Context(), first)
	wantRefused(t, err, issuer.Pending, "approval-pending")
	decide(t, l, enrollments(t, l)[0].ID, true)
	second.CSR = csr(t, pkitest.NewKey(t), "press-2")
	for _, r := range []issuer.Request{first, second} {
		if _, err := ra.Enroll(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		if again, err := ra.Enroll(t.Context(), r); err != nil || !again.Prior {
			t.Errorf("repeated: %v", err)
		}
	}
	for _, state := range []ledger.DeviceState{ledger.Held, ledger.Retired} {
		hold(t, l, "press-1", state)
		hold(t, l, "press-2", state)
		for _, r := range []issuer.Request{first, second} {
			_, err := ra.Enroll(t.Context(), r)
			wantRefused(t, err, issuer.Forbidden, "device-"+string(state))
		}
	}
}
