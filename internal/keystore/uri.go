package keystore

import (
	"fmt"
	"net/url"
	"path/filepath"
	"slices"
	"strings"

	"mintmark/internal/pattern"

	"go.step.sm/crypto/kms/uri"
)

const (
	schemeSoft   = "softkms"
	schemePKCS11 = "pkcs11"
)

// keyURI is a parsed key URI.
type keyURI struct {
	*uri.URI
	scheme string
	raw    string
}

func parseURI(raw string) (*keyURI, error) {
	scheme, _, ok := strings.Cut(raw, ":")
	if !ok {
		return nil, fmt.Errorf("a key is named by a URI such as softkms:path=keys/issuing.pem")
	}
	scheme = strings.ToLower(scheme)
	switch scheme {
	case schemeSoft, schemePKCS11:
	case schemeTPM, schemeAWS, schemeAzure, schemeGoogle, schemeYubiKey:
	default:
		return nil, fmt.Errorf("unknown scheme %q: known are softkms, pkcs11, %s", scheme, strings.Join(kmsSchemes, ", "))
	}
	// The errors of the library repeat the URI, with a PIN that is in it.
	u, err := uri.Parse(raw)
	if err != nil {
		return nil, fmt.Errorf("the key URI cannot be parsed")
	}
	return &keyURI{URI: u, scheme: scheme, raw: raw}, nil
}

// path returns the file that a softkms URI names: path=..., or all of it.
func (u *keyURI) path(dir string) (string, error) {
	p := u.Get("path")
	if p == "" {
		if p = u.Path; p == "" {
			p = u.Opaque
		}
	}
	switch {
	case p == "":
		return "", fmt.Errorf("the URI names no file: write softkms:path=keys/issuing.pem")
	case filepath.IsAbs(p):
		return filepath.Clean(p), nil
	case !filepath.IsLocal(p):
		return "", fmt.Errorf("the path %q leaves the key directory: write an absolute path if that is meant", p)
	case dir == "":
		return "", fmt.Errorf("the path %q is relative, and no key directory is configured", p)
	}
	return filepath.Join(dir, p), nil
}

// plainName is a name that can be shown.
var plainName = pattern.New(`^[a-z0-9._-]{1,32}$`)

// Redact returns uri with the values of those attributes only that are known to hold no
// secret, for logs. What was mistyped may be a PIN.
func Redact(uri string) string {
	scheme, _, ok := strings.Cut(uri, ":")
	if !ok {
		if hidesSecret(uri) {
			return "redacted"
		}
		return uri
	}
	first := true
	return mapAttributes(uri, func(name, attribute string) (string, bool) {
		_, value, named := strings.Cut(attribute, "=")
		front := first
		first = false
		switch {
		case named && knownAttribute(name) && !hidesSecret(value):
			return attribute, true
		case !named && front && bare(strings.ToLower(scheme)) && !strings.ContainsAny(name, "=@"):
			return attribute, true
		}
		name, _, encoded := strings.Cut(strings.ToLower(name), "=")
		if (named || encoded) && plainName.MatchString(name) {
			return name + "=redacted", true
		}
		return "redacted", true
	})
}

// knownAttribute reports whether the name is that of an attribute of one of the schemes.
func knownAttribute(name string) bool {
	for _, known := range attributesOf {
		if slices.Contains(known, name) {
			return true
		}
	}
	return false
}

// mapAttributes rewrites the attributes of a URI, those of its path and those
// of its query, and drops those for which keep returns false. It works on text
// that does not parse too.
func mapAttributes(raw string, keep func(name, attribute string) (string, bool)) string {
	scheme, rest, ok := strings.Cut(raw, ":")
	if !ok {
		return raw
	}
	path, query, _ := strings.Cut(rest, "?")
	list := func(s, separator string) string {
		var kept []string
		for _, attribute := range strings.FieldsFunc(s, func(r rune) bool { return r == ';' || r == '&' || r == '?' || r == '#' }) {
			name, _, _ := strings.Cut(attribute, "=")
			if decoded, err := url.QueryUnescape(name); err == nil {
				name = decoded
			}
			if attribute, ok := keep(strings.TrimSpace(name), attribute); ok {
				kept = append(kept, attribute)
			}
		}
		return strings.Join(kept, separator)
	}
	out := scheme + ":" + list(path, ";")
	if q := list(query, "&"); q != "" {
		out += "?" + q
	}
	return out
}
