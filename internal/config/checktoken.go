package config

import (
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"mintmark/internal/pattern"
)

var (
	tokenName      = pattern.New(`^[a-z0-9-]{1,32}$`)
	credentialName = pattern.New(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$`)
)

const (
	maxTokens = 16
	// MaxSessions is how many signatures a token may be asked to make at a time.
	MaxSessions = 256
	// maxParts bounds the people who type a part of a PIN: as many as a card set has.
	maxParts    = 16
	minAttempt  = 50 * time.Millisecond
	maxDeadline = 30 * time.Second
	// The defaults of package token, for the check of one against the other.
	defaultAttempt, defaultDeadline = 1500 * time.Millisecond, 5 * time.Second
)

// acceptable are the attributes of a CA key that can be waived. Not among them:
// CKA_TOKEN, CKA_PRIVATE, CKA_SENSITIVE and CKA_SIGN, without which it is no key in
// hardware.
var acceptable = []string{
	"CKA_ALWAYS_SENSITIVE", "CKA_DECRYPT", "CKA_DERIVE", "CKA_EXTRACTABLE", "CKA_LOCAL", "CKA_MODIFIABLE",
	"CKA_NEVER_EXTRACTABLE", "CKA_SIGN_RECOVER", "CKA_UNWRAP",
}

// checkTokens checks keys.tokens and fips140. Whether modules and files are there is
// for the machine to tell, and not for the configuration.
func (c *Config) checkTokens(bad func(field, format string, args ...any)) {
	if c.FIPS140 != "" && c.FIPS140 != "required" {
		bad("fips140", "%q is not required: leave it out where it is not", c.FIPS140)
	}
	if len(c.Keys.Tokens) > maxTokens {
		bad("keys.tokens", "there are %d, and %d are possible", len(c.Keys.Tokens), maxTokens)
	}
	names, places := make(map[string]bool), make(map[TokenPlace]string)
	for i, t := range c.Keys.Tokens {
		field := fmt.Sprintf("keys.tokens[%d]", i)
		in := func(key, format string, args ...any) { bad(field+key, format, args...) }
		switch {
		case !tokenName.MatchString(t.Name):
			in(".name", "%q must match %s", t.Name, tokenName)
		case names[t.Name]:
			in(".name", "%q is the name of another token, too", t.Name)
		}
		names[t.Name] = true
		place := func(key, uri string) {
			p, err := ParseTokenURI(uri)
			switch {
			case err != nil:
				// Without the value: a PIN may stand in it.
				in(key, "%v", err)
			case places[p] != "":
				in(key, "is the token of %s, too", places[p])
			default:
				places[p] = field + key
			}
		}
		place(".uri", t.URI)
		t.PIN.check(func(format string, args ...any) { in(".pin", format, args...) })
		if t.Spare != nil {
			place(".spare.uri", t.Spare.URI)
			t.Spare.PIN.check(func(format string, args ...any) { in(".spare.pin", format, args...) })
		}
		t.checkTimes(in)
		for j, name := range t.Accept {
			switch {
			case !slices.Contains(acceptable, name):
				in(fmt.Sprintf(".accept[%d]", j), "%q is none of %s", name, strings.Join(acceptable, ", "))
			case slices.Contains(t.Accept[:j], name):
				in(fmt.Sprintf(".accept[%d]", j), "%q is there twice", name)
			}
		}
	}
}

func (t Token) checkTimes(bad report) {
	if t.Sessions < 0 || t.Sessions > MaxSessions {
		bad(".sessions", "%d is not between 1 and %d: leave it out for the default", t.Sessions, MaxSessions)
	}
	attempt, deadline := t.Attempt, t.Deadline
	if attempt == 0 {
		attempt = defaultAttempt
	}
	if deadline == 0 {
		deadline = defaultDeadline
	}
	switch {
	case attempt < minAttempt:
		bad(".attempt", "%s is less than %s: a signature that takes its time would pass for one that hangs", t.Attempt, minAttempt)
	case deadline > maxDeadline || deadline < 0:
		bad(".deadline", "%s is not at most %s: nobody waits longer for a certificate", t.Deadline, maxDeadline)
	case attempt >= deadline:
		bad(".attempt", "%s is not less than the deadline (%s): there would be no second one", attempt, deadline)
	}
	if k := t.KeepAlive; k != nil && *k != 0 && (*k < time.Second || *k > time.Hour) {
		bad(".keep_alive", "%s is not between 1s and 1h, and not 0s for never", *k)
	}
}

func (p PIN) check(bad words) {
	set := 0
	for _, is := range []bool{p.File != "", p.Credential != "", p.Operators != 0, p.Pad} {
		if is {
			set++
		}
	}
	switch {
	case set != 1:
		bad("exactly one of file, credential, operators and pad must be set")
	case p.Credential != "" && !credentialName.MatchString(p.Credential):
		bad("credential %q is no name of a systemd credential: at most 64 letters, digits and _ . -", p.Credential)
	case p.Operators < 0 || p.Operators > maxParts:
		bad("operators: %d is not between 1 and %d", p.Operators, maxParts)
	}
}

// TokenPlace is where a token is: a module and what tells its token from others.
type TokenPlace struct{ Module, Token, Serial, Slot string }

// ParseTokenURI reads the URI of a token (RFC 7512, with module-path in either part
// of it). It refuses whatever is not about a token: above all a PIN, and an object.
// Its errors do not hold the URI.
func ParseTokenURI(uri string) (TokenPlace, error) {
	var p TokenPlace
	scheme, rest, _ := strings.Cut(uri, ":")
	if !strings.EqualFold(scheme, "pkcs11") {
		return p, errors.New("is no token: write pkcs11:module-path=/usr/lib/x.so;token=factory")
	}
	fields := map[string]*string{"module-path": &p.Module, "token": &p.Token, "serial": &p.Serial, "slot-id": &p.Slot}
	path, query, _ := strings.Cut(rest, "?")
	// What one reader takes for the end of an attribute and another for a part of it,
	// or for a blank, would name a token to one and a PIN to the other.
	if strings.ContainsAny(path, "&#+ ") || strings.ContainsAny(query, ";?#+ ") {
		return p, errors.New("cannot be parsed: write & ; ? # + and blanks in names as %XX")
	}
	for part, attributes := range [][]string{strings.Split(path, ";"), strings.Split(query, "&")} {
		for _, attribute := range attributes {
			if attribute == "" {
				continue
			}
			key, value, _ := strings.Cut(attribute, "=")
			name, err := url.PathUnescape(key)
			if err != nil {
				return TokenPlace{}, errors.New("cannot be parsed: a % is not followed by two hexadecimal digits")
			}
			name = strings.ToLower(strings.TrimSpace(name))
			switch name {
			case "pin-value", "pin-source", "pin-prompt":
				return TokenPlace{}, fmt.Errorf("holds %s: say where the PIN is with pin", name)
			case "object", "id", "type":
				return TokenPlace{}, fmt.Errorf("names a key (%s): it must name a token only", name)
			}
			into := fields[name]
			switch {
			case into == nil || part == 1 && name != "module-path":
				return TokenPlace{}, errors.New("has an attribute other than module-path, token, serial and slot-id")
			case *into != "":
				return TokenPlace{}, fmt.Errorf("has %s twice", name)
			}
			if *into, err = url.PathUnescape(value); err != nil || *into == "" || strings.ContainsRune(*into, 0) {
				return TokenPlace{}, fmt.Errorf("has no usable value for %s", name)
			}
		}
	}
	switch {
	case p.Module == "":
		return TokenPlace{}, errors.New("names no module: add module-path=/path/of/the/vendor's/library.so")
	case !filepath.IsAbs(p.Module) || filepath.Clean(p.Module) != p.Module:
		return TokenPlace{}, errors.New("module-path must be an absolute path without . and ..: a module is code")
	case p.Token == "" && p.Serial == "" && p.Slot == "":
		return TokenPlace{}, errors.New("names no token: add token=, serial= or slot-id=")
	}
	if p.Slot != "" {
		n, err := strconv.ParseUint(p.Slot, 10, 32)
		if err != nil {
			return TokenPlace{}, errors.New("slot-id is not a number")
		}
		p.Slot = strconv.FormatUint(n, 10)
	}
	return p, nil
}
