package inventory

import (
	"fmt"
	"regexp"
	"unicode"
	"unicode/utf8"
)

// devicePattern is what the profile preset device admits as an identifier:
// legal as an AWS thing name, an MQTT client id and a DPS registration id.
var devicePattern = regexp.MustCompile(`\A(?:[A-Za-z0-9][A-Za-z0-9._:-]{0,62}[A-Za-z0-9]|[A-Za-z0-9])\z`)

// orderPattern has no colon, which ends the user of HTTP Basic (RFC 7617,
// Section 2), and fits into a commonName (RFC 5280, Appendix A.1: 64).
var orderPattern = regexp.MustCompile(`\A(?:[A-Za-z0-9][A-Za-z0-9._-]{0,62}[A-Za-z0-9]|[A-Za-z0-9])\z`)

// CheckDevice says why an identifier cannot be a device's, or nil.
func CheckDevice(id string) error {
	if devicePattern.MatchString(id) {
		return nil
	}
	return fmt.Errorf("must be 1 to 64 letters, digits and . _ : -, beginning and ending with a letter or digit")
}

// CheckOrder says why an identifier cannot be a work order's, or nil.
func CheckOrder(id string) error {
	if orderPattern.MatchString(id) {
		return nil
	}
	return fmt.Errorf("must be 1 to 64 letters, digits and . _ -, beginning and ending with a letter or digit")
}

// maxWords bounds names that are only for people (product, station), in bytes.
const maxWords = 100

// checkWords says why a name for people cannot be recorded, or nil; it may be
// empty.
func checkWords(s string) error {
	if len(s) > maxWords {
		return fmt.Errorf("has %d bytes; %d are allowed", len(s), maxWords)
	}
	return checkText(s)
}

// checkText says why text cannot be recorded and shown on one line, or nil.
func checkText(s string) error {
	if !utf8.ValidString(s) {
		return fmt.Errorf("is not UTF-8")
	}
	for _, r := range s {
		if !unicode.IsPrint(r) {
			return fmt.Errorf("holds the character %U, which cannot be printed", r)
		}
	}
	return nil
}
