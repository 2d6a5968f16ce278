package token

import (
	"context"
	"errors"
	"os/exec"

	"mintmark/internal/keystore/token/wire"
)

var errNotBuilt = errors.New("not built yet")

// process is a running child that holds the library of one token. Its methods may
// be called concurrently. What the library refuses is a *wire.Error; when the child
// has died, errProcessDied. A call whose context ends returns its error; the
// signature that hangs in the library goes on hanging until kill.
type process struct{}

// startProcess runs command, which must be this binary with Main of package child
// in it, and returns when it says that it is there.
func startProcess(ctx context.Context, command func() (*exec.Cmd, error)) (*process, error) {
	return nil, errNotBuilt
}

func (p *process) open(ctx context.Context, o *wire.Open) (wire.Token, error) {
	return wire.Token{}, errNotBuilt
}

// probe finds the token without logging in, for its flags.
func (p *process) probe(ctx context.Context, module string, t wire.Selector) (wire.Token, error) {
	return wire.Token{}, errNotBuilt
}

func (p *process) find(ctx context.Context, f wire.Find) (wire.Key, error) {
	return wire.Key{}, errNotBuilt
}

func (p *process) sign(ctx context.Context, s wire.Sign) ([]byte, error) { return nil, errNotBuilt }

func (p *process) generate(ctx context.Context, g wire.Generate) (wire.Key, error) {
	return wire.Key{}, errNotBuilt
}

func (p *process) attributes(ctx context.Context, handle uint32) ([]wire.Attribute, error) {
	return nil, errNotBuilt
}

// destroy removes both keys of a pair from the token.
func (p *process) destroy(ctx context.Context, handle uint32) error { return errNotBuilt }

// kill ends the child at once and waits for it.
func (p *process) kill() {}

// died is closed when the child has ended.
func (p *process) died() <-chan struct{} { return nil }
