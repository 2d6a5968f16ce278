package inventory

import (
	"fmt"
	"slices"
	"strings"
)

// columns are the names with a meaning of their own.
var columns = []string{"device", "order", "product", "key_sha256", "public_key"}

// checkColumn says why a name cannot be a column's, or nil. One that is nearly
// a column with a meaning would be lost among the fields.
func checkColumn(name string) error {
	if slices.Contains(columns, name) {
		return nil
	}
	switch near := strings.ToLower(strings.TrimSpace(name)); {
	case near == "":
		return fmt.Errorf("a column has no name")
	case slices.Contains(columns, near):
		return fmt.Errorf("column %q: did you mean %q?", shorten(name), near)
	case len(name) > MaxName:
		return fmt.Errorf("column %q: its name has %d bytes; %d are allowed", shorten(name), len(name), MaxName)
	case secretColumn(near):
		return fmt.Errorf("column %q: what it holds would be kept, shown and searched in the clear: take it out of the list; one-time secrets come in with mintmark device secret import", shorten(name))
	}
	if err := checkText(name); err != nil {
		return fmt.Errorf("column %q: its name %w", name, err)
	}
	return nil
}

// Words that name a secret: anywhere in the name of a column, and as the whole
// of it.
var (
	secretParts = []string{"secret", "password", "passwd", "passphrase", "passcode", "privatekey", "onetime", "presharedkey"}
	secretNames = []string{"otp", "psk", "pwd", "pin", "token", "credential", "enrollmentcode", "activationcode"}
)

// secretColumn reports whether a column, by its name in lower case, holds
// secrets.
func secretColumn(name string) bool {
	word := strings.NewReplacer("_", "", "-", "", " ", "", ".", "").Replace(name)
	return slices.Contains(secretNames, word) ||
		slices.ContainsFunc(secretParts, func(part string) bool { return strings.Contains(word, part) })
}
