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

	"mintmark/admin"
	"mintmark/internal/keystore/token/child"
	"mintmark/issuer/est"
)

func main() {
	child.Main() // does not return in the process that holds a token's library
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], &app{in: os.Stdin, out: os.Stdout, err: os.Stderr})
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "mintmark: %v\n", err)
		os.Exit(exitCode(err))
	}
}

// run executes one command line. What was proposed to a second officer instead
// of done is an error, *admin.Proposed.
func run(ctx context.Context, args []string, a *app) error {
	root := newRoot(a)
	root.SetArgs(args)
	command, err := root.ExecuteContextC(ctx)
	var usage *usageError
	if err != nil && !a.started && !errors.As(err, &usage) {
		// What fails before an action starts is the parsing of its words.
		err = &usageError{err: inWords(command, err)}
	}
	if errors.As(err, &usage) && usage.command == "" {
		usage.command = command.CommandPath()
	}
	var proposed *admin.Proposed
	if errors.As(err, &proposed) && a.json {
		err = errors.Join(err, a.printJSON(proposed.Approval))
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

// exitCode is 2 for a wrong command line, 3 for what waits for a person (a second
// officer, an approval of the EST server, proofs of possession made at the CA, or the gate of a rotation), 4 for a prediction that depends on what
// is not documented, and 1 for everything else.
func exitCode(err error) int {
	var usage *usageError
	var proposed *admin.Proposed
	var pending *est.PendingError
	switch {
	case errors.As(err, &usage):
		return 2
	case errors.As(err, &proposed), errors.As(err, &pending), errors.Is(err, errLacksProofs), errors.Is(err, errRotationBlocked):
		return 3
	case errors.Is(err, errUndocumented):
		return 4
	}
	return 1
}
