package issuer_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"testing"

	"mintmark/ca"
	"mintmark/internal/ledger"
	"mintmark/internal/pkitest"
	"mintmark/issuer"
)

// unkeyed is a request whose key the server is to make.
func unkeyed(t testing.TB, profile string) issuer.Request {
	r := under(issuer.Trusted)
	r.Profile, r.CSR = profile, csr(t, pkitest.NewKey(t), "press-1")
	return r
}

// TestGenerateKeyFor: no key is made for what is refused whatever the key is, and the
// refusal is recorded as Enroll's would be.
func TestGenerateKeyFor(t *testing.T) {
	l := newLedger(t)
	ra := withHierarchy(t, newRA(t, l, nil))
	order(t, l, "bounded", func(o *ledger.Order) { o.Ranges = []ledger.Range{{First: "valve-1", Last: "valve-9"}} })
	list(t, l, "import-1", ledger.Listing{Device: "listed"}, ledger.Listing{Device: "held"})
	hold(t, l, "held", ledger.Held)
	defer ra.FillGenerators(true)() // whoever gets as far as a key is told so
	for _, test := range []struct {
		name   string
		device string
		change func(*issuer.Request)
		kind   issuer.Kind
		rule   string
	}{
		{"good", "press-1", func(*issuer.Request) {}, issuer.Unavailable, "keygen"},
		{"listed", "listed", func(r *issuer.Request) { r.Authorize = issuer.Inventory }, issuer.Unavailable, "keygen"},
		{"nobody", "press-1", func(r *issuer.Request) { r.Requester.Kind = "" }, issuer.Unauthenticated, "requester"},
		{"garbage", "press-1", func(r *issuer.Request) { r.CSR = []byte("garbage") }, issuer.Malformed, "csr-syntax"},
		{"a CA", "press-1", func(r *issuer.Request) { r.CSR = signed(t, pkitest.NewKey(t), named("press-1"), edgeCA) }, issuer.Forbidden, "csr-ca"},
		{"another subject", "*", func(*issuer.Request) {}, issuer.Malformed, "subject"},
		{"another device", "press-1", func(r *issuer.Request) { r.Device = "press-2" }, issuer.Forbidden, "identity"},
		{"no rule", "press-1", func(r *issuer.Request) { r.Authorize = "" }, issuer.Forbidden, "authorize"},
		{"who represents nobody", "press-1", func(r *issuer.Request) { r.Represents = true }, issuer.Forbidden, "identity"},
		{"not listed", "press-1", func(r *issuer.Request) { r.Authorize = issuer.Inventory }, issuer.Forbidden, "device-unlisted"},
		{"held", "held", func(*issuer.Request) {}, issuer.Forbidden, "device-held"},
		{"outside of the order", "press-1", func(r *issuer.Request) {
			c := r.CSR
			*r = by("bounded")
			r.CSR = c
		}, issuer.Forbidden, "order-range"},
	} {
		r := unkeyed(t, "device")
		r.CSR = csr(t, pkitest.NewKey(t), test.device)
		test.change(&r)
		_, err := ra.GenerateKey(t.Context(), r, pkitest.Key(t, "RSA-2048").Public())
		refusal := wantRefused(t, err, test.kind, test.rule)
		if test.rule != "keygen" && !refusal.Recorded {
			t.Errorf("%s: not recorded", test.name)
		}
	}
}

// TestGenerateKey makes keys of the type that is asked for, as far as the
// profile takes it.
func TestGenerateKey(t *testing.T) {
	ra := newRA(t, newLedger(t), func(c *issuer.Config) {
		c.Profiles["rsa"] = profile(t, "rsa", issuer.ProfileConfig{Preset: "device", Keys: []string{"RSA-2048", "P-384"}})
	})
	for _, test := range []struct {
		profile string
		like    crypto.PublicKey
		want    ca.Algorithm
	}{
		{"device", pkitest.Key(t, "P-256").Public(), ca.P256},
		{"device", pkitest.Key(t, "P-521").Public(), ca.P521},
		{"device", nil, ca.P256},
		{"device", "no key", ca.P256},
		{"rsa", pkitest.Key(t, "P-384").Public(), ca.P384},
		{"rsa", pkitest.Key(t, "P-256").Public(), ca.RSA2048},
		{"rsa", pkitest.Key(t, "RSA-2048").Public(), ca.RSA2048},
	} {
		key, err := ra.GenerateKey(t.Context(), unkeyed(t, test.profile), test.like)
		if err != nil {
			t.Errorf("%s like %T: %v", test.profile, test.like, err)
			continue
		}
		if kind, err := ca.AlgorithmOf(key.Public()); err != nil || kind != test.want {
			t.Errorf("%s like %T: made %s, %v, want %s", test.profile, test.like, kind, err, test.want)
		}
	}
	one, _ := ra.GenerateKey(t.Context(), unkeyed(t, "device"), nil)
	two, _ := ra.GenerateKey(t.Context(), unkeyed(t, "device"), nil)
	if one.Public().(interface{ Equal(crypto.PublicKey) bool }).Equal(two.Public()) {
		t.Error("one key twice")
	}
	if _, err := ra.GenerateKey(t.Context(), unkeyed(t, "nowhere"), nil); !errors.Is(err, issuer.ErrNoProfile) {
		t.Errorf("an unknown profile: %v", err)
	}
}

// TestGenerateKeyBounds: RSA keys are few at a time, and who has gone gets none.
func TestGenerateKeyBounds(t *testing.T) {
	ra := newRA(t, newLedger(t), nil)
	like := pkitest.Key(t, "RSA-2048").Public()
	free := ra.FillGenerators(true)
	_, err := ra.GenerateKey(t.Context(), unkeyed(t, "device"), like)
	wantRefused(t, err, issuer.Unavailable, "keygen")
	if _, err := ra.GenerateKey(t.Context(), unkeyed(t, "device"), nil); err != nil {
		t.Errorf("an elliptic curve key meanwhile: %v", err)
	}
	free()

	free = ra.FillGenerators(false)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := ra.GenerateKey(ctx, unkeyed(t, "device"), like); !errors.Is(err, context.Canceled) {
		t.Errorf("for nobody: %v", err)
	}
	free()
	if _, err := ra.GenerateKey(t.Context(), unkeyed(t, "device"), like); err != nil {
		t.Errorf("when there is room again: %v", err)
	}
}

// TestGenerated: neither the key nor the signature of the request count (RFC
// 7030, Section 4.4.1), and everything else does.
func TestGenerated(t *testing.T) {
	l := newLedger(t)
	ra := withHierarchy(t, newRA(t, l, nil))
	made, err := ra.GenerateKey(t.Context(), unkeyed(t, "device"), nil)
	if err != nil {
		t.Fatal(err)
	}
	broken := csr(t, pkitest.NewKey(t), "press-1")
	broken[len(broken)-3] ^= 1
	r := under(issuer.Trusted)
	r.CSR, r.Generated = broken, made.Public()
	answer, err := ra.Enroll(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	if !answer.Certificate.PublicKey.(interface{ Equal(crypto.PublicKey) bool }).Equal(made.Public()) {
		t.Error("the certificate is for another key")
	}
	der, _ := x509.MarshalPKIXPublicKey(made.Public())
	if record, err := l.Certificate(t.Context(), answer.Serial); err != nil || record.Key != spki(t, made) || !bytes.Equal(answer.Certificate.RawSubjectPublicKeyInfo, der) {
		t.Errorf("recorded under another key, %v", err)
	}
	// A key type that the profile does not take in the request, but none that it
	// does not take in the certificate.
	r.CSR = csr(t, pkitest.Key(t, "P-521"), "dev-1")
	r.Profile, r.Generated = "fixed", pkitest.Key(t, "P-521").Public()
	_, err = ra.Enroll(t.Context(), r)
	wantRefused(t, err, issuer.Malformed, "key-type")
	r.Generated = pkitest.NewKey(t).Public()
	if _, err := ra.Enroll(t.Context(), r); err != nil {
		t.Error(err)
	}
	for _, test := range []struct {
		csr  []byte
		rule string
	}{
		{[]byte("garbage"), "csr-syntax"},
		{append(bytes.Clone(broken), make([]byte, issuer.MaxRequest)...), "csr-size"},
		{csr(t, pkitest.NewKey(t), "*"), "subject"},
	} {
		r := under(issuer.Trusted)
		r.CSR, r.Generated = test.csr, pkitest.NewKey(t).Public()
		_, err := ra.Enroll(t.Context(), r)
		wantRefused(t, err, issuer.Malformed, test.rule)
	}
	// Another key for the device is another key, whoever made it, and is not held:
	// it would be another one when the approval is there.
	r = under(issuer.Trusted)
	r.SecondKey, r.CSR, r.Generated = issuer.HoldSecondKey, csr(t, pkitest.NewKey(t), "press-1"), pkitest.NewKey(t).Public()
	_, err = ra.Enroll(t.Context(), r)
	wantRefused(t, err, issuer.Conflict, "clone")
	if list := enrollments(t, l); len(list) != 0 {
		t.Errorf("waits: %+v", list)
	}
	if n := count(t, l)[ledger.Valid]; n != 2 {
		t.Errorf("%d certificates", n)
	}
}
