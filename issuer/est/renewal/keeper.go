package renewal

import (
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"mintmark/internal/flock"
	"mintmark/issuer/est"
)

// Keeper renews one certificate. Its fields must not change once a method has
// been called; its methods must not be called concurrently, but other processes may
// keep the same files.
type Keeper struct {
	Files Files
	At    Fraction // when it is due

	// Ask gets a certificate for the key, which is that of the current
	// certificate unless Generate is set, and returns it with its chain. It must not
	// return before the certificate is there or cannot be had. Must be set.
	Ask func(ctx context.Context, current *tls.Certificate, key crypto.Signer) ([]*x509.Certificate, error)
	// Generate makes the key of the next certificate; nil keeps the key.
	Generate func(current crypto.PublicKey) (crypto.Signer, error)
	// After runs when a new certificate is in its place; may be nil. It runs again
	// the next time if it failed, or if the process ended before it had.
	After func(ctx context.Context) error

	Say func(format string, args ...any) // must be set
	Now func() time.Time                 // time.Now if nil
}

// Outcome is what Once found and did.
type Outcome struct {
	Renewed     bool              // a new certificate is in its place, asked for now or before a crash
	Certificate *x509.Certificate // the one that is in its place
	Due         time.Time         // when it is to be renewed
}

// look is how long Run goes without looking at the files: others may have
// replaced them, and clocks jump.
const look = time.Hour

// Once renews the certificate if it is due. If it fails, the old certificate is
// still in its place, or the new one is and Outcome.Renewed is true.
func (k *Keeper) Once(ctx context.Context) (Outcome, error) {
	files, unlock, err := k.lock()
	if err != nil {
		return Outcome{}, err
	}
	defer unlock()
	recovered, err := files.Recover()
	if err != nil {
		return Outcome{}, err
	}
	if recovered {
		k.Say("a renewal that was cut off is complete: %s", k.Files.Certificate)
	}
	current, err := files.Load()
	if err != nil {
		return Outcome{}, err
	}
	o := k.outcome(current.Leaf)
	o.Renewed = recovered
	if now := k.now(); !now.Before(o.Due) {
		if now.After(current.Leaf.NotAfter) {
			k.Say("the certificate has expired at %s: the server may not take it any more", current.Leaf.NotAfter.UTC().Format(time.RFC3339))
		}
		fresh, err := k.renew(ctx, files, current)
		if err != nil {
			return o, err
		}
		o = k.outcome(fresh)
		o.Renewed = true
	}
	return o, k.after(ctx, files)
}

func (k *Keeper) outcome(c *x509.Certificate) Outcome {
	return Outcome{Certificate: c, Due: Due(c, k.At)}
}

// renew asks for a certificate and puts it in its place.
func (k *Keeper) renew(ctx context.Context, files *Files, current *tls.Certificate) (*x509.Certificate, error) {
	key, ok := current.PrivateKey.(crypto.Signer)
	if !ok {
		return nil, errors.New("the key cannot sign")
	}
	if err := files.writable(k.Generate != nil); err != nil {
		return nil, err
	}
	var fresh crypto.Signer
	if k.Generate != nil {
		var err error
		fresh, err = files.FreshKey(func() (crypto.Signer, error) { return k.Generate(key.Public()) })
		if err != nil {
			return nil, err
		}
		key = fresh
	}
	chain, err := k.Ask(ctx, current, key)
	if fresh != nil && refused(err) {
		// Asked for again, it would be refused again, whatever Generate makes by then.
		err = errors.Join(err, files.dropKey())
	}
	if err != nil {
		return nil, err
	}
	if err := k.accept(chain, current.Leaf, key); err != nil {
		return nil, err
	}
	if k.After != nil {
		if err := files.write(files.pending(), nil, files.pending(), 0o644); err != nil {
			return nil, err
		}
	}
	if err := files.Install(chain, fresh); err != nil {
		return nil, fmt.Errorf("putting the new certificate in its place: %w", err)
	}
	return chain[0], nil
}

// accept refuses a certificate that would be worse than the one there is.
func (k *Keeper) accept(chain []*x509.Certificate, old *x509.Certificate, key crypto.Signer) error {
	switch {
	case len(chain) == 0 || !samePublic(key, chain[0].PublicKey):
		return errors.New("the server's certificate is not for the key of the request")
	case chain[0].Equal(old):
		return errors.New("the server answered with the certificate that is there already")
	case chain[0].NotAfter.Before(old.NotAfter):
		return fmt.Errorf("the server's certificate ends at %s, earlier than the old one: it is not used", chain[0].NotAfter.UTC().Format(time.RFC3339))
	case !k.now().Before(chain[0].NotAfter):
		return errors.New("the server's certificate has expired: is the clock of this device right?")
	}
	return nil
}

// pending is the file that stands as long as After has to run.
func (f *Files) pending() string { return f.Certificate + ".pending" }

func (k *Keeper) after(ctx context.Context, files *Files) error {
	if k.After == nil || !exists(files.pending()) {
		return nil
	}
	if err := k.After(ctx); err != nil {
		return fmt.Errorf("the new certificate is in its place, but %w: it is tried again the next time", err)
	}
	return files.remove(files.pending())
}

// Run keeps the certificate until the context ends. What fails, it says, and tries
// again.
func (k *Keeper) Run(ctx context.Context) {
	failures := 0
	var life time.Duration
	var said time.Time // the due time that was said
	for ctx.Err() == nil {
		o, err := k.Once(ctx)
		if ctx.Err() != nil {
			return
		}
		// Each round would ask for another one.
		if now := k.now(); err == nil && o.Renewed && !now.Before(o.Due) {
			err = fmt.Errorf("the new certificate is in its place, and was to be renewed at %s already: it is %s here: is the clock of this device right?",
				o.Due.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339))
		}
		if o.Certificate != nil {
			life = o.Certificate.NotAfter.Sub(o.Certificate.NotBefore)
		}
		var wait time.Duration
		if err != nil {
			failures++
			wait = backoff(failures, life, retryAfter(err))
			k.Say("%v: again in %v", err, wait.Round(time.Second))
		} else {
			failures = 0
			wait = max(min(o.Due.Sub(k.now()), look), shortest)
			if !o.Due.Equal(said) {
				said = o.Due
				k.Say("certificate valid until %s: due at %s", o.Certificate.NotAfter.UTC().Format(time.RFC3339), o.Due.UTC().Format(time.RFC3339))
			}
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
		}
	}
}

// retryAfter is how long the server wants to be left alone.
func retryAfter(err error) time.Duration {
	var pending *est.PendingError
	var status *est.StatusError
	switch {
	case errors.As(err, &pending):
		return pending.RetryAfter
	case errors.As(err, &status):
		return status.RetryAfter
	}
	return 0
}

// refused reports whether the server will have none of a request, and has not
// issued anything for it: not where it wants a password or time, or failed itself.
func refused(err error) bool {
	var status *est.StatusError
	if !errors.As(err, &status) {
		return false
	}
	switch status.Code {
	case http.StatusUnauthorized, http.StatusRequestTimeout, http.StatusTooManyRequests:
		return false
	}
	return status.Code >= 400 && status.Code < 500
}

func (k *Keeper) now() time.Time {
	if k.Now != nil {
		return k.Now()
	}
	return time.Now()
}

// lock resolves the names of the files, which may be links, and keeps other
// processes from them until the returned function is called.
func (k *Keeper) lock() (*Files, func(), error) {
	files := k.Files
	for _, name := range []*string{&files.Certificate, &files.Key} {
		if *name == "" {
			continue
		}
		// The file behind a link is replaced, and not the link.
		path, err := filepath.EvalSymlinks(*name)
		if err != nil {
			return nil, nil, err
		}
		*name = path
	}
	lock, err := os.OpenFile(files.Certificate+".lock", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, nil, err
	}
	if err := flock.Take(lock); err != nil {
		lock.Close()
		if errors.Is(err, flock.ErrTaken) {
			return nil, nil, fmt.Errorf("another process renews %s at the moment", files.Certificate)
		}
		return nil, nil, fmt.Errorf("locking %s: %w", lock.Name(), err)
	}
	return &files, func() { flock.Release(lock) }, nil
}
