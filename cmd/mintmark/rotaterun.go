package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"mintmark/admin"
)

func newRotateRun(a *app) *cobra.Command {
	var to, ceremony string
	c := a.command("run ID [flags]", "Move a rotation as far as its gates allow",
		`Run goes from state to state, writes a line before and after each step, and
stops where a gate misses something: it says what, and what to type. What was
cut off goes on with the same command. The exit code is 0 if the rotation has
moved, has come as far as --to or is over, and 3 if it waits for a time, for
devices, for people or for a ceremony.

Where a key is elsewhere, --ceremony-out writes the file of the ceremony that
makes what is lacking, and beside it the files that this names; rotate bring
takes what comes of it.`,
		`  mintmark rotate run k3f7q2xw4m --dir ./factory
  mintmark rotate run k3f7q2xw4m --to CLOUD_ACTIVE_BOTH --dir ./factory
  mintmark rotate run k3f7q2xw4m --ceremony-out stick/root2.yaml --dir ./factory`,
		cobra.ExactArgs(1), func(c *cobra.Command, args []string) error {
			to = strings.ToUpper(to)
			if _, err := os.Lstat(ceremony); ceremony != "" && !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("%s exists: name a file that does not, in a folder of its own", ceremony)
			}
			return a.withClient(c.Context(), func(client *admin.Client) error {
				done, err := a.moveRotation(ceremony, func(progress func(admin.RotationEntry)) (admin.RotationDone, error) {
					return client.RunRotation(c.Context(), args[0], to, progress)
				})
				if err != nil {
					return noRotation(args[0], err)
				}
				return errors.Join(a.takeCeremony(done.RotationStatus, ceremony), blockedUnless(done, to))
			})
		})
	c.Flags().StringVar(&to, "to", "", "stop in this `state` (default as far as it goes)")
	c.Flags().StringVar(&ceremony, "ceremony-out", "", "`file` for the ceremony, if something must be made elsewhere")
	return c
}

// blockedUnless is errRotationBlocked for a rotation that has not moved and should have.
func blockedUnless(done admin.RotationDone, to string) error {
	switch {
	case done.Rotation.Over, to != "" && reached(done.RotationStatus, to):
		return nil
	case done.Moved && done.Waiting == nil:
		return nil
	}
	return errRotationBlocked
}

// reached reports whether a rotation is in a state or past it.
func reached(s admin.RotationStatus, state string) bool {
	plan, err := s.ReadPlan()
	if err != nil {
		return s.Rotation.State == state
	}
	states := statesOf(plan)
	at, of := slices.Index(states, s.Rotation.State), slices.Index(states, state)
	return of >= 0 && at >= of
}

// moveRotation shows a rotation as it moves, and where it has stopped; ceremony is the
// file for one, if it was asked for.
func (a *app) moveRotation(ceremony string, move func(func(admin.RotationEntry)) (admin.RotationDone, error)) (admin.RotationDone, error) {
	done, err := move(func(e admin.RotationEntry) {
		fmt.Fprint(a.err, folded(e.At.UTC().Format("15:04:05 "), strings.Repeat(" ", 9), fmt.Sprintf("%s %s %s%s", e.State, e.Step, e.Event, textOf(e))))
	})
	if err != nil {
		return done, err
	}
	if a.json {
		return done, a.printJSON(done)
	}
	_, err = fmt.Fprintf(a.out, "rotation %s is in %s since %s\n", done.Rotation.ID, rotationState(done.Rotation), date(done.Rotation.Since))
	if ceremony != "" {
		// It is written now.
		done.Next = slices.DeleteFunc(done.Next, func(command string) bool { return strings.Contains(command, " --ceremony-out ") })
	}
	a.sayBlocked(done.RotationStatus)
	return done, err
}

// maxShown bounds what is shown of a line of the journal while it goes on.
const maxShown = 160

func textOf(e admin.RotationEntry) string {
	if e.Text == "" {
		return ""
	}
	text := []rune(printable(oneLine(e.Text)))
	if len(text) > maxShown {
		return ": " + string(text[:maxShown]) + "... (rotate journal has all of it)"
	}
	return ": " + string(text)
}

// sayBlocked says what the next gate misses, and what to type.
func (a *app) sayBlocked(s admin.RotationStatus) {
	for _, line := range s.Blocked {
		if s.Waiting == nil || line != s.Waiting.What {
			fmt.Fprint(a.err, hanging("lacking: ", line))
		}
	}
	if s.Waiting != nil {
		fmt.Fprint(a.err, hanging("elsewhere: ", s.Waiting.What))
	}
	a.sayNext(s)
}

func newRotateBring(a *app) *cobra.Command {
	return a.command("bring ID FILE...", "Bring what a ceremony has made for a rotation",
		`Bring gives a rotation the certificates that were made elsewhere: the new root,
what leads from one root to the other, and the issuing CAs under the new root.
Each is checked like a stranger's. Where two officers have a key it takes both:
the proposal names each certificate by its subject and SHA-256, which the second
one compares with what came out of the ceremony. Nothing is switched by it:
rotate run goes on from there.`,
		`  mintmark rotate bring k3f7q2xw4m made/outputs/*.pem --dir ./factory`,
		cobra.MinimumNArgs(2), func(c *cobra.Command, args []string) error {
			var text []byte
			for _, name := range args[1:] {
				list, err := readCertificates(name)
				if err != nil {
					return err
				}
				text = append(text, certificatePEM(list...)...)
			}
			return a.withClient(c.Context(), func(client *admin.Client) error {
				brought, err := client.BringRotation(c.Context(), args[0], text)
				if err != nil {
					return noRotation(args[0], err)
				}
				if a.json {
					return a.printJSON(brought)
				}
				for _, line := range brought.Brought {
					fmt.Fprint(a.err, hanging("brought: ", line))
				}
				a.say("next: mintmark rotate run %s", args[0])
				return nil
			})
		})
}

func newRotateRollback(a *app) *cobra.Command {
	var reason string
	c := a.command("rollback ID --reason TEXT", "Take back what a rotation has done",
		`Rollback serves from the old CA again and undoes what was done, in the reverse
order. Nothing is deleted that a device may have: where some have the new
anchors or a certificate under the new CA, it stays known and in the clouds. It
works until trust in the old CA was taken away. A rollback that was cut off goes
on with the same command.

An emergency has shut out a key that is in wrong hands: as many officers as for
any gate sign first for letting it in again, with rotate approve --gate
ROLLED_BACK.`,
		`  mintmark rotate rollback k3f7q2xw4m --reason "line 2 does not verify" --dir ./factory`,
		cobra.ExactArgs(1), func(c *cobra.Command, args []string) error {
			return a.withClient(c.Context(), func(client *admin.Client) error {
				done, err := a.moveRotation("", func(progress func(admin.RotationEntry)) (admin.RotationDone, error) {
					return client.RollBackRotation(c.Context(), args[0], reason, progress)
				})
				if err != nil {
					return noRotation(args[0], err)
				}
				return blockedUnless(done, "")
			})
		})
	c.Flags().StringVar(&reason, "reason", "", "why, for the journal")
	require(c, "reason")
	return c
}

func newRotatePause(a *app) *cobra.Command {
	var reason string
	c := a.command("pause ID --reason TEXT", "Stop a rotation where it is",
		"Pause keeps a rotation in its state until rotate resume. Devices are served as\nthey were.",
		`  mintmark rotate pause k3f7q2xw4m --reason "the cloud is down" --dir ./factory`,
		cobra.ExactArgs(1), func(c *cobra.Command, args []string) error {
			return a.changePause(c.Context(), args[0], func(client *admin.Client) (admin.Rotation, error) {
				return client.PauseRotation(c.Context(), args[0], reason)
			})
		})
	c.Flags().StringVar(&reason, "reason", "", "why, for whoever wants to go on")
	require(c, "reason")
	return c
}

func newRotateResume(a *app) *cobra.Command {
	return a.command("resume ID", "Let a paused rotation go on", "Resume ends a pause. Rotate run goes on from there.",
		"  mintmark rotate resume k3f7q2xw4m --dir ./factory", cobra.ExactArgs(1), func(c *cobra.Command, args []string) error {
			return a.changePause(c.Context(), args[0], func(client *admin.Client) (admin.Rotation, error) {
				return client.ResumeRotation(c.Context(), args[0])
			})
		})
}

func (a *app) changePause(ctx context.Context, id string, change func(*admin.Client) (admin.Rotation, error)) error {
	return a.withClient(ctx, func(client *admin.Client) error {
		r, err := change(client)
		if err != nil {
			return noRotation(id, err)
		}
		if a.json {
			return a.printJSON(r)
		}
		if r.Paused != "" {
			fmt.Fprint(a.err, folded("", "", fmt.Sprintf("rotation %s stays in %s: %s", r.ID, r.State, r.Paused)))
		} else {
			a.say("rotation %s goes on from %s: mintmark rotate run %s", r.ID, r.State, r.ID)
		}
		return nil
	})
}
