package issuer_test

import (
	"crypto"
	"slices"
	"testing"
	"time"

	"mintmark/internal/ledger"
	"mintmark/internal/pkcs10"
	"mintmark/internal/pkitest"
	"mintmark/issuer"
)

// byRA is a renewal by a registration authority in the place of a device.
func byRA(request []byte) issuer.Request {
	return issuer.Request{Profile: "named", Issuer: "issuing", Label: "line", Authorize: issuer.Trusted, Represents: true,
		Requester: ledger.Requester{Kind: "ra", Name: "0a"}, CSR: request}
}

// TestRepresents renews in the place of a device: the newest certificate in
// force is what counts (RFC 7030, Section 3.7).
func TestRepresents(t *testing.T) {
	now := time.Now()
	l := newLedger(t)
	ra := withHierarchy(t, newRA(t, l, func(c *issuer.Config) {
		withNames(t)(c)
		c.Now = func() time.Time { return now }
		c.EpochTTL = 100 * time.Hour
	}))
	key := pkitest.NewKey(t)
	request := func(key crypto.Signer, device string, dns ...string) []byte {
		return asRequested(t, key, device, dns...)
	}
	first := issuer.Request{Profile: "named", Issuer: "issuing", Authorize: issuer.Trusted, Requester: password, CSR: request(key, "press-1", "a.example")}
	old, err := ra.Enroll(t.Context(), first)
	if err != nil {
		t.Fatal(err)
	}
	now = now.Add(2 * time.Hour)
	first.CSR = request(key, "press-1", "b.example")
	newest, err := ra.Enroll(t.Context(), first)
	if err != nil {
		t.Fatal(err)
	}
	now = now.Add(2 * time.Hour)

	_, err = ra.Enroll(t.Context(), byRA(request(key, "press-1", "a.example")))
	wantRefused(t, err, issuer.Malformed, "renewal-san")
	renewed, err := ra.Enroll(t.Context(), byRA(request(key, "press-1", "b.example")))
	if err != nil || renewed.Prior || !slices.Equal(renewed.Certificate.DNSNames, []string{"b.example"}) {
		t.Fatalf("renewing: %v", err)
	}
	// Another key is a second key, by whomever it comes but the device itself.
	rekey := byRA(request(pkitest.NewKey(t), "press-1", "b.example"))
	_, err = ra.Enroll(t.Context(), rekey)
	wantRefused(t, err, issuer.Conflict, "clone")
	rekey.SecondKey = issuer.AllowSecondKey
	if _, err := ra.Enroll(t.Context(), rekey); err != nil {
		t.Errorf("re-keying where that is allowed: %v", err)
	}

	_, err = ra.Enroll(t.Context(), byRA(request(key, "press-2")))
	refusal := wantRefused(t, err, issuer.Forbidden, "renewal-none")
	if refusal.Device != "press-2" {
		t.Errorf("refused for device %q", refusal.Device)
	}
	// Under another profile it has none.
	other := byRA(request(key, "press-1", "b.example"))
	other.Profile = "device"
	_, err = ra.Enroll(t.Context(), other)
	wantRefused(t, err, issuer.Forbidden, "renewal-none")
	other.Profile = "server"
	_, err = ra.Enroll(t.Context(), other)
	wantRefused(t, err, issuer.Forbidden, "renewal-none")
	// Nobody but a registration authority stands for a device.
	other = byRA(request(key, "press-1", "b.example"))
	other.Requester = password
	_, err = ra.Enroll(t.Context(), other)
	wantRefused(t, err, issuer.Forbidden, "identity")
	// It may change names, too, where that is allowed; the device stays.
	other = byRA(asking(t, key, named("press-1"), []string{"b.example"}, pkcs10.ChangeSubject{Subject: subjectDER(t, named("press-2"))}))
	other.ChangeNames = true
	_, err = ra.Enroll(t.Context(), other)
	wantRefused(t, err, issuer.Forbidden, "identity")

	// What is revoked or over is not renewed: the one before it is.
	for _, answer := range []issuer.Answer{newest, renewed} {
		if _, err := ra.Revoke(t.Context(), ledger.Selector{Serial: answer.Serial}, ledger.Superseded, "test"); err != nil {
			t.Fatal(err)
		}
	}
	page, err := l.Certificates(t.Context(), ledger.Query{Device: "press-1", State: ledger.Valid})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range page.Certificates {
		if c.Serial != old.Serial {
			if _, err := ra.Revoke(t.Context(), ledger.Selector{Serial: c.Serial}, ledger.Superseded, "test"); err != nil {
				t.Fatal(err)
			}
		}
	}
	now = now.Add(2 * time.Hour)
	if _, err := ra.Enroll(t.Context(), byRA(request(key, "press-1", "a.example"))); err != nil {
		t.Errorf("renewing the only one in force: %v", err)
	}
	now = now.Add(3 * 365 * 24 * time.Hour)
	if _, err := l.Join(t.Context(), "test", now, time.Hour); err != nil {
		t.Fatal(err)
	}
	_, err = ra.Enroll(t.Context(), byRA(request(key, "press-1", "a.example")))
	wantRefused(t, err, issuer.Forbidden, "renewal-none")
}

// TestRepresentsManyCertificates finds the newest of more than one page.
func TestRepresentsManyCertificates(t *testing.T) {
	now := time.Now()
	l := newLedger(t)
	ra := withHierarchy(t, newRA(t, l, withNames(t)))
	key := pkitest.NewKey(t)
	var older []ledger.Certificate
	for i := range 1005 {
		at := now.Add(-time.Duration(i+1) * time.Hour)
		older = append(older, ledger.Certificate{
			Serial: issuer.SerialOf(issuer.NewSerial(at)), Issuer: "issuing", Profile: "named", Purpose: ledger.ForDevice, Device: "press-1",
			Subject: "CN=press-1", Key: spki(t, key), NotBefore: at, NotAfter: now.Add(time.Hour), IssuedAt: at, DER: []byte("read by nobody"),
		})
	}
	if _, err := l.ImportCertificates(t.Context(), older, "test", now); err != nil {
		t.Fatal(err)
	}
	r := issuer.Request{Profile: "named", Issuer: "issuing", Authorize: issuer.Trusted, Requester: password, CSR: asRequested(t, key, "press-1", "a.example")}
	if _, err := ra.Enroll(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	_, err := ra.Enroll(t.Context(), byRA(asRequested(t, key, "press-1")))
	wantRefused(t, err, issuer.Malformed, "renewal-san")
	if _, err := ra.Enroll(t.Context(), byRA(asRequested(t, key, "press-1", "a.example"))); err != nil {
		t.Error(err)
	}
}

// asRequested is a request for a device with DNS names.
func asRequested(t testing.TB, key crypto.Signer, device string, dns ...string) []byte {
	return pkitest.CSR(t, key, named(device), dns...)
}
