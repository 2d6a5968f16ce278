// Package token signs with keys in a PKCS#11 token, and goes on doing so when
// sessions, the token or its library fail.
//
// The vendor's library runs in a process of its own (package child), one for each
// token. This package supervises it from outside: it puts a deadline on every call,
// opens lost sessions anew, restarts a library that hangs or crashed, takes the spare
// token where the first one is gone, and never tries a PIN twice that was refused.
// It knows no URIs and no configuration file.
package token

import (
	"context"
	"crypto"
	"io"
	"log/slog"
	"os/exec"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"mintmark/internal/keystore/token/wire"
)

// Config describes a token, and the spare that holds the same keys.
type Config struct {
	// Name is how commands, logs and metrics call it. Required.
	Name string
	// Primary is the token; Spare one that holds the same keys, or nil. Two slots of
	// one module, or two modules.
	Primary Source
	Spare   *Source
	// Sessions is how many signatures are made at a time; 4 if zero.
	Sessions int
	// Attempt bounds one call of the library (1.5 s if zero): one that takes longer
	// hangs, and the library is restarted. Deadline bounds a signature with all its
	// retries (5 s if zero). KeyMaking bounds the making of a key (2 min if zero).
	Attempt, Deadline, KeyMaking time.Duration
	// KeepAlive is how often an idle token makes a test signature; 30 s if zero,
	// never if negative.
	KeepAlive time.Duration
	// Accept names attributes (CKA_DECRYPT) whose value is not held against a key.
	Accept []string
	// Command makes the process that holds the library; this binary if nil.
	Command func() (*exec.Cmd, error)
	// Refused keeps, over restarts, that a PIN was refused; in memory only if nil.
	Refused Refusals
	// Logger must be set.
	Logger *slog.Logger
}

// Source is one token and where its PIN comes from.
type Source struct {
	Module string
	Token  wire.Selector
	// PIN returns the PIN and what tells this one from the next (a file's name,
	// size and time of change; never anything made of the PIN). What it returns is
	// wiped after use. nil: an operator types it (Unlock).
	PIN func() (pin []byte, version string, err error)
	// Pad says that the token asks for its PIN or cards itself, when an operator
	// says so (Unlock).
	Pad bool
	// Parts is how many people type a part of the PIN each; 1 if zero.
	Parts int
}

// Refusals remembers which PIN a token refused, so that a restart does not try it
// again. Safe for concurrent use.
type Refusals interface {
	// Refused reports whether the version of the PIN was refused by that token.
	Refused(token, version string) (bool, error)
	// Put records it, durably, before anybody can try again; Drop takes it away.
	Put(token, version string) error
	Drop(token string) error
}

// KeyName names a key: by Public where it is known, else by what the URI says.
type KeyName struct {
	ID, Label []byte
	Public    crypto.PublicKey
}

// Token is a supervised token. Its methods may be called concurrently.
type Token struct{ cfg Config }

// Open returns a token; it starts no process yet.
func Open(cfg Config) (*Token, error) { return &Token{cfg: cfg}, nil }

// Signer opens a key. ErrNotFound if the token has none of that name; ErrPolicy if its
// attributes are not those of a CA key and ca is set.
func (t *Token) Signer(ctx context.Context, name KeyName, ca bool) (*Signer, error) {
	return nil, errNotBuilt
}

// Create makes a key, reads its attributes back and refuses (and removes) one that
// could leave the token or do more than sign. ErrExists if there is one of the ID
// or label.
func (t *Token) Create(ctx context.Context, name KeyName, algorithm string) (*Signer, error) {
	return nil, errNotBuilt
}

// Destroy removes a key pair, from the spare too. ErrNotFound if there is none.
func (t *Token) Destroy(ctx context.Context, name KeyName) error { return errNotBuilt }

// Unlock gives the PIN of the primary or the spare, or the part of it that the person
// by types, and logs in when all parts are there. pin is wiped. With again, the
// configured PIN is tried once more after it was refused and corrected; with finalTry
// also where the token says that one more wrong PIN locks it.
func (t *Token) Unlock(ctx context.Context, u Unlock) (Status, error) { return Status{}, errNotBuilt }

// Unlock is one person's part in unlocking.
type Unlock struct {
	Spare    bool
	By       string
	PIN      []byte
	Again    bool
	FinalTry bool
}

// Status says how the token is.
func (t *Token) Status() Status { return Status{} }

// Metrics lists the collectors.
func (t *Token) Metrics() []prometheus.Collector { return nil }

// Close ends the processes. Signers are of no use after it.
func (t *Token) Close() error { return nil }

// Status is how a token is.
type Status struct {
	Name string
	Legs []LegStatus // primary, then spare
}

// LegStatus is how the primary or the spare is.
type LegStatus struct {
	Spare   bool
	State   State
	Since   time.Time
	Detail  string // the last failure in words; never a secret
	Token   wire.Token
	Parts   int // of the PIN that were typed, and
	Needed  int // are needed, while it waits for operators
	Reopens map[string]int
}

// State is one of a closed set.
type State string

// The states of a token.
const (
	Idle    State = "idle"    // not used yet
	Ready   State = "ready"   // signs
	Opening State = "opening" // sessions are opened anew
	Absent  State = "absent"  // no such token at the moment
	Failing State = "failing" // hangs, crashes or errs: asked again after a pause
	Locked  State = "locked"  // waits for operators
	Refused State = "refused" // refused the PIN: waits for another one
)

// Signer is a key in a token. It may be used concurrently.
type Signer struct{ public crypto.PublicKey }

var _ crypto.Signer = (*Signer)(nil)

// Public returns the public key.
func (s *Signer) Public() crypto.PublicKey { return s.public }

// Sign signs a digest; an *UnavailableError when no token can at the moment.
func (s *Signer) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	return nil, errNotBuilt
}

// Ready returns what Sign would fail with at once, or nil.
func (s *Signer) Ready() error { return nil }

// Distrust says that a signature did not verify: the sessions are opened anew, and
// a token that does so again is not used until a test signature verifies.
func (s *Signer) Distrust() {}
