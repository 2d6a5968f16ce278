package main

import (
	"encoding/pem"
	"fmt"
	"log/slog"
	"strings"

	"github.com/spf13/cobra"

	"mintmark/ca"
	"mintmark/internal/access"
	"mintmark/internal/ledger"
	"mintmark/internal/server"
)

func newInit(a *app) *cobra.Command {
	var o server.InitOptions
	var key string
	var officers []string
	c := a.command("init [flags]", "Make a new state directory with a CA hierarchy",
		`Init writes mintmark.yaml, makes a root CA and an issuing CA under it, signs
their first CRLs, and makes a credential with which devices can enroll. It
refuses a directory that holds anything. With --bare it leaves the CAs to
mintmark ca create.

With --officer, the first security officers are recorded with their public keys
(mintmark officer key makes one), and what changes the hierarchy needs two of
them. Without, one person may do everything.`,
		`  mintmark init --dir ./factory --organization "Example Works" --name ca.example.org
  mintmark init --dir ./factory --officer alice=alice.pub --officer bob=bob.pub
  mintmark init --dir ./factory --pkcs11 "pkcs11:module-path=/usr/lib/softhsm/libsofthsm2.so;token=factory?pin-source=/etc/mintmark/pin"`,
		cobra.NoArgs, func(c *cobra.Command, _ []string) error {
			var err error
			if o.Key, err = ca.ParseAlgorithm(key); err != nil {
				return usagef("--key: %v", err)
			}
			if o.Officers, err = readOfficers(officers); err != nil {
				return err
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
	f.StringArrayVar(&officers, "officer", nil, "`NAME=FILE` of a first security officer and the public key; may be repeated")
	f.StringVar(&o.Database, "database-url", "", "`URL` of a PostgreSQL database, without a password (default SQLite in the directory)")
	f.StringVar(&o.DatabasePassword, "database-password-file", "", "`file` with the database's password, mode 0400")
	f.BoolVar(&o.Bare, "bare", false, "make no CA: only the configuration and a credential")
	return c
}

// readOfficers reads names and public keys.
func readOfficers(list []string) ([]ledger.Principal, error) {
	var officers []ledger.Principal
	for _, text := range list {
		name, file, ok := strings.Cut(text, "=")
		if !ok {
			return nil, usagef("--officer: %q is not NAME=FILE", text)
		}
		if !access.ValidName(name) {
			return nil, usagef("--officer: %q cannot name a principal", name)
		}
		public, err := readPublic(file)
		if err != nil {
			return nil, fmt.Errorf("officer %q: %w", name, err)
		}
		block, _ := pem.Decode([]byte(public))
		if block == nil || block.Type != "PUBLIC KEY" {
			return nil, fmt.Errorf("officer %q: %s holds no public key in PEM", name, file)
		}
		if _, err := access.ParseKey(block.Bytes); err != nil {
			return nil, fmt.Errorf("officer %q: %s: %w", name, file, err)
		}
		officers = append(officers, ledger.Principal{Name: name, Key: block.Bytes})
	}
	return officers, nil
}
