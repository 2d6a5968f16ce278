package token

import (
	"context"
	"errors"

	"mintmark/internal/keystore/token/wire"
)

// Return values of a PKCS#11 library that the supervisor decides by (PKCS #11 v2.40,
// base specification, Section 5.1).
const (
	ckrSlotIDInvalid           = 0x03
	ckrGeneralError            = 0x05
	ckrFunctionFailed          = 0x06
	ckrDeviceError             = 0x30
	ckrDeviceRemoved           = 0x32
	ckrKeyHandleInvalid        = 0x60
	ckrObjectHandleInvalid     = 0x82
	ckrOperationActive         = 0x90
	ckrOperationNotInitialized = 0x91
	ckrPINIncorrect            = 0xA0
	ckrPINInvalid              = 0xA1
	ckrPINLenRange             = 0xA2
	ckrPINExpired              = 0xA3
	ckrPINLocked               = 0xA4
	ckrSessionClosed           = 0xB0
	ckrSessionCount            = 0xB1
	ckrSessionHandleInvalid    = 0xB3
	ckrTokenNotPresent         = 0xE0
	ckrTokenNotRecognized      = 0xE1
	ckrUserNotLoggedIn         = 0x101
	ckrCryptokiNotInitialized  = 0x190
	ckrVendorDefined           = 0x80000000
)

// Flags of a token (CK_TOKEN_INFO).
const (
	ckfUserPINInitialized = 0x00000008
	ckfProtectedPath      = 0x00000100
	ckfUserPINFinalTry    = 0x00020000
	ckfUserPINLocked      = 0x00040000
)

// The causes of opening anew, a closed set: the labels of metrics.
const (
	causeStart    = "start"
	causeSession  = "session"  // sessions, handles or the login were lost
	causeToken    = "token"    // the token went away or erred
	causeLibrary  = "library"  // the library was finalized
	causeError    = "error"    // a general or a vendor's error
	causeHang     = "hang"     // a call took too long
	causeCrash    = "crash"    // the process that holds the library ended
	causeDistrust = "distrust" // a signature did not verify
)

// errRetired says that the sessions were given up while a call was under way or waited.
var errRetired = errors.New("the sessions with the token were opened anew")

// errHung says that a call of the library took longer than it may.
var errHung = errors.New("the token's library did not answer in time")

// errMaking says that a call took too long while a key was being made.
var errMaking = errors.New("a key is being made in it, and other calls wait")

// errOtherKey says that a search by the public key found something else.
var errOtherKey = &wire.Trouble{Kind: wire.BadKey, Text: "the token returned another key than the one that was asked for"}

// errOtherPrivate says that a test signature with what was found does not verify.
var errOtherPrivate = &wire.Trouble{Kind: wire.BadKey, Text: "the private key that the token has under the id of this public key is another one, or its signatures are wrong: a test signature does not verify"}

// errKeyGone says that a key that was there is not found: a library that does not know
// yet that its token has gone, or that nobody is logged in any longer, says so too.
var errKeyGone = errors.New("a key that was in the token is not found")

// lossOf returns the cause of opening anew for which err is one, or "".
func lossOf(err error) string {
	if errors.Is(err, errProcessDied) {
		return causeCrash
	}
	if errors.Is(err, errHung) {
		return causeHang
	}
	if errors.Is(err, errKeyGone) {
		return causeLibrary
	}
	switch troubleOf(err) {
	case wire.NotOpen:
		return causeSession
	case wire.NoToken:
		return causeToken
	case wire.BadSignature:
		return causeDistrust
	}
	var e *wire.Error
	if !errors.As(err, &e) {
		return ""
	}
	switch e.Code {
	case ckrKeyHandleInvalid, ckrObjectHandleInvalid, ckrOperationActive, ckrOperationNotInitialized,
		ckrSessionClosed, ckrSessionHandleInvalid, ckrUserNotLoggedIn:
		return causeSession
	case ckrDeviceError, ckrDeviceRemoved, ckrTokenNotPresent, ckrTokenNotRecognized, ckrSlotIDInvalid:
		return causeToken
	case ckrCryptokiNotInitialized:
		return causeLibrary
	case ckrGeneralError, ckrFunctionFailed:
		return causeError
	}
	if e.Code >= ckrVendorDefined {
		return causeError
	}
	return ""
}

// troubleOf returns the kind of the *wire.Trouble in err, or 0.
func troubleOf(err error) wire.Kind {
	var t *wire.Trouble
	if errors.As(err, &t) {
		return t.Kind
	}
	return 0
}

// isAbsent reports whether err says that the token is not there.
func isAbsent(err error) bool {
	if troubleOf(err) == wire.NoToken {
		return true
	}
	var e *wire.Error
	if !errors.As(err, &e) {
		return false
	}
	switch e.Code {
	// CKR_SLOT_ID_INVALID is not among them: the slots are numbered anew when the library
	// is initialised behind our back.
	case ckrDeviceRemoved, ckrTokenNotPresent, ckrTokenNotRecognized:
		return true
	}
	return false
}

// isRefusedPIN reports whether err is an answer of C_Login that counts as a try.
func isRefusedPIN(err error) bool {
	var e *wire.Error
	if !errors.As(err, &e) {
		return false
	}
	switch e.Code {
	case ckrPINIncorrect, ckrPINInvalid, ckrPINLenRange, ckrPINExpired, ckrPINLocked:
		return true
	}
	return false
}

// isFull reports whether err says that the token has no session left.
func isFull(err error) bool {
	var e *wire.Error
	return errors.As(err, &e) && e.Code == ckrSessionCount
}

// isLogin reports whether err came from the login.
func isLogin(err error) bool {
	var e *wire.Error
	return errors.As(err, &e) && e.Call == "C_Login"
}

// hung turns the end of the context of one call into errHung.
func hung(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return errHung
	}
	return err
}
