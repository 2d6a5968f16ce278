package keystore

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"

	"mintmark/internal/keystore/token"
	"mintmark/internal/keystore/token/wire"
	"mintmark/internal/pattern"
)

// tokens are those of the configuration, and those that URIs named beside them where
// AnyModule allows it.
type tokens struct {
	configured []configuredToken
	claims     token.Claims // of those that are configured

	mu     sync.Mutex
	named  map[string]*token.Token
	closed bool
}

// configuredToken is a token with the names under which URIs find it.
type configuredToken struct {
	*token.Token
	name tokenName
	pin  PIN
}

var tokenNames = pattern.New(`^[a-z0-9-]{1,32}$`)

// openTokens makes the tokens of the configuration. It loads no library.
func (s *Store) openTokens() error {
	for _, c := range s.cfg.Tokens {
		if !tokenNames.MatchString(c.Name) {
			return fmt.Errorf("token %q: a name is 1 to 32 of a-z, 0-9 and -", c.Name)
		}
		for _, other := range s.tokens.configured {
			if other.Name() == c.Name {
				return fmt.Errorf("there are two tokens %q", c.Name)
			}
		}
		made, err := s.configuredToken(c)
		if err != nil {
			return fmt.Errorf("token %q: %w", c.Name, err)
		}
		s.tokens.configured = append(s.tokens.configured, made)
	}
	return nil
}

func (s *Store) configuredToken(c TokenConfig) (configuredToken, error) {
	primary, name, err := source(c.URI, c.PIN)
	if err != nil {
		return configuredToken{}, err
	}
	cfg := token.Config{
		Name: c.Name, Primary: primary,
		Sessions: c.Sessions, Attempt: c.Attempt, Deadline: c.Deadline, KeepAlive: c.KeepAlive,
		Accept: c.Accept, Claims: &s.tokens.claims, NoServer: s.cfg.State == "", Logger: s.log,
	}
	if c.Spare != nil {
		spare, spareName, err := source(c.Spare.URI, c.Spare.PIN)
		if err != nil {
			return configuredToken{}, fmt.Errorf("spare: %w", err)
		}
		if spareName == name {
			return configuredToken{}, errors.New("the spare is the token itself")
		}
		cfg.Spare = &spare
	}
	if s.cfg.State != "" {
		cfg.Refused = &refusals{dir: filepath.Join(s.cfg.State, "refused")}
	}
	t, err := token.Open(cfg)
	if err != nil {
		return configuredToken{}, err
	}
	return configuredToken{t, name, c.PIN}, nil
}

// source is what a URI of the configuration names.
func source(raw string, pin PIN) (token.Source, tokenName, error) {
	u, err := parseURI(raw)
	if err != nil {
		return token.Source{}, tokenName{}, err
	}
	if u.scheme != schemePKCS11 {
		return token.Source{}, tokenName{}, fmt.Errorf("the URI of a token is one of the scheme %s", schemePKCS11)
	}
	name, err := u.token()
	switch {
	case err != nil:
		return token.Source{}, tokenName{}, err
	case name.module == "":
		return token.Source{}, tokenName{}, errors.New("the URI names no PKCS#11 module: add module-path=")
	case name.empty():
		return token.Source{}, tokenName{}, errors.New("the URI names no token: add token=, serial= or slot-id=")
	case u.Get("pin-source") != "":
		return token.Source{}, tokenName{}, errors.New("the PIN of a token is configured beside its URI, not in it")
	case u.Get("object") != "" || u.Get("id") != "" || u.Get("type") != "":
		return token.Source{}, tokenName{}, errors.New("the URI of a token names no key: leave out object=, id= and type=")
	}
	src := token.Source{Module: name.module, Token: name.selector()}
	if err := pin.into(&src); err != nil {
		return token.Source{}, tokenName{}, err
	}
	return src, name, nil
}

// tokenOf returns the token in which the key of u is: one of the configuration, which
// what the URI says of it must fit, or with AnyModule the one that it names.
func (s *Store) tokenOf(u *keyURI) (*token.Token, error) {
	if errNoPKCS11 != nil {
		return nil, errNoPKCS11
	}
	name, err := u.token()
	if err != nil {
		return nil, err
	}
	if name.empty() {
		return nil, errors.New("the URI names no token: add token=, serial= or slot-id=")
	}
	var found []configuredToken
	elsewhere := false
	for _, c := range s.tokens.configured {
		switch {
		case !name.fits(c.name):
		case name.module != "" && name.module != c.name.module:
			elsewhere = true
		default:
			found = append(found, c)
		}
	}
	switch {
	case len(found) > 1:
		return nil, fmt.Errorf("the URI fits %d of the configured tokens: add module-path=, serial= or slot-id=", len(found))
	case len(found) == 1:
		// URIs that were recorded before tokens were configured have it.
		if pin := u.pinSource(); pin != "" && pin != found[0].pin.File {
			return nil, fmt.Errorf("the URI has another pin-source= than token %q is configured with: leave it out", found[0].Name())
		}
		return found[0].Token, nil
	case s.cfg.AnyModule:
		return s.namedToken(u, name)
	case elsewhere:
		return nil, fmt.Errorf("token %q is configured with another module than %s: leave out module-path=", name, name.module)
	}
	return nil, fmt.Errorf("token %q is not configured, and no other module is loaded: add it to keys.tokens in mintmark.yaml, with its uri and where its PIN comes from", name)
}

// namedToken returns the token that u itself describes.
func (s *Store) namedToken(u *keyURI, name tokenName) (*token.Token, error) {
	if name.module == "" {
		return nil, errors.New("the URI names no PKCS#11 module: add module-path=")
	}
	src := token.Source{Module: name.module, Token: name.selector()}
	switch pin := u.pinSource(); {
	case pin != "":
		src.PIN, src.From = pinFile(pin), pin
	case s.cfg.PIN != nil:
		src.PIN = func() ([]byte, string, error) {
			p, err := s.cfg.PIN(name.String())
			return p, "given", err
		}
	default:
		return nil, fmt.Errorf("no PIN for token %q: add ?pin-source= to the URI", name)
	}
	key := strings.Join([]string{name.module, name.label, name.serial, name.slot, u.pinSource()}, "\x00")
	s.tokens.mu.Lock()
	defer s.tokens.mu.Unlock()
	if s.tokens.closed {
		return nil, ErrClosed
	}
	if t := s.tokens.named[key]; t != nil {
		return t, nil
	}
	t, err := token.Open(token.Config{Name: name.String(), Primary: src, KeepAlive: -1, NoServer: true, Logger: s.log})
	if err != nil {
		return nil, err
	}
	if s.tokens.named == nil {
		s.tokens.named = make(map[string]*token.Token)
	}
	s.tokens.named[key] = t
	return t, nil
}

// Tokens lists the tokens of the configuration, in its order.
func (s *Store) Tokens() []*token.Token {
	var list []*token.Token
	for _, c := range s.tokens.configured {
		list = append(list, c.Token)
	}
	return list
}

func (t *tokens) close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	var list []*token.Token
	for _, c := range t.configured {
		list = append(list, c.Token)
	}
	for _, n := range t.named {
		list = append(list, n)
	}
	t.named, t.closed = nil, true
	errs := make([]error, len(list))
	var wg sync.WaitGroup
	for i, one := range list {
		wg.Go(func() { errs[i] = one.Close() })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// tokenName is what a URI says of a token. It can be compared.
type tokenName struct {
	module, label, serial, slot string
	number                      uint // slot as a number
}

func (n tokenName) empty() bool { return n.label == "" && n.serial == "" && n.slot == "" }

// fits reports whether all that n says of a token, but for the module, is said of c too.
func (n tokenName) fits(c tokenName) bool {
	return (n.label == "" || n.label == c.label) && (n.serial == "" || n.serial == c.serial) && (n.slot == "" || n.slot == c.slot)
}

func (n tokenName) selector() wire.Selector {
	s := wire.Selector{Label: n.label, Serial: n.serial}
	if n.slot != "" {
		s.Slot = &n.number
	}
	return s
}

// String names the token for people.
func (n tokenName) String() string {
	for _, v := range []string{n.label, n.serial, n.slot} {
		if v != "" {
			return v
		}
	}
	return ""
}
