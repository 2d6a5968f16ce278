//go:build linux && cgo && !nopkcs11

package token

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"mintmark/internal/keystore/token/wire"
)

// open finds the token, drops the sessions there are and opens new ones.
func (p *process) open(ctx context.Context, o *wire.Open) (wire.Token, error) {
	return p.askToken(ctx, o.Append)
}

// login logs in to the token that was opened. The PIN is wiped. C_Login is called once
// at most.
func (p *process) login(ctx context.Context, l *wire.Login) error {
	defer clear(l.PIN)
	return p.call(ctx, l.Append, wire.ParseOK)
}

// probe finds the token without logging in, for its flags.
func (p *process) probe(ctx context.Context, module string, t wire.Selector) (wire.Token, error) {
	return p.askToken(ctx, (&wire.Probe{Module: module, Token: t}).Append)
}

func (p *process) askToken(ctx context.Context, request appender) (wire.Token, error) {
	var t wire.Token
	err := p.call(ctx, request, t.Parse)
	if err != nil {
		return wire.Token{}, err
	}
	return t, nil
}

// find looks for one private key.
func (p *process) find(ctx context.Context, f wire.Find) (wire.Key, error) {
	return p.askKey(ctx, f.Append)
}

// generate makes a key pair. Whether there is one of the name is for the caller to
// find out before.
func (p *process) generate(ctx context.Context, g wire.Generate) (wire.Key, error) {
	return p.askKey(ctx, g.Append)
}

func (p *process) askKey(ctx context.Context, request appender) (wire.Key, error) {
	var k wire.Key
	err := p.call(ctx, request, func(body []byte) error { return k.Parse(slices.Clone(body)) })
	if err != nil {
		return wire.Key{}, err
	}
	return k, nil
}

// sign makes one signature. It is not verified.
func (p *process) sign(ctx context.Context, s wire.Sign) ([]byte, error) {
	var signature []byte
	err := p.call(ctx, s.Append, func(body []byte) error {
		b, err := wire.ParseSignature(body)
		signature = slices.Clone(b)
		return err
	})
	return signature, err
}

// attributes reads back what a private key may do and may not.
func (p *process) attributes(ctx context.Context, handle uint32) ([]wire.Attribute, error) {
	var attributes []wire.Attribute
	err := p.call(ctx, func(b []byte, id uint32) ([]byte, error) {
		return wire.AppendHandle(b, id, wire.OpAttributes, handle), nil
	}, func(body []byte) (err error) {
		attributes, err = wire.ParseAttributes(body)
		return err
	})
	return attributes, err
}

// destroy removes both keys of a pair from the token.
func (p *process) destroy(ctx context.Context, handle uint32) error {
	return p.call(ctx, func(b []byte, id uint32) ([]byte, error) {
		return wire.AppendHandle(b, id, wire.OpDestroy, handle), nil
	}, wire.ParseOK)
}

// appender appends a request to a buffer.
type appender func(b []byte, id uint32) ([]byte, error)

// call sends a request and hands the body of its reply to parse.
func (p *process) call(ctx context.Context, request appender, parse func([]byte) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	c := calls.Get().(*call)
	if err := p.enroll(c); err != nil {
		calls.Put(c)
		return err
	}
	frame, err := request(c.request[:0], c.id)
	if err == nil {
		err = p.send(ctx, frame)
		clear(frame) // there may be a PIN in it
	}
	if err != nil {
		if p.withdraw(c) {
			calls.Put(c)
		}
		return err
	}
	select {
	case <-c.done:
	case <-ctx.Done():
		if p.withdraw(c) {
			calls.Put(c)
		}
		return ctx.Err()
	}
	defer calls.Put(c)
	switch c.status {
	case 0:
		return errProcessDied
	case wire.OK:
		err = parse(c.reply)
	default:
		err = wire.ParseError(c.status, c.reply)
		if answer := (*wire.Error)(nil); errors.As(err, &answer) {
			return err
		}
		if answer := (*wire.Trouble)(nil); errors.As(err, &answer) {
			return err
		}
	}
	if err != nil {
		return fmt.Errorf("%w: %w", errGarbled, err)
	}
	return nil
}

// enroll gives a call an id under which its reply is waited for.
func (p *process) enroll(c *call) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dead {
		return errProcessDied
	}
	for {
		p.next++
		if _, taken := p.pending[p.next]; !taken && p.next != 0 {
			break
		}
	}
	c.id = p.next
	c.status = 0
	p.pending[c.id] = c
	return nil
}

// withdraw gives up waiting for a reply. It reports whether the call is free to be
// used again.
func (p *process) withdraw(c *call) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, waiting := p.pending[c.id]; waiting {
		delete(p.pending, c.id)
		return true
	}
	return false // it is being answered at this moment
}

// send sends a frame. It waits only where the child is far behind.
func (p *process) send(ctx context.Context, frame []byte) error {
	for {
		p.link.RLock()
		if p.fd < 0 {
			p.link.RUnlock()
			return errProcessDied
		}
		err := sendFrame(p.fd, frame)
		p.link.RUnlock()
		switch err {
		case nil:
			return nil
		case unix.EINTR:
		case unix.EAGAIN:
			// Hundreds of requests wait in the socket.
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-p.ended:
				return errProcessDied
			case <-time.After(time.Millisecond):
			}
		default:
			return errProcessDied // EPIPE, ECONNRESET
		}
	}
}

// receive hands out replies until the child is gone.
func (p *process) receive() {
	frame := make([]byte, wire.MaxFrame+1)
	for {
		n, err := receiveFrame(p.fd, frame)
		if err == unix.EINTR {
			continue
		}
		if err != nil || n == 0 {
			break
		}
		id, status, body, err := wire.Header(frame[:n])
		if err != nil {
			p.log.Error("the process that holds the library of the token sent what is no frame")
			break
		}
		p.mu.Lock()
		c := p.pending[id]
		delete(p.pending, id)
		p.mu.Unlock()
		if c == nil {
			continue // nobody waits any longer
		}
		c.status = wire.Status(status)
		c.reply = append(c.reply[:0], body...)
		c.done <- struct{}{}
		// Who waited goes on here and now, rather than on another thread that has to be
		// woken up first: this one is about to wait in the kernel.
		runtime.Gosched()
	}
	p.link.Lock()
	unix.Close(p.fd)
	p.fd = -1
	p.link.Unlock()
	p.cmd.Process.Kill() //nolint:errcheck // without the socket it is of no use
}
