// Package wire is what a server and the process that holds a token's library say
// to each other: requests and replies in frames over a socket.
//
// It knows no PKCS#11 but the numbers of errors, and loads nothing. Both ends are
// the same binary, so that there is one version of it and no negotiation.
package wire

import "fmt"

// Selector picks a token of a module; what is empty matches every token, and
// exactly one must be left.
type Selector struct {
	Label, Serial string
	Slot          *uint
}

// Login says how a session with the token is authenticated.
type Login byte

// The ways to log in.
const (
	LoginNone Login = iota // reads what is public
	LoginPIN               // with the PIN of the request
	LoginPad               // at the token itself: PIN pad, card readers (CKF_PROTECTED_AUTHENTICATION_PATH)
)

// Open loads the module, if it is not loaded, finds the token, drops every session
// there is and opens new ones. A process serves one token; Open may come any number
// of times.
type Open struct {
	Module   string
	Token    Selector
	Sessions int
	Login    Login
	PIN      []byte // wiped by the receiver, and by the sender after sending
}

// Token is what the library says of a token.
type Token struct {
	Label, Serial, Manufacturer, Model string
	Library, LibraryVersion, Cryptoki  string
	Slot                               uint
	Flags                              uint // CKF_ of CK_TOKEN_INFO
	Sessions                           int  // opened, at most as many as asked for
}

// Find looks for a private key: by Public where it is set, else by ID and Label.
type Find struct {
	ID, Label []byte
	Public    []byte // SubjectPublicKeyInfo, DER
}

// Key is a private key that was found or made.
type Key struct {
	Handle    uint32 // good until the next Open
	ID, Label []byte
	Public    []byte // SubjectPublicKeyInfo, DER
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

func (e *Error) Error() string {
	return fmt.Sprintf("%s: error 0x%x of the token's library", e.Call, e.Code)
}
