package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"mintmark/admin"
)

func newEnroll(a *app) *cobra.Command {
	c := a.group("enroll", "Decide about requests that wait for a person",
		`Enroll works on the certification requests that a label, a webhook or the guard
against second keys has put aside. The device asks again by itself, and gets
its certificate when it is approved. docs/operations.md has the whole story.`,
		"  mintmark enroll list --dir ./factory\n  mintmark enroll approve 0660d84d86525a --note \"seen on line 2\" --dir ./factory")
	c.AddCommand(newEnrollList(a), newEnrollShow(a), newEnrollDecide(a, enrollApprove), newEnrollDecide(a, enrollReject))
	return c
}

// anyState asks for enrollments in every state.
const anyState = "any"

func newEnrollList(a *app) *cobra.Command {
	q := admin.EnrollmentQuery{State: admin.EnrollmentPending}
	var all bool
	c := a.command("list [flags]", "List requests that wait for a person",
		`List shows what waits for a decision, the oldest first, or with --state what
became of it.`,
		`  mintmark enroll list --dir ./factory
  mintmark enroll list --state approved --label line-2 --dir ./factory`, cobra.NoArgs, func(c *cobra.Command, _ []string) error {
			if q.State == anyState {
				q.State = ""
			}
			if all {
				q.Limit = admin.MaxPage
			}
			return a.withClient(c.Context(), func(client *admin.Client) error {
				list := admin.Enrollments{Enrollments: []admin.Enrollment{}}
				for {
					page, err := client.Enrollments(c.Context(), q)
					if err != nil {
						return err
					}
					list.Enrollments = append(list.Enrollments, page.Enrollments...)
					list.Next, q.After = page.Next, page.Next
					if !all || page.Next == "" {
						break
					}
				}
				return a.printEnrollments(list, q.State != admin.EnrollmentPending, time.Now())
			})
		})
	f := c.Flags()
	f.StringVar(&q.State, "state", q.State, "in this `state`: pending, approved, rejected, issued, expired, or any")
	f.StringVar(&q.Label, "label", "", "that came at this `label`")
	f.StringVar(&q.Device, "device", "", "of this `device`")
	f.StringVar(&q.After, "after", "", "those after this `request`")
	f.IntVar(&q.Limit, "limit", admin.DefaultPage, fmt.Sprintf("at most so `many`, up to %d", admin.MaxPage))
	f.BoolVar(&all, "all", false, "every page")
	c.MarkFlagsMutuallyExclusive("limit", "all")
	return c
}

func (a *app) printEnrollments(list admin.Enrollments, states bool, now time.Time) error {
	if a.json {
		return a.printJSON(list)
	}
	if err := a.tableEnrollments(list.Enrollments, states, now); err != nil {
		return err
	}
	if list.Next != "" {
		a.say("there may be more: add --after %q, or --all", list.Next)
	}
	return nil
}

// tableEnrollments lists requests, with their states where these may differ. It
// is to fit on a terminal: enroll show has what is cut off here.
func (a *app) tableEnrollments(list []admin.Enrollment, states bool, now time.Time) error {
	heading := []string{"ID", "AGE", "LABEL", "DEVICE", "CAUSE", "REQUESTER", "REMARK"}
	if states {
		heading = slices.Insert(heading, 1, "STATE")
	}
	t := newTable(a.out, heading...)
	for _, e := range list {
		remark := ""
		if e.Other != "" {
			remark = "holds " + shortened(e.Other) + " under another key"
		}
		row := []string{e.ID, age(now.Sub(e.At)), e.Label, e.Device, e.Cause, strings.TrimSpace(e.Requester.Kind + " " + shortened(e.Requester.Name)), remark}
		if states {
			row = slices.Insert(row, 1, e.State)
		}
		t.row(row...)
	}
	return t.flush()
}

// shortened cuts a serial number, or a name of that length, for a table.
func shortened(text string) string {
	if runes := []rune(text); len(runes) > 20 {
		return string(runes[:16]) + "..."
	}
	return text
}

// age shows how long something waits, in its largest unit.
func age(d time.Duration) string {
	switch {
	case d >= 48*time.Hour:
		return fmt.Sprintf("%dd", d/(24*time.Hour))
	case d >= 2*time.Hour:
		return fmt.Sprintf("%dh", d/time.Hour)
	case d >= 2*time.Minute:
		return fmt.Sprintf("%dm", d/time.Minute)
	}
	return fmt.Sprintf("%ds", max(d, 0)/time.Second)
}

// requesterWords says who asked for something.
func requesterWords(r admin.Requester) string {
	words := r.Kind
	if r.Name != "" {
		words += " " + r.Name
	}
	if r.Address != "" {
		words += " from " + r.Address
	}
	return words
}

func newEnrollShow(a *app) *cobra.Command {
	var csr bool
	c := a.command("show ID [flags]", "Show one request that waits, or waited", `Show prints who asks for what: the subject, the other names and the key of the
request, and which certificate the device holds already. With --csr it writes
the request itself, in PEM.`,
		"  mintmark enroll show 0660d84d86525a --dir ./factory\n  mintmark enroll show 0660d84d86525a --csr --dir ./factory",
		cobra.ExactArgs(1), func(c *cobra.Command, args []string) error {
			return a.withClient(c.Context(), func(client *admin.Client) error {
				e, err := client.Enrollment(c.Context(), args[0])
				switch {
				case err != nil:
					return err
				case a.json:
					return a.printJSON(e)
				case csr:
					_, err := fmt.Fprint(a.out, e.CSR)
					return err
				}
				return a.printEnrollment(e)
			})
		})
	c.Flags().BoolVar(&csr, "csr", false, "write the certification request, and nothing else")
	return c
}

func (a *app) printEnrollment(e admin.Enrollment) error {
	t := newTable(a.out)
	t.field("id", e.ID)
	t.field("state", e.State)
	t.field("device", e.Device)
	t.field("issued to", e.CertificateSubject)
	t.field("names", strings.Join(e.Names, ", "))
	t.field("subject", e.Subject)
	t.field("key", e.KeyType)
	t.field("key sha-256", e.Key)
	if e.Other != "" {
		t.field("holds", e.Other+" under another key")
	}
	t.field("label", e.Label)
	t.field("profile", e.Profile)
	t.field("requester", requesterWords(e.Requester))
	t.field("waits because of", e.Cause)
	t.field("since", date(e.At))
	t.field("until", date(e.ExpiresAt))
	if e.DecidedBy != "" {
		words := dateOf(e.DecidedAt) + " by " + e.DecidedBy
		if e.Note != "" {
			words += ": " + e.Note
		}
		t.field("decided", words)
	}
	t.field("certificate", e.Serial)
	if err := t.flush(); err != nil {
		return err
	}
	if e.Next != "" {
		a.say("next: %s", e.Next)
	}
	return nil
}

// enrollDecision is one of the two commands that decide.
type enrollDecision struct {
	name, short, long string
	call              func(*admin.Client, *cobra.Command, string, admin.Decision) (admin.Enrollment, error)
}

var (
	enrollApprove = enrollDecision{"approve", "Let requests that wait have their certificate", `Approve lets the device have one certificate for exactly this key and subject
when it asks again, by whatever connection and label. If the device holds a
certificate under another key, the second key is approved with it, and the
first certificate stays in force. What was rejected can still be approved.`,
		func(client *admin.Client, c *cobra.Command, id string, d admin.Decision) (admin.Enrollment, error) {
			return client.ApproveEnrollment(c.Context(), id, d)
		}}
	enrollReject = enrollDecision{"reject", "Have requests that wait refused", `Reject has the device refused when it asks again with the same key and subject.
What was approved can be rejected until the device has got its certificate.`,
		func(client *admin.Client, c *cobra.Command, id string, d admin.Decision) (admin.Enrollment, error) {
			return client.RejectEnrollment(c.Context(), id, d)
		}}
)

func newEnrollDecide(a *app, decision enrollDecision) *cobra.Command {
	var in admin.Decision
	var length span
	c := a.command(decision.name+" ID... [flags]", decision.short, decision.long,
		"  mintmark enroll "+decision.name+` 0660d84d86525a --note "ticket 4711" --dir ./factory`, cobra.MinimumNArgs(1),
		func(c *cobra.Command, args []string) error {
			if length.text != "" {
				now := time.Now()
				in.ForSeconds = int64(length.after(now).Sub(now) / time.Second)
			}
			return a.withClient(c.Context(), func(client *admin.Client) error {
				// One that cannot be decided keeps none of the others.
				var errs error
				decided := []admin.Enrollment{}
				for _, id := range args {
					e, err := decision.call(client, c, id, in)
					if err != nil {
						errs = errors.Join(errs, fmt.Errorf("request %s: %w", printable(id), err))
						continue
					}
					decided = append(decided, e)
					if a.json {
						continue
					}
					if _, err := fmt.Fprintf(a.out, "%s %s: %s\n", e.ID, e.State, printable(strings.Join(append([]string{e.CertificateSubject}, e.Names...), ", "))); err != nil {
						return err
					}
					a.say("next: %s", e.Next)
				}
				if a.json {
					errs = errors.Join(errs, a.printJSON(admin.Enrollments{Enrollments: decided}))
				}
				return errs
			})
		})
	c.Flags().StringVar(&in.Note, "note", "", "why, in a few `words`")
	c.Flags().Var(&length, "for", "how long the decision lasts, as in 7d (default as configured)")
	return c
}
