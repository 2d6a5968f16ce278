package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
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

// connect reaches the administrative API: that of the server which runs on the
// state directory or, if none does, one that this process hosts until the
// returned function is called.
func (a *app) connect(ctx context.Context) (*admin.Client, func() error, error) {
	socket := filepath.Join(a.dir, server.Socket)
	for try := 1; ; try++ {
		client, err := admin.Dial(socket)
		if err == nil {
			return client, client.Close, nil
		}
		if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ECONNREFUSED) {
			return nil, nil, err
		}
		c, err := config.Load(a.dir)
		if err != nil {
			return nil, nil, err
		}
		s, err := server.Open(ctx, c, server.Options{Logger: a.logger(slog.LevelWarn)})
		if err == nil {
			return admin.New(admin.InProcess(s.Admin())), s.Close, nil
		}
		if !errors.Is(err, server.ErrBusy) {
			return nil, nil, err
		}
		if try == busyTries {
			return nil, nil, fmt.Errorf("%w: another command holds it; try again when that is done", err)
		}
		select {
		case <-time.After(busyWait):
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		}
	}
}

// withClient runs fn with a connection to the administrative API.
func (a *app) withClient(ctx context.Context, fn func(*admin.Client) error) error {
	client, done, err := a.connect(ctx)
	if err != nil {
		return err
	}
	return errors.Join(fn(client), done())
}

// logger logs on standard error what is worth a person's attention.
func (a *app) logger(level slog.Level) *slog.Logger {
	return slog.New(slog.NewTextHandler(a.err, &slog.HandlerOptions{Level: level}))
}
