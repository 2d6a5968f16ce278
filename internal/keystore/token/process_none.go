//go:build !linux || !cgo || nopkcs11

package token

import (
	"context"
	"errors"
	"log/slog"
	"os/exec"

	"mintmark/internal/keystore/token/wire"
)

var (
	errProcessDied = errors.New("the process that holds the library of the token has died")
	errNoPKCS11    = errors.New("this build cannot use PKCS#11 tokens, because it was made with CGO_ENABLED=0 or the tag nopkcs11: use a build with cgo, or a softkms key")
)

// process is what a build with PKCS#11 has here; there never is one.
type process struct{}

func startProcess(context.Context, func() (*exec.Cmd, error), *slog.Logger) (*process, error) {
	return nil, errNoPKCS11
}

func (*process) open(context.Context, *wire.Open) (wire.Token, error) {
	return wire.Token{}, errNoPKCS11
}

func (*process) login(context.Context, *wire.Login) error { return errNoPKCS11 }

func (*process) probe(context.Context, string, wire.Selector) (wire.Token, error) {
	return wire.Token{}, errNoPKCS11
}

func (*process) find(context.Context, wire.Find) (wire.Key, error) { return wire.Key{}, errNoPKCS11 }

func (*process) sign(context.Context, wire.Sign) ([]byte, error) { return nil, errNoPKCS11 }

func (*process) generate(context.Context, wire.Generate) (wire.Key, error) {
	return wire.Key{}, errNoPKCS11
}

func (*process) attributes(context.Context, uint32) ([]wire.Attribute, error) {
	return nil, errNoPKCS11
}

func (*process) destroy(context.Context, uint32) error { return errNoPKCS11 }

func (*process) kill() {}

func (*process) died() <-chan struct{} { return nil }

// launcher is what starts processes; here none.
type launcher struct {
	command func() (*exec.Cmd, error)
	log     *slog.Logger
}

func (*launcher) start(context.Context) (*process, error) { return nil, errNoPKCS11 }

func (*launcher) close() {}
