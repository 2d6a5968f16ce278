package est

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"mintmark/issuer"
)

// label is a Label made ready for requests.
type label struct {
	Label
	secrets  map[string][][32]byte
	patterns []makerPattern
	anchors  anchorCache
}

// basic reports whether the label takes HTTP Basic credentials.
func (l *label) basic() bool {
	return len(l.secrets) > 0 || l.OneTime || l.Authorize == issuer.ByOrder
}

// queues reports whether a request at the label may have to wait for a person.
func (l *label) queues() bool {
	return l.Approval || l.Renewal.Approval || l.SecondKey == issuer.HoldSecondKey || l.Webhook != nil
}

// newLabel checks a label. What it refuses would do nothing, or would let
// somebody in whom the other options keep out.
func newLabel(c Label) (*label, error) {
	l := &label{Label: c, secrets: make(map[string][][32]byte)}
	var err error
	if l.patterns, err = newMakerPatterns(c.Maker); err != nil {
		return nil, err
	}
	for _, p := range c.Passwords {
		// RFC 7617, Section 2: neither a colon nor control characters.
		if strings.ContainsFunc(p.User, func(r rune) bool { return r == ':' || r < ' ' || r == 0x7f }) {
			return nil, fmt.Errorf("user %q holds a colon or a control character", p.User)
		}
		if p.SHA256 == [32]byte{} {
			return nil, fmt.Errorf("user %q has no secret", p.User)
		}
		l.secrets[p.User] = append(l.secrets[p.User], p.SHA256)
	}
	for _, check := range []func() error{l.checkName, l.checkRules, l.checkCredentials, l.checkAnswers} {
		if err := check(); err != nil {
			return nil, err
		}
	}
	return l, nil
}

func (l *label) checkName() error {
	if l.Name != "" && !validLabel.MatchString(l.Name) {
		return errors.New("name must be 1 to 32 characters of a-z, 0-9 and hyphen")
	}
	// RFC 7030, Section 3.2.2: a label must not be an operation path segment.
	if slices.Contains(operations, l.Name) {
		return errors.New("name is that of an EST operation")
	}
	if l.Profile == "" || l.Issuer == "" {
		return errors.New("profile and issuer must be set")
	}
	if l.Gateway == l.Profile {
		return errors.New("gateway must be another profile than the label's")
	}
	return nil
}

// checkRules checks who decides.
func (l *label) checkRules() error {
	switch l.Authorize {
	case issuer.Trusted, issuer.Inventory, issuer.ByWebhook:
	case issuer.ByOrder:
		if len(l.Passwords) > 0 || l.OneTime || l.Maker != nil {
			return errors.New("passwords, one-time secrets and makers would enroll past every quota: authorised by work orders, a label takes only their credentials")
		}
		if len(l.RAs) > 0 {
			return errors.New("a registration authority has no credential of a work order: give it a label of its own")
		}
		if slices.ContainsFunc(l.Own, func(own string) bool { return own != l.Profile }) {
			return errors.New("certificates of other profiles have no credential of a work order, and nothing to renew: own may be the label's profile only")
		}
		if l.Gateway != "" {
			return errors.New("a work order is for one profile, and none pays for CA certificates: give gateways a label of their own")
		}
	default:
		return fmt.Errorf("authorize %q is none of trusted, inventory, order, webhook", l.Authorize)
	}
	switch l.Renewal.Authorize {
	case "", issuer.Trusted, issuer.Inventory, issuer.ByWebhook:
	case issuer.ByOrder:
		if l.Authorize != issuer.ByOrder {
			return errors.New("renewals cost no unit of a work order: renewal authorize is order only where authorize is")
		}
	default:
		return fmt.Errorf("renewal authorize %q is none of trusted, inventory, order, webhook", l.Renewal.Authorize)
	}
	asks := l.Authorize == issuer.ByWebhook || l.Renewal.Authorize == issuer.ByWebhook
	switch {
	case asks && l.Webhook == nil:
		return errors.New("authorised by a webhook, a label needs one")
	case !asks && l.Webhook != nil:
		return errors.New("the webhook would never be asked: authorize, or renewal authorize, must be webhook")
	}
	switch l.SecondKey {
	case "", issuer.RefuseSecondKey, issuer.HoldSecondKey, issuer.AllowSecondKey:
	default:
		return fmt.Errorf("second key %q is none of refuse, hold, allow", l.SecondKey)
	}
	return nil
}

// checkCredentials checks who is admitted.
func (l *label) checkCredentials() error {
	for _, profile := range l.RAs {
		// It would be a device and vouch for devices, and could renew itself.
		if profile == "" || profile == l.Profile || profile == l.Gateway || slices.Contains(l.Own, profile) {
			return fmt.Errorf("profile %q is for devices and cannot be a registration authority's as well", profile)
		}
	}
	if slices.Contains(l.Own, "") {
		return errors.New("own holds an empty profile")
	}
	if l.Gateway != "" && slices.Contains(l.Own, l.Gateway) {
		return fmt.Errorf("certificates of profile %q are those of CAs, and authenticate nobody", l.Gateway)
	}
	// The claim certificates of work orders need no profile of their own here.
	certificates := l.Maker != nil || len(l.RAs) > 0 || len(l.Own) > 0 || l.Authorize == issuer.ByOrder
	switch {
	case l.Both && !certificates:
		return errors.New("both demands a certificate, and the label takes none: set own, maker or registration authorities")
	case l.Both && !l.basic():
		return errors.New("both demands a password, and the label takes none: set passwords or one-time secrets")
	case l.Renewal.Password && !l.basic():
		return errors.New("renewals demand a password, and the label takes none: set passwords or one-time secrets")
	case l.Renewal.Grace < 0:
		return errors.New("renewal grace is negative")
	case l.ChangeNames && l.Maker == nil:
		return errors.New("change names is for certificates that are not ours, and the label trusts no maker")
	}
	switch l.ProofOfPossession {
	case "", ProofOff, ProofOptional, ProofRequired:
	default:
		return fmt.Errorf("proof of possession %q is none of off, optional, required", l.ProofOfPossession)
	}
	return nil
}

// checkAnswers checks what is answered, and how often.
func (l *label) checkAnswers() error {
	if l.CACerts != "" && !slices.Contains(flavours, l.CACerts) {
		return fmt.Errorf("cacerts %q is none of %v", l.CACerts, flavours)
	}
	if l.Retry < 0 {
		return errors.New("retry is negative")
	}
	if l.Limits.Identity < 0 || l.Limits.Address < 0 || l.Limits.Label < 0 {
		return errors.New("a limit is negative")
	}
	if l.Keygen == nil {
		return nil
	}
	if l.Approval || l.Renewal.Approval {
		return errors.New("a key that the server makes cannot wait for an approval: offer keygen under another label")
	}
	for id, key := range l.Keygen.SymmetricKeys {
		if id == "" {
			return errors.New("a symmetric key has no identifier")
		}
		if n := len(key); n != 16 && n != 24 && n != 32 {
			return fmt.Errorf("symmetric key %q measures %d bytes; 16, 24 or 32 are those of AES", id, n)
		}
	}
	return nil
}
