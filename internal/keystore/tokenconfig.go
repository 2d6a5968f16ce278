package keystore

import "time"

// TokenConfig is a PKCS#11 token that keys may be in. Key URIs name it by its
// attributes: pkcs11:token=factory;object=issuing. A store opens no other module
// than those of its tokens, unless AnyModule is set: a module is code.
type TokenConfig struct {
	// Name is how commands, logs and metrics call it. Required.
	Name string
	// URI is the token: pkcs11:module-path=/usr/lib/x.so;token=factory, or with serial=
	// or slot-id=. It holds no PIN and names no key.
	URI string
	PIN PIN
	// Spare is a token that holds the same keys and takes over while the first one
	// is gone; nil for none.
	Spare *SpareConfig
	// Sessions, Attempt, Deadline and KeepAlive are those of token.Config.
	Sessions                     int
	Attempt, Deadline, KeepAlive time.Duration
	// Accept names attributes whose value is not held against a CA key.
	Accept []string
}

// SpareConfig is the spare of a token.
type SpareConfig struct {
	URI string
	PIN PIN
}

// PIN says where the PIN of a token comes from: exactly one field is set.
type PIN struct {
	// File is a file that only its owner can read; Credential the name of a systemd
	// credential.
	File, Credential string
	// Operators is how many people type it after each start, each a part, in the
	// order in which they come: mintmark hsm unlock. 1: one person types all of it.
	Operators int
	// Pad: the token asks for it itself, when an operator says hsm unlock.
	Pad bool
}
