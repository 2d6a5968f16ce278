package shim

// Word is one of the words of the control memory; shim.c has the same list.
type Word int

// Faults. Zero ends each of them.
const (
	// Delay is how many nanoseconds each C_Sign sleeps first.
	Delay Word = iota + 4
	// Hang is which functions do not return: bits HangSign and so on. Those that
	// hang go on when their bit is cleared.
	Hang
	// Key limits Hang (of C_Sign), Fail, Garbage and Crash to signatures with one
	// key: the first eight bytes of its CKA_ID, as KeyID makes it.
	Key
	// Fail is the CKR_ that C_Sign returns, FailCount how often.
	Fail
	FailCount
	// Gone is the CKR_ of calls with a session while the token is not there: no slot
	// has one then, and C_OpenSession and C_GetTokenInfo return CKR_TOKEN_NOT_PRESENT.
	Gone
	// Login is the CKR_ that C_Login returns, without asking the token.
	Login
	// LockAfter is after how many refusals the PIN is locked, for ever.
	LockAfter
	// FlagsOn are the CKF_ that are added to those of the token.
	FlagsOn
	// Pad gives the token a PIN pad: C_Login without a PIN takes the one of PIN.
	Pad
	// Garbage spoils signatures: GarbageWrong and so on, GarbageCount how often.
	Garbage
	GarbageCount
	// Crash ends the process in C_Sign: CrashAbort and so on, CrashCount how often.
	Crash
	CrashCount
	// MaxSessions is how many sessions the token has.
	MaxSessions
	// Noise makes C_Sign print to standard output and error.
	Noise
	// Lie is the CKA_ of a boolean attribute that reads as LieValue.
	Lie
	LieValue
	// InitDelay is how many nanoseconds C_Initialize takes longer.
	InitDelay
	// LoginDelay is how many nanoseconds C_Login takes longer; LoginCrash ends the process
	// in it.
	LoginDelay
	LoginCrash
	// Astray is how many of the next processes find, while they look for the token, that
	// the slots are numbered anew, and no token at all from then on: a library that lost
	// its state during the search.
	Astray

	lastFault = Astray
)

// Counts.
const (
	Loads       Word = iota + 32 // processes that loaded the module
	PID                          // of the last one
	Logins                       // calls of C_Login
	Refused                      // of them, refused for the PIN
	Signed                       // signatures that the library made
	Opened                       // sessions
	Initialized                  // calls of C_Initialize
	Finalized                    // calls of C_Finalize, Wipe's not counted
	Hung                         // calls that hang now
	Signing                      // calls of C_Sign now
	Asked                        // calls of C_Sign
)

// What Hang makes hang.
const (
	HangSign = 1 << iota
	HangLogin
	HangOpen
	HangInitialize
	HangFind
)

// How Garbage spoils a signature.
const (
	GarbageWrong   = iota + 1 // one byte of it
	GarbageRange              // all bits set
	GarbageShort              // half of it
	GarbageEmpty              // none of it
	GarbageTooLong            // a length beyond the buffer that it was given
	GarbageZero               // all bits zero
)

// How Crash ends the process.
const (
	CrashAbort = iota + 1
	CrashSegfault
	CrashExit
)

// Wipe is what is done behind the caller's back.
type Wipe int64

// The ways of losing sessions.
const (
	CloseAllSessions Wipe = iota + 1
	Logout
	Finalize
)

const (
	commandWord Word = 1
	doneWord    Word = 2
	resultWord  Word = 3

	words    = 64
	moduleAt = 8 * words
	confAt   = moduleAt + 1024
	pinAt    = confAt + 1024
	size     = pinAt + 64
)

// KeyID is the value of Key for a CKA_ID.
func KeyID(id []byte) int64 {
	var first [8]byte
	copy(first[:], id)
	var v uint64
	for _, b := range first {
		v = v<<8 | uint64(b)
	}
	return int64(v)
}
