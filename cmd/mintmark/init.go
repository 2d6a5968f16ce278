package main

import (
	"log/slog"

	"github.com/spf13/cobra"

	"mintmark/ca"
	"mintmark/internal/server"
)

func newInit(a *app) *cobra.Command {
	var o server.InitOptions
	var key string
	c := a.command("init [flags]", "Make a new state directory: configuration, CA hierarchy, first credential",
		`Init writes mintmark.yaml, makes a root CA and an issuing CA under it, signs their
first CRLs, and makes a credential with which devices can enroll. It refuses a
directory that holds anything. With --bare it leaves the CAs to mintmark ca create.`,
		`  mintmark init --dir ./factory --organization "Example Works" --name ca.example.org
  mintmark init --dir ./factory --pkcs11 "pkcs11:module-path=/usr/lib/softhsm/libsofthsm2.so;token=factory?pin-source=/etc/mintmark/pin"`,
		cobra.NoArgs, func(c *cobra.Command, _ []string) error {
			var err error
			if o.Key, err = ca.ParseAlgorithm(key); err != nil {
				return usagef("--key: %v", err)
			}
			o.Dir = a.dir
			out := a.out
			if a.json {
				out = a.err
			}
			if err := server.Init(c.Context(), o, a.logger(slog.LevelWarn), out); err != nil {
				return err
			}
			if a.json {
				return a.printJSON(struct {
					Dir string `json:"dir"`
				}{a.dir})
			}
			return nil
		})
	f := c.Flags()
	f.StringVar(&o.Organization, "organization", "", "organization in the subjects of the CAs (default mintmark)")
	f.StringVar(&o.Server, "server", "", "this server's `name` in records and leases (default mintmark)")
	f.StringArrayVar(&o.Names, "name", nil, "DNS `name` or IP address that devices dial; may be repeated (default this host, localhost, 127.0.0.1)")
	f.StringVar(&o.PublicURL, "public-url", "", "plain-HTTP base `URL` of CRLs and CA certificates (default http://NAME:8080)")
	f.StringVar(&key, "key", string(ca.P256), "`type` of the CA keys: P-256, P-384, P-521, RSA-2048, RSA-3072, RSA-4096")
	f.StringVar(&o.PKCS11, "pkcs11", "", "`URI` of the token in which to make the CA keys (default encrypted files)")
	f.StringVar(&o.PassphraseFile, "passphrase-file", "", "`file` with the passphrase of the key files, mode 0400 (default a generated one)")
	f.BoolVar(&o.Bare, "bare", false, "make no CA: only the configuration and a credential")
	return c
}
