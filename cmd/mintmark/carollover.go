package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"mintmark/admin"
)

func newCARollover(a *app) *cobra.Command {
	c := a.group("rollover", "Change from one root to another: begin, end, list", `Rollover certifies each of two roots with the other, so that devices which know
only one of them take what is under the other. While it runs, EST gives these
certificates out with the roots (RFC 7030, Section 4.1.3). docs/operations.md
has the whole story.`,
		"  mintmark ca rollover begin --old root --new root2 --dir ./factory\n  mintmark ca rollover list --dir ./factory")
	c.AddCommand(newCARolloverBegin(a), newCARolloverEnd(a), newCARolloverList(a))
	return c
}

func newCARolloverBegin(a *app) *cobra.Command {
	var spec admin.RolloverSpec
	var oldWithNew, newWithOld string
	c := a.command("begin --old NAME --new NAME [flags]", "Certify each of two roots with the other", `Begin issues a certificate of the old root's key by the new root, and one of
the new root's key by the old root, and gives them to devices from then on.
Both roots are made before, with ca create; the new one should have the subject
of the old one and must last longer. A second officer must agree. Where the key
of the old root is in wrong hands, mintmark rotate plan --emergency leads to
another root: no root certifies the key of the other there.

A root whose key is elsewhere cannot sign here: --old-with-new and
--new-with-old bring what the new and the old root have signed, for example in a
ceremony (mintmark ceremony).`,
		"  mintmark ca rollover begin --old root --new root2 --dir ./factory\n  mintmark ca rollover begin --old root --new root2 \\\n    --old-with-new old-with-new.pem --new-with-old new-with-old.pem --dir ./factory", cobra.NoArgs, func(c *cobra.Command, _ []string) error {
			for _, one := range []struct {
				file string
				into *string
			}{{oldWithNew, &spec.OldWithNew}, {newWithOld, &spec.NewWithOld}} {
				if one.file == "" {
					continue
				}
				list, err := readCertificates(one.file)
				if err != nil {
					return err
				}
				*one.into = string(certificatePEM(list...))
			}
			return a.withClient(c.Context(), func(client *admin.Client) error {
				r, err := client.BeginRollover(c.Context(), spec)
				if err != nil {
					return err
				}
				return a.printRollover(r)
			})
		})
	c.Flags().StringVar(&spec.Old, "old", "", "`name` of the root that is to go")
	c.Flags().StringVar(&spec.New, "new", "", "`name` of the root that takes its place")
	c.Flags().BoolVar(&spec.Compromised, "compromised", false, "the key of the old root is in wrong hands: refused, see mintmark rotate plan --emergency")
	c.Flags().StringVar(&oldWithNew, "old-with-new", "", "`file` with the certificate of the old root's key that the new root has signed")
	c.Flags().StringVar(&newWithOld, "new-with-old", "", "`file` with the certificate of the new root's key that the old root has signed")
	require(c, "old", "new")
	return c
}

func newCARolloverEnd(a *app) *cobra.Command {
	var end admin.RolloverEnd
	c := a.command("end --old NAME --new NAME", "Stop giving out what leads from one root to the other", `End is for when every device knows the new root. The certificates that led from
one root to the other are not revoked by it: cert revoke does that. A second
officer must agree.`,
		"  mintmark ca rollover end --old root --new root2 --dir ./factory", cobra.NoArgs, func(c *cobra.Command, _ []string) error {
			return a.withClient(c.Context(), func(client *admin.Client) error {
				r, err := client.EndRollover(c.Context(), end)
				if err != nil {
					return err
				}
				return a.printRollover(r)
			})
		})
	c.Flags().StringVar(&end.Old, "old", "", "`name` of the old root")
	c.Flags().StringVar(&end.New, "new", "", "`name` of the new root")
	require(c, "old", "new")
	return c
}

func newCARolloverList(a *app) *cobra.Command {
	return a.command("list", "List rollovers, the oldest first", `List shows the rollovers that run and those that are over. With --json it has
their certificates.`,
		"  mintmark ca rollover list --dir ./factory", cobra.NoArgs, func(c *cobra.Command, _ []string) error {
			return a.withClient(c.Context(), func(client *admin.Client) error {
				list, err := client.Rollovers(c.Context())
				if err != nil {
					return err
				}
				if a.json {
					return a.printJSON(admin.Rollovers{Rollovers: list})
				}
				t := newTable(a.out, "OLD", "NEW", "STATE", "BEGUN", "BY", "ENDED", "OLD WITH NEW", "NEW WITH OLD")
				for _, r := range list {
					t.row(r.Old, r.New, rolloverState(r), date(r.At), r.Actor, dateOf(r.EndedAt), bridgeWords(r.OldWithNew), bridgeWords(r.NewWithOld))
				}
				return t.flush()
			})
		})
}

func rolloverState(r admin.Rollover) string {
	switch {
	case !r.Running:
		return "ended"
	case r.Compromised:
		return "running, old key compromised"
	}
	return "running"
}

// bridgeWords names a certificate between two roots.
func bridgeWords(b *admin.Bridge) string {
	switch {
	case b == nil:
		return ""
	case b.State != "valid":
		return b.Serial + " (" + b.State + ")"
	}
	return b.Serial
}

func (a *app) printRollover(r admin.Rollover) error {
	if a.json {
		return a.printJSON(r)
	}
	t := newTable(a.out)
	t.field("old", r.Old)
	t.field("new", r.New)
	t.field("state", rolloverState(r))
	t.field("begun", date(r.At)+" by "+r.Actor)
	if r.EndedAt != nil {
		t.field("ended", dateOf(r.EndedAt)+" by "+r.EndedBy)
	}
	if b := r.OldWithNew; b != nil {
		t.field("old with new", fmt.Sprintf("%s until %s", bridgeWords(b), day(&b.NotAfter)))
	}
	if b := r.NewWithOld; b != nil {
		t.field("new with old", fmt.Sprintf("%s until %s", bridgeWords(b), day(&b.NotAfter)))
	}
	return t.flush()
}
