package tokencheck

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"

	"mintmark/internal/keystore/token/wire"
)

// codes are the return values of a PKCS#11 library and what they mean to who sets a
// token up (PKCS #11 v2.40, base specification, Section 5.1).
var codes = map[uint]struct{ name, means string }{
	0x01:  {"CKR_CANCEL", "the operation was cancelled at the token"},
	0x02:  {"CKR_HOST_MEMORY", "the library has no memory"},
	0x03:  {"CKR_SLOT_ID_INVALID", "there is no such slot"},
	0x05:  {"CKR_GENERAL_ERROR", "the library does not say what: see the vendor's log"},
	0x06:  {"CKR_FUNCTION_FAILED", "the library does not say why: see the vendor's log"},
	0x07:  {"CKR_ARGUMENTS_BAD", "the library did not like an argument"},
	0x10:  {"CKR_ATTRIBUTE_READ_ONLY", "the token does not let an attribute be set"},
	0x11:  {"CKR_ATTRIBUTE_SENSITIVE", "the token does not show an attribute"},
	0x12:  {"CKR_ATTRIBUTE_TYPE_INVALID", "the token does not know an attribute of a CA key"},
	0x13:  {"CKR_ATTRIBUTE_VALUE_INVALID", "the token does not take the value of an attribute: perhaps it lacks the curve or the size"},
	0x30:  {"CKR_DEVICE_ERROR", "the token has failed"},
	0x31:  {"CKR_DEVICE_MEMORY", "the token is full"},
	0x32:  {"CKR_DEVICE_REMOVED", "the token was removed"},
	0x54:  {"CKR_FUNCTION_NOT_SUPPORTED", "the library cannot do this"},
	0x60:  {"CKR_KEY_HANDLE_INVALID", "the key is gone"},
	0x62:  {"CKR_KEY_SIZE_RANGE", "the token has no keys of this size"},
	0x63:  {"CKR_KEY_TYPE_INCONSISTENT", "the key is not of the kind of the mechanism"},
	0x68:  {"CKR_KEY_FUNCTION_NOT_PERMITTED", "the key may not sign: CKA_SIGN is not set"},
	0x70:  {"CKR_MECHANISM_INVALID", "the token lacks the mechanism, perhaps because of its FIPS mode"},
	0x71:  {"CKR_MECHANISM_PARAM_INVALID", "the token does not take the parameters of the mechanism"},
	0x82:  {"CKR_OBJECT_HANDLE_INVALID", "the object is gone"},
	0x90:  {"CKR_OPERATION_ACTIVE", "another operation is under way"},
	0x91:  {"CKR_OPERATION_NOT_INITIALIZED", "the operation was not begun"},
	0xa0:  {"CKR_PIN_INCORRECT", "the PIN is wrong: do not try many, the token locks"},
	0xa1:  {"CKR_PIN_INVALID", "the PIN has characters that the token does not take"},
	0xa2:  {"CKR_PIN_LEN_RANGE", "the PIN is too short or too long"},
	0xa3:  {"CKR_PIN_EXPIRED", "the PIN has expired: set a new one with the vendor's tool"},
	0xa4:  {"CKR_PIN_LOCKED", "the PIN is locked: the security officer of the token must set a new one"},
	0xb0:  {"CKR_SESSION_CLOSED", "the session was closed"},
	0xb1:  {"CKR_SESSION_COUNT", "the token has no more sessions: use fewer"},
	0xb3:  {"CKR_SESSION_HANDLE_INVALID", "the session is gone"},
	0xb4:  {"CKR_SESSION_PARALLEL_NOT_SUPPORTED", "the library takes no sessions in parallel"},
	0xb5:  {"CKR_SESSION_READ_ONLY", "the session may not write"},
	0xd0:  {"CKR_TEMPLATE_INCOMPLETE", "the token wants an attribute that was not given"},
	0xd1:  {"CKR_TEMPLATE_INCONSISTENT", "the token does not take the attributes of a CA key together: see the vendor's policy"},
	0xe0:  {"CKR_TOKEN_NOT_PRESENT", "no token is in the slot"},
	0xe1:  {"CKR_TOKEN_NOT_RECOGNIZED", "the token is not known to the library"},
	0xe2:  {"CKR_TOKEN_WRITE_PROTECTED", "the token is write-protected"},
	0x100: {"CKR_USER_ALREADY_LOGGED_IN", "the user is logged in already"},
	0x101: {"CKR_USER_NOT_LOGGED_IN", "the user is not logged in"},
	0x102: {"CKR_USER_PIN_NOT_INITIALIZED", "the token has no user PIN yet: its security officer sets one"},
	0x103: {"CKR_USER_TYPE_INVALID", "the token does not take this kind of user"},
	0x150: {"CKR_BUFFER_TOO_SMALL", "a buffer was too small"},
	0x190: {"CKR_CRYPTOKI_NOT_INITIALIZED", "the library is not initialized"},
	0x191: {"CKR_CRYPTOKI_ALREADY_INITIALIZED", "the library is initialized already"},
	0x1a0: {"CKR_MUTEX_BAD", "the library failed at locking"},
	0x200: {"CKR_FUNCTION_REJECTED", "the operation was refused by a person at the token"},
}

// vendorDefined is where the vendors' own return values begin.
const vendorDefined = 0x80000000

// words is an error with the return value in it named.
func words(err error) string {
	var e *wire.Error
	if !errors.As(err, &e) {
		return err.Error()
	}
	return err.Error() + meaning(e.Code)
}

func meaning(code uint) string {
	c, ok := codes[code]
	switch {
	case ok:
		return fmt.Sprintf(" (%s: %s)", c.name, c.means)
	case code >= vendorDefined:
		return " (of the vendor's own: see its manual)"
	}
	return ""
}

var codeIn = regexp.MustCompile(`error 0x([0-9a-f]{1,16}) of the token's library`)

// nameCodes names the first return value in a text of package token.
func nameCodes(text string) string {
	found := codeIn.FindStringSubmatch(text)
	if found == nil {
		return text
	}
	code, err := strconv.ParseUint(found[1], 16, 64)
	if err != nil {
		return text
	}
	return text + meaning(uint(code))
}
