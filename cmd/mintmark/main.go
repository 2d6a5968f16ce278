// Mintmark is a private CA server for factories, and its command line.
//
// This package holds flags and subcommands and no logic: what a command does is
// done by the administrative API, which a running server answers or which the
// command hosts in its own process.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], &app{in: os.Stdin, out: os.Stdout, err: os.Stderr})
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "mintmark: %v\n", err)
		os.Exit(exitCode(err))
	}
}

// run executes one command line.
func run(ctx context.Context, args []string, a *app) error {
	root := newRoot(a)
	root.SetArgs(args)
	command, err := root.ExecuteContextC(ctx)
	var usage *usageError
	if err != nil && !a.started && !errors.As(err, &usage) {
		// What fails before an action starts is the parsing of its words.
		err = &usageError{err: err}
	}
	if errors.As(err, &usage) && usage.command == "" {
		usage.command = command.CommandPath()
	}
	return err
}

// usageError says that the command line is wrong.
type usageError struct {
	err     error
	command string
}

func (e *usageError) Error() string {
	return fmt.Sprintf("%v\n%s --help says how it is used", e.err, e.command)
}

func (e *usageError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error {
	return &usageError{err: fmt.Errorf(format, args...)}
}

// exitCode is 2 for a wrong command line and 1 for everything else.
func exitCode(err error) int {
	var usage *usageError
	if errors.As(err, &usage) {
		return 2
	}
	return 1
}
