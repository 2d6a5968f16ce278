package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"mintmark/internal/cms"
	"mintmark/issuer/est"
)

func newEST(a *app) *cobra.Command {
	c := a.group("est", "The device's side of EST (RFC 7030)",
		`Est talks to an EST server the way a device does, to any server. It needs no
state directory. It exits with 0 when it has got what it asked for, with 3 when
the server still wants a person to approve the request, which can then be made
again and is recognised, with 2 for a wrong command line and with 1 for
everything else.`,
		`  mintmark est cacerts --url https://ca.example.org:8443 --ca root.pem
  mintmark est cacerts --url https://ca.example.org/.well-known/est/press --pin 93:ab:51:... --out anchors.pem`)
	c.AddCommand(newESTCACerts(a), newESTCSRAttrs(a), newESTEnroll(a), newESTReenroll(a), newESTRenew(a),
		newESTKeygen(a), newESTCMC(a), newESTSecret(a), newESTDoctor(a))
	return c
}

// estFlags say how to reach a server and how to authenticate to it.
type estFlags struct {
	client       est.Client
	ca, pin      string
	anchors      []*x509.Certificate // those of ca, or the one of pin
	tls12        bool
	user         string
	passwordFile string
	cert, key    string
	wait         time.Duration
}

// bind adds the flags that every operation has.
func (f *estFlags) bind(c *cobra.Command) {
	flags := c.Flags()
	flags.StringVar(&f.client.URL, "url", "", "`URL` of the server, as in https://ca.example.org:8443; with a path, that is where the operations are, in place of /.well-known/est")
	flags.StringVar(&f.client.Label, "label", "", "EST `label`, after that path (default none)")
	flags.StringVar(&f.ca, "ca", "", "`file` with the trust anchors for the server's certificate (default the system's)")
	flags.StringVar(&f.pin, "pin", "", "`SHA-256` fingerprint of the server's root, compared by a person, in place of --ca")
	flags.BoolVar(&f.tls12, "tls12", false, "use TLS 1.2 at most: for servers that link requests by tls-unique only")
	flags.DurationVar(&f.wait, "wait", 5*time.Minute, "how long to repeat a request that the server asks to repeat")
	require(c, "url")
	c.MarkFlagsMutuallyExclusive("ca", "pin")
}

// bindCredentials adds the flags of who enrolls.
func (f *estFlags) bindCredentials(c *cobra.Command) {
	flags := c.Flags()
	flags.StringVar(&f.user, "user", "", "`name` for the password; without it the file holds name:password")
	flags.StringVar(&f.passwordFile, "password-file", "", "`file` with the password")
	flags.BoolVar(&f.client.OnChallenge, "on-challenge", false, "send the password only when the server asks for it")
	flags.StringVar(&f.cert, "cert", "", "`file` with the certificate to authenticate with, and its chain")
	flags.StringVar(&f.key, "key", "", "`file` with the key of that certificate, or its pkcs11: URI")
	c.MarkFlagsRequiredTogether("cert", "key")
}

// openEST reads what the flags name, and has the server's root by its
// fingerprint. The returned function closes the token of the key.
func (a *app) openEST(ctx context.Context, f *estFlags) (func() error, error) {
	closeToken := func() error { return nil }
	if strings.HasPrefix(strings.ToLower(f.key), "pkcs11:") {
		key, done, err := a.openSigner(ctx, f.key)
		if err != nil {
			return nil, err
		}
		closeToken = done
		if f.client.Certificate, err = certificateWith(f.cert, f.key, key); err != nil {
			return nil, errors.Join(err, done())
		}
	}
	if err := f.open(); err != nil {
		return nil, errors.Join(err, closeToken())
	}
	a.warnReadable(f.passwordFile)
	if f.pin != "" {
		err := a.repeat(ctx, f.wait, func() error { return f.bootstrap(ctx) })
		if err != nil {
			return nil, errors.Join(err, closeToken())
		}
	}
	return closeToken, nil
}

// open reads the files that the flags name.
func (f *estFlags) open() error {
	if f.tls12 {
		f.client.MaxVersion = tls.VersionTLS12
	}
	if f.ca != "" {
		anchors, err := readCertificates(f.ca)
		if err != nil {
			return err
		}
		f.trust(anchors...)
	}
	if err := checkUser(f.user); err != nil {
		return err
	}
	if f.user != "" && f.passwordFile == "" {
		return usagef("--user needs --password-file")
	}
	if f.passwordFile != "" {
		content, err := readFile(f.passwordFile, 4096)
		if err != nil {
			return err
		}
		f.client.User, f.client.Password = f.user, strings.TrimRight(string(content), "\r\n")
		if f.user == "" {
			var ok bool
			if f.client.User, f.client.Password, ok = strings.Cut(f.client.Password, ":"); !ok {
				return usagef("%s does not hold name:password: add --user", f.passwordFile)
			}
		}
	}
	if f.cert != "" && f.client.Certificate == nil {
		key, err := readKey(f.key)
		if err != nil {
			return err
		}
		if f.client.Certificate, err = certificateWith(f.cert, f.key, key); err != nil {
			return err
		}
	}
	return nil
}

// bootstrap trusts the root that has the fingerprint, if the server is under it.
func (f *estFlags) bootstrap(ctx context.Context) error {
	pin, err := est.ParsePin(f.pin)
	if err != nil {
		return usagef("--pin: %w", err)
	}
	// With a client of its own: that of the operations gets its trust by this.
	server := &est.Client{URL: f.client.URL, Label: f.client.Label, MaxVersion: f.client.MaxVersion}
	list, err := server.Bootstrap(ctx, pin)
	if err != nil {
		return err
	}
	f.trust(list[0])
	return nil
}

// trust sets the trust anchors.
func (f *estFlags) trust(anchors ...*x509.Certificate) {
	f.anchors, f.client.RootCAs = anchors, x509.NewCertPool()
	for _, c := range anchors {
		f.client.RootCAs.AddCert(c)
	}
}

// repeat makes a request again as long as the server asks for it and time is
// left: a 202 waits for an approval (RFC 7030, Section 4.2.3), a 503 for better
// times. Each cause is said when it begins, not each time.
func (a *app) repeat(ctx context.Context, wait time.Duration, request func() error) error {
	deadline := time.Now().Add(wait)
	said := ""
	for {
		err := request()
		var pending *est.PendingError
		var status *est.StatusError
		var delay time.Duration
		switch {
		case errors.As(err, &pending):
			delay = pending.RetryAfter
		case errors.As(err, &status) && (status.Code == http.StatusServiceUnavailable || status.Code == http.StatusTooManyRequests):
			delay = max(status.RetryAfter, time.Second)
		default:
			return explain(err)
		}
		switch late := time.Now().Add(delay).After(deadline); {
		case late && pending != nil:
			return fmt.Errorf("%w: a person must approve this at the server (mintmark enroll list there); run the same command again, or add --wait 30m", err)
		case late:
			return fmt.Errorf("%w: the server wants it repeated after %v, which is beyond --wait", err, delay)
		default:
			cause := err.Error()
			if pending != nil {
				cause = "the request waits for a person's approval at the server"
			}
			if cause != said {
				a.say("%s: repeating it in %v", cause, delay)
				said = cause
			}
		}
		select {
		case <-time.After(delay):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// explain adds what was probably meant to errors that devices' operators meet
// first.
func explain(err error) error {
	var untrusted *tls.CertificateVerificationError
	var alert tls.AlertError
	var status *est.StatusError
	var network *net.OpError
	switch {
	case errors.As(err, &untrusted):
		return fmt.Errorf("%w: --ca names the file with the root of the server's certificate, --url a name that is in it", err)
	case errors.As(err, &alert):
		return fmt.Errorf("%w: the server ended TLS: does it accept the certificate of --cert, or demand one?", err)
	case errors.As(err, &network) && network.Op == "dial":
		return fmt.Errorf("%w: nothing answers there: does the server run, and is --url right?", err)
	case errors.Is(err, cms.ErrDecrypt):
		return fmt.Errorf("%w: the server encrypted for the key that it knows under this identifier: is that the key given here?", err)
	case errors.As(err, &status) && status.Code == http.StatusUnauthorized:
		if challenge := strings.ToLower(status.Challenge); challenge != "" && !strings.Contains(challenge, "basic") {
			return fmt.Errorf("%w: the server wants the authentication %q, and this client speaks Basic only", err, printable(status.Challenge))
		}
		return fmt.Errorf("%w: the server wants a name and password of this label (--password-file), a certificate that may enroll there (--cert and --key), or both, and does not take what was given", err)
	case errors.As(err, &status) && status.Code == http.StatusNotFound:
		return fmt.Errorf("%w: is --label right, and the path of --url? The server may also not offer this operation", err)
	case errors.As(err, &status) && status.Code == http.StatusNotImplemented:
		return fmt.Errorf("%w: the server does not offer this operation", err)
	case errors.As(err, &status) && status.Code >= 300 && status.Code < 400:
		return fmt.Errorf("%w: the server points elsewhere, which is not followed: give --url as it is meant", err)
	}
	return err
}

// exists reports whether there is a file of that name.
func exists(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}
