package main

import (
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"mintmark/issuer/est"
	"mintmark/issuer/est/renewal"
)

// renewFlags say how a certificate is kept fresh.
type renewFlags struct {
	est     estFlags
	at      string
	rekey   bool
	keyType string
	chain   chainFlags
	daemon  bool
	proof   proofFlag
	hook    []string
}

func newESTRenew(a *app) *cobra.Command {
	var f renewFlags
	c := a.command("renew --url URL --cert FILE --key FILE [flags] [-- COMMAND ARG...]", "Renew a certificate when it is due",
		`Renew does nothing until two thirds of the validity have passed (--at). Then it
renews the certificate that it authenticates with and puts the new one in its
place, with its chain if the file had one, and with the root if that was in it.
When exactly hangs on the certificate, up to a twentieth later, so that devices
that were enrolled together do not come together. Run it from a timer, or let
it run with --daemon: then it tries again what fails, at growing distances, and
says so on standard error.

With --rekey it makes a new key for each certificate. Key and certificate are
written beside the old ones (.new) and then take their places, the key first;
should that be cut off, the next start completes it before anything else. If
--cert and --key name one file, which holds both, then it is replaced as a
whole, and there is no moment at which they do not belong together. The old key
is not kept.

The command after -- runs when a new certificate is in its place, without a
shell: to reload a service. If it fails it is run again the next time.

It exits with 0 if nothing was due or the certificate was renewed, with 3 if
the server wants a person to approve the renewal, with 2 for a wrong command
line and with 1 for everything else; the old certificate then stays in its
place.`,
		`  mintmark est renew --url https://ca.example.org:8443 --ca root.pem --cert press.pem --key press.key
  mintmark est renew --url https://ca.example.org:8443 --ca root.pem --cert press.pem --key press.key --rekey --daemon -- systemctl reload mosquitto`,
		cobra.ArbitraryArgs, func(c *cobra.Command, args []string) error {
			if len(args) > 0 && c.ArgsLenAtDash() != 0 {
				return usagef("the command to run comes after --, and %q stands before it", args[0])
			}
			f.hook = args
			return a.renew(c.Context(), &f)
		})
	f.est.bind(c)
	f.est.bindCredentials(c)
	f.proof.bind(c)
	flags := c.Flags()
	flags.StringVar(&f.at, "at", renewal.DefaultFraction.String(), "`part` of the validity after which it is due, as in 2/3, 0.8 or 80%")
	flags.BoolVar(&f.rekey, "rekey", false, "make a new key")
	flags.StringVar(&f.keyType, "key-type", "", "`type` of the new key: P-256, P-384, RSA-2048, RSA-3072 (default that of the old key)")
	f.chain.bind(c, "add the issuing CAs, also if the file had none")
	flags.BoolVar(&f.daemon, "daemon", false, "go on until ended by a signal")
	require(c, "cert", "key")
	return c
}

// renewed is the answer for a program.
type renewed struct {
	Renewed     bool      `json:"renewed"`
	Due         time.Time `json:"due"`
	Certificate enrolled  `json:"certificate"`
}

func (a *app) renew(ctx context.Context, f *renewFlags) error {
	k, done, err := a.keeper(ctx, f)
	if err != nil {
		return err
	}
	defer done()
	if f.daemon {
		k.Run(ctx)
		return nil // ended by a signal, as is meant
	}
	o, err := k.Once(ctx)
	if o.Certificate == nil {
		return err
	}
	if o.Renewed {
		a.say("certificate %s in %s, valid until %s", describeEnrolled(o.Certificate).Serial, f.est.cert, date(o.Certificate.NotAfter))
	}
	if err != nil {
		return err
	}
	if !o.Renewed {
		a.say("nothing to do: %s is due at %s and valid until %s", f.est.cert, date(o.Due), date(o.Certificate.NotAfter))
	}
	if a.json {
		return a.printJSON(renewed{o.Renewed, o.Due.UTC(), describeEnrolled(o.Certificate)})
	}
	return nil
}

// keeper is what keeps the certificate that the flags name. The returned
// function closes the token of its key.
func (a *app) keeper(ctx context.Context, f *renewFlags) (*renewal.Keeper, func() error, error) {
	if err := checkKeyType(f.keyType); err != nil {
		return nil, nil, err
	}
	at, err := renewal.ParseFraction(f.at)
	if err != nil {
		return nil, nil, usagef("--at: %w", err)
	}
	k := &renewal.Keeper{Files: renewal.Files{Certificate: f.est.cert, Key: f.est.key}, At: at, Say: a.say}
	done := func() error { return nil }
	if isToken(f.est.key) {
		if f.rekey {
			return nil, nil, usagef("--rekey makes keys in files, and --key names one in a token")
		}
		signer, closeToken, err := a.openSigner(ctx, f.est.key)
		if err != nil {
			return nil, nil, err
		}
		done = closeToken
		k.Files.Key, k.Files.Signer = "", signer
	}
	if f.rekey {
		k.Generate = func(current crypto.PublicKey) (key crypto.Signer, err error) {
			kind := f.keyType
			if kind == "" {
				if kind, err = keyKind(current); err != nil {
					return nil, err
				}
			}
			return newKey(kind)
		}
	} else if f.keyType != "" {
		return nil, nil, errors.Join(usagef("--key-type is for a new key: add --rekey"), done())
	}
	k.Ask = func(ctx context.Context, current *tls.Certificate, key crypto.Signer) ([]*x509.Certificate, error) {
		return a.askRenewal(ctx, f, current, key)
	}
	if len(f.hook) > 0 {
		k.After = func(ctx context.Context) error { return a.runHook(ctx, f.hook) }
	}
	return k, done, nil
}

// askRenewal renews at the server, with files and trust anchors as they are now.
func (a *app) askRenewal(ctx context.Context, f *renewFlags, current *tls.Certificate, key crypto.Signer) ([]*x509.Certificate, error) {
	now := estFlags{
		client: est.Client{URL: f.est.client.URL, Label: f.est.client.Label, OnChallenge: f.est.client.OnChallenge, Certificate: current},
		ca:     f.est.ca, pin: f.est.pin, tls12: f.est.tls12, user: f.est.user, passwordFile: f.est.passwordFile, wait: f.est.wait,
	}
	done, err := a.openEST(ctx, &now)
	if err != nil {
		return nil, err
	}
	defer done()
	r := est.Request{Template: repeating(current.Leaf), Key: key, Link: f.proof.link}
	asked, err := readable(r.Template, nil)
	if err != nil {
		return nil, err
	}
	var certificate *x509.Certificate
	err = a.repeat(ctx, now.wait, func() (err error) {
		certificate, err = now.client.ReenrollRequest(ctx, r)
		return err
	})
	if err != nil {
		return nil, err
	}
	a.warnLacking(asked, certificate)
	above, err := a.renewedChain(ctx, f.chain, &now, certificate, current)
	if err != nil {
		return nil, err
	}
	return append([]*x509.Certificate{certificate}, above...), nil
}

// renewedChain is what stands after the new certificate: the chain of the old one, or
// what is like it if the new one is from another issuing CA.
func (a *app) renewedChain(ctx context.Context, want chainFlags, f *estFlags, certificate *x509.Certificate, current *tls.Certificate) ([]*x509.Certificate, error) {
	old, err := chainOf(current)
	if err != nil {
		return nil, err
	}
	if len(old) == 0 && !want.any() {
		return nil, nil
	}
	want.root = want.root || slices.ContainsFunc(old, selfSigned)
	issuing, root := pathAbove(certificate, old)
	switch {
	case root != nil:
		return append(issuing, root), nil
	case len(issuing) > 0 && !want.root:
		return issuing, nil
	}
	above, err := want.chainAbove(ctx, f, certificate, old)
	if errors.Is(err, errNoRoot) {
		// The certificate is there, and asking again would make another one.
		a.say("warning: %v", err)
		err = nil
	}
	return above, err
}

// chainOf is what stands after the certificate.
func chainOf(c *tls.Certificate) ([]*x509.Certificate, error) {
	var list []*x509.Certificate
	for _, der := range c.Certificate[1:] {
		certificate, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("parsing the chain of the certificate: %w", err)
		}
		list = append(list, certificate)
	}
	return list, nil
}

// hookTime bounds the command that runs after a renewal.
const hookTime = 5 * time.Minute

// runHook runs a command, without a shell. What it says goes to standard error.
func (a *app) runHook(ctx context.Context, argv []string) error {
	ctx, cancel := context.WithTimeout(ctx, hookTime)
	defer cancel()
	command := exec.CommandContext(ctx, argv[0], argv[1:]...)
	command.Stdout, command.Stderr = a.err, a.err
	command.Env = os.Environ()
	command.WaitDelay = 5 * time.Second
	if err := command.Run(); err != nil {
		return fmt.Errorf("running %s: %w", argv[0], err)
	}
	return nil
}
