package tokencheck

import "mintmark/internal/pattern"

// meanings are what return values of a PKCS#11 library mean to who sets a token up
// (PKCS #11 v2.40, base specification, Section 5.1).
var meanings = map[string]string{
	"CKR_CANCEL":                         "the operation was cancelled at the token",
	"CKR_HOST_MEMORY":                    "the library has no memory",
	"CKR_SLOT_ID_INVALID":                "there is no such slot",
	"CKR_GENERAL_ERROR":                  "the library does not say what: see the vendor's log",
	"CKR_FUNCTION_FAILED":                "the library does not say why: see the vendor's log",
	"CKR_ARGUMENTS_BAD":                  "the library did not like an argument",
	"CKR_ATTRIBUTE_READ_ONLY":            "the token does not let an attribute be set",
	"CKR_ATTRIBUTE_SENSITIVE":            "the token does not show an attribute",
	"CKR_ATTRIBUTE_TYPE_INVALID":         "the token does not know an attribute of a CA key",
	"CKR_ATTRIBUTE_VALUE_INVALID":        "the token does not take the value of an attribute: perhaps it lacks the curve or the size",
	"CKR_DEVICE_ERROR":                   "the token has failed",
	"CKR_DEVICE_MEMORY":                  "the token is full",
	"CKR_DEVICE_REMOVED":                 "the token was removed",
	"CKR_FUNCTION_NOT_SUPPORTED":         "the library cannot do this",
	"CKR_KEY_HANDLE_INVALID":             "the key is gone",
	"CKR_KEY_SIZE_RANGE":                 "the token has no keys of this size",
	"CKR_KEY_TYPE_INCONSISTENT":          "the key is not of the kind of the mechanism",
	"CKR_KEY_FUNCTION_NOT_PERMITTED":     "the key may not sign: CKA_SIGN is not set",
	"CKR_MECHANISM_INVALID":              "the token lacks the mechanism, perhaps because of its FIPS mode",
	"CKR_MECHANISM_PARAM_INVALID":        "the token does not take the parameters of the mechanism",
	"CKR_OBJECT_HANDLE_INVALID":          "the object is gone",
	"CKR_OPERATION_ACTIVE":               "another operation is under way",
	"CKR_OPERATION_NOT_INITIALIZED":      "the operation was not begun",
	"CKR_PIN_INCORRECT":                  "the PIN is wrong: do not try many, the token locks",
	"CKR_PIN_INVALID":                    "the PIN has characters that the token does not take",
	"CKR_PIN_LEN_RANGE":                  "the PIN is too short or too long",
	"CKR_PIN_EXPIRED":                    "the PIN has expired: set a new one with the vendor's tool",
	"CKR_PIN_LOCKED":                     "the PIN is locked: the security officer of the token must set a new one",
	"CKR_SESSION_CLOSED":                 "the session was closed",
	"CKR_SESSION_COUNT":                  "the token has no more sessions: use fewer",
	"CKR_SESSION_HANDLE_INVALID":         "the session is gone",
	"CKR_SESSION_PARALLEL_NOT_SUPPORTED": "the library takes no sessions in parallel",
	"CKR_SESSION_READ_ONLY":              "the session may not write",
	"CKR_TEMPLATE_INCOMPLETE":            "the token wants an attribute that was not given",
	"CKR_TEMPLATE_INCONSISTENT":          "the token does not take the attributes of a CA key together: see the vendor's policy",
	"CKR_TOKEN_NOT_PRESENT":              "no token is in the slot",
	"CKR_TOKEN_NOT_RECOGNIZED":           "the token is not known to the library",
	"CKR_TOKEN_WRITE_PROTECTED":          "the token is write-protected",
	"CKR_USER_ALREADY_LOGGED_IN":         "the user is logged in already",
	"CKR_USER_NOT_LOGGED_IN":             "the user is not logged in",
	"CKR_USER_PIN_NOT_INITIALIZED":       "the token has no user PIN yet: its security officer sets one",
	"CKR_USER_TYPE_INVALID":              "the token does not take this kind of user",
	"CKR_BUFFER_TOO_SMALL":               "a buffer was too small",
	"CKR_CRYPTOKI_NOT_INITIALIZED":       "the library is not initialized",
	"CKR_CRYPTOKI_ALREADY_INITIALIZED":   "the library is initialized already",
	"CKR_MUTEX_BAD":                      "the library failed at locking",
	"CKR_FUNCTION_REJECTED":              "the operation was refused by a person at the token",
}

var codeIn = pattern.New(`\b(CKR_[A-Z_]+) \(0x[0-9a-f]+\)`)

// explained is a text of package token with what the first return value in it means.
func explained(text string) string {
	found := codeIn.FindStringSubmatch(text)
	if found == nil || meanings[found[1]] == "" {
		return text
	}
	return text + ": " + meanings[found[1]]
}
