package main

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"mintmark/admin"
	"mintmark/internal/config"
	"mintmark/internal/keystore"
	"mintmark/internal/server"
)

func newKeys(a *app) *cobra.Command {
	c := a.group("key", "Back up, verify and restore the key files of the CAs",
		`Key copies the private keys that are in encrypted files, and the key that signs
heads of the issuance log. It works on the files of --dir, with and without a
running server. Keys in a token are not in it: docs/backup.md says how those
are copied.`,
		`  mintmark key backup --dir ./factory --out keys.backup
  mintmark key verify keys.backup
  mintmark key restore keys.backup --dir ./factory`)
	c.AddCommand(newKeyBackup(a), newKeyVerify(a), newKeyRestore(a))
	return c
}

// keyJSON is a key of a backup as --json shows it.
type keyJSON struct {
	File      string `json:"file"`
	Algorithm string `json:"algorithm"`
	SPKI      string `json:"spki_sha256"`
	Authority string `json:"authority,omitempty"`
	State     string `json:"state,omitempty"`
	Reason    string `json:"reason,omitempty"`
}

func describeSaved(k *keystore.SavedKey, hierarchy []keyOwner) keyJSON {
	j := keyJSON{File: k.File, Algorithm: k.Algorithm, SPKI: fmt.Sprintf("%x", k.SPKI), Authority: k.Name}
	if owner := ownerOf(k, hierarchy); owner != nil {
		j.Authority = owner.name
	}
	return j
}

// shown is what the table has in place of an authority for a key that is none's.
func (k keyJSON) shown() string {
	if strings.HasPrefix(k.File, "secrets/") {
		return "none: signs heads of the log as " + k.Authority
	}
	return k.Authority
}

// backupFlags are those that all of the commands have.
type backupFlags struct{ passphrase string }

func (f *backupFlags) bind(c *cobra.Command) {
	c.Flags().StringVar(&f.passphrase, "passphrase-file", "", "`file` with the passphrase of the backup, mode 0400 (default: typed)")
}

// What asks for the passphrase of a backup, and for one that is made up.
const (
	backupPrompt    = "passphrase of the backup"
	newBackupPrompt = backupPrompt + ", at least 12 characters"
)

// read returns the passphrase of the backup, which the caller wipes.
func (f *backupFlags) read(typed func(string) ([]byte, error), prompt string) ([]byte, error) {
	if f.passphrase == "" {
		return typed(prompt)
	}
	return keystore.PassphraseFile(f.passphrase)()
}

// localFiles makes sure that a command is about the files of this host.
func (a *app) localFiles(c *cobra.Command) error {
	if c.Flags().Changed("server") {
		return usagef("key files are on the host of their server: run this there, without --server")
	}
	a.remote.server = "" // of the environment: it may be another factory's
	return nil
}

// keySettings loads the configuration of the state directory, which may want a mode that
// this process is not in.
func (a *app) keySettings() (*config.Config, error) {
	c, err := config.Load(a.dir)
	if err != nil {
		return nil, err
	}
	return c, server.CheckFIPS(c)
}

// keyFiles opens the key store of the state directory.
func (a *app) keyFiles() (*keystore.Store, *config.Config, error) {
	c, err := a.keySettings()
	if err != nil {
		return nil, nil, err
	}
	passphrase := keystore.PassphraseCredential()
	if c.Keys.PassphraseFile != "" {
		passphrase = keystore.PassphraseFile(c.Path(c.Keys.PassphraseFile))
	}
	if passphrase == nil { // a credential of the service, which a person's command does not have
		passphrase = remembered(func() ([]byte, error) { return a.readHidden("passphrase of the key files") })
	}
	store, err := keystore.Open(keystore.Config{Dir: a.dir, Passphrase: passphrase, Logger: a.logger(slog.LevelWarn)})
	return store, c, err
}

// remembered asks once, and hands out copies: who gets one wipes it.
func remembered(ask func() ([]byte, error)) func() ([]byte, error) {
	var known []byte
	return func() ([]byte, error) {
		if known == nil {
			var err error
			if known, err = ask(); err != nil {
				return nil, err
			}
		}
		return append([]byte(nil), known...), nil
	}
}

// keyOwner is an authority of the ledger whose key is in a file.
type keyOwner struct {
	name string
	file string   // where its key is
	spki [32]byte // zero while it waits for its certificate
}

// keyOwners asks the ledger for them. It makes none where there is none: an empty one
// would be in the way of the one that is rebuilt.
func (a *app) keyOwners(ctx context.Context) (owners []keyOwner, err error) {
	settings, err := a.keySettings()
	if err != nil {
		return nil, err
	}
	if !a.serverRuns() && !server.LedgerExists(settings) {
		return nil, fmt.Errorf("%s has no ledger: make it first (mintmark audit rebuild --dir %s --to %s/ledger.db)", a.dir, a.dir, a.dir)
	}
	err = a.withClient(ctx, func(client *admin.Client) error {
		list, err := client.Authorities(ctx)
		if err != nil {
			return err
		}
		for _, one := range list {
			file, ok := keystore.KeyFile(one.KeyURI, a.dir)
			if !ok {
				continue // in a token, or not here
			}
			whole, err := client.Authority(ctx, one.Name)
			if err != nil {
				return err
			}
			owner := keyOwner{name: one.Name, file: file}
			if block, _ := pem.Decode([]byte(whole.Certificate)); block != nil {
				certificate, err := x509.ParseCertificate(block.Bytes)
				if err != nil {
					return fmt.Errorf("the certificate of authority %q: %w", one.Name, err)
				}
				owner.spki = sha256.Sum256(certificate.RawSubjectPublicKeyInfo)
			}
			owners = append(owners, owner)
		}
		return nil
	})
	return owners, err
}

// ownerOf returns the authority that has the key; nil if none does.
func ownerOf(k *keystore.SavedKey, owners []keyOwner) *keyOwner {
	for i := range owners {
		if owners[i].spki == k.SPKI {
			return &owners[i]
		}
	}
	return nil
}

// withoutCopy names the authorities whose key file is not among the keys.
func withoutCopy(keys []*keystore.SavedKey, owners []keyOwner, dir string) []string {
	var names []string
	for _, owner := range owners {
		found := false
		for _, k := range keys {
			found = found || owner.holds(k, dir)
		}
		if !found {
			names = append(names, fmt.Sprintf("%s (%s)", owner.name, owner.file))
		}
	}
	return names
}

// holds reports whether a key is that of the authority: by its certificate or, while it
// waits for that, by its file.
func (o *keyOwner) holds(k *keystore.SavedKey, dir string) bool {
	if o.spki != ([32]byte{}) {
		return o.spki == k.SPKI
	}
	return o.file == filepath.Join(dir, filepath.FromSlash(k.File))
}

// admits says why a key of a backup does not belong where it says in this directory.
func admits(k *keystore.SavedKey, owners []keyOwner, dir string) error {
	path := filepath.Join(dir, filepath.FromSlash(k.File))
	for i := range owners {
		if !owners[i].holds(k, dir) {
			continue
		}
		if owners[i].file != path {
			return fmt.Errorf("it is the key of authority %q, which has it in %s", owners[i].name, owners[i].file)
		}
		return nil
	}
	return errors.New("it is no key of an authority of this ledger: --all restores it all the same")
}
