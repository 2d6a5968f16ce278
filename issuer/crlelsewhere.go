package issuer

import (
	"context"
	"fmt"
	"time"

	"mintmark/ca"
)

// ElsewhereCRL is how it stands with the CRLs of an authority whose key is elsewhere, and whose CRLs
// are imported.
type ElsewhereCRL struct {
	Authority string
	// Unlisted counts the certificates that are revoked here and not on it, up to a hundred.
	Unlisted int
	// Finding says what somebody must do; empty for nothing.
	Finding string
}

// CRLsElsewhere looks at every authority in force whose key is elsewhere.
func (ra *RA) CRLsElsewhere(ctx context.Context) ([]ElsewhereCRL, error) {
	now := ra.Now()
	var list []ElsewhereCRL
	for _, a := range ra.Authorities() {
		ra.mu.RLock()
		here := ra.known.records[a.Name()].KeyURI != ""
		ra.mu.RUnlock()
		if here || now.After(a.Certificate().NotAfter) {
			continue
		}
		one := ElsewhereCRL{Authority: a.Name()}
		crl, err := ra.latestList(ctx, a)
		if err != nil {
			return nil, err
		}
		switch {
		case crl == nil && ra.certifiesHere(a):
			one.Finding = fmt.Sprintf("there is no CRL of %q here, and relying parties that want one refuse what is below it: mintmark ca crl %s --import brings it", a.Name(), a.Name())
		case crl != nil:
			if one.Finding = crlEnds(a.Name(), crl.ThisUpdate, crl.NextUpdate, now); one.Finding != "" {
				break
			}
			unlisted, err := ra.unlisted(ctx, a.Name(), crl)
			if err != nil {
				return nil, err
			}
			if one.Unlisted = len(unlisted); one.Unlisted > 0 {
				one.Finding = fmt.Sprintf("%d certificates of %q are revoked here and not on its CRL: have the next one list them", one.Unlisted, a.Name())
			}
		}
		list = append(list, one)
	}
	return list, nil
}

// crlWarning is how long before nextUpdate a person is told who has to bring the next CRL from a room
// that people must meet in; half of the CRL's life if that is shorter.
const crlWarning = 90 * day

func crlEnds(name string, from, until, now time.Time) string {
	left := until.Sub(now)
	switch {
	case left <= 0:
		return fmt.Sprintf("the CRL of %q ran out on %s, and relying parties that want one refuse what is below it: have the next one made, and bring it with mintmark ca crl %s --import", name, until.UTC().Format(time.DateOnly), name)
	case left < min(crlWarning, until.Sub(from)/2):
		return fmt.Sprintf("the CRL of %q runs out on %s, in %d days: have the next one made where its key is", name, until.UTC().Format(time.DateOnly), int(left/day))
	}
	return ""
}

// certifiesHere reports whether an authority stands above one whose key is here.
func (ra *RA) certifiesHere(root *ca.Authority) bool {
	ra.mu.RLock()
	defer ra.mu.RUnlock()
	for name, a := range ra.known.authorities {
		if ra.known.records[name].KeyURI == "" {
			continue
		}
		for _, c := range a.Chain() {
			if c.Equal(root.Certificate()) {
				return true
			}
		}
	}
	return false
}
