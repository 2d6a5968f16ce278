package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"mintmark/internal/keystore"
)

func newKeyBackup(a *app) *cobra.Command {
	var f backupFlags
	var out string
	c := a.command("backup --out FILE [flags]", "Copy all key files into one file",
		`Backup writes the keys of DIR/keys, and the key that signs heads of the issuance
log, into one text file, each encrypted with the passphrase of the backup: at
least 12 characters, best not that of the key files. It reads back what it has
written, opens it and signs with each key. The file must not exist.

A server may run meanwhile. Keep the file and its passphrase apart, and neither
on this host. docs/backup.md says what else a backup needs.`,
		`  mintmark key backup --dir ./factory --out keys.backup
  mintmark key backup --dir ./factory --out keys.backup --passphrase-file /run/keys/backup`, cobra.NoArgs,
		func(c *cobra.Command, _ []string) error {
			if err := a.localFiles(c); err != nil {
				return err
			}
			if exists(out) {
				return fmt.Errorf("%s exists: name a file that does not", out)
			}
			store, _, err := a.keyFiles()
			if err != nil {
				return err
			}
			defer store.Close()
			backup, err := store.Backup(c.Context(), time.Now())
			if err != nil {
				return err
			}
			passphrase, err := f.read(a.readHiddenTwice, newBackupPrompt)
			if err != nil {
				return err
			}
			defer clear(passphrase)
			if err := backup.WriteFile(c.Context(), out, passphrase); err != nil {
				return err
			}
			// After the keys are safe: a ledger that does not open is no reason to have no copy.
			owners, unknown := a.keyOwners(c.Context())
			if unknown != nil {
				a.say("the backup was written, but not held against the authorities of the ledger: %v", unknown)
			}
			missing := withoutCopy(backup.Keys, owners, a.dir)
			if err := a.printBackup(out, backup, owners, missing); err != nil {
				return err
			}
			if len(missing) > 0 {
				return fmt.Errorf("the backup was written, but keys of authorities are in files elsewhere, which it does not have: %s", strings.Join(missing, ", "))
			}
			return nil
		})
	c.Flags().StringVar(&out, "out", "", "`file` to be written: it must not exist")
	f.bind(c)
	require(c, "out")
	return c
}

func newKeyVerify(a *app) *cobra.Command {
	var f backupFlags
	c := a.command("verify FILE [flags]", "Open a backup of key files, and say what is in it",
		`Verify reads a backup, opens every key in it, and signs with it. With --dir on
the command line it says which authority each key belongs to, and fails if the
backup lacks a key file of one.`,
		`  mintmark key verify keys.backup
  mintmark key verify keys.backup --dir ./factory --passphrase-file /run/keys/backup`, cobra.ExactArgs(1),
		func(c *cobra.Command, args []string) error {
			if err := a.localFiles(c); err != nil {
				return err
			}
			known := c.Flags().Changed("dir")
			if known {
				if _, err := a.keySettings(); err != nil {
					return err
				}
			}
			backup, err := f.open(c, a, args[0])
			if err != nil {
				return err
			}
			var owners []keyOwner
			if known {
				if owners, err = a.keyOwners(c.Context()); err != nil {
					return err
				}
			}
			missing := withoutCopy(backup.Keys, owners, a.dir)
			if err := a.printBackup(args[0], backup, owners, missing); err != nil {
				return err
			}
			if len(missing) > 0 {
				return fmt.Errorf("the backup lacks the keys of authorities: %s", strings.Join(missing, ", "))
			}
			return nil
		})
	c.ValidArgsFunction = nil // files
	f.bind(c)
	return c
}

// open reads a backup and opens its keys.
func (f *backupFlags) open(c *cobra.Command, a *app, file string) (*keystore.Backup, error) {
	backup, err := keystore.ReadBackup(file)
	if err != nil {
		return nil, err
	}
	passphrase, err := f.read(a.readHidden, backupPrompt)
	if err != nil {
		return nil, err
	}
	defer clear(passphrase)
	err = backup.Open(c.Context(), passphrase)
	if errors.Is(err, keystore.ErrPassphrase) {
		err = fmt.Errorf("%w; this is the passphrase of the backup, not that of the key files", err)
	}
	return backup, err
}

func (a *app) printBackup(file string, backup *keystore.Backup, owners []keyOwner, missing []string) error {
	keys := make([]keyJSON, 0, len(backup.Keys))
	for _, k := range backup.Keys {
		keys = append(keys, describeSaved(k, owners))
	}
	if a.json {
		return a.printJSON(struct {
			Backup  string    `json:"backup"`
			Made    time.Time `json:"made"`
			Keys    []keyJSON `json:"keys"`
			Missing []string  `json:"missing,omitempty"`
		}{file, backup.Made, keys, missing})
	}
	t := newTable(a.out, "FILE", "KEY", "SHA-256", "AUTHORITY")
	for _, k := range keys {
		t.row(k.File, k.Algorithm, k.SPKI, k.shown())
	}
	if err := t.flush(); err != nil {
		return err
	}
	a.say("%s of %s: every key in it opens and signs", file, date(backup.Made))
	return nil
}
