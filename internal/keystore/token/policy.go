package token

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"mintmark/internal/keystore/token/wire"
)

// rule is what a boolean attribute of a CA key must be.
type rule struct {
	name string
	want bool
	// always: held against every CA key; else only against one that is made here,
	// because a key that was restored or wrapped differs in it.
	always bool
	// mayLack: a token that does not know the attribute cannot do what it allows.
	mayLack bool
}

// rules are the attributes of a key that signs, does nothing else and never leaves
// the token (PKCS #11 v2.40, base specification, Sections 4.8 and 4.9).
var rules = []rule{
	{"CKA_TOKEN", true, true, false},
	{"CKA_PRIVATE", true, true, false},
	{"CKA_SENSITIVE", true, true, false},
	{"CKA_EXTRACTABLE", false, true, false},
	{"CKA_SIGN", true, true, false},
	{"CKA_DECRYPT", false, true, true},
	{"CKA_UNWRAP", false, true, true},
	{"CKA_DERIVE", false, true, true},
	{"CKA_SIGN_RECOVER", false, true, true},
	// Each of its signatures would need the PIN.
	{"CKA_ALWAYS_AUTHENTICATE", false, true, true},
	{"CKA_ALWAYS_SENSITIVE", true, false, false},
	{"CKA_NEVER_EXTRACTABLE", true, false, false},
	{"CKA_LOCAL", true, false, false},
	{"CKA_MODIFIABLE", false, false, false},
}

// judge compares the attributes of a key with the rules. An attribute in accept is not
// held against it. made says that the key was made here just now. The error is an
// ErrPolicy that names every attribute; warnings are of those that it may differ in, and
// of those that were accepted.
func judge(attributes []wire.Attribute, accept []string, made bool) (warnings []string, err error) {
	var wrong []string
	for _, r := range rules {
		i := slices.IndexFunc(attributes, func(a wire.Attribute) bool { return a.Name == r.name })
		known := i >= 0 && attributes[i].Known
		if known && attributes[i].Value == r.want || !known && r.mayLack {
			continue
		}
		text := fmt.Sprintf("%s is %t", r.name, !r.want)
		if !known {
			text = fmt.Sprintf("the token does not say %s", r.name)
		}
		switch {
		case slices.Contains(accept, r.name):
			warnings = append(warnings, "accepted: "+text)
		case r.always || made:
			wrong = append(wrong, text)
		default:
			warnings = append(warnings, text)
		}
	}
	if wrong != nil {
		return warnings, fmt.Errorf("%w: %s", ErrPolicy, strings.Join(wrong, ", "))
	}
	return warnings, nil
}

// Attributes reads back what the key may do and may not, in the primary, by the names of
// PKCS #11: "true" or "false". What the token does not say is left out.
func (s *Signer) Attributes(ctx context.Context) (map[string]string, error) {
	if err := s.t.begin(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, s.t.cfg.Deadline)
	defer cancel()
	l := s.t.legs[0]
	var list []wire.Attribute
	err := l.again(ctx, s.t.cfg.Attempt, func(ctx context.Context, p *process) error {
		found, err := p.find(ctx, wire.Find{Public: []byte(s.k.spki)})
		if err != nil {
			return err
		}
		if string(found.Public) != s.k.spki {
			return errOtherKey
		}
		list, err = p.attributes(ctx, found.Handle)
		return err
	})
	if problem := keyProblem(err); problem != nil {
		err = fmt.Errorf("token %q: %w", s.t.cfg.Name, problem)
	}
	if err != nil {
		return nil, err
	}
	attributes := make(map[string]string, len(list))
	for _, a := range list {
		if a.Known {
			attributes[a.Name] = strconv.FormatBool(a.Value)
		}
	}
	return attributes, nil
}
