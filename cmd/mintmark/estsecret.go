package main

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/cobra"
)

func newESTSecret(a *app) *cobra.Command {
	var user, out string
	c := a.command("secret --user NAME [flags]", "Make an enrollment credential",
		`Secret generates a password for EST and prints the lines for the configuration,
which hold only its SHA-256. With --out the credential is written to a file as
name:password, mode 0600, for est enroll --password-file; without, it is
printed.`,
		"  mintmark est secret --user line-2 --out line-2.credential",
		cobra.NoArgs, func(c *cobra.Command, _ []string) error {
			if err := checkUser(user); err != nil {
				return err
			}
			secret := rand.Text()
			sum := sha256.Sum256([]byte(secret))
			hash := hex.EncodeToString(sum[:])
			if out != "" {
				if err := createSecret(out, user+":"+secret+"\n"); err != nil {
					return err
				}
			}
			if a.json {
				answer := struct {
					User   string `json:"user"`
					Secret string `json:"secret,omitempty"`
					SHA256 string `json:"sha256"`
				}{User: user, SHA256: hash}
				if out == "" {
					answer.Secret = secret
				}
				return a.printJSON(answer)
			}
			if out == "" {
				if _, err := fmt.Fprintf(a.out, "secret: %s\n\n", secret); err != nil {
					return err
				}
			}
			a.say("under passwords of a label in mintmark.yaml:")
			_, err := fmt.Fprintf(a.out, "- user: %q\n  sha256: %s\n", user, hash)
			return err
		})
	c.Flags().StringVar(&user, "user", "", "`name` that goes with the password")
	c.Flags().StringVar(&out, "out", "", "`file` for name:password; it must not exist")
	require(c, "user")
	return c
}

// createSecret writes a file that only its owner may read.
func createSecret(name, text string) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s exists, and a secret is never overwritten: name another file", name)
	}
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		os.Remove(name)
		return fmt.Errorf("writing %s: %w", name, err)
	}
	return nil
}
