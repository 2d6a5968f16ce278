package issuer

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"runtime"
	"slices"

	"mintmark/ca"
	"mintmark/internal/ledger"
)

// maxGenerating bounds the RSA keys that are asked for at the same time. One
// takes a processor for up to seconds, so that half of the processors make them
// and the other requests wait.
const maxGenerating = 16

// generators bounds the making of RSA keys.
type generators struct {
	asked   chan struct{}
	running chan struct{}
}

func newGenerators() generators {
	return generators{make(chan struct{}, maxGenerating), make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2))}
}

// GenerateKey makes the key pair of a request (RFC 7030, Section 4.4): of the type
// of like if the profile allows it, and of the profile's first type otherwise. It is nowhere
// stored. *Refusal for what Enroll would refuse whatever the key is, as far as
// that is cheap to know, and of kind Unavailable while too many are being made;
// ErrNoProfile for an unknown profile.
func (ra *RA) GenerateKey(ctx context.Context, r Request, like crypto.PublicKey) (crypto.Signer, error) {
	start := ra.Now()
	p, err := ra.mayGenerate(ctx, &r)
	if err != nil {
		ra.done(ctx, r, err, start)
		return nil, err
	}
	kind := p.keys[0]
	if wanted, err := ca.AlgorithmOf(like); err == nil && slices.Contains(p.keys, wanted) {
		kind = wanted
	}
	key, err := ra.generate(ctx, kind)
	if err != nil {
		return nil, err
	}
	if err := p.CheckKey(key.Public()); err != nil {
		return nil, fmt.Errorf("a key that was made here is refused: %v", err) // and no fault of the requester's
	}
	return key, nil
}

// mayGenerate is what of steps 1 to 3 can be decided without the key: making one
// of RSA costs more than all else. What a webhook says, and what must hold in the
// transaction of step 6, is asked when there is a key.
func (ra *RA) mayGenerate(ctx context.Context, r *Request) (p *Profile, err error) {
	if err := r.check(); err != nil {
		return nil, err
	}
	if p, err = ra.profile(r); err != nil {
		return nil, err
	}
	csr, err := parseRequest(r.CSR)
	if err != nil {
		return nil, err
	}
	defer func() {
		var refusal *Refusal
		if errors.As(err, &refusal) {
			refusal.Subject, refusal.Device = csr.Subject.String(), p.deviceOf(csr.Subject)
		}
	}()
	if err := p.checkCA(csr, true); err != nil {
		return p, err
	}
	if err := csr.rename(r); err != nil {
		return p, err
	}
	if r.Represents {
		if err := ra.represent(ctx, r, p, csr); err != nil {
			return p, err
		}
	}
	id, err := p.authorise(*r, csr)
	if err != nil {
		return p, err
	}
	admitted, err := ra.admit(ctx, *r, p, id.device)
	if err != nil || id.device == "" {
		return p, err
	}
	device, err := ra.Ledger.Device(ctx, id.device)
	switch {
	case err != nil && !errors.Is(err, ledger.ErrNotFound):
		return p, fmt.Errorf("looking up device %q: %w", id.device, err)
	case device.State == ledger.Held, device.State == ledger.Retired:
		return p, refuseDevice(string(device.State), id.device)
	case admitted.listed && !device.Listed:
		return p, refuseDevice("unlisted", id.device)
	}
	return p, nil
}

func (ra *RA) generate(ctx context.Context, kind ca.Algorithm) (crypto.Signer, error) {
	curves := map[ca.Algorithm]elliptic.Curve{ca.P256: elliptic.P256(), ca.P384: elliptic.P384(), ca.P521: elliptic.P521()}
	if curve := curves[kind]; curve != nil {
		key, err := ecdsa.GenerateKey(curve, rand.Reader)
		if err != nil {
			return nil, fmt.Errorf("making a key of type %s: %w", kind, err)
		}
		return key, nil
	}
	bits := map[ca.Algorithm]int{ca.RSA2048: 2048, ca.RSA3072: 3072, ca.RSA4096: 4096}[kind]
	if bits == 0 {
		return nil, fmt.Errorf("no key of type %s can be made", kind)
	}
	select {
	case ra.generators.asked <- struct{}{}:
	default:
		return nil, unavailable("keygen", "the server is at its limit of keys that it makes; repeat the request", nil)
	}
	type result struct {
		key *rsa.PrivateKey
		err error
	}
	made := make(chan result, 1)
	go func() {
		defer func() { <-ra.generators.asked }()
		select {
		case ra.generators.running <- struct{}{}:
			defer func() { <-ra.generators.running }()
		case <-ctx.Done():
			return // whoever asked has gone before it was begun
		}
		key, err := rsa.GenerateKey(rand.Reader, bits)
		made <- result{key, err}
	}()
	select {
	case r := <-made:
		if r.err != nil {
			return nil, fmt.Errorf("making a key of type %s: %w", kind, r.err)
		}
		return r.key, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("making a key of type %s: %w", kind, ctx.Err())
	}
}
