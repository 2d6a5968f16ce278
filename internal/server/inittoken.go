package server

import (
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"

	"mintmark/internal/config"
)

// initToken is the token of --pkcs11, as it goes into the configuration.
type initToken struct {
	name  string
	uri   string // without the PIN's source
	pin   string // file
	place config.TokenPlace
}

var notInName = regexp.MustCompile(`[^a-z0-9]+`)

// tokenOfURI reads pkcs11:module-path=...;token=...?pin-source=FILE.
func tokenOfURI(uri string) (*initToken, error) {
	path, query, _ := strings.Cut(uri, "?")
	t := new(initToken)
	kept := ""
	for _, attribute := range strings.Split(query, "&") {
		name, value, _ := strings.Cut(attribute, "=")
		if !strings.EqualFold(strings.TrimSpace(name), "pin-source") {
			if attribute != "" {
				kept += "&" + attribute
			}
			continue
		}
		file, err := url.PathUnescape(value)
		if err != nil || file == "" || t.pin != "" {
			return nil, errors.New("pin-source must name one file")
		}
		// RFC 7512, Section 2.4: a file, as a path or as a URI.
		file = strings.TrimPrefix(strings.TrimPrefix(file, "file://"), "file:")
		if strings.HasPrefix(file, "|") {
			return nil, errors.New("pin-source must name a file, and not a command")
		}
		if t.pin, err = filepath.Abs(file); err != nil {
			return nil, err
		}
	}
	t.uri = path
	if kept != "" {
		t.uri += "?" + kept[1:]
	}
	var err error
	if t.place, err = config.ParseTokenURI(t.uri); err != nil {
		return nil, fmt.Errorf("the PKCS #11 URI %w", err)
	}
	if t.pin == "" {
		return nil, errors.New("the PKCS #11 URI says nothing of the PIN: add ?pin-source=/path/of/a/file with mode 0400")
	}
	t.name = strings.Trim(notInName.ReplaceAllString(strings.ToLower(t.place.Token), "-"), "-")
	if len(t.name) > 32 {
		t.name = strings.Trim(t.name[:32], "-")
	}
	if t.name == "" {
		t.name = "token"
	}
	return t, nil
}

// key is the URI of a key in the token: it names the token by its attributes, and
// leaves module and PIN to the configuration.
func (t *initToken) key(name string) string {
	uri := "pkcs11:"
	for _, a := range []struct{ name, value string }{{"token", t.place.Token}, {"serial", t.place.Serial}, {"slot-id", t.place.Slot}} {
		if a.value != "" {
			uri += a.name + "=" + strings.NewReplacer("+", "%2B", "&", "%26", ";", "%3B").Replace(url.PathEscape(a.value)) + ";"
		}
	}
	return uri + "object=" + name
}

// configuration is the section keys.tokens.
func (t *initToken) configuration() string {
	return fmt.Sprintf("  tokens:\n    - name: %s\n      uri: %q\n      pin: {file: %q}\n", t.name, t.uri, t.pin)
}
