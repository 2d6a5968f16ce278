package ceremony

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Bounds of what one file may ask for.
const (
	maxSteps   = 64
	maxPeople  = 16
	maxEntries = 10_000
)

// acceptable are the attributes of a key in a token that can be waived: those that
// keys.tokens of the server's configuration can waive. Not among them are CKA_TOKEN,
// CKA_PRIVATE, CKA_SENSITIVE and CKA_SIGN, without which it is no key in hardware.
var acceptable = []string{
	"CKA_ALWAYS_SENSITIVE", "CKA_DECRYPT", "CKA_DERIVE", acceptExtractable, "CKA_LOCAL", "CKA_MODIFIABLE",
	"CKA_NEVER_EXTRACTABLE", "CKA_SIGN_RECOVER", "CKA_UNWRAP",
}

// acceptExtractable lets pass a key that can be taken out of its token.
const acceptExtractable = "CKA_EXTRACTABLE"

// checker gathers what is wrong, each with the field it is in.
type checker struct {
	errs []error

	signers map[string]bool   // names that have a key here, and
	named   map[string]bool   // all names, of authorities and of the steps so far
	keys    map[string]string // URI of a key -> where it stands
	inputs  map[string]string // lower case -> as written
	outputs map[string]string // lower case -> the step
}

func (c *checker) bad(field, format string, args ...any) {
	c.errs = append(c.errs, fmt.Errorf("%s: %s", field, fmt.Sprintf(format, args...)))
}

// check finds what the types cannot say and no input is needed for.
func (f *File) check() error {
	c := &checker{signers: map[string]bool{}, named: map[string]bool{}, keys: map[string]string{}, inputs: map[string]string{}, outputs: map[string]string{}}
	if f.Ceremony != 1 {
		return fmt.Errorf("ceremony: the version of the format must be 1, not %d", f.Ceremony)
	}
	c.name("name", f.Name)
	if strings.TrimSpace(f.Purpose) == "" {
		c.bad("purpose", "must say why the ceremony is held")
	}
	if f.Network != "none" && f.Network != "allowed" {
		c.bad("network", "%q is neither none nor allowed", f.Network)
	}
	c.officers(f.Officers)
	c.tokens(f.Tokens)
	if len(f.Authorities) > maxSteps {
		c.bad("authorities", "there are more than %d", maxSteps)
	}
	for i, a := range f.Authorities {
		field := fmt.Sprintf("authorities[%d]", i)
		c.unique(field+".name", a.Name)
		c.input(field+".certificates", a.Certificates)
		if a.Key != "" {
			c.key(field+".key", a.Key)
			c.signers[a.Name] = true
		}
	}
	switch {
	case len(f.Steps) == 0:
		c.bad("steps", "there are none")
	case len(f.Steps) > maxSteps:
		c.bad("steps", "there are more than %d", maxSteps)
	default:
		c.steps(f.Steps)
	}
	return errors.Join(c.errs...)
}

func (c *checker) officers(o Officers) {
	if o.Threshold < 1 || o.Threshold > len(o.People) {
		c.bad("officers.threshold", "%d is not between 1 and %d, the number of people", o.Threshold, len(o.People))
	}
	if len(o.People) > maxPeople {
		c.bad("officers.people", "there are more than %d", maxPeople)
	}
	names, hashes := map[string]bool{}, map[string]string{}
	for i, p := range o.People {
		field := fmt.Sprintf("officers.people[%d]", i)
		c.name(field+".name", p.Name)
		if names[p.Name] {
			c.bad(field+".name", "%q is there twice", p.Name)
		}
		names[p.Name] = true
		c.path(field+".key", p.Key)
		if p.SHA256 == "" {
			continue // Prepare tells what it is
		}
		c.digest(field+".sha256", p.SHA256)
		if other, ok := hashes[p.SHA256]; ok {
			c.bad(field+".sha256", "%q and %q have the same key: each officer has one of their own", other, p.Name)
		}
		hashes[p.SHA256] = p.Name
	}
}

func (c *checker) tokens(tokens []Token) {
	names := map[string]bool{}
	for i, t := range tokens {
		field := fmt.Sprintf("tokens[%d]", i)
		c.name(field+".name", t.Name)
		if names[t.Name] {
			c.bad(field+".name", "%q is there twice", t.Name)
		}
		names[t.Name] = true
		c.token(field, t.URI, t.PIN)
		if t.Spare != nil {
			c.token(field+".spare", t.Spare.URI, t.Spare.PIN)
		}
		for j, name := range t.Accept {
			switch field := fmt.Sprintf("%s.accept[%d]", field, j); {
			case !slices.Contains(acceptable, name):
				c.bad(field, "%q is none of %s", name, list(acceptable))
			case slices.Contains(t.Accept[:j], name):
				c.bad(field, "%q is there twice", name)
			}
		}
	}
}

func (c *checker) token(field, uri string, pin PIN) {
	if !strings.HasPrefix(uri, "pkcs11:") {
		c.bad(field+".uri", "%q does not begin with pkcs11:", redact(uri))
	}
	c.uri(field+".uri", uri)
	sources := 0
	for _, set := range []bool{pin.File != "", pin.Credential != "", pin.Operators != 0, pin.Pad} {
		if set {
			sources++
		}
	}
	if sources > 1 {
		c.bad(field+".pin", "file, credential, operators and pad exclude each other")
	}
	if pin.Operators < 0 || pin.Operators > maxPeople {
		c.bad(field+".pin.operators", "%d is not between 1 and %d", pin.Operators, maxPeople)
	}
}
