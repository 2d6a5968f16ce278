package dpsreg

import (
	"cmp"
	"context"
	"crypto/x509"
	"fmt"
	"slices"
	"time"
)

// MaxBundle bounds the file of a bundle, in bytes.
const MaxBundle = 16 << 20

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
	t, err := r.checked(t)
	if err != nil {
		return Bundle{}, err
	}
	for _, g := range t.Groups { // which nobody can look at where it is pushed
		why, err := r.strayOrder(ctx, t, g, nil)
		if err == nil && why != "" {
			err = fmt.Errorf("group %q: %s", g.ID, why)
		}
		if err != nil {
			return Bundle{}, fmt.Errorf("DPS target %q: %w", t.Name, err)
		}
	}
	b := Bundle{Version: bundleVersion, At: r.conn.cfg.Now().UTC(), Target: t.bundled(), Authorities: []BundledAuthority{}}
	for _, a := range r.authorities() {
		n, err := r.books.count(ctx, a.Certificate, 1)
		if err != nil {
			return Bundle{}, fmt.Errorf("DPS target %q: %w", t.Name, err)
		}
		one := BundledAuthority{Name: a.Name, Certificate: pemOf(a.Certificate.Raw), Chain: []string{}, Live: n > 0}
		for _, c := range a.Chain {
			one.Chain = append(one.Chain, pemOf(c.Raw))
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
	maxChain   = 10
)

// ParseBundle reads a bundle. What it does not know is refused, and so is one that does
// not hold what its target needs.
func ParseBundle(data []byte) (Bundle, error) {
	var b Bundle
	if err := strict(data, MaxBundle, &b); err != nil {
		return Bundle{}, fmt.Errorf("reading the bundle: %w", err)
	}
	if _, err := b.registrar(nil); err != nil {
		return Bundle{}, fmt.Errorf("reading the bundle: %w", err)
	}
	return b, nil
}

// registrar is one that knows of CAs what the bundle says. It has no keys and no
// ledger: it plans and applies.
func (b Bundle) registrar(c *Connections) (*Registrar, error) {
	if b.Version != bundleVersion {
		return nil, fmt.Errorf("it has version %d, this program knows %d", b.Version, bundleVersion)
	}
	authorities, err := b.authorities()
	if err != nil {
		return nil, err
	}
	live := make(bundled)
	for i, a := range authorities {
		h := SHA256(a.Certificate)
		live[h] = live[h] || b.Authorities[i].Live
	}
	r := &Registrar{conn: c, below: live, cfg: Config{
		Authorities:  func() []Authority { return authorities },
		Verification: func(context.Context, string, string) ([]byte, error) { return nil, errLacksProof },
	}}
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

// bundled is what a bundle says of its CAs, by SHA-256: whether certificates are in force
// below.
type bundled map[string]bool

func (b bundled) keeps(_ context.Context, sha256 string) (string, error) {
	switch live, known := b[sha256]; {
	case !known:
		return "it is a CA of which the bundle knows nothing", nil
	case live:
		return "certificates of devices are in force below it: " + letRenew, nil
	}
	return "", nil
}

// outlived is for the plan at the CA to say.
func (bundled) outlived(context.Context, *x509.Certificate) (bool, error) { return false, nil }
