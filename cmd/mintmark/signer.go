package main

import (
	"context"
	"crypto"
	"log/slog"
	"strings"

	"mintmark/internal/keystore"
)

// openSigner opens a person's own key: a file, or what a pkcs11: URI names in
// their token. The returned function closes the token.
func (a *app) openSigner(ctx context.Context, name string) (crypto.Signer, func() error, error) {
	if !strings.HasPrefix(strings.ToLower(name), "pkcs11:") {
		key, err := readKey(name)
		return key, func() error { return nil }, err
	}
	store, err := keystore.Open(keystore.Config{AnyModule: true, Logger: a.logger(slog.LevelWarn)})
	if err != nil {
		return nil, nil, err
	}
	key, err := store.Signer(ctx, name, nil)
	if err != nil {
		store.Close()
		return nil, nil, err
	}
	return key, store.Close, nil
}
