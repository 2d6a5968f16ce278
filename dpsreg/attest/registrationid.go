package attest

import (
	"fmt"
	"strings"

	"mintmark/internal/pattern"
)

// maxRegistrationID and maxCommonName are lengths in characters: a registration id has
// up to 128, and with X.509 only as many as a common name (RFC 5280, ub-common-name).
// https://learn.microsoft.com/azure/iot-dps/concepts-x509-attestation
const (
	maxRegistrationID = 128
	MaxCommonName     = 64
)

// CheckRegistrationID says what is wrong with a registration id, in any API version;
// nil if nothing is. Capitals are legal.
// https://learn.microsoft.com/azure/iot-dps/concepts-service#registration-id
func CheckRegistrationID(id string) error {
	switch {
	case id == "":
		return fmt.Errorf("the registration id is empty")
	case len([]rune(id)) > maxRegistrationID:
		return fmt.Errorf("the registration id has %d characters; DPS takes %d, and a common name holds %d", len([]rune(id)), maxRegistrationID, MaxCommonName)
	}
	for _, r := range id {
		if !isAlphanumeric(r) && !strings.ContainsRune("-._:", r) {
			return fmt.Errorf("the registration id %q has the character %q; DPS takes letters, digits and - . : _", cut(id), r)
		}
	}
	if last := rune(id[len(id)-1]); !isAlphanumeric(last) && last != '-' {
		return fmt.Errorf("the registration id %q ends in %q; the last character must be a letter, a digit or -", cut(id), last)
	}
	return nil
}

func isAlphanumeric(r rune) bool {
	return '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z'
}

var apiVersion = pattern.New(`^\d{4}-\d{2}-\d{2}(-preview)?$`)

// caseInsensitive reports whether an API version of the device API takes capitals in
// registration ids: those from 2018-11-01 on do (https://github.com/Azure/iotedge/pull/4575).
// What is no version counts as a new one: whether it is taken is not decided here.
func caseInsensitive(version string) bool {
	return !apiVersion.MatchString(version) || version[:10] >= "2018-11-01"
}

// cut keeps what is quoted of foreign names short.
func cut(s string) string {
	if r := []rune(s); len(r) > 80 {
		return string(r[:80]) + "..."
	}
	return s
}
