package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"mintmark/admin"
	"mintmark/internal/config"
	"mintmark/internal/server"
)

const (
	// busyTries is how often the state directory is tried while another
	// process holds it: a server that starts, or another command.
	busyTries = 40
	busyWait  = 250 * time.Millisecond
)

// connect reaches the administrative API: that of the server that --server
// names; else that of the server which runs on the state directory or, if none
// does, one that this process hosts until the returned function is called.
func (a *app) connect(ctx context.Context) (*admin.Client, func() error, error) {
	if a.remote.server != "" {
		return a.dialRemote(ctx)
	}
	socket := filepath.Join(a.dir, server.Socket)
	for try := 1; ; try++ {
		client, err := admin.Dial(socket)
		if err == nil {
			return client, client.Close, nil
		}
		if errors.Is(err, fs.ErrPermission) {
			return nil, nil, fmt.Errorf("%w: this user does not reach the socket of the server; use --server, or have the group of the state directory admitted (docs/roles.md)", err)
		}
		if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ECONNREFUSED) {
			return nil, nil, err
		}
		c, err := config.Load(a.dir)
		if err != nil {
			return nil, nil, err
		}
		if c.Database.URL != "" && !a.local {
			return nil, nil, fmt.Errorf("no server runs on %s, and its ledger is in PostgreSQL, where others may work on it: name a server with --server, or add --local to open the ledger from here", a.dir)
		}
		s, err := server.Open(ctx, c, server.Options{Logger: a.logger(slog.LevelWarn)})
		if err == nil {
			local := admin.InProcess(s.Admin())
			return admin.New(local), func() error {
				local.Wait()
				return s.Close()
			}, nil
		}
		if !errors.Is(err, server.ErrBusy) {
			return nil, nil, err
		}
		if err := pause(ctx, try, err); err != nil {
			return nil, nil, err
		}
	}
}

// pause waits before another process is tried again that was found busy.
func pause(ctx context.Context, try int, busy error) error {
	if try == busyTries {
		return fmt.Errorf("%w: another command holds it; try again when that is done", busy)
	}
	select {
	case <-time.After(busyWait):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// openForServing opens the state directory for a server. A command that hosts
// the API is waited for, another server is not.
func (a *app) openForServing(ctx context.Context, c *config.Config, o server.Options) (*server.Server, error) {
	for try := 1; ; try++ {
		s, err := server.Open(ctx, c, o)
		if !errors.Is(err, server.ErrBusy) {
			return s, err
		}
		if client, dialErr := admin.Dial(filepath.Join(a.dir, server.Socket)); dialErr == nil {
			client.Close()
			return nil, fmt.Errorf("%w: a server runs on it already", err)
		}
		if err := pause(ctx, try, err); err != nil {
			return nil, err
		}
	}
}

// serverRuns reports whether a server answers, and not this process itself: only a
// server tells clouds what has changed.
func (a *app) serverRuns() bool {
	if a.remote.server != "" {
		return true
	}
	client, err := admin.Dial(filepath.Join(a.dir, server.Socket))
	if err != nil {
		return false
	}
	client.Close()
	return true
}

// withClient runs fn with a connection to the administrative API.
func (a *app) withClient(ctx context.Context, fn func(*admin.Client) error) error {
	client, done, err := a.connect(ctx)
	if err != nil {
		return err
	}
	return errors.Join(a.unlockable(fn(client)), done())
}

// unlockable adds to the advice to unlock a token what comes first where no server runs:
// a PIN that is typed is kept in a server.
func (a *app) unlockable(err error) error {
	var refused *admin.Error
	if !errors.As(err, &refused) || !strings.Contains(refused.Text, "mintmark hsm unlock") || a.serverRuns() {
		return err
	}
	return fmt.Errorf("%w; no server runs on %s: start it first, and unlock the token there", err, a.dir)
}

// logger logs on standard error what is worth a person's attention.
func (a *app) logger(level slog.Level) *slog.Logger {
	return slog.New(slog.NewTextHandler(a.err, &slog.HandlerOptions{Level: level}))
}
