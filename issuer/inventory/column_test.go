package inventory

import (
	"errors"
	"strings"
	"testing"
)

// TestSecretColumns: the fields of a device are kept, shown and searched in the
// clear, so that no secret becomes one.
func TestSecretColumns(t *testing.T) {
	for _, name := range []string{
		"secret", "Secret", "one_time_secret", "one-time secret", "enrollment.secret", "password", "PASSWORD", "est_password", "passwd", "pwd",
		"passphrase", "passcode", "otp", "one_time_password", "psk", "pre-shared key", "private_key", "privateKeyPEM", "token", "PIN", "credential",
	} {
		for format, text := range map[Format]string{
			CSV:    "device," + name + "\npress-1,THE-VALUE-ITSELF\n",
			NDJSON: `{"device":"press-1","` + name + `":"THE-VALUE-ITSELF"}` + "\n",
		} {
			r, err := NewReader(strings.NewReader(text), format)
			if err == nil {
				_, err = r.Next()
			}
			var line *LineError
			if !errors.As(err, &line) || !strings.Contains(err.Error(), "mintmark device secret import") {
				t.Errorf("%s with a column %q: %v", format, name, err)
			}
			if err != nil && strings.Contains(err.Error(), "THE-VALUE") {
				t.Errorf("%s: the error holds the secret: %v", format, err)
			}
		}
	}
	for _, name := range []string{"mac", "batch", "token_ring", "pinout", "key_id", "serial", "hot_pressed", "sector"} {
		if err := checkColumn(name); err != nil {
			t.Errorf("column %q: %v", name, err)
		}
	}
}
