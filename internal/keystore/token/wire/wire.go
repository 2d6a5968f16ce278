// Package wire is what a server and the process that holds a token's library say
// to each other: requests and replies in frames over a socket.
//
// It knows no PKCS#11 but the numbers of errors, and loads nothing. Both ends are
// the same binary, so that there is one version of it and no negotiation.
package wire

// ChildArg is the only argument of a process that is to hold a token's library.
const ChildArg = "pkcs11-child"

// Selector picks a token of a module; what is empty matches every token, and
// exactly one must be left.
type Selector struct {
	Label, Serial string
	Slot          *uint
}

// Open loads the module, if it is not loaded, finds the token, drops every session
// there is and opens new ones, which see what is public. A process serves one token;
// Open may come any number of times.
type Open struct {
	Module   string // absolute path
	Token    Selector
	Sessions int // 1 to MaxSessions
}

// Login logs in to the token that was opened, for all of its sessions. It is a request
// of its own so that whoever waits for it knows whether a PIN was given to the token.
type Login struct {
	// Pad: at the token itself, with its PIN pad or card readers
	// (CKF_PROTECTED_AUTHENTICATION_PATH). There is no PIN then.
	Pad bool
	PIN []byte // wiped by the receiver, and by the sender after sending
}

// Probe finds the token of a module without opening a session.
type Probe struct {
	Module string
	Token  Selector
}

// Token is what the library says of a token.
type Token struct {
	Label, Serial, Manufacturer, Model string
	Library, LibraryVersion, Cryptoki  string
	Slot                               uint
	Flags                              uint // CKF_ of CK_TOKEN_INFO
	Sessions                           int  // opened, at most as many as asked for
}

// Find looks for a private key: by Public where it is set, else by ID and Label,
// both where both are set.
type Find struct {
	ID, Label []byte
	Public    []byte // SubjectPublicKeyInfo, DER
}

// Key is a private key that was found or made.
type Key struct {
	Handle    uint32 // good until the next Open; never used for another key
	ID, Label []byte
	Public    []byte // SubjectPublicKeyInfo, DER
	// Modifiable says of a key that was made that the token refused
	// CKA_MODIFIABLE=false and made it without.
	Modifiable bool
}

// Mechanism is how Sign signs.
type Mechanism byte

// The mechanisms. Input of ECDSA is a digest and its signature ASN.1 DER; input of
// RSA is a DigestInfo (PKCS #1 v1.5).
const (
	ECDSA Mechanism = iota + 1
	RSA
)

// Sign asks for one signature.
type Sign struct {
	Handle    uint32
	Mechanism Mechanism
	Input     []byte
}

// Generate makes a key pair that signs and does nothing else.
type Generate struct {
	ID, Label []byte
	Algorithm string // P-256, P-384, RSA-2048, RSA-3072, RSA-4096
}

// Attribute is a boolean attribute of a private key as it was read back.
type Attribute struct {
	Name  string // CKA_SENSITIVE
	Value bool
	Known bool // false: the token does not say
}

// Error is a return value of the library other than CKR_OK.
type Error struct {
	Call string // C_Sign
	Code uint   // CKR_ number
}

// Trouble is something that went wrong for which the library has no return value.
type Trouble struct {
	Kind Kind
	Text string // for people; never a secret
}

func (t *Trouble) Error() string { return t.Text }

// Kind tells troubles apart.
type Kind byte

// The troubles.
const (
	NoModule     Kind = iota + 1 // the module cannot be loaded
	NoToken                      // no token is there that the selector matches
	ManyTokens                   // more than one is
	NoKey                        // no private key is there of that name or public key
	ManyKeys                     // more than one is
	BadKey                       // a key of a kind that cannot be used, or whose public key the token does not tell
	BadRequest                   // the request is one that this side should not have sent
	BadSignature                 // what C_Sign returned cannot be a signature of the key
	NotOpen                      // there is no session: Open has not come, or failed
	lastKind     = NotOpen
)
