// Package ceremony carries out key ceremonies: what is done with the keys of a root
// on a machine without a network, by people who are present, from one file that was
// reviewed before.
//
// A ceremony leaves a folder: the file, every input and output, and a transcript that
// names each by its hash and that the officers have signed. Verify needs nothing but
// that folder. There is no database: the journal of the folder records what will be
// signed before it is signed, as the ledger does elsewhere.
package ceremony

import (
	"context"
	"crypto"
	"errors"
	"io"
	"time"
)

var errNotBuilt = errors.New("not built yet")

// File is a ceremony as it was reviewed.
type File struct {
	raw []byte
}

// Parse reads a ceremony file (YAML, strict): an unknown key is an error.
func Parse(data []byte) (*File, error) { return nil, errNotBuilt }

// Hash is the SHA-256 of the file's bytes, in hexadecimal.
func (f *File) Hash() string { return "" }

// KeyStore makes, opens and destroys keys. Package keystore's Store is one.
type KeyStore interface {
	Create(ctx context.Context, uri, algorithm string) (string, crypto.Signer, error)
	Signer(ctx context.Context, uri string, want crypto.PublicKey) (crypto.Signer, error)
	Destroy(ctx context.Context, uri string, want crypto.PublicKey) error
}

// Config is what a ceremony needs.
type Config struct {
	// Inputs is the folder that file names of the ceremony are relative to; Folder
	// is made by Run and gets everything: it must not exist.
	Inputs, Folder string
	Keys           KeyStore
	// Officers are the signing keys of those who are present, by name.
	Officers map[string]crypto.Signer
	// Networks lists the interfaces that are up and lead elsewhere; net.Interfaces if nil.
	Networks func() ([]string, error)
	Now      func() time.Time
	// Out gets what those present should read, step by step.
	Out io.Writer
}

// Plan is a ceremony whose inputs were read and whose steps were checked, as far as
// that goes without a private key.
type Plan struct{}

// Prepare reads and checks everything and makes nothing: the dry run.
func Prepare(ctx context.Context, f *File, cfg Config) (*Plan, error) { return nil, errNotBuilt }

// Words says what the ceremony will do, step by step, for those present.
func (p *Plan) Words() string { return "" }

// Run carries the plan out. It refuses when hash is not the hash of the file, which
// somebody present has typed, or fewer officers are present than the file demands.
func (p *Plan) Run(ctx context.Context, hash string) (*Transcript, error) { return nil, errNotBuilt }

// Transcript is what was done.
type Transcript struct{}

// Verify checks a folder that Run has left, from nothing but what is in it: hashes,
// signatures of the officers, and that each output is what the file makes of the
// inputs, byte by byte. officers are the public keys that the verifier trusts, by name;
// nil takes those of the file, and the report says so.
func Verify(folder string, officers map[string]crypto.PublicKey) (*Report, error) {
	return nil, errNotBuilt
}

// Report is what Verify found.
type Report struct {
	Findings []string // what is wrong; none is good
	Words    []string // what was checked
}
