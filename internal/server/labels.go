package server

import (
	"context"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"mintmark/ca"
	"mintmark/internal/config"
	"mintmark/issuer"
	"mintmark/issuer/est"
)

// labels builds the EST labels of the configuration.
func (s *Server) labels() ([]est.Label, error) {
	var list []est.Label
	for i, l := range s.config.Labels {
		field := func(name string) string {
			return fmt.Sprintf("%s: labels[%d].%s", filepath.Join(s.config.Dir, config.File), i, name)
		}
		if _, err := s.ra.Authority(l.Issuer); err != nil {
			return nil, fmt.Errorf("%s: %w: create it with mintmark ca create", field("issuer"), err)
		}
		label := est.Label{Name: l.Name, Profile: l.Profile, Issuer: l.Issuer, Own: l.Own}
		for j, p := range l.Passwords {
			hash, err := hex.DecodeString(p.SHA256)
			if err != nil || len(hash) != len(est.Password{}.SHA256) {
				return nil, fmt.Errorf("%s: not a SHA-256", field(fmt.Sprintf("passwords[%d].sha256", j)))
			}
			label.Passwords = append(label.Passwords, est.Password{User: p.User, SHA256: [32]byte(hash)})
		}
		if l.Maker != nil {
			path := s.config.Path(l.Maker.Anchors)
			data, err := os.ReadFile(path)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", field("maker.anchors"), err)
			}
			label.Makers = x509.NewCertPool()
			if !label.Makers.AppendCertsFromPEM(data) {
				return nil, fmt.Errorf("%s: %s holds no certificate", field("maker.anchors"), path)
			}
			label.MakerDevice = l.Maker.Device
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

// issuing lists the authorities that labels and the server's own certificate
// need, each once.
func (s *Server) issuing() []string {
	seen := make(map[string]bool)
	var list []string
	add := func(name string) {
		if !seen[name] {
			seen[name] = true
			list = append(list, name)
		}
	}
	for _, l := range s.config.Labels {
		add(l.Issuer)
	}
	add(s.config.TLS.Issuer)
	return list
}

// openKeys opens the keys that will be needed. A key that is not its
// certificate's stops the start; one that cannot be reached does not: the rest
// is served, and the key is opened when it comes back.
func (s *Server) openKeys(ctx context.Context) error {
	for _, name := range s.issuing() {
		authority, err := s.ra.Authority(name)
		if errors.Is(err, issuer.ErrNoAuthority) {
			return fmt.Errorf("%s names issuing CA %q, which does not exist: create it with mintmark ca create", filepath.Join(s.config.Dir, config.File), name)
		}
		if err != nil {
			return err
		}
		err = authority.Open(ctx)
		if errors.Is(err, ca.ErrKeyMismatch) {
			return fmt.Errorf("authority %q: %w", name, err)
		}
		if err != nil {
			s.log.Error("the key of an issuing CA cannot be opened; its labels answer 503 until it can", "issuer", name, "error", err)
		}
	}
	return nil
}
