package ceremony

import (
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"mintmark/ca"
)

var (
	validName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$`)
	fileName  = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)
	hexDigest = regexp.MustCompile(`^[0-9a-f]{64}$`)
	hexSerial = regexp.MustCompile(`^[0-9a-f]{1,40}$`)
	hexKeyID  = regexp.MustCompile(`^([0-9a-f]{2}){8,32}$`)
	country   = regexp.MustCompile(`^[A-Z]{2}$`)
	scheme    = regexp.MustCompile(`^[a-z][a-z0-9]*:[!-~]+$`)
)

func (c *checker) name(field, name string) {
	if !validName.MatchString(name) {
		c.bad(field, "%q must match %s", name, validName)
	}
}

// unique takes a name of which there may be one among authorities and steps.
func (c *checker) unique(field, name string) {
	c.name(field, name)
	if c.named[name] {
		c.bad(field, "%q is the name of another step or authority", name)
	}
	c.named[name] = true
}

func (c *checker) by(field, name string) {
	switch {
	case c.signers[name]:
	case c.named[name]:
		c.bad(field, "the key of %q is not here: only a root of an earlier step and an authority with a key can sign", name)
	default:
		c.bad(field, "%q is no authority and no earlier step", name)
	}
}

func (c *checker) digest(field, text string) {
	if !hexDigest.MatchString(text) {
		c.bad(field, "%q is not a SHA-256 in lower-case hexadecimal", text)
	}
}

// input takes a file that is read. The digest may be left out here, so that
// Prepare can say what it is.
func (c *checker) input(field string, in Input) {
	c.path(field+".file", in.File)
	if in.SHA256 != "" {
		c.digest(field+".sha256", in.SHA256)
	}
}

// path takes the name of an input. Names that differ only in the case of letters
// would be one file on the medium that they travel on.
func (c *checker) path(field, name string) {
	parts := strings.Split(name, "/")
	if len(parts) > 4 || path.Clean(name) != name {
		c.bad(field, "%q is not the name of a file beside the ceremony file", name)
		return
	}
	for _, part := range parts {
		if !fileName.MatchString(part) {
			c.bad(field, "%q is not the name of a file beside the ceremony file: each part must match %s", name, fileName)
			return
		}
	}
	if other, ok := c.inputs[strings.ToLower(name)]; ok && other != name {
		c.bad(field, "%q and %q differ only in the case of letters", name, other)
	}
	c.inputs[strings.ToLower(name)] = name
}

// output takes the name of a file that a step writes.
func (c *checker) output(field, step, name string) {
	if !fileName.MatchString(name) {
		c.bad(field, "%q is not a file name: it must match %s", name, fileName)
		return
	}
	if other, ok := c.outputs[strings.ToLower(name)]; ok {
		c.bad(field, "%q is written by step %q already", name, other)
	}
	c.outputs[strings.ToLower(name)] = step
}

func (c *checker) outputs2(field, step string, o ChainOutputs) {
	c.output(field+".outputs.certificate", step, o.Certificate)
	c.output(field+".outputs.chain", step, o.Chain)
}

func (c *checker) algorithm(field, text string) {
	if a, err := ca.ParseAlgorithm(text); err != nil {
		c.bad(field, "%v", err)
	} else if string(a) != text {
		c.bad(field, "write %s, not %s", a, text)
	}
}

func (c *checker) period(field, first, last string, from, until time.Time) {
	switch {
	case from.IsZero():
		c.bad(field+"."+first, "is missing")
	case until.IsZero():
		c.bad(field+"."+last, "is missing")
	case !until.After(from):
		c.bad(field+"."+last, "%s is not after %s", timeText(until), timeText(from))
	}
}

func (c *checker) subject(field string, s Subject) {
	if s == (Subject{}) {
		c.bad(field, "is empty (RFC 5280, Section 4.1.2.6)")
	}
	// X.520, Section 6.3.1.
	if s.Country != "" && !country.MatchString(s.Country) {
		c.bad(field+".country", "%q is not a code of two capital letters", s.Country)
	}
}

func (c *checker) limits(field string, length *int, permit, exclude Names) {
	if length != nil && (*length < 0 || *length > 255) {
		c.bad(field+".path_length", "%d is not between 0 and 255", *length)
	}
	if _, err := permit.constraints(); err != nil {
		c.bad(field+".permit", "%v", err)
	}
	if _, err := exclude.constraints(); err != nil {
		c.bad(field+".exclude", "%v", err)
	}
}

// key takes the URI of a key. One that is used by two steps under two names would
// be another key than its reader thinks.
func (c *checker) key(field, uri string) {
	c.uri(field, uri)
	id := uri
	if strings.HasSuffix(field, ".destroy.key") {
		id = "destroy " + uri // it may have signed before
	}
	if other, ok := c.keys[id]; ok {
		c.bad(field, "is the same as %s", other)
	}
	c.keys[id] = field
}

func (c *checker) uri(field, uri string) {
	switch {
	case hasSecret(uri):
		c.bad(field, "holds a PIN or another secret, and a PIN in a URI ends in logs and process lists: tokens[].pin says where it is")
	case len(uri) > 1024 || !scheme.MatchString(uri):
		c.bad(field, "%q is not the URI of a key, as in softkms:path=keys/root.pem", uri)
	}
}

// secretAttributes are those of key URIs that hold a secret, or say where one is.
var secretAttributes = []string{
	"pin", "pin-value", "pin-source", "pin-prompt", "password", "secret", "client-secret", "management-key", "access-key", "secret-key",
}

// hasSecret reports whether an attribute of the URI holds a secret, however it is
// written.
func hasSecret(uri string) bool { return uri != redact(uri) }

// redact takes the attributes out of a URI that hold a secret.
func redact(uri string) string {
	var b strings.Builder
	for rest := uri; rest != ""; {
		part, separator := rest, ""
		if i := strings.IndexAny(rest, ":;?&#"); i >= 0 {
			part, separator = rest[:i], rest[i:i+1]
		}
		rest = rest[len(part)+len(separator):]
		name, _, value := strings.Cut(part, "=")
		if decoded, err := url.PathUnescape(name); err == nil {
			name = decoded
		}
		if value && slices.Contains(secretAttributes, strings.ToLower(strings.TrimSpace(name))) {
			part = "redacted"
		}
		b.WriteString(part + separator)
	}
	return b.String()
}

func timeText(t time.Time) string { return t.UTC().Format(time.RFC3339) }
