//go:build yubikey && cgo

package keystore

import (
	"strings"
	"testing"
)

func TestYubiKeyURIs(t *testing.T) {
	s := open(t, Config{AnyModule: true})
	for _, tt := range []struct {
		uri      string
		creating bool
		want     string
	}{
		{"yubikey:slot-id=9c?pin-source=/pin", false, ""},
		{"yubikey:slot-id=9C;serial=12345678;pin-source=/pin", false, ""},
		{"yubikey:slot-id=9c?pin-source=/pin&management-key-source=/key", true, ""},
		{"yubikey:slot-id=9c", false, "no PIN for the YubiKey"},
		{"yubikey:slot-id=9c?pin-source=/pin", true, "needs the management key"},
		{"yubikey:serial=1?pin-source=/pin", false, "names no slot"},
		{"yubikey:slot-id=9b?pin-source=/pin", false, "names no slot"},
		{"yubikey:slot-id=9c;serial=x?pin-source=/pin", false, "digits only"},
		{"yubikey:slot-id=9c?pin-value=123456", false, "does not belong into a URI"},
		{"yubikey:slot-id=9c;management-key=00?pin-source=/pin", true, "does not belong into a URI"},
	} {
		u, err := parseURI(tt.uri)
		if err == nil {
			_, err = s.external(u, tt.creating)
		}
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.uri, err, tt.want)
		}
	}
	// Without the file of the PIN nothing is asked of any device.
	if _, err := s.Signer(background, "yubikey:slot-id=9c?pin-source=/none", nil); err == nil || !strings.Contains(err.Error(), "reading the PIN") {
		t.Errorf("no file: %v", err)
	}
}
