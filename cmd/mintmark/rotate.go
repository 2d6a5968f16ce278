package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"mintmark/admin"
)

// errRotationBlocked says that a rotation has not moved, because something is lacking that
// was said in words.
var errRotationBlocked = errors.New("the rotation does not go on yet")

func newRotate(a *app) *cobra.Command {
	c := a.group("rotate", "Replace a root or an issuing CA while devices go on working",
		`Rotate replaces a root by another root, or an issuing CA by another under the
same root, in the states that docs/rotation.md describes. Plan says everything
that will be done; officers sign the hash of that; run goes as far as the next
gate allows and says what is lacking; rollback takes it back.`,
		`  mintmark rotate plan --old root --new root2 --dir ./factory
  mintmark rotate approve k3f7q2xw4m --key alice.key --dir ./factory
  mintmark rotate run k3f7q2xw4m --dir ./factory
  mintmark rotate status --dir ./factory`)
	c.AddCommand(newRotatePlan(a), newRotateApprove(a), newRotateRun(a), newRotateBring(a), newRotateStatus(a), newRotatePause(a),
		newRotateResume(a), newRotateRollback(a), newRotateList(a), newRotateJournal(a),
		newRotateDevices(a), newRotateWaive(a), newRotateReported(a), newRotateBundle(a))
	return c
}

func newRotateList(a *app) *cobra.Command {
	return a.command("list", "List rotations, the oldest first", "List shows the rotation that runs and those that are over.",
		"  mintmark rotate list --dir ./factory", cobra.NoArgs, func(c *cobra.Command, _ []string) error {
			return a.withClient(c.Context(), func(client *admin.Client) error {
				list, err := client.Rotations(c.Context())
				if err != nil {
					return err
				}
				if a.json {
					return a.printJSON(admin.Rotations{Rotations: list})
				}
				t := newTable(a.out, "ID", "KIND", "OLD", "NEW", "STATE", "SINCE", "BEGUN", "BY")
				for _, r := range list {
					t.row(r.ID, rotationKind(r), r.Old, r.New, rotationState(r), date(r.Since), date(r.At), r.Actor)
				}
				return t.flush()
			})
		})
}

func newRotateJournal(a *app) *cobra.Command {
	var after int64
	c := a.command("journal ID [flags]", "Show what a rotation has done, line by line",
		`Journal prints every line that a rotation has written: before each step, after
it with what was seen from outside, and why one has failed.`,
		"  mintmark rotate journal k3f7q2xw4m --dir ./factory", cobra.ExactArgs(1), func(c *cobra.Command, args []string) error {
			if after < 0 {
				return usagef("--after %d is not the number of a line", after)
			}
			return a.withClient(c.Context(), func(client *admin.Client) error {
				all := admin.RotationJournal{Entries: []admin.RotationEntry{}}
				for next := after; ; {
					page, err := client.RotationJournal(c.Context(), args[0], next)
					if err != nil {
						return noRotation(args[0], err)
					}
					all.Entries = append(all.Entries, page.Entries...)
					if page.Next <= next {
						break
					}
					next = page.Next
				}
				if a.json {
					return a.printJSON(all)
				}
				for _, e := range all.Entries {
					if _, err := fmt.Fprint(a.out, entryWords(e)); err != nil {
						return err
					}
				}
				return nil
			})
		})
	c.Flags().Int64Var(&after, "after", 0, "only lines after this `number`")
	return c
}

// entryWords is one line of a journal, broken into those of a terminal.
func entryWords(e admin.RotationEntry) string {
	text := hanging(fmt.Sprintf("%-4d ", e.Number), fmt.Sprintf("%s UTC %s, %s: %s %s", e.At.UTC().Format("2006-01-02 15:04:05"), e.Actor, e.State, e.Step, e.Event))
	if e.Text != "" {
		text += folded("     ", "     ", e.Text)
	}
	return text
}

// runningRotation finds the one that runs or, if there is none, the last one. From
// TRUST_REMOVED on another may run beside one that waits: for clouds, and for certificates to
// expire, for years.
func runningRotation(ctx context.Context, client *admin.Client) (string, error) {
	list, err := client.Rotations(ctx)
	if err != nil {
		return "", err
	}
	for _, r := range list {
		if !r.Over && r.State != "TRUST_REMOVED" && r.State != "RETIRED" {
			return r.ID, nil
		}
	}
	if len(list) == 0 {
		return "", errors.New("there is no rotation: mintmark rotate plan makes one")
	}
	return list[len(list)-1].ID, nil
}

// noRotation says what is not in the ledger.
func noRotation(id string, err error) error {
	if admin.IsNotFound(err) {
		return fmt.Errorf("there is no rotation %q, mintmark rotate list shows them: %w", id, err)
	}
	return err
}

func rotationKind(r admin.Rotation) string {
	if r.Emergency {
		return r.Kind + ", emergency"
	}
	return r.Kind
}

// rotationState is a state, with a pause.
func rotationState(r admin.Rotation) string {
	switch {
	case r.RollingBack:
		return r.State + ", being rolled back"
	case r.Paused != "" && !r.Over:
		return r.State + ", paused"
	}
	return r.State
}

// oneLine joins the lines of a text.
func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }
