package server

import (
	"crypto/fips140"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"mintmark/admin"
	"mintmark/admin/adminhttp"
	"mintmark/internal/config"
	"mintmark/internal/keystore"
	"mintmark/internal/keystore/token"
)

// tokensOf are the configured tokens as the key store takes them.
func tokensOf(c *config.Config) []keystore.TokenConfig {
	pin := func(p config.PIN) keystore.PIN {
		return keystore.PIN{File: c.Path(p.File), Credential: p.Credential, Operators: p.Operators, Pad: p.Pad}
	}
	var list []keystore.TokenConfig
	for _, t := range c.Keys.Tokens {
		one := keystore.TokenConfig{
			Name: t.Name, URI: t.URI, PIN: pin(t.PIN), Sessions: t.Sessions,
			Attempt: t.Attempt, Deadline: t.Deadline, Accept: slices.Clone(t.Accept),
		}
		if t.Spare != nil {
			one.Spare = &keystore.SpareConfig{URI: t.Spare.URI, PIN: pin(t.Spare.PIN)}
		}
		if k := t.KeepAlive; k != nil {
			one.KeepAlive = *k
			if *k == 0 {
				one.KeepAlive = -1
			}
		}
		list = append(list, one)
	}
	return list
}

// hsmState is where the key store keeps what it must know after a restart.
func hsmState(c *config.Config) string { return filepath.Join(c.Dir, "hsm") }

// checkTokens looks at the modules and PIN files of the configured tokens. A module is
// code, and a PIN that others can read is everybody's: both stop the start, like a
// passphrase that others can read. A token that is away does not.
func checkTokens(c *config.Config) error {
	for i, t := range c.Keys.Tokens {
		field := fmt.Sprintf("%s: keys.tokens[%d]", filepath.Join(c.Dir, config.File), i)
		if err := checkToken(c, t.URI, t.PIN); err != nil {
			return fmt.Errorf("%s.%w", field, err)
		}
		if t.Spare == nil {
			continue
		}
		if err := checkToken(c, t.Spare.URI, t.Spare.PIN); err != nil {
			return fmt.Errorf("%s.spare.%w", field, err)
		}
	}
	return nil
}

func checkToken(c *config.Config, uri string, pin config.PIN) error {
	place, err := config.ParseTokenURI(uri)
	if err != nil {
		return fmt.Errorf("uri: %w", err)
	}
	info, err := os.Stat(place.Module)
	switch {
	case err != nil:
		return fmt.Errorf("uri: the module: %w", err)
	case !info.Mode().IsRegular():
		return fmt.Errorf("uri: the module %s is no file", place.Module)
	case info.Mode().Perm()&0o002 != 0:
		return fmt.Errorf("uri: everybody can change the module %s (mode %04o), and a module is code: run chmod o-w %s", place.Module, info.Mode().Perm(), place.Module)
	}
	if pin.File == "" {
		return nil
	}
	secret, err := keystore.SecretFile(c.Path(pin.File), admin.MaxPIN)
	clear(secret)
	if err != nil {
		return fmt.Errorf("pin.file: %w", err)
	}
	return nil
}

// tokenRisks says what of the tokens' configuration is unwise.
func tokenRisks(c *config.Config) []string {
	var list []string
	for i, t := range c.Keys.Tokens {
		if slices.Contains(t.Accept, "CKA_EXTRACTABLE") {
			list = append(list, fmt.Sprintf("keys.tokens[%d].accept: with CKA_EXTRACTABLE, the key of a CA may leave token %q: what is gained by an HSM is lost", i, t.Name))
		}
	}
	return list
}

// tokens are the tokens of the key store.
func (s *Server) tokens() []*token.Token { return s.keys.Tokens() }

// adminTokens are the same for the administrative API.
func (s *Server) adminTokens() []adminhttp.Token {
	var list []adminhttp.Token
	for _, t := range s.tokens() {
		list = append(list, t)
	}
	return list
}

// startTokens looks for all tokens, so that a spare is ready before it is needed, and
// operators can unlock a token that no issuing CA needs at the moment.
func (s *Server) startTokens() error {
	for _, t := range s.tokens() {
		if err := t.Start(); err != nil {
			return fmt.Errorf("starting token %q: %w", t.Name(), err)
		}
	}
	return nil
}

// errNotFIPS says that the configuration wants a mode that this process is not in.
var errNotFIPS = errors.New("fips140: required, and this process does not run in FIPS 140-3 mode: start it with GODEBUG=fips140=on, or use a build made with GOFIPS140 (docs/fips.md)")

// CheckFIPS holds the mode of this process against the configuration.
func CheckFIPS(c *config.Config) error {
	if c.FIPS140 == "required" && !fips140.Enabled() {
		return fmt.Errorf("%s: %w", filepath.Join(c.Dir, config.File), errNotFIPS)
	}
	return nil
}
