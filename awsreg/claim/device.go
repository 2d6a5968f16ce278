package claim

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"time"
)

const (
	opCreate   = "CreateCertificateFromCsr"
	opRegister = "RegisterThing"
)

// device is one run of Provision: the session that it has, and the attempts left.
type device struct {
	cfg      Config
	csr      *x509.CertificateRequest
	session  *session
	failures int
}

func (d *device) close() {
	if d.session != nil {
		d.session.close()
		d.session = nil
	}
}

// create gets a certificate. A request that was lost is made again: AWS deletes what
// it issued for the first one an hour later.
func (d *device) create(ctx context.Context) (*created, error) {
	payload, err := json.Marshal(map[string]string{"certificateSigningRequest": requestPEM(d.cfg.CSR)})
	if err != nil {
		return nil, err
	}
	answer, _, err := d.ask(ctx, opCreate, "$aws/certificates/create-from-csr/json", payload)
	if err != nil {
		return nil, err
	}
	out, err := parseCreated(answer, d.csr)
	if err != nil {
		return nil, fmt.Errorf("the answer of %s: %w", opCreate, err)
	}
	return out, nil
}

// register has the device registered with the certificate of an ownership token.
func (d *device) register(ctx context.Context, token string) (*registered, error) {
	parameters := d.cfg.Parameters
	if parameters == nil {
		parameters = map[string]string{}
	}
	payload, err := json.Marshal(map[string]any{"certificateOwnershipToken": token, "parameters": parameters})
	if err != nil {
		return nil, err
	}
	answer, lost, err := d.ask(ctx, opRegister, "$aws/provisioning-templates/"+d.cfg.Template+"/provision/json", payload)
	var refused *Rejection
	switch {
	// A refusal that may pass says nothing of the request that was lost.
	case lost && err != nil && (!errors.As(err, &refused) || refused.Code == invalidToken || refused.Temporary()):
		return nil, fmt.Errorf("%w: %w", ErrAnswerLost, err)
	case err != nil:
		return nil, err
	}
	out, err := parseRegistered(answer)
	if err != nil {
		return nil, fmt.Errorf("the answer of %s: %w", opRegister, err)
	}
	return out, nil
}

// ask makes a request, over a new connection if need be, until it is answered or the
// attempts are used up. lost reports whether any request went out whose answer did
// not come.
func (d *device) ask(ctx context.Context, operation, topic string, payload []byte) (answer []byte, lost bool, err error) {
	for {
		answer, sent, err := d.try(ctx, operation, topic, payload)
		if err == nil {
			return answer, lost, nil
		}
		lost = lost || sent && errors.Is(err, errLost)
		if ctx.Err() != nil || !retryable(err) {
			return nil, lost, err
		}
		if d.failures++; d.failures >= d.cfg.Attempts {
			return nil, lost, fmt.Errorf("giving up after %s: %w", attempts(d.failures), err)
		}
		pause := backoff(d.cfg.Backoff, d.failures)
		if d.cfg.Failed != nil {
			d.cfg.Failed(err, pause)
		}
		d.cfg.Logger.Warn("attempt failed", "operation", operation, "attempt", d.failures, "err", err, "pause", pause)
		if ended := sleep(ctx, pause); ended != nil {
			return nil, lost, fmt.Errorf("giving up after %s: %w (%w)", attempts(d.failures), err, ended)
		}
	}
}

func attempts(n int) string {
	if n == 1 {
		return "1 attempt"
	}
	return fmt.Sprintf("%d attempts", n)
}

// try makes a request once. sent reports whether it may have reached AWS.
func (d *device) try(ctx context.Context, operation, topic string, payload []byte) (answer []byte, sent bool, err error) {
	if d.session == nil {
		if d.session, err = open(ctx, d.cfg); err != nil {
			d.session = nil
			return nil, false, err
		}
	}
	answer, err = d.session.request(ctx, operation, topic, payload)
	if err != nil && errors.Is(err, errLost) {
		d.close() // an answer that comes late must not be taken for the next one
	}
	return answer, true, err
}

// permanent marks an error that another attempt would meet again.
type permanent struct{ error }

func (p *permanent) Unwrap() error { return p.error }

// retryable reports whether another attempt may succeed. A connection that AWS closes
// may: certificates and policies take a while until every part of AWS knows them.
func retryable(err error) bool {
	var (
		refused *Rejection
		never   *permanent
		verify  *tls.CertificateVerificationError
		remote  *net.OpError
	)
	switch {
	case errors.As(err, &refused):
		return refused.Temporary()
	case errors.As(err, &never), errors.As(err, &verify), errors.Is(err, errPacketTooLarge):
		return false
	case errors.As(err, &remote) && remote.Op == "remote error":
		return false // a TLS alert: the certificate has expired, or is not accepted
	}
	return true
}

// backoff is the pause after the nth failure: first, doubled each time, of which up
// to a quarter is left out at random.
func backoff(first time.Duration, n int) time.Duration {
	pause := first
	for range n - 1 {
		if pause *= 2; pause > maxBackoff {
			break
		}
	}
	pause = min(pause, maxBackoff)
	return pause - time.Duration(rand.Int64N(int64(pause)/4+1))
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
