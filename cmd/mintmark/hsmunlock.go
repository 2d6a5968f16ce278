package main

import (
	"context"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"mintmark/admin"
	"mintmark/internal/keystore"
)

func newHSMUnlock(a *app) *cobra.Command {
	var u admin.HSMUnlock
	var pinFile string
	c := a.command("unlock NAME [flags]", "Give a token its PIN", `Unlock gives a token of the running server its PIN, after a start or where the
token refused the one it had. The PIN is typed without echo, or is one line of
standard input, or stands in a file; it goes to the server over its socket, or
over TLS, and is kept nowhere else. Where the token wants a quorum, each person
runs this and types a part, in the order in which the PIN was split; a token
with a PIN pad or card readers of its own asks there.

A PIN that was refused is not tried again by itself, because tokens lock after
a few wrong ones. --again has the configured PIN tried once more, after it was
put right; --final-try goes on where the token says that one more wrong PIN
locks it, and takes an officer.`,
		`  mintmark hsm unlock factory --dir ./factory
  mintmark hsm unlock factory --spare --dir ./factory
  mintmark hsm unlock factory --again --dir ./factory`, cobra.ExactArgs(1), func(c *cobra.Command, args []string) error {
			if !a.serverRuns() {
				return fmt.Errorf("no server runs on %s: there is nothing to unlock, start it first", a.dir)
			}
			return a.withClient(c.Context(), func(client *admin.Client) error {
				list, err := client.HSM(c.Context())
				if err != nil {
					return err
				}
				leg, err := legOf(list, args[0], u.Spare)
				if err != nil {
					return err
				}
				if err := a.anotherPerson(c.Context(), client, leg); err != nil {
					return err
				}
				if u.PIN, err = a.askPIN(args[0], pinFile, leg); err != nil {
					return err
				}
				token, err := client.UnlockHSM(c.Context(), args[0], u)
				if err != nil {
					return err
				}
				if a.json {
					return a.printJSON(token)
				}
				if leg, err = legOf([]admin.HSMToken{token}, args[0], u.Spare); err != nil {
					return err
				}
				if leg.PartsTyped < leg.PartsNeeded {
					a.say("%s were typed: the next is another person's", partsWords(leg))
				} else {
					a.say("token %s is %s", args[0], leg.State)
				}
				return nil
			})
		})
	f := c.Flags()
	f.BoolVar(&u.Spare, "spare", false, "the spare of the token")
	f.BoolVar(&u.Again, "again", false, "try a PIN again that was refused and put right")
	f.BoolVar(&u.FinalTry, "final-try", false, "go on although one more wrong PIN locks the token")
	f.StringVar(&pinFile, "pin-file", "", "`file` with the PIN, or one's part of it, mode 0400")
	return c
}

// legOf finds a token, or its spare, by its name.
func legOf(list []admin.HSMToken, name string, spare bool) (admin.HSMLeg, error) {
	i := slices.IndexFunc(list, func(t admin.HSMToken) bool { return t.Name == name })
	if i < 0 {
		return admin.HSMLeg{}, fmt.Errorf("the server has no token %q: mintmark hsm status shows them", name)
	}
	j := slices.IndexFunc(list[i].Legs, func(l admin.HSMLeg) bool { return l.Spare == spare })
	if j < 0 {
		return admin.HSMLeg{}, fmt.Errorf("token %q has no spare", name)
	}
	return list[i].Legs[j], nil
}

// anotherPerson refuses who has typed a part of the PIN already, before they type another.
func (a *app) anotherPerson(ctx context.Context, client *admin.Client, leg admin.HSMLeg) error {
	if len(leg.PartsBy) == 0 {
		return nil
	}
	status, err := client.Status(ctx)
	if err != nil {
		return err
	}
	if slices.Contains(leg.PartsBy, status.Actor) {
		return fmt.Errorf("%s has typed a part of the PIN already: log in as the other person (docs/roles.md); sudo is the same person", printable(status.Actor))
	}
	return nil
}

// askPIN returns the PIN, or one's part of it, for a token that waits for one; nothing
// for one that has its PIN from elsewhere.
func (a *app) askPIN(name, file string, leg admin.HSMLeg) ([]byte, error) {
	if file != "" {
		return keystore.SecretFile(file, admin.MaxPIN)
	}
	if leg.PartsNeeded == 0 {
		return nil, nil
	}
	what := "PIN of token " + name
	if leg.PartsNeeded > 1 {
		what = fmt.Sprintf("part %d of %d of the PIN of token %s", leg.PartsTyped+1, leg.PartsNeeded, name)
	}
	return a.readHidden(what)
}
