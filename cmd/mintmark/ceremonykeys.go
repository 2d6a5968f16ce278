package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"mintmark/ca/ceremony"
	"mintmark/internal/keystore"
	"mintmark/internal/keystore/token"
)

// ceremonyKeys is where the keys of a ceremony are and what opens them.
type ceremonyKeys struct {
	dir, passphrase string
	pins            []string

	file  *ceremony.File
	typed []keystore.TokenConfig // tokens, of which some have a PIN that is typed
	ask   func() ([]byte, error) // for the passphrase, nil if nobody types it
}

func (k *ceremonyKeys) bind(c *cobra.Command) {
	c.Flags().StringVar(&k.dir, "keys", "", "`folder` that relative paths of key files begin in")
	c.Flags().StringVar(&k.passphrase, "passphrase-file", "", "`file` with the passphrase of the key files, mode 0400 (default: typed)")
	c.Flags().StringArrayVar(&k.pins, "pin-file", nil, "PIN of a token in a file, as `TOKEN=FILE`, mode 0400 (default: typed); may be repeated")
}

// open opens a key store for a ceremony: the tokens that its file names, and no other module.
func (k *ceremonyKeys) open(a *app, f *ceremony.File, inputs string) (*keystore.Store, error) {
	tokens, err := k.tokens(f, inputs)
	if err != nil {
		return nil, err
	}
	k.file = f
	config := keystore.Config{Dir: k.dir, Tokens: tokens, Logger: a.logger(slog.LevelWarn)}
	made, used := fileKeys(f)
	switch {
	case len(made)+len(used) == 0:
		return keystore.Open(config)
	case k.dir == "":
		return nil, usagef("--keys is required: the ceremony has key files, and it says where they are")
	case k.passphrase != "":
		config.Passphrase = keystore.PassphraseFile(k.passphrase)
		// What is wrong with it is to be known before anything is made.
		if err := k.tryPassphrase(config.Passphrase); err != nil {
			return nil, err
		}
		return keystore.Open(config)
	case len(used) == 0:
		k.ask = remembered(func() ([]byte, error) {
			return a.readHiddenTwice(fmt.Sprintf("Passphrase for the key files, at least %d characters", minKeyPassphrase))
		})
	default:
		k.ask = remembered(func() ([]byte, error) { return a.readHidden("Passphrase of the key files") })
	}
	config.Passphrase = k.ask
	return keystore.Open(config)
}

// minKeyPassphrase is the length below which package keystore encrypts no new key file.
const minKeyPassphrase = 8

// tryPassphrase refuses a passphrase that a new key file cannot be encrypted with.
func (k *ceremonyKeys) tryPassphrase(ask func() ([]byte, error)) error {
	passphrase, err := ask()
	if err != nil {
		return err
	}
	defer clear(passphrase)
	if made, _ := fileKeys(k.file); len(made) > 0 && len(passphrase) < minKeyPassphrase {
		return fmt.Errorf("the passphrase of a new key file must not be shorter than %d characters: nothing was done", minKeyPassphrase)
	}
	return nil
}

// fileKeys are the URIs of the key files that a ceremony makes, and of those that are there before.
func fileKeys(f *ceremony.File) (made, used []string) {
	file := func(uri string) bool { return strings.HasPrefix(uri, "softkms:") }
	for _, one := range f.Authorities {
		if file(one.Key) {
			used = append(used, one.Key)
		}
	}
	for _, s := range f.Steps {
		switch {
		case s.Root != nil && file(s.Root.Key):
			made = append(made, s.Root.Key)
		case s.Destroy != nil && file(s.Destroy.Key) && !slices.Contains(made, s.Destroy.Key):
			used = append(used, s.Destroy.Key)
		}
	}
	return made, used
}

// tokens are those of the file. Files with their PINs are beside it, unless --pin-file names them.
func (k *ceremonyKeys) tokens(f *ceremony.File, inputs string) ([]keystore.TokenConfig, error) {
	files := make(map[string]string)
	for _, text := range k.pins {
		name, file, ok := strings.Cut(text, "=")
		if !ok || file == "" || files[name] != "" {
			return nil, usagef("--pin-file: %q is not TOKEN=FILE, or names a token twice", text)
		}
		files[name] = file
	}
	var list []keystore.TokenConfig
	for _, t := range f.Tokens {
		one := keystore.TokenConfig{
			Name: t.Name, URI: t.URI, PIN: pinOf(t.PIN, inputs), Sessions: t.Sessions,
			Attempt: t.Attempt, Deadline: t.Deadline, KeepAlive: t.KeepAlive, Accept: t.Accept,
		}
		if file := files[t.Name]; file != "" {
			one.PIN = keystore.PIN{File: file}
			delete(files, t.Name)
		}
		if t.Spare != nil {
			one.Spare = &keystore.SpareConfig{URI: t.Spare.URI, PIN: pinOf(t.Spare.PIN, inputs)}
		}
		list = append(list, one)
	}
	for name := range files {
		return nil, usagef("--pin-file: the ceremony has no token %q", name)
	}
	k.typed = list
	return list, nil
}

// pinOf is where a PIN comes from; one that the file says nothing of is typed by one person.
func pinOf(p ceremony.PIN, inputs string) keystore.PIN {
	pin := keystore.PIN{File: p.File, Credential: p.Credential, Operators: p.Operators, Pad: p.Pad}
	if pin.File != "" && !filepath.IsAbs(pin.File) {
		pin.File = filepath.Join(inputs, pin.File)
	}
	if pin == (keystore.PIN{}) {
		pin.Operators = 1
	}
	return pin
}

// unlock has the passphrase and the PINs typed that nothing else gives, before anything is made: what
// does not open ends the ceremony before it has begun.
func (k *ceremonyKeys) unlock(ctx context.Context, a *app, store *keystore.Store) error {
	if k.ask != nil {
		if err := k.tryPassphrase(k.ask); err != nil {
			return err
		}
	}
	_, used := fileKeys(k.file)
	for _, uri := range used {
		if _, err := store.Signer(ctx, uri, nil); err != nil {
			return fmt.Errorf("%w: nothing was done", err)
		}
	}
	if len(k.typed) == 0 {
		return nil
	}
	supervised := make(map[string]*token.Token)
	for _, t := range store.Tokens() {
		supervised[t.Name()] = t
	}
	for _, one := range k.typed {
		t := supervised[one.Name]
		if t == nil {
			return fmt.Errorf("token %q is none of the key store's", one.Name)
		}
		if err := a.unlockLeg(ctx, t, one.PIN, false); err != nil {
			return err
		}
		if one.Spare != nil {
			if err := a.unlockLeg(ctx, t, one.Spare.PIN, true); err != nil {
				return err
			}
		}
		// Looking for a key logs in, also with a PIN that nobody types.
		if _, err := t.Find(ctx, token.KeyName{Label: []byte("mintmark ceremony")}); err != nil && !errors.Is(err, token.ErrNotFound) {
			return fmt.Errorf("%w: nothing was done", err)
		}
	}
	return nil
}

// unlockLeg has one token's PIN typed, in as many parts as there are people for it.
func (a *app) unlockLeg(ctx context.Context, t *token.Token, pin keystore.PIN, spare bool) error {
	name := "token " + t.Name()
	if spare {
		name = "the spare of " + name
	}
	if pin.Pad {
		a.say("Enter the PIN of %s at its own pad, or present the cards", name)
		_, err := t.Unlock(ctx, token.Unlock{Spare: spare, By: "those present"})
		return err
	}
	for part := 1; part <= pin.Operators; part++ {
		prompt := "PIN of " + name
		if pin.Operators > 1 {
			prompt += fmt.Sprintf(", part %d of %d", part, pin.Operators)
		}
		typed, err := a.readHidden(prompt)
		if err != nil {
			return err
		}
		if _, err := t.Unlock(ctx, token.Unlock{Spare: spare, By: fmt.Sprintf("person %d", part), PIN: typed}); err != nil {
			return err
		}
	}
	return nil
}
