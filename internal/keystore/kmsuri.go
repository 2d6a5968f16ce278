package keystore

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// secretAttributes are those by which the libraries would take a secret from a URI, and
// what people might expect to work.
var secretAttributes = []string{"pin-value", "pin", "client-secret", "management-key", "password", "access-key", "secret-key", "secret"}

func secretAttribute(name string) bool {
	return slices.Contains(secretAttributes, strings.ToLower(name))
}

// HoldsSecret reports whether a key URI has a PIN or another secret in it, which is
// refused: URIs are on record, in logs and in lists of processes.
func HoldsSecret(uri string) bool {
	holds := false
	mapAttributes(uri, func(name, attribute string) (string, bool) {
		holds = holds || secretAttribute(name)
		return attribute, true
	})
	return holds
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
			case secretAttribute(name):
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

// short keeps an error readable, whatever was typed.
func short(s string) string {
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
