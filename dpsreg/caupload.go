package dpsreg

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	arm "github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/deviceprovisioningservices/armdeviceprovisioningservices"

	"mintmark/internal/reconcile"
)

// caResource is a CA that is to be uploaded and verified. A certificate that is there
// under another name is used as it is: a second copy would take one of 25 places.
func (r *Registrar) caResource(s *session, ca CA, a Authority) resource {
	name := ca.NameAtDPS(a.Certificate)
	return resource{
		kind: kindCA, subject: caSubject(ca, name),
		read: func(ctx context.Context, o *observed) error {
			there := o.nameOf(ca, a)
			u, err := s.getCertificate(ctx, there)
			if err != nil {
				return err
			}
			r.recognise(u)
			o.put(there, u)
			return nil
		},
		examine: func(_ context.Context, o *observed) (reconcile.Change, doing, error) {
			change, act := r.examineCA(s, ca, a, o)
			return change, act, nil
		},
		effect: func(o *observed) {
			there := o.nameOf(ca, a)
			o.put(there, &uploaded{name: there, verified: true, certificate: a.Certificate, expires: a.Certificate.NotAfter})
		},
	}
}

func caSubject(ca CA, name string) string { return fmt.Sprintf("%s (%s)", ca.Authority, name) }

// nameOf is the name under which a CA's certificate is there: its own if that is taken
// or if none is.
func (o *observed) nameOf(ca CA, a Authority) string {
	name := ca.NameAtDPS(a.Certificate)
	if o.named(name) != nil {
		return name
	}
	others := o.copies(a)
	if len(others) == 0 {
		return name
	}
	return others[0].name
}

// copies are the uploaded certificates that are the authority's, verified ones first.
func (o *observed) copies(a Authority) []uploaded {
	var list []uploaded
	for _, u := range o.certificates {
		if u.is(a.Certificate) {
			list = append(list, u)
		}
	}
	slices.SortStableFunc(list, func(a, b uploaded) int {
		switch {
		case a.verified == b.verified:
			return strings.Compare(a.name, b.name)
		case a.verified:
			return -1
		}
		return 1
	})
	return list
}

func (r *Registrar) examineCA(s *session, ca CA, a Authority, o *observed) (reconcile.Change, doing) {
	name := ca.NameAtDPS(a.Certificate)
	there := o.nameOf(ca, a)
	change := reconcile.Change{Kind: kindCA, Subject: caSubject(ca, name), After: wantedCA(ca, a)}
	now := r.conn.cfg.Now()
	if have := o.named(there); have != nil {
		other := ""
		if !strings.EqualFold(there, name) {
			other = fmt.Sprintf(", under the name %q, which it keeps", there)
		}
		switch {
		case !have.is(a.Certificate):
			change.Action = reconcile.Refuse
			change.After = fmt.Sprintf("there is another certificate under this name (%s), and one that devices may stand on is never replaced: give the new CA a new name (name)", have.print())
			return change, nil
		case have.verified:
			change.Action, change.After = reconcile.None, "verified, SHA-256 "+SHA256(a.Certificate)+other
			return change, nil
		}
		change.Action, change.Before = reconcile.Update, "uploaded, not verified"
		change.After += other
		if why := cannotVerify(a, now); why != "" {
			change.Action, change.After = reconcile.Refuse, why
			return change, nil
		}
		if ca.SelfAttested {
			return change, func(ctx context.Context) error { return s.upload(ctx, *have, a, true) }
		}
		return change, func(ctx context.Context) error { return r.verify(ctx, s, *have, a) }
	}
	change.Action = reconcile.Create
	if why := cannotVerify(a, now); why != "" {
		change.Action, change.After = reconcile.Refuse, why
		return change, nil
	}
	return change, func(ctx context.Context) error {
		return s.upload(ctx, uploaded{name: name}, a, ca.SelfAttested)
	}
}

func wantedCA(ca CA, a Authority) string {
	how := "verified by proof of possession"
	if ca.SelfAttested {
		how = "declared verified without a proof (self_attested)"
	}
	return fmt.Sprintf("%s, SHA-256 %s, expires %s", how, SHA256(a.Certificate), day(a.Certificate.NotAfter))
}

// upload creates the certificate, or updates exactly the version that was read. It is
// never sent as verified but where the configuration says so.
func (s *session) upload(ctx context.Context, have uploaded, a Authority, attested bool) error {
	options := &arm.DpsCertificateClientCreateOrUpdateOptions{}
	if have.etag != "" {
		options.IfMatch = &have.etag
	}
	_, err := s.certificates.CreateOrUpdate(ctx, s.target.ResourceGroup, s.target.Service, have.name, arm.CertificateResponse{
		Properties: &arm.CertificateProperties{Certificate: a.Certificate.Raw, IsVerified: &attested},
	}, options)
	if err != nil {
		return fmt.Errorf("uploading certificate %q: %w", have.name, err)
	}
	return nil
}

// verify proves to DPS that we have the key of a certificate that was uploaded. Each
// step changes the entity tag, and what the answer to the second says of it is not
// documented, so that it is read again.
// https://learn.microsoft.com/azure/iot-dps/how-to-verify-certificates
func (r *Registrar) verify(ctx context.Context, s *session, have uploaded, a Authority) error {
	if given := r.given(have.name); given != nil {
		return r.sendGiven(ctx, s, have, a, *given)
	}
	for attempt := 1; ; attempt++ {
		err := r.proveAndSend(ctx, s, have, a)
		if attempt == 2 || statusOf(err) != http.StatusBadRequest {
			return err
		}
		// Another may have asked for a code meanwhile, which ends ours.
		if have, err = s.again(ctx, have.name, a); err != nil || have.verified {
			return err
		}
	}
}

// sendGiven sends a proof that was brought. If that is of no use, no other code is asked
// for: that would end the one that is in force, to which the proof may be on its way.
func (r *Registrar) sendGiven(ctx context.Context, s *session, have uploaded, a Authority, given Proof) error {
	const whatNow = "push again without it, with --request, and have that proved"
	if err := given.fits(a, r.conn.cfg.Now()); err != nil {
		return &waiting{why: fmt.Sprintf("the proof for %q that was brought is of no use: %v: %s", a.Name, err, whatNow)}
	}
	err := s.sendProof(ctx, have, given.Certificate)
	switch code := statusOf(err); {
	case passes(err), code < 400, code >= 500, code == http.StatusUnauthorized, code == http.StatusForbidden, code == http.StatusNotFound:
		return err
	}
	return &waiting{why: fmt.Sprintf("DPS did not take the proof for %q: it is for code %s, which a later push may have replaced: %s (%v)", a.Name, given.Code, whatNow, err)}
}

// proveAndSend asks for a code, has it signed, and sends it.
func (r *Registrar) proveAndSend(ctx context.Context, s *session, have uploaded, a Authority) error {
	code, err := s.code(ctx, have)
	if err != nil {
		return err
	}
	proof, err := r.cfg.Verification(ctx, a.Name, code)
	if errors.Is(err, errLacksProof) {
		return &waiting{
			why:   fmt.Sprintf("waits for the proof that you have the key of %q: code %s", a.Name, code),
			proof: &Proof{Name: have.name, Authority: a.Name, SHA256: SHA256(a.Certificate), Code: code},
		}
	}
	if err != nil {
		return fmt.Errorf("proving possession of the key of %q: %w", a.Name, err)
	}
	if err := checkProof(proof, a, code, r.conn.cfg.Now()); err != nil {
		return fmt.Errorf("proving possession of the key of %q: %w", a.Name, err)
	}
	if have, err = s.again(ctx, have.name, a); err != nil {
		return err
	}
	return s.sendProof(ctx, have, string(proof))
}

// again reads a certificate that must still be there, and the same.
func (s *session) again(ctx context.Context, name string, a Authority) (uploaded, error) {
	u, err := s.getCertificate(ctx, name)
	switch {
	case err != nil:
		return uploaded{}, err
	case u == nil:
		return uploaded{}, fmt.Errorf("certificate %q has gone while it was verified", name)
	case !u.is(a.Certificate):
		return uploaded{}, fmt.Errorf("certificate %q was replaced by another while it was verified", name)
	}
	return *u, nil
}

// code asks for a verification code.
func (s *session) code(ctx context.Context, have uploaded) (string, error) {
	out, err := s.certificates.GenerateVerificationCode(ctx, have.name, have.etag, s.target.ResourceGroup, s.target.Service, nil)
	if err != nil {
		return "", fmt.Errorf("asking for a verification code for certificate %q: %w", have.name, err)
	}
	if out.Properties == nil {
		return "", fmt.Errorf("asking for a verification code for certificate %q: the answer has none", have.name)
	}
	code := deref(out.Properties.VerificationCode)
	if !codePattern.MatchString(code) {
		return "", fmt.Errorf("asking for a verification code for certificate %q: the answer %.80q is not 1 to 64 letters and digits", have.name, code)
	}
	return code, nil
}

// sendProof has a certificate verified, in exactly the version that was read.
func (s *session) sendProof(ctx context.Context, have uploaded, proof string) error {
	c := readCertificate([]byte(proof))
	if c == nil {
		return fmt.Errorf("verifying certificate %q: the proof is not a certificate", have.name)
	}
	text := base64.StdEncoding.EncodeToString(c.Raw)
	_, err := s.certificates.VerifyCertificate(ctx, have.name, have.etag, s.target.ResourceGroup, s.target.Service,
		arm.VerificationCodeRequest{Certificate: &text}, nil)
	if err != nil {
		return fmt.Errorf("verifying certificate %q: %w", have.name, err)
	}
	return nil
}

// cannotVerify says why DPS would not take a CA; empty if it would.
func cannotVerify(a Authority, now time.Time) string {
	c := a.Certificate
	switch {
	case !c.BasicConstraintsValid || !c.IsCA:
		return "it is not a CA's certificate (basicConstraints)"
	case now.Before(c.NotBefore):
		return fmt.Sprintf("it is valid only from %s: check the clocks, or wait", day(c.NotBefore))
	case now.After(c.NotAfter):
		return fmt.Sprintf("it expired on %s: create its successor", day(c.NotAfter))
	}
	return ""
}
