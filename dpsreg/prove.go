package dpsreg

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"mintmark/internal/pattern"
)

// codePattern is what is signed as a verification code. Its form is not documented;
// those that are seen are hexadecimal. Longer ones would not fit a common name.
var codePattern = pattern.New(`^[0-9A-Za-z]{1,64}$`)

// errLacksProof is what Config.Verification returns where the CA's key is elsewhere.
var errLacksProof = errors.New("the key of this CA is not here")

// waiting is work that cannot be done yet, for a reason that has nothing to do with
// the rest.
type waiting struct {
	why   string
	proof *Proof // what is waited for; nil for another resource
}

func (w *waiting) Error() string { return w.why }

// checkProof makes sure before it is sent that DPS can take a proof: a certificate of
// that code, signed by the CA itself, in force.
func checkProof(proof []byte, a Authority, code string, now time.Time) error {
	block, rest := pem.Decode(proof)
	if block == nil || block.Type != "CERTIFICATE" || len(bytes.TrimSpace(rest)) > 0 {
		return errors.New("the proof is not one certificate in PEM")
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return fmt.Errorf("parsing the proof: %w", err)
	}
	switch {
	case c.Subject.CommonName != code:
		return fmt.Errorf("the proof's common name is %q, the code is %q", c.Subject.CommonName, code)
	case now.Before(c.NotBefore):
		return fmt.Errorf("the proof is valid from %s", c.NotBefore.UTC().Format(time.RFC3339))
	case now.After(c.NotAfter):
		return fmt.Errorf("the proof expired at %s: make another", c.NotAfter.UTC().Format(time.RFC3339))
	}
	if err := c.CheckSignatureFrom(a.Certificate); err != nil {
		return fmt.Errorf("the proof is not signed by the key of %q: %w", a.Name, err)
	}
	return nil
}

// Prove answers a request with the CAs' own keys. It refuses a certificate that is not
// exactly the authority's, and a code that is none: a name of a device could look like
// a code, but what is signed is of no use, since its key is thrown away. The proofs
// live for as long as Config.Carried makes them.
func (r *Registrar) Prove(ctx context.Context, request ProofRequest) (ProofRequest, error) {
	if err := request.check(); err != nil {
		return ProofRequest{}, err
	}
	all := r.authorities()
	for _, p := range request.Proofs { // before the first signature
		a, ok := all[p.Authority]
		switch {
		case !ok:
			return ProofRequest{}, fmt.Errorf("proof for certificate %q: there is no CA %q here", p.Name, p.Authority)
		case SHA256(a.Certificate) != fold(p.SHA256):
			return ProofRequest{}, fmt.Errorf("proof for certificate %q: what was uploaded as %q is SHA-256 %s, that CA's certificate is %s", p.Name, p.Authority, p.SHA256, SHA256(a.Certificate))
		case p.Certificate != "":
			return ProofRequest{}, fmt.Errorf("proof for certificate %q: this is an answer, not a request", p.Name)
		}
	}
	answer := request
	answer.Proofs = slices.Clone(request.Proofs)
	for i, p := range answer.Proofs {
		a := all[p.Authority]
		proof, err := r.cfg.Carried(ctx, p.Authority, p.Code)
		if err == nil {
			err = checkProof(proof, a, p.Code, r.conn.cfg.Now())
		}
		if err != nil {
			return ProofRequest{}, fmt.Errorf("proving possession of the key of %q: %w", p.Authority, err)
		}
		answer.Proofs[i].Certificate = string(proof)
	}
	return answer, nil
}

// maxProofs bounds the file of a request: DPS takes 25 certificates of a few
// kilobytes.
const maxProofs = MaxCertificates * (maxCertificate + 4<<10)

// ParseProofs reads a request, or an answer to one. What it does not know is refused.
func ParseProofs(data []byte) (ProofRequest, error) {
	var p ProofRequest
	if err := strict(data, maxProofs, &p); err != nil {
		return ProofRequest{}, fmt.Errorf("reading the request for proofs: %w", err)
	}
	if err := p.check(); err != nil {
		return ProofRequest{}, err
	}
	return p, nil
}

func (p ProofRequest) check() error {
	switch {
	case p.Version != bundleVersion:
		return fmt.Errorf("the request for proofs has version %d, this program knows %d", p.Version, bundleVersion)
	case !targetPattern.MatchString(p.Target):
		return fmt.Errorf("the request for proofs names no target: %.80q", p.Target)
	case len(p.Proofs) > MaxCertificates:
		return fmt.Errorf("the request wants %d proofs, a DPS instance takes %d certificates", len(p.Proofs), MaxCertificates)
	}
	for i, one := range p.Proofs {
		switch {
		case !certificatePattern.MatchString(one.Name):
			return fmt.Errorf("proof %d: %.80q is not the name of a certificate at DPS", i+1, one.Name)
		case slices.ContainsFunc(p.Proofs[:i], func(other Proof) bool { return strings.EqualFold(other.Name, one.Name) }):
			return fmt.Errorf("certificate %q is in the request twice", one.Name)
		case one.Authority == "":
			return fmt.Errorf("proof for certificate %q: no authority is named", one.Name)
		case !sha256Pattern.MatchString(one.SHA256):
			return fmt.Errorf("proof for certificate %q: %.80q is not a SHA-256", one.Name, one.SHA256)
		case !codePattern.MatchString(one.Code):
			return fmt.Errorf("proof for certificate %q: the code %.80q is not 1 to 64 letters and digits", one.Name, one.Code)
		case len(one.Certificate) > maxCertificate:
			return fmt.Errorf("proof for certificate %q: %d bytes", one.Name, len(one.Certificate))
		}
	}
	return nil
}

var sha256Pattern = pattern.New(`^[0-9A-Fa-f]{64}$`)

// given is the proof that was brought for a certificate; nil for none.
func (r *Registrar) given(name string) *Proof {
	i := slices.IndexFunc(r.proofs, func(p Proof) bool { return strings.EqualFold(p.Name, name) })
	if i < 0 {
		return nil
	}
	return &r.proofs[i]
}

// fits says why DPS cannot take a proof, whatever code it wants.
func (p Proof) fits(a Authority, now time.Time) error {
	switch {
	case p.Certificate == "":
		return errors.New("the file lacks the proof: it is a request, which is to be answered at the CA (azure bundle prove)")
	case fold(p.SHA256) != SHA256(a.Certificate):
		return fmt.Errorf("it is for the certificate with the SHA-256 %s", fold(p.SHA256))
	}
	return checkProof([]byte(p.Certificate), a, p.Code, now)
}

// strict reads one JSON value of known fields.
func strict(data []byte, limit int, v any) error {
	if len(data) > limit {
		return fmt.Errorf("%d bytes are more than the %d that it may have", len(data), limit)
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(v); err != nil {
		return err
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return errors.New("there is more behind it")
	}
	return nil
}
