package main

import (
	"bytes"
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"mintmark/awsreg/claim"
)

// provisionFlags say what a device asks AWS for.
type provisionFlags struct {
	endpoint, serverName, roots string
	claim, claimKey             string
	template, serial, clientID  string
	newKey, keyType, out        string
	parameters                  []string
	limit                       time.Duration
	verbose                     bool
}

func newAWSProvision(a *app) *cobra.Command {
	var f provisionFlags
	c := a.command("provision --endpoint HOST:PORT --claim FILE --template NAME --serial SERIAL --new-key FILE --out FILE [flags]",
		"Get a device's certificate by fleet provisioning",
		`Provision does what a device does at its first start: it connects to AWS with
the claim certificate, sends a certification request for a key that is made
here, and is registered by the provisioning template. With the device's own
certificate, its rotation template and --client-id with the name of its thing it
gets the next one.

The key is written first, mode 0600. If anything fails, run the same command
again: a key without a certificate is used, a certificate is not overwritten.`,
		"  mintmark aws provision --endpoint example-ats.iot.eu-central-1.amazonaws.com:8883 --ca AmazonRootCA.pem --claim WO-117-0001.pem --template pumps --serial SN-00001 --new-key device.key --out device.pem",
		cobra.NoArgs, func(c *cobra.Command, _ []string) error {
			return a.provision(c.Context(), f)
		})
	flags := c.Flags()
	flags.StringVar(&f.endpoint, "endpoint", "", "`host:port` of the data endpoint")
	flags.StringVar(&f.serverName, "server-name", "", "`name` to ask for, where it is not the endpoint's host")
	flags.StringVar(&f.roots, "ca", "", "`file` with the trust anchors for the endpoint's certificate (default the system's)")
	flags.StringVar(&f.claim, "claim", "", "`file` with the claim certificate, or the device's own, and its chain")
	flags.StringVar(&f.claimKey, "claim-key", "", "`file` with the key of it (default the same file)")
	flags.StringVar(&f.template, "template", "", "`name` of the provisioning template")
	flags.StringVar(&f.serial, "serial", "", "the device's `identifier`: the parameter SerialNumber")
	flags.StringVar(&f.clientID, "client-id", "", "MQTT client `identifier` (default that of --serial); for a rotation the name of the thing")
	flags.StringArrayVar(&f.parameters, "parameter", nil, "further parameter of the template, `NAME=VALUE`; may be repeated")
	flags.StringVar(&f.newKey, "new-key", "", "`file` for the device's new key")
	flags.StringVar(&f.keyType, "key-type", "P-256", "`type` of the new key: P-256, P-384, RSA-2048, RSA-3072")
	flags.StringVar(&f.out, "out", "", "`file` for the certificate; it must not exist")
	flags.DurationVar(&f.limit, "limit", 3*time.Minute, "how `long` it may take in all")
	flags.BoolVar(&f.verbose, "verbose", false, "log each step")
	require(c, "endpoint", "claim", "template", "serial", "new-key", "out")
	return c
}

// config makes the device's configuration; the request comes with the key.
func (f provisionFlags) config() (claim.Config, error) {
	if f.claimKey == "" {
		f.claimKey = f.claim
	}
	pair, err := tls.LoadX509KeyPair(f.claim, f.claimKey)
	if err != nil {
		if f.claimKey == f.claim && !holdsKey(f.claim) {
			return claim.Config{}, fmt.Errorf("loading the claim certificate: there is no key in %s: name the file that holds it with --claim-key", f.claim)
		}
		return claim.Config{}, fmt.Errorf("loading the claim certificate and its key: %w", err)
	}
	cfg := claim.Config{
		Endpoint: f.endpoint, ServerName: f.serverName, Certificate: pair, ClientID: f.clientID, Template: f.template,
		Parameters: map[string]string{"SerialNumber": f.serial},
	}
	if cfg.ClientID == "" {
		cfg.ClientID = f.serial
	}
	for _, text := range f.parameters {
		name, value, ok := strings.Cut(text, "=")
		if _, twice := cfg.Parameters[name]; !ok || name == "" || twice {
			return cfg, usagef("--parameter %q is not NAME=VALUE, or its name is there twice (--serial sets SerialNumber)", text)
		}
		cfg.Parameters[name] = value
	}
	if f.roots != "" {
		list, err := readCertificates(f.roots)
		if err != nil {
			return cfg, err
		}
		cfg.Roots = x509.NewCertPool()
		for _, c := range list {
			cfg.Roots.AddCert(c)
		}
	}
	return cfg, nil
}

// holdsKey reports whether a file that can be read holds a private key.
func holdsKey(name string) bool {
	data, err := os.ReadFile(name)
	return err != nil || bytes.Contains(data, []byte("PRIVATE KEY-----"))
}

// key is that of an earlier run which got no certificate, or a new one.
func (f provisionFlags) key() (crypto.Signer, error) {
	if _, err := os.Lstat(f.out); !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s exists, and a certificate is not overwritten: name another file", f.out)
	}
	key, err := readKey(f.newKey)
	if errors.Is(err, fs.ErrNotExist) {
		return createKey(f.newKey, f.keyType)
	}
	return key, err
}

func (a *app) provision(ctx context.Context, f provisionFlags) error {
	if f.limit <= 0 {
		return usagef("--limit %v is no time", f.limit)
	}
	cfg, err := f.config()
	if err != nil {
		return err
	}
	if f.verbose {
		cfg.Logger = a.logger(slog.LevelInfo)
	} else {
		cfg.Failed = func(err error, pause time.Duration) {
			a.say("%v; trying again in %v", err, pause.Round(100*time.Millisecond))
		}
	}
	key, err := f.key()
	if err != nil {
		return err
	}
	request := requestFlags{name: f.serial}
	if cfg.CSR, err = request.make(key); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, f.limit)
	defer cancel()
	got, err := claim.Provision(ctx, cfg)
	lost := errors.Is(err, claim.ErrAnswerLost)
	if err != nil && !(lost && got.Certificate != nil) {
		if f.clientID == "" && claim.IsNotLetIn(err) {
			err = fmt.Errorf("%w\nwith a device's own certificate the client id is the name of its thing: give --client-id THING", err)
		}
		return err
	}
	if saved := replaceFile(f.out, got.PEM, 0o644); saved != nil {
		return errors.Join(err, saved)
	}
	if lost {
		return fmt.Errorf("%w\nthe certificate is in %s: connect with it, and if it is refused, remove the file and try again", err, f.out)
	}
	if a.json {
		return a.printJSON(struct {
			CertificateID string            `json:"certificate_id"`
			Thing         string            `json:"thing,omitempty"`
			Certificate   string            `json:"certificate"`
			Key           string            `json:"key"`
			NotAfter      time.Time         `json:"not_after"`
			Configuration map[string]string `json:"device_configuration,omitempty"`
		}{got.CertificateID, got.ThingName, f.out, f.newKey, got.Certificate.NotAfter.UTC(), got.DeviceConfiguration})
	}
	t := newTable(a.out)
	t.field("thing", got.ThingName)
	t.field("certificate id", got.CertificateID)
	t.field("not after", date(got.Certificate.NotAfter))
	t.field("certificate", f.out)
	t.field("key", f.newKey)
	for _, name := range slices.Sorted(maps.Keys(got.DeviceConfiguration)) {
		t.field("configuration", name+"="+got.DeviceConfiguration[name])
	}
	return t.flush()
}
