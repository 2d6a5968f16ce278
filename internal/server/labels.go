package server

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"mintmark/admin/adminhttp"
	"mintmark/ca"
	"mintmark/internal/config"
	"mintmark/internal/keystore"
	"mintmark/issuer"
	"mintmark/issuer/est"
)

// labels builds the EST labels of the configuration.
func (s *Server) labels() ([]est.Label, error) {
	var list []est.Label
	for i, l := range s.config.Labels {
		field := func(name string) string {
			return fmt.Sprintf("%s: label %q: labels[%d].%s", filepath.Join(s.config.Dir, config.File), l.Name, i, name)
		}
		if _, err := s.ra.Authority(l.Issuer); err != nil {
			return nil, fmt.Errorf("%s: %w: create it with mintmark ca create", field("issuer"), err)
		}
		label, key, err := s.label(l)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", field(key), err)
		}
		label.Disabled = func() string {
			if err := s.ra.Usable(l.Profile, l.Issuer); err != nil {
				return err.Error()
			}
			return ""
		}
		if reason := label.Disabled(); reason != "" {
			s.log.Error("a label cannot issue and answers 503", "label", l.Name, "reason", reason)
		}
		list = append(list, label)
	}
	return list, nil
}

// label builds one label. With an error comes the key that it is about.
func (s *Server) label(l config.Label) (label est.Label, key string, err error) {
	label = est.Label{
		Name: l.Name, Profile: l.Profile, Issuer: l.Issuer, Gateway: l.Gateway,
		Authorize: issuer.Rule(l.Authorize), OneTime: l.OneTime, Own: l.Own, RAs: l.RegistrationAuthorities, Both: l.Both,
		Renewal: est.Renewal{
			Authorize: issuer.Rule(l.Renewal.Authorize), Grace: l.Renewal.Grace, Password: l.Renewal.Password,
			Approval: l.Renewal.Approval, ChangeNames: l.Renewal.ChangeNames,
		},
		ProofOfPossession: est.Proof(l.ProofOfPossession), Approval: l.Approval, Retry: l.Retry,
		SecondKey: issuer.SecondKey(l.SecondKey), ChangeNames: l.ChangeNames, CACerts: est.CACerts(l.CACerts),
		Limits: est.Limits{Identity: or(l.Limits.Identity, identityLimit), Address: or(l.Limits.Address, addressLimit), Label: l.Limits.Label},
	}
	for j, p := range l.Passwords {
		hash, err := hex.DecodeString(p.SHA256)
		if err != nil || len(hash) != len(est.Password{}.SHA256) {
			return label, fmt.Sprintf("passwords[%d].sha256", j), errors.New("not a SHA-256")
		}
		label.Passwords = append(label.Passwords, est.Password{User: p.User, SHA256: [32]byte(hash)})
	}
	if label.Maker, key, err = makerOf(s.config, l.Maker); err != nil {
		return label, key, err
	}
	if err := makerNotOurs(s.config, l.Maker, s.certificates()); err != nil {
		return label, "maker.anchors", err
	}
	if l.Maker != nil && len(l.Maker.CRLs) > 0 {
		var paths []string
		for _, file := range l.Maker.CRLs {
			paths = append(paths, s.config.Path(file))
		}
		label.Maker.Revoked = newMakerCRLs(paths, s.log.With("label", l.Name)).revoked
	}
	if label.Keygen, key, err = keygenOf(s.config, l.Keygen); err != nil {
		return label, key, err
	}
	client, key, err := webhookOf(s.config, l.Webhook)
	if err != nil {
		return label, key, err
	}
	if client != nil { // a nil *webhook.Client is not a nil Webhook
		label.Webhook = client
	}
	if l.Gateway != "" {
		if err := s.gatewayIssuer(l.Issuer); err != nil {
			return label, "issuer", err
		}
	}
	return label, "", nil
}

// Requests for certificates in a minute, where a label does not say its own.
const (
	identityLimit = 60
	addressLimit  = 6000
)

func or(value *int, fallback int) int {
	if value != nil {
		return *value
	}
	return fallback
}

// orderLabels is what work orders must know of the labels and of the fleets at AWS.
// No EST label has a fleet's name: theirs have no colon.
func (s *Server) orderLabels() map[string]adminhttp.Label {
	list := s.aws.fleetLabels()
	for _, l := range s.config.Labels {
		list[l.Name] = adminhttp.Label{Profile: l.Profile, Issuer: l.Issuer, Orders: issuer.Rule(l.Authorize) == issuer.ByOrder, RegistrationAuthorities: l.RegistrationAuthorities,
			OldPath: est.CACerts(l.CACerts) == est.CACertsOld}
	}
	return list
}

// need is an authority that the configuration names, and where.
type need struct{ authority, field string }

// issuing lists the authorities that labels and the server's own certificate
// need, each once.
func (s *Server) issuing() []need {
	seen := make(map[string]bool)
	var list []need
	add := func(name, field string) {
		if !seen[name] {
			seen[name] = true
			list = append(list, need{name, field})
		}
	}
	for i, l := range s.config.Labels {
		add(l.Issuer, fmt.Sprintf("label %q: labels[%d].issuer", l.Name, i))
	}
	add(s.config.TLS.Issuer, "tls.issuer")
	return list
}

// openKeys opens the keys that will be needed. A key that is not its
// certificate's stops the start, and so does a passphrase that others can
// read; a key that cannot be reached does not: the rest is served, and the key
// is opened when it comes back.
func (s *Server) openKeys(ctx context.Context) error {
	if err := errors.Join(checkPassphrase(s.config), checkTokens(s.config)); err != nil {
		return err
	}
	if err := s.startTokens(); err != nil {
		return err
	}
	opened := s.openAll(ctx)
	if err := s.lookForKeys(ctx); err != nil {
		return err
	}
	for _, n := range s.issuing() {
		field := filepath.Join(s.config.Dir, config.File) + ": " + n.field
		if _, err := s.ra.Authority(n.authority); errors.Is(err, issuer.ErrNoAuthority) {
			return fmt.Errorf("%s: %w: create it with mintmark ca create", field, err)
		} else if err != nil {
			return err
		}
		err := opened[n.authority]
		if errors.Is(err, ca.ErrKeyMismatch) || errors.Is(err, keystore.ErrMismatch) {
			return fmt.Errorf("%s: authority %q: %w: %s", field, n.authority, ca.ErrKeyMismatch, s.keyOf(ctx, n.authority))
		}
		if err != nil {
			s.log.Error("the key of an issuing CA cannot be opened; its labels answer 503 until it can", "issuer", n.authority, "error", err)
		}
	}
	return nil
}

// openTimeout bounds how long the start waits for a key.
const openTimeout = 10 * time.Second

// openAll opens the keys of the issuing CAs, all at a time, and says which could not
// be. One that hangs is left to itself.
func (s *Server) openAll(ctx context.Context) map[string]error {
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	failed := make(map[string]error)
	results := make(map[string]chan error)
	for _, n := range s.issuing() {
		authority, err := s.ra.Authority(n.authority)
		if err != nil {
			continue // for the caller to say
		}
		result := make(chan error, 1)
		results[n.authority] = result
		go func() { result <- authority.Open(ctx) }()
	}
	for name, result := range results {
		select {
		case failed[name] = <-result:
		case <-ctx.Done():
			failed[name] = fmt.Errorf("the key did not open within %v", openTimeout)
		}
	}
	return failed
}

// lookForKeys has the tokens look for the keys of all authorities, and waits for nothing:
// a key that a spare lacks shows in its status before it is needed.
func (s *Server) lookForKeys(ctx context.Context) error {
	records, err := s.ledger.Authorities(ctx)
	if err != nil {
		return err
	}
	for _, r := range records {
		if !strings.HasPrefix(r.KeyURI, "pkcs11:") {
			continue
		}
		authority, err := s.ra.Authority(r.Name)
		if err != nil {
			continue // it waits for its certificate
		}
		go func() {
			if err := authority.Open(context.WithoutCancel(ctx)); err != nil {
				s.log.Info("a key is not in its token at the moment", "authority", r.Name, "error", err)
			}
		}()
	}
	return nil
}

// keyOf says where the key of an authority is, for an error.
func (s *Server) keyOf(ctx context.Context, name string) string {
	records, err := s.ledger.Authorities(ctx)
	if err != nil {
		return err.Error()
	}
	for _, r := range records {
		if r.Name == name {
			return keystore.Redact(r.KeyURI)
		}
	}
	return "no key"
}

// checkPassphrase reads the passphrase file, if one is configured, as it will
// be read for each key.
func checkPassphrase(c *config.Config) error {
	if c.Keys.PassphraseFile == "" {
		return nil
	}
	secret, err := keystore.PassphraseFile(c.Path(c.Keys.PassphraseFile))()
	if err != nil {
		return fmt.Errorf("%s: keys.passphrase_file: %w", filepath.Join(c.Dir, config.File), err)
	}
	clear(secret)
	return nil
}
