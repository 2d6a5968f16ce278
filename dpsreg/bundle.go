package dpsreg

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"
)

// bundleVersion is that of bundles and of requests for proofs.
const bundleVersion = 1

// Bundle is a target as a machine without the CA needs it. It is JSON, and holds no
// key; Identity, SAS and Connect of the target are not in it, because whoever pushes it
// has credentials of its own. It is public but for one thing: the URL of an allocation
// function may hold the key of that function.
type Bundle struct {
	Version int       `json:"version"` // 1
	At      time.Time `json:"at"`
	Target  Target    `json:"target"`
	// Authorities are all CAs of ours: what a slot at DPS holds is known by them.
	Authorities []BundledAuthority `json:"authorities"`
}

// BundledAuthority is one authority.
type BundledAuthority struct {
	Name        string   `json:"name"`
	Certificate string   `json:"certificate"` // PEM
	Chain       []string `json:"chain"`       // PEM, issuer first, root last
	Live        bool     `json:"live"`        // certificates in force stand below it
}

// ProofRequest is what goes from the machine with the network to the CA, and back.
type ProofRequest struct {
	Version int     `json:"version"` // 1
	Target  string  `json:"target"`
	Proofs  []Proof `json:"proofs"`
}

// Proof asks for, or is, one proof of possession.
type Proof struct {
	Name      string `json:"name"`      // of the certificate at DPS
	Authority string `json:"authority"` // whose key is to be proved
	SHA256    string `json:"sha256"`    // of its certificate
	Code      string `json:"code"`      // verification code: the common name
	// Certificate is the proof, PEM; empty in a request.
	Certificate string `json:"certificate,omitempty"`
}

// Bundle makes the bundle of a target. It makes no call to Azure. Which CAs have
// certificates in force below them is as of now: a bundle that is pushed later may let
// a CA go that has some again, so push it soon.
func (r *Registrar) Bundle(ctx context.Context, t Target) (Bundle, error) {
	if err := r.Check(t); err != nil {
		return Bundle{}, err
	}
	b := Bundle{Version: bundleVersion, At: r.cfg.Now().UTC(), Target: t.bundled(), Authorities: []BundledAuthority{}}
	for _, a := range r.authorities() {
		n, _, err := r.live(ctx, a.Certificate, 1)
		if err != nil {
			return Bundle{}, fmt.Errorf("DPS target %q: %w", t.Name, err)
		}
		one := BundledAuthority{Name: a.Name, Certificate: pemOf(a.Certificate), Chain: []string{}, Live: n > 0}
		for _, c := range a.Chain {
			one.Chain = append(one.Chain, pemOf(c))
		}
		b.Authorities = append(b.Authorities, one)
	}
	slices.SortFunc(b.Authorities, func(a, b BundledAuthority) int { return cmp.Compare(a.Name, b.Name) })
	if len(b.Authorities) > maxBundled {
		return Bundle{}, fmt.Errorf("DPS target %q: %d CAs are more than a bundle takes", t.Name, len(b.Authorities))
	}
	return b, nil
}

// bundled is the part of a target that is in a bundle, as reading it back gives it.
func (t Target) bundled() Target {
	t.Identity, t.SAS, t.Connect, t.Enrollments, t.Hubs = Identity{}, nil, Connect{}, nil, nil
	return t
}

const (
	maxBundled = 1000
	maxBundle  = 16 << 20 // bytes
	maxChain   = 10
)

// ParseBundle reads a bundle. What it does not know is refused, and so is one that does
// not hold what its target needs.
func ParseBundle(data []byte) (Bundle, error) {
	var b Bundle
	if err := strict(data, maxBundle, &b); err != nil {
		return Bundle{}, fmt.Errorf("reading the bundle: %w", err)
	}
	if _, err := b.registrar(); err != nil {
		return Bundle{}, fmt.Errorf("reading the bundle: %w", err)
	}
	return b, nil
}

// registrar is one that knows of CAs what the bundle says. It has no keys and no
// ledger.
func (b Bundle) registrar() (*Registrar, error) {
	if b.Version != bundleVersion {
		return nil, fmt.Errorf("it has version %d, this program knows %d", b.Version, bundleVersion)
	}
	authorities, err := b.authorities()
	if err != nil {
		return nil, err
	}
	r, err := New(Config{
		Authorities:  func() []Authority { return authorities },
		Verification: func(context.Context, string, string) ([]byte, error) { return nil, errLacksProof },
		Secret:       func(string) ([]byte, error) { return nil, errors.New("there is no way to read secrets") },
	})
	if err != nil {
		return nil, err
	}
	r.bundled = &b
	return r, r.Check(b.Target)
}

func (b Bundle) authorities() ([]Authority, error) {
	if len(b.Authorities) > maxBundled {
		return nil, fmt.Errorf("%d CAs are more than %d", len(b.Authorities), maxBundled)
	}
	var list []Authority
	for _, one := range b.Authorities {
		if one.Name == "" || slices.ContainsFunc(list, func(a Authority) bool { return a.Name == one.Name }) {
			return nil, fmt.Errorf("CA %q is in it twice, or has no name", one.Name)
		}
		if len(one.Chain) > maxChain {
			return nil, fmt.Errorf("CA %q: a chain of %d certificates", one.Name, len(one.Chain))
		}
		var path []*x509.Certificate
		for _, text := range append([]string{one.Certificate}, one.Chain...) {
			c := readCertificate([]byte(text))
			if c == nil {
				return nil, fmt.Errorf("CA %q: its chain holds what is not a certificate", one.Name)
			}
			path = append(path, c)
		}
		for i, c := range path {
			issuer := path[min(i+1, len(path)-1)]
			if err := c.CheckSignatureFrom(issuer); err != nil {
				return nil, fmt.Errorf("CA %q: certificate %d of its chain is not signed by the next one: %w", one.Name, i+1, err)
			}
		}
		list = append(list, Authority{Name: one.Name, Certificate: path[0], Chain: path[1:]})
	}
	return list, nil
}

// bundledLive is live by what the bundle says.
func (r *Registrar) bundledLive(anchor *x509.Certificate) (int, bool, error) {
	for _, one := range r.bundled.Authorities {
		if c := readCertificate([]byte(one.Certificate)); c != nil && c.Equal(anchor) {
			return oneIf(one.Live), one.Live, nil
		}
	}
	return 0, false, errors.New("the bundle says nothing of this CA")
}
