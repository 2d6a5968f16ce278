package issuer_test

import (
	"crypto/sha256"
	"errors"
	"strings"
	"testing"
	"time"

	"mintmark/internal/ledger"
	"mintmark/internal/pkitest"
	"mintmark/issuer"
)

// oneTime records a one-time secret of a device and returns it.
func oneTime(t testing.TB, l ledger.Ledger, device, secret string, expires time.Time) [32]byte {
	t.Helper()
	s := ledger.DeviceSecret{Device: device, SHA256: sha256.Sum256([]byte(secret)), At: expires.Add(-time.Hour), Actor: "test", ExpiresAt: expires}
	if err := l.PutSecrets(t.Context(), []ledger.DeviceSecret{s}); err != nil {
		t.Fatal(err)
	}
	return s.SHA256
}

// bySecret is a request by the one-time secret of a device.
func bySecret(device string, sum [32]byte, request []byte) issuer.Request {
	r := under(issuer.Trusted)
	r.Requester, r.Device, r.Secret, r.CSR = ledger.Requester{Kind: "secret", Name: device}, device, sum, request
	return r
}

func TestDeviceSecret(t *testing.T) {
	l := newLedger(t)
	ra := newRA(t, l, nil)
	sum := oneTime(t, l, "press-1", "correct", time.Now().Add(time.Hour))
	got, err := ra.DeviceSecret(t.Context(), "press-1", "correct")
	if err != nil || got.Device != "press-1" || got.SHA256 != sum {
		t.Fatalf("%+v, %v", got, err)
	}
	texts := make(map[string]bool)
	for _, test := range []struct {
		device, secret string
		unknown        bool
	}{
		{"press-1", "wrong", false}, {"press-1", "", false}, {"press-1", string(sum[:]), false},
		{"press-2", "correct", true}, {"", "", true}, {"press-1\x00", "correct", true}, {"\xff", "correct", true}, {strings.Repeat("a", 1<<16), "correct", true},
	} {
		got, err := ra.DeviceSecret(t.Context(), test.device, test.secret)
		refusal := wantRefused(t, err, issuer.Unauthenticated, "credential")
		texts[refusal.Text] = true
		if errors.Is(err, ledger.ErrNotFound) != test.unknown || got != (ledger.DeviceSecret{}) {
			t.Errorf("%.20q: %+v, %v", test.device, got, err)
		}
	}
	if len(texts) != 1 {
		t.Errorf("answers differ: %v", texts)
	}
	// Whoever comes back with a used or expired one is known.
	oneTime(t, l, "press-3", "expired", time.Now().Add(-time.Hour))
	if _, err := ra.DeviceSecret(t.Context(), "press-3", "expired"); err != nil {
		t.Errorf("expired: %v", err)
	}
}

// TestOneTime: a secret gets one certificate, for one device.
func TestOneTime(t *testing.T) {
	l := newLedger(t)
	ra := withHierarchy(t, newRA(t, l, nil))
	sum := oneTime(t, l, "press-1", "correct", time.Now().Add(time.Hour))
	key := pkitest.NewKey(t)
	answer, err := ra.Enroll(t.Context(), bySecret("press-1", sum, csr(t, key, "press-1")))
	if err != nil {
		t.Fatal(err)
	}
	if again, err := ra.Enroll(t.Context(), bySecret("press-1", sum, csr(t, key, "press-1"))); err != nil || again.Serial != answer.Serial {
		t.Errorf("repeated: %v", err)
	}
	if _, err := ra.Revoke(t.Context(), ledger.Selector{Serial: answer.Serial}, ledger.Superseded, "test"); err != nil {
		t.Fatal(err)
	}
	_, err = ra.Enroll(t.Context(), bySecret("press-1", sum, csr(t, pkitest.NewKey(t), "press-1")))
	wantRefused(t, err, issuer.Forbidden, "secret-used")
	if list := refusals(t, ra, ledger.RefusalQuery{Rule: "secret-used"}); len(list) != 1 {
		t.Errorf("%d records of it", len(list))
	}
	expired := oneTime(t, l, "press-2", "expired", time.Now().Add(-time.Hour))
	_, err = ra.Enroll(t.Context(), bySecret("press-2", expired, csr(t, pkitest.NewKey(t), "press-2")))
	wantRefused(t, err, issuer.Forbidden, "secret-expired")
	_, err = ra.Enroll(t.Context(), bySecret("press-3", sum, csr(t, pkitest.NewKey(t), "press-3")))
	wantRefused(t, err, issuer.Forbidden, "secret-unknown")

	// Without the secret, or without the device, whoever asks has forgotten it.
	fresh := oneTime(t, l, "press-4", "fresh", time.Now().Add(time.Hour))
	for name, change := range map[string]func(*issuer.Request){
		"no secret": func(r *issuer.Request) { r.Secret = [32]byte{} },
		"no device": func(r *issuer.Request) { r.Device = "" },
		"no device, by another way": func(r *issuer.Request) {
			r.Requester = ledger.Requester{Kind: "maker", Name: "01"}
			r.Device = ""
		},
	} {
		r := bySecret("press-4", fresh, csr(t, pkitest.NewKey(t), "press-4"))
		change(&r)
		_, err := ra.Enroll(t.Context(), r)
		refusal := wantRefused(t, err, issuer.Unauthenticated, "requester")
		if refusal.Kind != issuer.Unauthenticated {
			t.Error(name)
		}
	}
}

// TestOneTimeWaits: a secret that gets nothing is not put before a person, and
// one that waits is not used up.
func TestOneTimeWaits(t *testing.T) {
	l := newLedger(t)
	ra := withHierarchy(t, newRA(t, l, nil))
	sum := oneTime(t, l, "press-1", "correct", time.Now().Add(time.Hour))
	r := bySecret("press-1", sum, csr(t, pkitest.NewKey(t), "press-1"))
	r.Approval = true
	_, err := ra.Enroll(t.Context(), r)
	wantRefused(t, err, issuer.Pending, "approval-pending")
	if s, err := l.DeviceSecret(t.Context(), "press-1"); err != nil || s.Serial != "" {
		t.Errorf("used while it waits: %+v, %v", s, err)
	}
	decide(t, l, enrollments(t, l)[0].ID, true)
	answer, err := ra.Enroll(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	if s, err := l.DeviceSecret(t.Context(), "press-1"); err != nil || s.Serial != answer.Serial {
		t.Errorf("used for %+v, %v", s, err)
	}
	expired := oneTime(t, l, "press-2", "expired", time.Now().Add(-time.Hour))
	for rule, test := range map[string]struct {
		device string
		sum    [32]byte
	}{"secret-used": {"press-1", sum}, "secret-expired": {"press-2", expired}, "secret-unknown": {"press-3", sum}} {
		r := bySecret(test.device, test.sum, csr(t, pkitest.NewKey(t), test.device))
		r.Approval, r.SecondKey = true, issuer.HoldSecondKey
		_, err := ra.Enroll(t.Context(), r)
		wantRefused(t, err, issuer.Forbidden, rule)
	}
	if n := len(enrollments(t, l)); n != 1 {
		t.Errorf("%d entries", n)
	}
	// One that was replaced meanwhile.
	stale := oneTime(t, l, "press-4", "first", time.Now().Add(time.Hour))
	oneTime(t, l, "press-4", "second", time.Now().Add(2*time.Hour))
	r = bySecret("press-4", stale, csr(t, pkitest.NewKey(t), "press-4"))
	r.Approval = true
	_, err = ra.Enroll(t.Context(), r)
	wantRefused(t, err, issuer.Forbidden, "secret-unknown")
}
