package wire

import "fmt"

// codes are the names of the return values of a PKCS#11 library (PKCS #11 v2.40, base
// specification, Section 5.1).
var codes = map[uint]string{
	0x01:  "CKR_CANCEL",
	0x02:  "CKR_HOST_MEMORY",
	0x03:  "CKR_SLOT_ID_INVALID",
	0x05:  "CKR_GENERAL_ERROR",
	0x06:  "CKR_FUNCTION_FAILED",
	0x07:  "CKR_ARGUMENTS_BAD",
	0x10:  "CKR_ATTRIBUTE_READ_ONLY",
	0x11:  "CKR_ATTRIBUTE_SENSITIVE",
	0x12:  "CKR_ATTRIBUTE_TYPE_INVALID",
	0x13:  "CKR_ATTRIBUTE_VALUE_INVALID",
	0x30:  "CKR_DEVICE_ERROR",
	0x31:  "CKR_DEVICE_MEMORY",
	0x32:  "CKR_DEVICE_REMOVED",
	0x54:  "CKR_FUNCTION_NOT_SUPPORTED",
	0x60:  "CKR_KEY_HANDLE_INVALID",
	0x62:  "CKR_KEY_SIZE_RANGE",
	0x63:  "CKR_KEY_TYPE_INCONSISTENT",
	0x68:  "CKR_KEY_FUNCTION_NOT_PERMITTED",
	0x70:  "CKR_MECHANISM_INVALID",
	0x71:  "CKR_MECHANISM_PARAM_INVALID",
	0x82:  "CKR_OBJECT_HANDLE_INVALID",
	0x90:  "CKR_OPERATION_ACTIVE",
	0x91:  "CKR_OPERATION_NOT_INITIALIZED",
	0xa0:  "CKR_PIN_INCORRECT",
	0xa1:  "CKR_PIN_INVALID",
	0xa2:  "CKR_PIN_LEN_RANGE",
	0xa3:  "CKR_PIN_EXPIRED",
	0xa4:  "CKR_PIN_LOCKED",
	0xb0:  "CKR_SESSION_CLOSED",
	0xb1:  "CKR_SESSION_COUNT",
	0xb3:  "CKR_SESSION_HANDLE_INVALID",
	0xb4:  "CKR_SESSION_PARALLEL_NOT_SUPPORTED",
	0xb5:  "CKR_SESSION_READ_ONLY",
	0xd0:  "CKR_TEMPLATE_INCOMPLETE",
	0xd1:  "CKR_TEMPLATE_INCONSISTENT",
	0xe0:  "CKR_TOKEN_NOT_PRESENT",
	0xe1:  "CKR_TOKEN_NOT_RECOGNIZED",
	0xe2:  "CKR_TOKEN_WRITE_PROTECTED",
	0x100: "CKR_USER_ALREADY_LOGGED_IN",
	0x101: "CKR_USER_NOT_LOGGED_IN",
	0x102: "CKR_USER_PIN_NOT_INITIALIZED",
	0x103: "CKR_USER_TYPE_INVALID",
	0x150: "CKR_BUFFER_TOO_SMALL",
	0x190: "CKR_CRYPTOKI_NOT_INITIALIZED",
	0x191: "CKR_CRYPTOKI_ALREADY_INITIALIZED",
	0x1a0: "CKR_MUTEX_BAD",
	0x200: "CKR_FUNCTION_REJECTED",
}

// vendorDefined is where the vendors' own return values begin.
const vendorDefined = 0x80000000

func (e *Error) Error() string {
	text := e.Call + ": " + codeName(e.Code)
	if e.Call == "C_Initialize" {
		text += ": the module cannot start: look for the token directory, the vendor's daemon and its log"
	}
	return text
}

// codeName is the name of a return value with its number.
func codeName(code uint) string {
	name, known := codes[code]
	switch {
	case known:
		return fmt.Sprintf("%s (0x%x)", name, code)
	case code >= vendorDefined:
		return fmt.Sprintf("error 0x%x of the vendor's own (its manual has it)", code)
	}
	return fmt.Sprintf("error 0x%x of the token's library", code)
}
