package hook

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"
)

// Callback decides whether a certificate that AWS has authenticated may connect:
// it is not revoked, by mintmark's mark, by its CA's revocation list or by an OCSP
// responder, and its device is not held. AWS itself consults neither list nor
// responder. Whatever cannot be found out refuses.
//
// Revocation lists whose signature was verified are kept, as data, until they must
// have been replaced, and for crlAge at most; decisions are not. Its methods may be
// used concurrently.
type Callback struct {
	Dynamo Getter
	Table  string // of the manifest; must be set
	// MaxAge is how old the manifest may be, as in Activator. One that is older
	// refuses whatever neither list nor responder answers for.
	MaxAge time.Duration
	// CRLs are URLs of revocation lists, and OCSP that of a responder, http or https;
	// empty for none. If there is any, the certificate that connects must be covered:
	// by a list of its issuer or by the responder. The CAs above it are checked
	// against the lists that there are.
	CRLs []string
	OCSP string
	// Anchors are what the path of a certificate ends with; needed for CRLs and
	// OCSP. A CA that is an anchor is not checked itself.
	Anchors []*x509.Certificate
	Client  *http.Client     // for both; must be set with either
	Limit   time.Duration    // for one decision; Within if zero
	Now     func() time.Time // time.Now if nil
	Logger  *slog.Logger     // discarded if nil

	lists crlCache
}

// Handle decides about one connection. It has no error: whatever goes wrong
// refuses, and is in the log: at level WARN what is revoked or held, at level ERROR
// everything else.
func (c *Callback) Handle(ctx context.Context, e CallbackEvent) CallbackAnswer {
	ctx, cancel := within(ctx, c.Limit)
	defer cancel()
	log := logger(c.Logger).With("principal", cut(e.PrincipalID), "connection", cut(e.ConnectionMetadata.ID), "server", cut(e.ServerName))
	if err := c.handle(ctx, log, e); err != nil {
		reason, level := Unverified, slog.LevelError
		var refused *Refusal
		if errors.As(err, &refused) {
			reason = refused.Reason
		} else if cause := context.Cause(ctx); cause != nil {
			err = fmt.Errorf("%w: %w", cause, err)
		}
		if reason == IsRevoked || reason == Held {
			level = slog.LevelWarn // decided; the alarm is for what was not
		}
		log.Log(ctx, level, "connection refused", "reason", reason, "error", err)
		return CallbackAnswer{}
	}
	log.Info("connection allowed")
	return CallbackAnswer{IsAuthenticated: true}
}

func (c *Callback) handle(ctx context.Context, log *slog.Logger, e CallbackEvent) error {
	chain, err := e.chain()
	if err != nil {
		return refusal(Malformed, cut(e.PrincipalID), "%v", err)
	}
	if err := c.path(ctx, chain); err != nil {
		return err
	}
	if err := c.marks(ctx, chain[0]); err != nil {
		return err
	}
	return c.fresh(ctx, log, chain[0])
}

// fresh refuses while the manifest is too old: a mark that has not been pushed would
// be missed. Where a list or the responder has answered that the certificate is good,
// an old manifest is only in the log: the factory can be cut off from AWS for long,
// and what it revokes meanwhile is on the list.
func (c *Callback) fresh(ctx context.Context, log *slog.Logger, own *x509.Certificate) error {
	_, err := freshHead(ctx, Table{Client: c.Dynamo, Name: c.Table}, id(sha256.Sum256(own.Raw)), c.MaxAge, clock(c.Now))
	var refused *Refusal
	if errors.As(err, &refused) && c.asks() {
		log.Warn("the manifest is too old to be relied upon: a hold could be missing", "error", err)
		return nil
	}
	return err
}

// asks reports whether there is a list or a responder, so that path has had the
// certificate's revocation answered.
func (c *Callback) asks() bool { return len(c.CRLs) > 0 || c.OCSP != "" }

// marks looks for mintmark's own marks. A certificate that the manifest does not
// know otherwise is no reason to refuse: a device by just-in-time registration
// connects for the first time, and claims have no entry.
func (c *Callback) marks(ctx context.Context, own *x509.Certificate) error {
	table, certificateID := Table{Client: c.Dynamo, Name: c.Table}, id(sha256.Sum256(own.Raw))
	device, thing, err := table.whose(ctx, certificateID)
	if errors.Is(err, ErrUnknown) {
		device, err = own.Subject.CommonName, nil
		thing = device
	}
	if err != nil {
		return err
	}
	if ValidDevice(device) && thing != "" {
		if err := unheld(ctx, table, thing, device, certificateID); err != nil {
			return err
		}
	}
	return unrevoked(ctx, table, certificateID)
}

// path checks the certificate and the CAs above it against revocation lists and
// responder.
func (c *Callback) path(ctx context.Context, chain []*x509.Certificate) error {
	if !c.asks() {
		return nil
	}
	now, own := clock(c.Now), id(sha256.Sum256(chain[0].Raw))
	options := x509.VerifyOptions{
		Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool(), CurrentTime: now,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	}
	for _, anchor := range c.Anchors {
		options.Roots.AddCert(anchor)
	}
	for _, ca := range chain[1:] {
		options.Intermediates.AddCert(ca)
	}
	paths, err := chain[0].Verify(options)
	if err != nil {
		return refusal(WrongCA, own, "it does not chain to the anchors: %v", err)
	}
	var issuers []*x509.Certificate
	for _, path := range paths {
		issuers = append(issuers, path[1:]...)
	}
	lists, failed := c.fetchAll(ctx, issuers, now)
	// One path is enough; that of an anchor in the middle comes beside longer ones.
	var first error
	for _, path := range paths {
		err := c.walk(ctx, path, lists, failed, own, now)
		if err == nil {
			return nil
		}
		var refused *Refusal
		if errors.As(err, &refused) && refused.Reason == IsRevoked {
			return err
		}
		if first == nil {
			first = err
		}
	}
	return first
}

// walk checks every certificate of a path but the anchor at its end.
func (c *Callback) walk(ctx context.Context, path []*x509.Certificate, lists []*x509.RevocationList, failed error, own string, now time.Time) error {
	for i := range len(path) - 1 {
		covered, err := listed(lists, path[i], path[i+1], own)
		if err != nil {
			return err
		}
		if i == 0 && c.OCSP != "" {
			if err := c.ask(ctx, path[i], path[i+1], own, now); err != nil {
				return err
			}
			covered = true
		}
		switch {
		case !covered && failed != nil:
			return fmt.Errorf("the revocation of %q is not known: %w", cut(path[i].Subject.String()), failed)
		case !covered && i == 0:
			return refusal(Unverified, own, "none of the revocation lists is that of its issuer %q", cut(path[i].Issuer.String()))
		}
	}
	if len(path) == 1 {
		return refusal(Unverified, own, "it is an anchor itself")
	}
	return nil
}
