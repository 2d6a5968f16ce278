package ca

import (
	"bytes"
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
)

// Config is what New makes an Authority of.
type Config struct {
	// Name is how configuration and commands call the authority. Required.
	Name string

	// Certificate is the CA certificate. Required.
	Certificate *x509.Certificate

	// Chain is the issuers of Certificate, each certifying the one before it,
	// up to and including the root. Empty for a root.
	Chain []*x509.Certificate

	// Signer opens the key of Certificate. It is called when the key is first
	// needed, and again after a signature failed, unless the signer has a method
	// Ready() error: that one recovers itself, is kept, and is asked before
	// anything is recorded. A method Distrust([]byte) is called with a signature that
	// does not verify. One call is made at a time. The signer it returns must be
	// safe for concurrent use. Nil for an authority whose key is kept elsewhere:
	// it can be read, not signed with.
	Signer func(context.Context) (crypto.Signer, error)
}

// Authority is a certification authority: a CA certificate, the chain above it
// and its key. It may be used concurrently.
type Authority struct {
	name   string
	cert   *x509.Certificate
	chain  []*x509.Certificate
	kind   Algorithm
	sigAlg x509.SignatureAlgorithm
	hash   crypto.Hash

	openSigner func(context.Context) (crypto.Signer, error)
	opening    chan struct{} // holds one token: who has it may open the signer
	signer     atomic.Pointer[crypto.Signer]

	shapes knownShapes // what has passed the lint
}

// New returns the authority described by cfg. It opens no key. It refuses a
// certificate that cannot issue (not a CA, no keyCertSign or cRLSign, no
// subject key identifier, a critical extension unknown here) and a chain that
// does not verify; the error names what is wrong. It does not look at the
// clock: an expired authority can still be shown.
func New(cfg Config) (*Authority, error) {
	if cfg.Name == "" {
		return nil, errors.New("an authority needs a name")
	}
	if cfg.Certificate == nil {
		return nil, fmt.Errorf("authority %q: a CA certificate is required", cfg.Name)
	}
	if err := checkIssuing(cfg.Certificate); err != nil {
		return nil, fmt.Errorf("authority %q: %w", cfg.Name, err)
	}
	kind, err := AlgorithmOf(cfg.Certificate.PublicKey)
	if err != nil {
		return nil, fmt.Errorf("authority %q: key of the certificate: %w", cfg.Name, err)
	}
	if err := verifyChain(cfg.Certificate, cfg.Chain); err != nil {
		return nil, fmt.Errorf("authority %q: %w", cfg.Name, err)
	}
	a := &Authority{
		name:       cfg.Name,
		cert:       cfg.Certificate,
		chain:      slices.Clone(cfg.Chain),
		kind:       kind,
		openSigner: cfg.Signer,
		opening:    make(chan struct{}, 1),
	}
	a.sigAlg, a.hash = kind.signature()
	a.opening <- struct{}{}
	return a, nil
}

// Name returns the name given to New.
func (a *Authority) Name() string { return a.name }

// Certificate returns the CA certificate. It must not be modified.
func (a *Authority) Certificate() *x509.Certificate { return a.cert }

// Chain returns the certificates above the CA certificate, up to and
// including the root; none for a root.
func (a *Authority) Chain() []*x509.Certificate { return slices.Clone(a.chain) }

// Root returns the root of the authority: the last of its chain, or its own
// certificate.
func (a *Authority) Root() *x509.Certificate {
	if n := len(a.chain); n > 0 {
		return a.chain[n-1]
	}
	return a.cert
}

// checkIssuing reports why cert cannot be the certificate of an authority.
func checkIssuing(cert *x509.Certificate) error {
	if err := checkCertifying(cert); err != nil {
		return err
	}
	if cert.KeyUsage&x509.KeyUsageCRLSign == 0 {
		return fmt.Errorf("%s may not sign CRLs: keyUsage lacks cRLSign", certName(cert))
	}
	return nil
}

// checkCertifying is checkIssuing for a CA that signs no CRLs.
func checkCertifying(cert *x509.Certificate) error {
	name := certName(cert)
	// RFC 5280, Section 4.2.1.9.
	if !cert.BasicConstraintsValid || !cert.IsCA {
		return fmt.Errorf("%s is not a CA certificate: basicConstraints do not say cA", name)
	}
	// RFC 5280, Section 4.2.1.3.
	if cert.KeyUsage&x509.KeyUsageCertSign == 0 {
		return fmt.Errorf("%s may not sign certificates: keyUsage lacks keyCertSign", name)
	}
	// RFC 5280, Section 4.2.1.2: the key identifier of what it issues.
	if len(cert.SubjectKeyId) == 0 {
		return fmt.Errorf("%s has no subject key identifier", name)
	}
	if len(cert.UnhandledCriticalExtensions) > 0 {
		return fmt.Errorf("%s has a critical extension that is not understood here: %v", name, cert.UnhandledCriticalExtensions[0])
	}
	return nil
}

// verifyChain checks that each of chain certifies the one before it, the
// first of them cert, and that the last is a root.
func verifyChain(cert *x509.Certificate, chain []*x509.Certificate) error {
	child := cert
	below := 0 // CA certificates below the parent, self-issued ones not counted
	for i, parent := range chain {
		if parent == nil {
			return fmt.Errorf("chain certificate %d is missing", i+1)
		}
		if err := certifies(parent, child); err != nil {
			return err
		}
		if !selfIssued(child) {
			below++
		}
		// RFC 5280, Section 6.1.4 (l), (m).
		if limit, ok := pathLen(parent); ok && below > limit {
			return fmt.Errorf("%s allows a path length of %d, the chain below it has %d", certName(parent), limit, below)
		}
		child = parent
	}
	if err := certifies(child, child); err != nil {
		if len(chain) == 0 {
			return fmt.Errorf("%s is not self-signed and comes without its chain: the issuers up to the root are required", certName(cert))
		}
		return fmt.Errorf("the chain does not end in a root: %w", err)
	}
	return nil
}

// certifies reports why parent is not the issuer of child.
func certifies(parent, child *x509.Certificate) error {
	if !bytes.Equal(parent.RawSubject, child.RawIssuer) {
		return fmt.Errorf("%s is not the issuer of %s, which names %q", certName(parent), certName(child), child.Issuer)
	}
	// Go accepts a chain whose key identifiers differ, OpenSSL and the device
	// stacks built on it do not.
	if len(child.AuthorityKeyId) > 0 && !bytes.Equal(parent.SubjectKeyId, child.AuthorityKeyId) {
		return fmt.Errorf("%s has another key identifier (%x) than its subject %s asks for (%x)",
			certName(parent), parent.SubjectKeyId, certName(child), child.AuthorityKeyId)
	}
	if len(parent.UnhandledCriticalExtensions) > 0 {
		return fmt.Errorf("%s has a critical extension that is not understood here: %v", certName(parent), parent.UnhandledCriticalExtensions[0])
	}
	if err := child.CheckSignatureFrom(parent); err != nil {
		return fmt.Errorf("%s was not signed by %s: %w", certName(child), certName(parent), err)
	}
	return nil
}

// selfIssued reports whether issuer and subject of cert are the same name
// (RFC 5280, Section 3.2).
func selfIssued(cert *x509.Certificate) bool {
	return bytes.Equal(cert.RawSubject, cert.RawIssuer)
}

// pathLen returns the path length constraint of cert, if it has one.
func pathLen(cert *x509.Certificate) (int, bool) {
	if cert.MaxPathLen > 0 || cert.MaxPathLen == 0 && cert.MaxPathLenZero {
		return cert.MaxPathLen, true
	}
	return 0, false
}

// certName names cert in a text for people.
func certName(cert *x509.Certificate) string {
	return fmt.Sprintf("certificate %q (serial %x)", cert.Subject, cert.SerialNumber)
}
