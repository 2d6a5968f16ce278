package adminhttp

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"mintmark/admin"
	"mintmark/internal/ledger"
)

// decode reads the JSON body of a request. Unknown fields are refused: a
// misspelt restriction is one that is not there.
func decode(r *http.Request, into any) error {
	if mediaType, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || mediaType != "application/json" {
		return fail(http.StatusUnsupportedMediaType, "content-type", "the body must be application/json")
	}
	decoder := json.NewDecoder(r.Body)
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		return malformed(err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return fail(http.StatusBadRequest, "json", "the body holds more than one JSON value")
	}
	return nil
}

func malformed(err error) error {
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return err
	}
	f := fail(http.StatusBadRequest, "json", "the body cannot be read: %s", strings.TrimPrefix(err.Error(), "json: "))
	f.err = err
	return f
}

// parameters reads the query of a URL, each value at most once.
type parameters struct {
	values url.Values
	err    error
}

// query takes the parameters of a request and refuses all others.
func query(r *http.Request, known ...string) *parameters {
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return &parameters{err: fail(http.StatusBadRequest, "query", "the query cannot be read: %v", err)}
	}
	p := &parameters{values: values}
	for name, list := range values {
		if len(list) > 1 {
			p.refuse("%s is given %d times", name, len(list))
		}
		if !isText(list[0]) {
			p.refuse("%s is not text in UTF-8", name)
		}
		found := false
		for _, k := range known {
			found = found || k == name
		}
		if !found {
			p.refuse("there is no parameter %q; there are %s", name, strings.Join(known, ", "))
		}
	}
	return p
}

// isText reports whether every database can look for a text.
func isText(s string) bool { return utf8.ValidString(s) && !strings.ContainsRune(s, 0) }

func (p *parameters) refuse(format string, args ...any) {
	if p.err == nil {
		p.err = fail(http.StatusBadRequest, "query", format, args...)
	}
}

func (p *parameters) text(name string) string { return p.values.Get(name) }

// limit is the size of a page.
func (p *parameters) limit() int {
	text := p.values.Get("limit")
	if text == "" {
		return admin.DefaultPage
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > admin.MaxPage {
		p.refuse("limit %q is not a number between 1 and %d", text, admin.MaxPage)
	}
	return n
}

func (p *parameters) time(name string) time.Time {
	text := p.values.Get(name)
	if text == "" {
		return time.Time{}
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		p.refuse("%s %q is not a time as in 2027-01-31T12:00:00Z", name, text)
	}
	return t
}

// oneOf refuses a value that is not in a closed set.
func (p *parameters) oneOf(name string, allowed ...string) string {
	text := p.values.Get(name)
	if text == "" {
		return ""
	}
	for _, a := range allowed {
		if text == a {
			return text
		}
	}
	p.refuse("%s %q is none of %s", name, text, strings.Join(allowed, ", "))
	return ""
}

func (p *parameters) serial(name string) ledger.Serial {
	text := p.values.Get(name)
	if text == "" {
		return ""
	}
	s, err := parseSerial(text)
	if err != nil {
		p.refuse("%s: %v", name, err)
	}
	return s
}

func (p *parameters) hash(name string) (sum [32]byte) {
	text := p.values.Get(name)
	if text == "" {
		return sum
	}
	b, err := hex.DecodeString(text)
	if err != nil || len(b) != len(sum) {
		p.refuse("%s is not a SHA-256 in 64 hexadecimal digits", name)
		return sum
	}
	copy(sum[:], b)
	return sum
}

// parseSerial reads a serial number: hexadecimal, lower case, an even number
// of digits, at most the 20 octets of RFC 5280, Section 4.1.2.2.
func parseSerial(text string) (ledger.Serial, error) {
	b, err := hex.DecodeString(text)
	if err != nil || len(b) == 0 || len(b) > 20 || hex.EncodeToString(b) != text {
		return "", errors.New("a serial number is 2 to 40 lower-case hexadecimal digits")
	}
	return ledger.Serial(text), nil
}
