package revocation

import (
	"context"
	"errors"
	"time"
)

// Place is where CRLs and CA certificates are put, for others to serve them from.
// Its methods need not be safe for concurrent use. What hangs must end with its context.
type Place interface {
	// Name says in the log, in metrics and in the status which place it is; no secret.
	Name() string
	// Get reads a file: nil and the version "" if there is none.
	Get(ctx context.Context, name string) (content []byte, version string, err error)
	// Put writes a file as a whole or not at all, in place of the version that Get has
	// read: ErrChanged if another is there.
	Put(ctx context.Context, name string, file File, version string) error
}

// File is what is put into a place. Its name is its path under public_url, without the
// first slash.
type File struct {
	Content  []byte
	Type     string // media type
	MaxAge   time.Duration
	Modified time.Time
}

// CacheControl is the header that the file is to be served with.
func (f File) CacheControl() string { return cacheControl(f.MaxAge) }

// ErrChanged: somebody has written the file since it was read.
var ErrChanged = errors.New("the file was changed meanwhile")

// MaxFile bounds what is read back from a place: a CRL of three million entries.
const MaxFile = 128 << 20
