package main

import (
	"crypto"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// checkOut says why files could not be written, before anything is asked for that
// would then be lost. Names that are empty are left out.
func checkOut(names ...string) error {
	for _, name := range names {
		if name == "" {
			continue
		}
		if info, err := os.Stat(name); err == nil && info.IsDir() {
			return fmt.Errorf("%s is a directory: name a file in it", name)
		}
		// As replaceFile will do it: permissions alone do not tell.
		f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".*")
		if errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%s cannot be written: there is no directory %s", name, filepath.Dir(name))
		}
		if err != nil {
			return fmt.Errorf("%s cannot be written: %w", name, errors.Unwrap(err))
		}
		if err := errors.Join(f.Close(), os.Remove(f.Name())); err != nil {
			return err
		}
	}
	return nil
}

// warnReadable warns of a secret that others than its owner can read.
func (a *app) warnReadable(name string) {
	if name == "" {
		return
	}
	if info, err := os.Stat(name); err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o077 != 0 {
		a.say("warning: %s can be read by others than its owner: chmod 600 %s", name, name)
	}
}

// checkUser refuses a name that HTTP Basic cannot carry (RFC 7617, Section 2).
func checkUser(name string) error {
	if strings.ContainsFunc(name, func(r rune) bool { return r == ':' || r < ' ' || r == 0x7f }) {
		return usagef("--user %q holds a character that HTTP Basic cannot carry in a name, as a colon", name)
	}
	return nil
}

// checkKeyType refuses a type of key that is not made here, also where there is a
// key already.
func checkKeyType(kind string) error {
	if kind != "" && !known(strings.ToUpper(kind)) {
		return noKeyType(kind)
	}
	return nil
}

func noKeyType(kind string) error {
	return usagef("--key-type %q is none of P-256, P-384, RSA-2048, RSA-3072", kind)
}

// checkKey refuses a key that was there and cannot be a device's, and says if it is
// of another type than was asked for.
func (a *app) checkKey(name string, key crypto.Signer, kind string) error {
	is, err := keyKind(key.Public())
	if err != nil {
		return fmt.Errorf("%s: %w", printable(name), err)
	}
	if kind != "" && !strings.EqualFold(is, kind) {
		a.say("warning: the key in %s is there already, and is %s: --key-type %s is for a key that is made", printable(name), is, strings.ToUpper(kind))
	}
	return nil
}
