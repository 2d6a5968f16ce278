package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"mintmark/issuer/est"
)

func newEST(a *app) *cobra.Command {
	c := a.group("est", "The device's side of EST (RFC 7030)",
		"Est talks to an EST server the way a device does. It needs no state directory.",
		"  mintmark est cacerts --url https://ca.example.org:8443 --ca root.pem")
	c.AddCommand(newESTCACerts(a), newESTEnroll(a), newESTReenroll(a), newESTSecret(a))
	return c
}

// estFlags say how to reach a server and how to authenticate to it.
type estFlags struct {
	client       est.Client
	ca           string
	user         string
	passwordFile string
	cert, key    string
	wait         time.Duration
}

// bind adds the flags that every operation has.
func (f *estFlags) bind(c *cobra.Command) {
	flags := c.Flags()
	flags.StringVar(&f.client.URL, "url", "", "`URL` of the server, as in https://ca.example.org:8443")
	flags.StringVar(&f.client.Label, "label", "", "EST `label` (default the path without one)")
	flags.StringVar(&f.ca, "ca", "", "`file` with the trust anchors for the server's certificate (default the system's)")
	flags.DurationVar(&f.wait, "wait", time.Minute, "how long to repeat a request that the server asks to repeat")
	require(c, "url")
}

// bindCredentials adds the flags of who enrolls.
func (f *estFlags) bindCredentials(c *cobra.Command) {
	flags := c.Flags()
	flags.StringVar(&f.user, "user", "", "`name` for the password; without it the file holds name:password")
	flags.StringVar(&f.passwordFile, "password-file", "", "`file` with the password")
	flags.StringVar(&f.cert, "cert", "", "`file` with the certificate to authenticate with, and its chain")
	flags.StringVar(&f.key, "key", "", "`file` with the key of that certificate")
	c.MarkFlagsRequiredTogether("cert", "key")
}

// open reads the files that the flags name.
func (f *estFlags) open() error {
	if f.ca != "" {
		anchors, err := readCertificates(f.ca)
		if err != nil {
			return err
		}
		f.client.RootCAs = x509.NewCertPool()
		for _, c := range anchors {
			f.client.RootCAs.AddCert(c)
		}
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
	if f.cert != "" {
		certificate, err := clientCertificate(f.cert, f.key)
		if err != nil {
			return err
		}
		f.client.Certificate = certificate
	}
	return nil
}

func clientCertificate(certFile, keyFile string) (*tls.Certificate, error) {
	chain, err := readCertificates(certFile)
	if err != nil {
		return nil, err
	}
	key, err := readKey(keyFile)
	if err != nil {
		return nil, err
	}
	if !samePublicKey(chain[0].PublicKey, key.Public()) {
		return nil, fmt.Errorf("%s is not the key of the first certificate in %s", keyFile, certFile)
	}
	certificate := &tls.Certificate{PrivateKey: key, Leaf: chain[0]}
	for _, c := range chain {
		certificate.Certificate = append(certificate.Certificate, c.Raw)
	}
	return certificate, nil
}

// repeat makes a request again as long as the server asks for it and time is
// left: a 202 waits for an approval (RFC 7030, Section 4.2.3), a 503 for better
// times.
func (a *app) repeat(ctx context.Context, wait time.Duration, request func() error) error {
	deadline := time.Now().Add(wait)
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
		if time.Now().Add(delay).After(deadline) {
			return fmt.Errorf("%w: the server wants it repeated after %v, which is beyond --wait", err, delay)
		}
		a.say("%v: repeating after %v", err, delay)
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
	var status *est.StatusError
	switch {
	case errors.As(err, &untrusted):
		return fmt.Errorf("%w: --ca names the file with the root of the server's certificate, --url a name that is in it", err)
	case errors.As(err, &status) && status.Code == http.StatusUnauthorized:
		return fmt.Errorf("%w: the server wants a name and password of this label (--password-file), or a certificate that may enroll there (--cert and --key), and accepts none that was given", err)
	case errors.As(err, &status) && status.Code == http.StatusNotFound:
		return fmt.Errorf("%w: is --label right?", err)
	}
	return err
}

func newESTCACerts(a *app) *cobra.Command {
	var f estFlags
	var out string
	c := a.command("cacerts --url URL [flags]", "Fetch the CA certificates",
		"Cacerts fetches the trust anchors and issuing CAs of a server (RFC 7030, Section\n4.1). They can be trusted as far as --ca vouches for the server.",
		"  mintmark est cacerts --url https://ca.example.org:8443 --ca root.pem --out anchors.pem",
		cobra.NoArgs, func(c *cobra.Command, _ []string) error {
			if err := f.open(); err != nil {
				return err
			}
			var list []*x509.Certificate
			err := a.repeat(c.Context(), f.wait, func() (err error) {
				list, err = f.client.CACerts(c.Context())
				return err
			})
			if err != nil {
				return err
			}
			if out != "" || !a.json {
				if err := a.writeOut(out, certificatePEM(list...)); err != nil {
					return err
				}
			}
			if a.json {
				answer := struct {
					Certificates []enrolled `json:"certificates"`
				}{[]enrolled{}}
				for _, one := range list {
					answer.Certificates = append(answer.Certificates, describeEnrolled(one))
				}
				return a.printJSON(answer)
			}
			return nil
		})
	f.bind(c)
	c.Flags().StringVar(&out, "out", "", "`file` to write (default standard output)")
	return c
}

// exists reports whether there is a file of that name.
func exists(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}
