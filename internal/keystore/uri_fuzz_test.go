package keystore

import (
	"testing"

	"go.step.sm/crypto/kms/uri"
)

// Whatever the library takes for a PIN, Redact takes away.
func FuzzRedact(f *testing.F) {
	for _, s := range []string{
		"token=a;object=b?pin-value=1234", "token=a;pin-value=1234;object=b", "token=a?x=1?pin-value=1234",
		"pin%2dvalue=1", "?pin-value=1&pin-value=2#x", "token=a#?pin-value=1", ";;?&pin-value=1", "pin+value=1",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		raw := "pkcs11:" + s
		out := Redact(raw)
		if again := Redact(out); again != out {
			t.Errorf("Redact(%q) = %q, and again %q", raw, out, again)
		}
		u, err := uri.Parse(raw)
		if err != nil || u.Get("pin-value") == "" {
			return
		}
		redacted, err := uri.Parse(out)
		if err != nil {
			return
		}
		for _, values := range []map[string][]string{redacted.Values, redacted.URL.Query()} {
			for _, pin := range values["pin-value"] {
				if pin != "redacted" {
					t.Errorf("Redact(%q) = %q, in which the PIN is %q", raw, out, pin)
				}
			}
		}
	})
}

// Whatever a pkcs11: URI says, a PIN in it is refused, and what is taken is read as
// the library of the scheme reads it.
func FuzzTokenURI(f *testing.F) {
	for _, s := range []string{
		"token=factory;object=k;id=%a1%02", "module-path=/x.so;token=a;object=b?pin-source=/pin", "token=a;slot-id=7",
		"token=a?pin-value=1", "token=a;token=b", "pin%2dvalue=1;token=a", "token=a?token=b", "serial=%00", "slot-id=-1",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		u, err := parseURI("pkcs11:" + s)
		if err != nil {
			return
		}
		n, err := u.token()
		if err != nil {
			return
		}
		if u.Get("pin-value") != "" {
			t.Errorf("%q has a PIN in it", s)
		}
		if n.label != u.Get("token") || n.serial != u.Get("serial") || (n.slot == "") != (u.Get("slot-id") == "") {
			t.Errorf("%q is read as %+v", s, n)
		}
		if !n.fits(n) {
			t.Errorf("%+v does not fit itself", n)
		}
	})
}
