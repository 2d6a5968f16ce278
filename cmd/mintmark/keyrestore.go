package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"mintmark/internal/keystore"
)

func newKeyRestore(a *app) *cobra.Command {
	var f backupFlags
	var all bool
	c := a.command("restore FILE [flags]", "Put keys of a backup back into the state directory",
		`Restore writes the keys of a backup that are not there, encrypted with the
passphrase of the key files of --dir. It overwrites nothing: of a key that is
there already it says so, and where there is another one it refuses. The exit
status is 1 if one key was refused; the others are restored all the same.

A key that belongs to no authority of the ledger is refused: rebuild the ledger
first (mintmark audit rebuild), or say --all. The key that signs heads belongs
to the server whose name it bears.`,
		`  mintmark key restore keys.backup --dir ./factory
  mintmark key restore keys.backup --dir ./factory --all --passphrase-file /run/keys/backup`, cobra.ExactArgs(1),
		func(c *cobra.Command, args []string) error {
			if err := a.localFiles(c); err != nil {
				return err
			}
			store, settings, err := a.keyFiles()
			if err != nil {
				return err
			}
			defer store.Close()
			var owners []keyOwner
			if !all {
				if owners, err = a.keyOwners(c.Context()); err != nil {
					return fmt.Errorf("the authorities of the ledger are not known, and without them a key only goes back with --all: %w", err)
				}
			}
			backup, err := f.open(c, a, args[0])
			if err != nil {
				return err
			}
			list := make([]keyJSON, 0, len(backup.Keys))
			refused := 0
			for _, k := range backup.Keys {
				j := describeSaved(k, owners)
				var problem error
				switch {
				case k.Name != "":
					problem = a.ownHeadsKey(k, settings.Server)
				case !all:
					problem = admits(k, owners, a.dir)
				}
				if j.State, err = restoreKey(c.Context(), store, k, problem); err != nil {
					j.Reason = err.Error()
					refused++
				}
				list = append(list, j)
			}
			if err := a.printRestored(args[0], list); err != nil {
				return err
			}
			if refused > 0 {
				return fmt.Errorf("%s in %s not restored", things(int64(refused), "key"), args[0])
			}
			return nil
		})
	c.ValidArgsFunction = nil // files
	f.bind(c)
	c.Flags().BoolVar(&all, "all", false, "also restore keys that belong to no authority of the ledger")
	return c
}

// ownHeadsKey says why a key cannot sign the heads of this server.
func (a *app) ownHeadsKey(k *keystore.SavedKey, server string) error {
	if want := server + ".issuance-log"; k.Name != want {
		return fmt.Errorf("it signs heads as %s, and this server as %s: every server has a key of its own", k.Name, want)
	}
	return nil
}

// restoreKey restores a key that nothing speaks against, and says what it found.
func restoreKey(ctx context.Context, store *keystore.Store, k *keystore.SavedKey, problem error) (string, error) {
	if problem != nil {
		return "refused", problem
	}
	written, err := store.Restore(ctx, k)
	switch {
	case err != nil:
		return "refused", err
	case written:
		return "restored", nil
	}
	return "present", nil
}

func (a *app) printRestored(file string, list []keyJSON) error {
	if a.json {
		return a.printJSON(struct {
			Backup string    `json:"backup"`
			Dir    string    `json:"dir"`
			Keys   []keyJSON `json:"keys"`
		}{file, a.dir, list})
	}
	t := newTable(a.out, "FILE", "KEY", "STATE", "AUTHORITY")
	for _, k := range list {
		t.row(k.File, k.Algorithm, k.State, k.shown())
	}
	if err := t.flush(); err != nil {
		return err
	}
	for _, k := range list {
		if k.Reason != "" {
			a.say("%s was not restored: %s", k.File, printable(k.Reason))
		}
	}
	return nil
}
