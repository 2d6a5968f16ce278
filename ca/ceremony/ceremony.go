// Package ceremony carries out key ceremonies: what is done with the keys of a root
// on a machine without a network, by people who are present, from one file that was
// reviewed before.
//
// A ceremony leaves a folder: the file, every input and output, and a transcript that
// names each by its hash and that the officers have signed. Verify needs nothing but
// that folder. There is no database: the journal of the folder records what will be
// signed before it is signed, as the ledger does elsewhere.
//
//	ceremony.yaml    the file, as it was reviewed
//	statement.txt    what the officers signed before anything was done, and
//	statement.sig    their signatures
//	journal.ndjson   each step before and after it, hash-chained
//	inputs/          every file that was read
//	outputs/         every file that was made
//	transcript.json  what was done, with the SHA-256 of every other file, and
//	transcript.sig   the officers' signatures of it
package ceremony

import (
	"context"
	"crypto"
	"io"
	"time"
)

// KeyStore makes, opens and destroys keys. Package keystore's Store is one.
//
// Signer gives the key with the public key want, or any if that is nil. Destroy returns
// nil only when the key is gone, and refuses a key that is not want.
type KeyStore interface {
	Create(ctx context.Context, uri, algorithm string) (string, crypto.Signer, error)
	Signer(ctx context.Context, uri string, want crypto.PublicKey) (crypto.Signer, error)
	Destroy(ctx context.Context, uri string, want crypto.PublicKey) error
}

// attributed is a signer that says which attributes its key has in the token, for the
// transcript: CKA_SENSITIVE true.
type attributed interface {
	Attributes(context.Context) (map[string]string, error)
}

// Config is what a ceremony needs.
type Config struct {
	// Inputs is the folder that file names of the ceremony are relative to; Folder
	// is made by Run and gets everything: it must not exist.
	Inputs, Folder string
	// Keys may be nil for a dry run. NotFound is the error that its Signer returns, as
	// errors.Is sees it, where there is no such key: no other one shows that a key is
	// gone.
	Keys     KeyStore
	NotFound error
	// Officers are the signing keys of those who are present, by name.
	Officers map[string]crypto.Signer
	// Networks lists the interfaces that are up and lead elsewhere; net.Interfaces if nil.
	Networks func() ([]string, error)
	// Now is time.Now if nil.
	Now func() time.Time
	// Out gets what those present should read, step by step. Optional.
	Out io.Writer
	// Version of this program, for the transcript.
	Version string
}

func (c *Config) now() time.Time {
	now := time.Now
	if c.Now != nil {
		now = c.Now
	}
	return now().UTC().Truncate(time.Second)
}

func (c *Config) networks() ([]string, error) {
	if c.Networks != nil {
		return c.Networks()
	}
	return interfaces()
}
