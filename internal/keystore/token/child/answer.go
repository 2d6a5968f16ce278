//go:build linux && cgo && !nopkcs11

package child

import (
	"mintmark/internal/keystore/token/wire"
)

// thread is the space that one thread works in.
type thread struct {
	raw       [maxSignature]byte // what C_Sign returns
	signature [maxSignature + 16]byte
}

// answer does what a request asks for and appends the reply to out.
func (t *thread) answer(s *server, out []byte, id uint32, op wire.Op, body []byte) ([]byte, error) {
	switch op {
	case wire.OpSign:
		var r wire.Sign
		if err := r.Parse(body); err != nil {
			return out, err
		}
		signature, err := s.library.sign(t.signature[:0], t.raw[:], &r)
		if err != nil {
			return out, err
		}
		return wire.AppendSignature(out, id, signature)
	case wire.OpOpen:
		var r wire.Open
		if err := r.Parse(body); err != nil {
			return out, err
		}
		token, err := s.library.open(&r)
		if err != nil {
			return out, err
		}
		s.grow(token.Sessions)
		return token.Append(out, id)
	case wire.OpLogin:
		var r wire.Login
		if err := r.Parse(body); err != nil {
			return out, err
		}
		if err := s.library.login(&r); err != nil {
			return out, err
		}
		return wire.AppendOK(out, id), nil
	case wire.OpProbe:
		var r wire.Probe
		if err := r.Parse(body); err != nil {
			return out, err
		}
		token, err := s.library.probe(r.Module, r.Token)
		if err != nil {
			return out, err
		}
		return token.Append(out, id)
	case wire.OpFind:
		var r wire.Find
		if err := r.Parse(body); err != nil {
			return out, err
		}
		k, err := s.library.find(&r)
		if err != nil {
			return out, err
		}
		return k.Append(out, id)
	case wire.OpGenerate:
		var r wire.Generate
		if err := r.Parse(body); err != nil {
			return out, err
		}
		k, err := s.library.generate(&r)
		if err != nil {
			return out, err
		}
		return k.Append(out, id)
	case wire.OpAttributes:
		h, err := wire.ParseHandle(body)
		if err != nil {
			return out, err
		}
		a, err := s.library.attributes(h)
		if err != nil {
			return out, err
		}
		return wire.AppendAttributes(out, id, a)
	case wire.OpDestroy:
		h, err := wire.ParseHandle(body)
		if err != nil {
			return out, err
		}
		if err := s.library.destroy(h); err != nil {
			return out, err
		}
		return wire.AppendOK(out, id), nil
	}
	return out, &wire.Trouble{Kind: wire.BadRequest, Text: "a request of a kind that is not known"}
}
