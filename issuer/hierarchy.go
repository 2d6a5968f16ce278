package issuer

import (
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"

	"mintmark/ca"
	"mintmark/internal/ledger"
)

// AuthoritySpec describes an authority to create.
type AuthoritySpec struct {
	ca.Spec
	// Key is the type of its key.
	Key ca.Algorithm
	// KeyURI says where the key is made; empty for an encrypted file named
	// after the authority.
	KeyURI string
	// Issuer is the authority that certifies it; empty for a root.
	Issuer string
}

func (s AuthoritySpec) keyURI() string {
	if s.KeyURI != "" {
		return s.KeyURI
	}
	return "softkms:path=keys/" + s.Name + ".pem"
}

// CreateAuthority makes a key and a CA certificate for it: a self-signed root,
// or an issuing CA under an authority of ours. The certificate passes through
// the same cycle as every other.
func (ra *RA) CreateAuthority(ctx context.Context, spec AuthoritySpec, requester ledger.Requester) (*ca.Authority, error) {
	return ra.createAuthority(ctx, spec, requester, false)
}

// createAuthority is CreateAuthority; again has it take a key, and a certificate, that an
// earlier call left before it was cut off.
func (ra *RA) createAuthority(ctx context.Context, spec AuthoritySpec, requester ledger.Requester, again bool) (*ca.Authority, error) {
	ra.making.Lock()
	defer ra.making.Unlock()
	turn, err := ra.takeTurn(ctx)
	if err != nil {
		return nil, err
	}
	defer turn.end(ctx)
	if err := ra.vacant(spec.Name); err != nil {
		return nil, err
	}
	var parent *ca.Authority
	if spec.Issuer != "" {
		if parent, err = ra.Authority(spec.Issuer); err != nil {
			return nil, err
		}
	}
	if parent != nil && ra.PublicURL != "" {
		if spec.CRL == nil {
			spec.CRL = []string{ra.PublicURL + "/crl/" + parent.Name() + ".crl"}
		}
		if spec.CAIssuers == nil {
			spec.CAIssuers = []string{ra.PublicURL + "/ca/" + parent.Name() + ".crt"}
		}
	}
	now := ra.Now()
	serial := ra.Serial(now)
	template, err := spec.Template(serial, now)
	if err != nil {
		return nil, fmt.Errorf("authority %q: %w", spec.Name, err)
	}
	if parent != nil {
		if err := ra.inForce(parent); err != nil {
			return nil, err
		}
		if err := ra.stays(parent.Root()); err != nil {
			return nil, err
		}
		// Before there is a key, which is in the way of the next try.
		if err := signable(ctx, parent); err != nil {
			return nil, fmt.Errorf("certifying authority %q: %w", spec.Name, err)
		}
	}
	uri, signer, err := ra.newKey(ctx, spec, again)
	if err != nil {
		return nil, fmt.Errorf("creating the key of authority %q: %w", spec.Name, err)
	}
	var prepared *ca.Prepared
	issuerName := spec.Name
	var chain []*x509.Certificate
	if parent == nil {
		prepared, err = ca.PrepareRoot(template, signer)
	} else {
		issuerName = parent.Name()
		chain = append([]*x509.Certificate{parent.Certificate()}, parent.Chain()...)
		prepared, err = parent.Prepare(template, signer.Public(), ca.Rules{CA: true})
	}
	if err != nil {
		return nil, fmt.Errorf("preparing the certificate of authority %q: %w", spec.Name, err)
	}
	if again {
		left, err := ra.certified(ctx, issuerName, prepared.Certificate(), nil)
		if err != nil {
			return nil, err
		}
		if left != nil {
			return ra.put(ctx, turn, spec.Name, left, chain, uri)
		}
	}
	key, err := keyHash(signer.Public())
	if err != nil {
		return nil, err
	}
	certificate, _, err := ra.record(ctx, prepared, ledger.Intent{
		Epoch: ra.currentEpoch(), Serial: SerialOf(serial), Issuer: issuerName, Profile: "ca", Purpose: ledger.ForCA,
		Subject: prepared.Certificate().Subject.String(), Requester: requester, Key: key, TBS: prepared.TBS(),
		NotBefore: template.NotBefore, NotAfter: template.NotAfter, At: now,
	})
	if err != nil {
		return nil, err
	}
	return ra.put(ctx, turn, spec.Name, certificate, chain, uri)
}

// newKey makes the key of an authority, or, again, takes the one that is there already. That
// one must be of the kind that is wanted, and no other authority's.
func (ra *RA) newKey(ctx context.Context, spec AuthoritySpec, again bool) (string, crypto.Signer, error) {
	uri, signer, err := ra.Keys.Create(ctx, spec.keyURI(), string(spec.Key))
	if err == nil || !again {
		return uri, signer, err
	}
	found, notFound := ra.Keys.Signer(ctx, spec.keyURI(), nil)
	if notFound != nil {
		return "", nil, err
	}
	if kind, wrong := ca.AlgorithmOf(found.Public()); wrong != nil || kind != spec.Key {
		return "", nil, fmt.Errorf("%w, and it is not a key of the kind %s", err, spec.Key)
	}
	for _, a := range ra.Authorities() {
		if key, ok := a.Certificate().PublicKey.(interface{ Equal(crypto.PublicKey) bool }); ok && key.Equal(found.Public()) {
			return "", nil, fmt.Errorf("%w, and it is the key of authority %q", err, a.Name())
		}
	}
	return spec.keyURI(), found, nil
}

// RequestAuthority makes a key and returns the certification request (DER) for
// a root that is kept elsewhere. ImportAuthority completes it.
func (ra *RA) RequestAuthority(ctx context.Context, spec AuthoritySpec) ([]byte, error) {
	return ra.requestAuthority(ctx, spec, false)
}

// requestAuthority is RequestAuthority; again has it take a key that an earlier call left.
func (ra *RA) requestAuthority(ctx context.Context, spec AuthoritySpec, again bool) ([]byte, error) {
	ra.making.Lock()
	defer ra.making.Unlock()
	turn, err := ra.takeTurn(ctx)
	if err != nil {
		return nil, err
	}
	defer turn.end(ctx)
	ra.mu.RLock()
	record, waiting := ra.known.waiting[spec.Name]
	ra.mu.RUnlock()
	var signer crypto.Signer
	if waiting {
		// The request was lost or its answer is slow: make it again.
		signer, err = ra.Keys.Signer(ctx, record.KeyURI, nil)
	} else {
		if err := ra.vacant(spec.Name); err != nil {
			return nil, err
		}
		record = ledger.Authority{Name: spec.Name, CreatedAt: ra.Now()}
		record.KeyURI, signer, err = ra.newKey(ctx, spec, again)
	}
	if err != nil {
		return nil, fmt.Errorf("the key of authority %q: %w", spec.Name, err)
	}
	request, err := spec.Request(signer)
	if err != nil {
		return nil, fmt.Errorf("authority %q: %w", spec.Name, err)
	}
	if waiting {
		return request, nil
	}
	if err := turn.still(ctx); err != nil {
		return nil, err
	}
	if err := ra.Ledger.PutAuthority(ctx, record); err != nil {
		return nil, fmt.Errorf("recording authority %q: %w", spec.Name, err)
	}
	return request, ra.add(record)
}

// ImportAuthority takes an authority whose certificates exist already. The
// key is the one that RequestAuthority made, or the one that keyURI names; for
// a trust anchor whose key is elsewhere, keyURI is empty. The key must be the
// certificate's.
func (ra *RA) ImportAuthority(ctx context.Context, name string, certificates []*x509.Certificate, keyURI string) (*ca.Authority, error) {
	ra.making.Lock()
	defer ra.making.Unlock()
	turn, err := ra.takeTurn(ctx)
	if err != nil {
		return nil, err
	}
	defer turn.end(ctx)
	ra.mu.RLock()
	record, waiting := ra.known.waiting[name]
	ra.mu.RUnlock()
	if waiting && keyURI == "" {
		keyURI = record.KeyURI
	}
	if !waiting {
		if err := ra.vacant(name); err != nil {
			return nil, err
		}
	}
	var signer func(context.Context) (crypto.Signer, error)
	if keyURI != "" {
		signer = func(ctx context.Context) (crypto.Signer, error) { return ra.Keys.Signer(ctx, keyURI, nil) }
	}
	if _, _, err := ra.ExamineImport(ctx, name, certificates); err != nil {
		return nil, err
	}
	authority, err := ca.Import(name, certificates, signer)
	if err != nil {
		return nil, fmt.Errorf("importing authority %q: %w", name, err)
	}
	if len(authority.Chain()) > 0 {
		if err := ra.stays(authority.Root()); err != nil {
			return nil, err
		}
	}
	if signer != nil {
		if err := authority.Open(ctx); err != nil {
			return nil, fmt.Errorf("importing authority %q: %w", name, err)
		}
	}
	return ra.put(ctx, turn, name, authority.Certificate(), authority.Chain(), keyURI)
}

// put records an authority and puts it to work.
func (ra *RA) put(ctx context.Context, turn *turn, name string, certificate *x509.Certificate, chain []*x509.Certificate, keyURI string) (*ca.Authority, error) {
	record := ledger.Authority{Name: name, Certificate: certificate.Raw, KeyURI: keyURI, CreatedAt: ra.Now()}
	for _, c := range chain {
		record.Chain = append(record.Chain, c.Raw)
	}
	if err := turn.still(ctx); err != nil {
		return nil, err
	}
	if err := ra.Ledger.PutAuthority(ctx, record); err != nil {
		return nil, fmt.Errorf("recording authority %q: %w", name, err)
	}
	if err := ra.add(record); err != nil {
		return nil, err
	}
	return ra.Authority(name)
}

// vacant refuses a name that is taken or not allowed.
func (ra *RA) vacant(name string) error {
	if !validName.MatchString(name) {
		return fmt.Errorf("authority %q: a name must match %s", name, validName)
	}
	ra.mu.RLock()
	_, waiting := ra.known.waiting[name]
	ra.mu.RUnlock()
	if waiting {
		return fmt.Errorf("authority %q waits for its certificate: import it, or choose another name", name)
	}
	if _, err := ra.Authority(name); !errors.Is(err, ErrNoAuthority) {
		return fmt.Errorf("authority %q exists already", name)
	}
	return nil
}

// Waiting lists the authorities whose request waits for a certificate.
func (ra *RA) Waiting() []ledger.Authority {
	ra.mu.RLock()
	defer ra.mu.RUnlock()
	var list []ledger.Authority
	for _, record := range ra.known.waiting {
		list = append(list, record)
	}
	return list
}

func keyHash(key crypto.PublicKey) ([32]byte, error) {
	spki, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return [32]byte{}, fmt.Errorf("encoding a public key: %w", err)
	}
	return sha256.Sum256(spki), nil
}
