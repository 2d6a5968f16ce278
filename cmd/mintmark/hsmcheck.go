package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"mintmark/admin"
	"mintmark/internal/config"
	"mintmark/internal/keystore"
	"mintmark/internal/keystore/token/wire"
	"mintmark/internal/keystore/tokencheck"
)

func newHSMCheck(a *app) *cobra.Command {
	var pinFile, algorithm string
	var sessions int
	var seconds float64
	var makeKey bool
	c := a.command("check URI [flags]", "Try a token out before a server uses it", `Check tries a PKCS#11 token out the way a server would use it, without one. It
finds the token, says what its flags mean, logs in (once, whatever happens), and
judges the key that the URI names (object=, id=) as a key of a CA. With
--make-key it makes one as the server would, reads its attributes back, and
destroys it at the end. It verifies a signature and counts how many the token
makes a second, one at a time and with all sessions. The exit code is 1 if a
check failed.

The URI is of RFC 7512: module-path, and token, serial or slot-id. The PIN is
typed without echo, or one line of standard input, or in a file.`,
		`  mintmark hsm check "pkcs11:module-path=/usr/lib/softhsm/libsofthsm2.so;token=factory" \
    --pin-file /etc/mintmark/pin --make-key
  mintmark hsm check "pkcs11:module-path=/usr/lib/x.so;token=factory;object=issuing"`,
		cobra.ExactArgs(1), func(c *cobra.Command, args []string) error {
			cfg, source, err := checkURI(args[0])
			if err != nil {
				return usagef("%w", err)
			}
			switch {
			case sessions < 1 || sessions > config.MaxSessions:
				return usagef("--sessions %d is not between 1 and %d", sessions, config.MaxSessions)
			case !(seconds >= 0 && seconds <= 600):
				return usagef("--seconds %v is not between 0 and 600", seconds)
			case makeKey && (len(cfg.ID) > 0 || len(cfg.Label) > 0):
				return usagef("the URI names a key and --make-key makes one: leave out either")
			case source != "" && pinFile != "":
				return usagef("the URI has a pin-source, and --pin-file is given too")
			}
			if makeKey {
				cfg.Make = algorithm
			}
			if source == "" {
				source = pinFile
			}
			if source != "" {
				cfg.PIN, err = keystore.SecretFile(source, admin.MaxPIN)
			} else {
				cfg.PIN, err = a.readHidden("PIN of the token")
			}
			defer func() { clear(cfg.PIN) }()
			if err == nil && len(cfg.PIN) > admin.MaxPIN {
				err = fmt.Errorf("it is longer than %d bytes", admin.MaxPIN)
			}
			if err != nil {
				return fmt.Errorf("the PIN: %w", err)
			}
			cfg.Sessions, cfg.Measure, cfg.Logger = sessions, time.Duration(seconds*float64(time.Second)), a.logger(slog.LevelError)
			if !a.json {
				cfg.Report = func(l tokencheck.Line) {
					fmt.Fprintf(a.out, "%-8s %-10s %s\n", l.Result, l.Check, printable(l.Text))
				}
			}
			report, err := tokencheck.Run(c.Context(), cfg)
			if err != nil {
				return err
			}
			if a.json {
				if err := a.printJSON(report); err != nil {
					return err
				}
			}
			if !report.Passed {
				return errors.New("the token has failed the check")
			}
			return nil
		})
	f := c.Flags()
	f.StringVar(&pinFile, "pin-file", "", "`file` with the PIN, mode 0400")
	f.IntVar(&sessions, "sessions", 8, "how many sessions to use at a time")
	f.Float64Var(&seconds, "seconds", 5, "how long to count signatures, each time; 0 for not at all")
	f.BoolVar(&makeKey, "make-key", false, "make a key, try it and destroy it")
	f.StringVar(&algorithm, "key", "P-256", "`type` of that key: P-256, P-384, RSA-2048, RSA-3072, RSA-4096")
	return c
}

// checkURI takes a URI apart into token, key, and the file of the PIN.
func checkURI(uri string) (c tokencheck.Config, source string, err error) {
	scheme, rest, _ := strings.Cut(uri, ":")
	path, query, _ := strings.Cut(rest, "?")
	var id, object, pin string
	path, err = takeOut(path, ";", map[string]*string{"id": &id, "object": &object, "pin-value": &pin})
	if err == nil {
		query, err = takeOut(query, "&", map[string]*string{"pin-source": &source, "pin-value": &pin})
	}
	if err != nil {
		return c, "", err
	}
	if pin != "" {
		return c, "", errors.New("the URI holds pin-value: a PIN in a URI ends in logs and process lists; name its file with --pin-file or ?pin-source=")
	}
	place, err := config.ParseTokenURI(scheme + ":" + path + "?" + query)
	if err != nil {
		return c, "", fmt.Errorf("the URI %w", err)
	}
	c.Module, c.Token = place.Module, wire.Selector{Label: place.Token, Serial: place.Serial}
	if place.Slot != "" {
		n, err := strconv.ParseUint(place.Slot, 10, 32)
		if err != nil {
			return c, "", errors.New("the URI has a slot-id that is too large")
		}
		slot := uint(n)
		c.Token.Slot = &slot
	}
	c.ID, c.Label = []byte(id), []byte(object)
	return c, strings.TrimPrefix(strings.TrimPrefix(source, "file://"), "file:"), nil
}

// takeOut removes attributes from a list of them, and returns their values where the
// map says.
func takeOut(list, separator string, into map[string]*string) (string, error) {
	var kept []string
	for _, attribute := range strings.Split(list, separator) {
		name, value, _ := strings.Cut(attribute, "=")
		p := into[strings.ToLower(name)]
		if p == nil {
			kept = append(kept, attribute)
			continue
		}
		text, err := url.PathUnescape(value)
		if err != nil || text == "" || *p != "" {
			return "", fmt.Errorf("the URI has no usable value for %s, or two", name)
		}
		*p = text
	}
	return strings.Join(kept, separator), nil
}
