package keystore

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	"mintmark/internal/pattern"
)

// attributesOf lists what may stand in a URI of each scheme.
var attributesOf = map[string][]string{
	schemeSoft:    {"path"},
	schemePKCS11:  inToken,
	schemeTPM:     {"name", "device", "storage-directory"},
	schemeAWS:     {"key-id", "name", "region"},
	schemeAzure:   {"vault", "name", "environment", "tenant-id", "version", "hsm"},
	schemeGoogle:  {"resource", "hsm"},
	schemeYubiKey: {"slot-id", "serial", "pin-source", "management-key-source"},
}

var (
	// secretName is the name of what the libraries would take a secret from, and of what
	// people might expect to work.
	secretName = pattern.New(`(?i)^pin([-_ ]?value)?$|secret|pass|(access|management)[-_ ]?key$`)
	// secretInValue is such a name that did not become one: its separator was mistyped.
	secretInValue = pattern.New(`(?i)(pin|secret|pass|key)[a-z0-9 _-]*=`)
)

// hidesSecret reports whether the value of an attribute, as it is written, looks as if
// another one with a secret were in it.
func hidesSecret(value string) bool {
	if decoded, err := url.QueryUnescape(value); err == nil {
		value = decoded
	}
	return secretInValue.MatchString(value)
}

// bare reports whether the first part of a URI needs no name.
func bare(scheme string) bool { return scheme == schemeSoft || scheme == schemeGoogle }

// CheckURI refuses a key URI that is not understood, or has a PIN or another secret in it:
// URIs are on record, in logs and in lists of processes. Its errors repeat no value.
func CheckURI(uri string) error {
	u, err := parseURI(uri)
	if err != nil {
		return err
	}
	if u.Host != "" || u.User != nil {
		return fmt.Errorf("the URI names a host: it is written %s:attribute=value;attribute=value", u.scheme)
	}
	known, first := attributesOf[u.scheme], true
	mapAttributes(uri, func(name, attribute string) (string, bool) {
		_, value, named := strings.Cut(attribute, "=")
		front := first
		first = false
		plain, _, _ := strings.Cut(name, "=") // what comes after it may be the secret
		switch {
		case err != nil:
		case secretName.MatchString(plain), hidesSecret(value):
			err = fmt.Errorf("the URI has a PIN or another secret in it, and URIs are on record: put it into a file")
		case !named && front && bare(u.scheme):
		case !named:
			err = fmt.Errorf("the URI has a part without a name: it is written %s:attribute=value;attribute=value", u.scheme)
		case !slices.Contains(known, name):
			err = fmt.Errorf("%q is no attribute of the scheme %s, which has %s", short(plain), u.scheme, strings.Join(known, ", "))
		}
		return attribute, true
	})
	return err
}

// attributes returns those of u, from its path and its query: only known ones, each
// once and not empty. first may stand in front of them without a name, as in
// cloudkms:projects/x; it is "" if the scheme has none.
func (u *keyURI) attributes(first string, known ...string) (map[string]string, error) {
	if u.Opaque == "" || u.Fragment != "" || u.Host != "" || u.User != nil {
		return nil, fmt.Errorf("a URI of the scheme %s is written %s:attribute=value;attribute=value", u.scheme, u.scheme)
	}
	// What the library says of a part that it cannot parse is left out of the errors:
	// it repeats it.
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return nil, fmt.Errorf("the attributes after the question mark cannot be parsed")
	}
	found := make(map[string]string)
	if first != "" {
		front, _, _ := strings.Cut(u.Opaque, ";")
		if !strings.Contains(front, "=") {
			name, err := url.PathUnescape(front)
			if err != nil || name == "" {
				return nil, fmt.Errorf("the name of the key cannot be parsed")
			}
			found[first] = name
			delete(u.Values, name)
		}
	}
	for _, values := range []url.Values{u.Values, query} {
		for name, v := range values {
			switch _, twice := found[name]; {
			case secretName.MatchString(name):
				return nil, fmt.Errorf("%s does not belong into a URI: a secret in a URI ends in logs and process lists", strings.ToLower(name))
			case !slices.Contains(known, name):
				return nil, fmt.Errorf("%q is no attribute of the scheme %s, which has %s", short(name), u.scheme, strings.Join(known, ", "))
			case twice || len(v) != 1:
				return nil, fmt.Errorf("%s is given twice", name)
			case v[0] == "":
				return nil, fmt.Errorf("%s is empty", name)
			}
			found[name] = v[0]
		}
	}
	return found, nil
}

// short keeps an error readable, whatever was typed, and what follows an equals sign out of it.
func short(s string) string {
	s, _, _ = strings.Cut(s, "=")
	if len(s) > 32 {
		return s[:32] + "..."
	}
	return s
}

// kmsURI writes a URI of these attributes, those that are not empty, and after the
// question mark those of query.
func kmsURI(scheme string, path, query map[string]string) string {
	list := func(attributes map[string]string, separator string) string {
		var names, out []string
		for name, v := range attributes {
			if v != "" {
				names = append(names, name)
			}
		}
		slices.Sort(names)
		for _, name := range names {
			out = append(out, name+"="+escape(attributes[name]))
		}
		return strings.Join(out, separator)
	}
	out := scheme + ":" + list(path, ";")
	if q := list(query, "&"); q != "" {
		out += "?" + q
	}
	return out
}

// escape escapes the value of an attribute, and leaves slashes and colons readable.
func escape(s string) string {
	return strings.NewReplacer("%2F", "/", "%3A", ":", "+", "%20").Replace(url.QueryEscape(s))
}
