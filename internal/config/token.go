package config

import "time"

// Token is a PKCS#11 token that CA keys may be in, with a spare if there is one.
type Token struct {
	// Name is how commands and metrics call it; ^[a-z0-9-]{1,32}$.
	Name string `yaml:"name"`
	// URI is pkcs11:module-path=...;token=..., or with serial= or slot-id=; without a
	// PIN and without a key.
	URI   string      `yaml:"uri"`
	PIN   PIN         `yaml:"pin"`
	Spare *SpareToken `yaml:"spare"`
	// Sessions is how many signatures are made at a time; 4 if left out.
	Sessions int `yaml:"sessions"`
	// Attempt bounds one call of the library, Deadline a signature with all retries.
	Attempt  time.Duration `yaml:"attempt"`  // 1.5s
	Deadline time.Duration `yaml:"deadline"` // 5s
	// KeepAlive is how often an idle token makes a test signature; 30s if left out,
	// never if 0s.
	KeepAlive *time.Duration `yaml:"keep_alive"`
	// Accept names attributes that are not held against a CA key, such as CKA_DECRYPT.
	Accept []string `yaml:"accept"`
}

// SpareToken is a token that holds the same keys.
type SpareToken struct {
	URI string `yaml:"uri"`
	PIN PIN    `yaml:"pin"`
}

// PIN says where the PIN of a token comes from: exactly one of them.
type PIN struct {
	File       string `yaml:"file"`       // mode 0400
	Credential string `yaml:"credential"` // of the systemd unit: LoadCredential=
	Operators  int    `yaml:"operators"`  // typed by so many people: mintmark hsm unlock
	Pad        bool   `yaml:"pad"`        // typed at the token itself
}
