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
