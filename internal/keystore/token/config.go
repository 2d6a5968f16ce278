package token

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"os/exec"
	"path/filepath"
	"time"

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
	// retries (5 s if zero), and is longer than Attempt. KeyMaking bounds the making of
	// a key and what people do at a PIN pad (2 min if zero).
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
	// Claims are shared by the tokens of a store; nil where nobody else opens tokens.
	Claims *Claims
	// NoServer says that there is no server in which somebody could unlock the token:
	// errors do not tell people to.
	NoServer bool
	// Logger must be set.
	Logger *slog.Logger
}

// Source is one token and where its PIN comes from.
type Source struct {
	Module string // absolute path
	Token  wire.Selector
	// PIN returns the PIN and what tells this one from the next (a file's name,
	// size and time of change; never anything made of the PIN). What it returns is
	// wiped after use. nil: an operator types it (Unlock).
	PIN func() (pin []byte, version string, err error)
	// From names for people where that is: /etc/mintmark/pin.
	From string
	// Pad says that the token asks for its PIN or cards itself, when an operator
	// says so (Unlock).
	Pad bool
	// Parts is how many people type a part of the PIN each; 1 if zero.
	Parts int
}

// Refusals remembers which PIN a token refused, or did not answer for, so that a restart
// does not try it again. The token is the name of it, or of its spare. Safe for concurrent use.
type Refusals interface {
	// Refused reports whether the version of the PIN was refused by that token.
	Refused(token, version string) (bool, error)
	// Put records, durably, that it is tried, or was refused; Drop takes that version
	// away.
	Put(token, version string) error
	Drop(token, version string) error
}

// complete checks a configuration and fills in what it leaves out.
func (c Config) complete() (Config, error) {
	c.Sessions = cmp.Or(c.Sessions, 4)
	c.Attempt = cmp.Or(c.Attempt, 1500*time.Millisecond)
	c.Deadline = cmp.Or(c.Deadline, 5*time.Second)
	c.KeyMaking = cmp.Or(c.KeyMaking, 2*time.Minute)
	c.KeepAlive = cmp.Or(c.KeepAlive, 30*time.Second)
	switch {
	case c.Name == "":
		return c, errors.New("a token has no name")
	case c.Logger == nil:
		return c, fmt.Errorf("token %q has no logger", c.Name)
	case c.Sessions < 1 || c.Sessions > wire.MaxSessions:
		return c, fmt.Errorf("token %q: %d sessions: 1 to %d are possible", c.Name, c.Sessions, wire.MaxSessions)
	case c.Attempt < 0 || c.KeyMaking < 0 || c.Deadline <= c.Attempt:
		return c, fmt.Errorf("token %q: the deadline of a signature (%s) must be longer than one attempt (%s)", c.Name, c.Deadline, c.Attempt)
	}
	sources := []*Source{&c.Primary}
	if c.Spare != nil {
		spare := *c.Spare
		c.Spare = &spare
		sources = append(sources, &spare)
	}
	for _, s := range sources {
		s.Parts = cmp.Or(s.Parts, 1)
		switch {
		case !filepath.IsAbs(s.Module):
			return c, fmt.Errorf("token %q: the module %q is no absolute path", c.Name, s.Module)
		case s.Pad && s.PIN != nil:
			return c, fmt.Errorf("token %q has a PIN and asks for it itself", c.Name)
		case s.Parts < 1 || s.Parts > maxParts:
			return c, fmt.Errorf("token %q: %d people for a PIN: 1 to %d are possible", c.Name, s.Parts, maxParts)
		}
	}
	return c, nil
}
