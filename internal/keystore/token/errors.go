package token

import (
	"errors"
	"fmt"
	"time"
)

var (
	// ErrNotFound says that the token has no such key.
	ErrNotFound = errors.New("there is no such key")
	// ErrExists says that it has one already.
	ErrExists = errors.New("there is such a key already")
	// ErrPIN says that the token refused the PIN.
	ErrPIN = errors.New("the token refused the PIN")
	// ErrPolicy says that a key is none for a CA.
	ErrPolicy = errors.New("the attributes of the key are not those of a CA key")
	// ErrClosed is returned after Close.
	ErrClosed = errors.New("the token is closed")
)

// UnavailableError says that the token cannot be used at the moment.
type UnavailableError struct {
	Token string
	State State
	// Wait is when to ask again.
	Wait time.Duration
	Err  error
}

func (e *UnavailableError) Error() string {
	return fmt.Sprintf("token %q is %s: %v", e.Token, e.State, e.Err)
}

func (e *UnavailableError) Unwrap() error { return e.Err }

// RetryAfter is when to ask again.
func (e *UnavailableError) RetryAfter() time.Duration { return e.Wait }
