package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"mintmark/admin"
)

func newRotatePlan(a *app) *cobra.Command {
	var spec admin.RotationSpec
	var trusting, moved share
	var distribute, watch, drain, silent wait
	c := a.command("plan --old NAME --new NAME [flags]", "Say everything that a rotation will do, before anything is done",
		`Plan examines the replacement of one CA by another and prints every change, the
gates in between, and the hash that officers sign. The plan is recorded;
nothing else is touched until they have signed it. The new CA is made in the
rotation, like the old one, unless a CA of that name is there.

An --emergency is for a key in wrong hands: the clouds shut it out first,
nothing waits for a time to pass, and shares of devices are shown, not asked
for. With --elsewhere the new root's key is made in a ceremony, whose file
rotate run writes.`,
		`  mintmark rotate plan --old root --new root2 --dir ./factory
  mintmark rotate plan --old line-a --new line-a2 --canary-label pumps \
    --watch 14d --dir ./factory
  mintmark rotate plan --old line-a --new line-a2 --emergency --dir ./factory`,
		cobra.NoArgs, func(c *cobra.Command, _ []string) error {
			if spec.CanaryPercent < 0 || spec.CanaryPercent > 100 {
				return usagef("--canary-percent %d is not between 0 and 100", spec.CanaryPercent)
			}
			spec.Gates.Trusting, spec.Gates.Moved = trusting.hundredths, moved.hundredths
			spec.Gates.DistributeSeconds, spec.Gates.WatchSeconds, spec.Gates.DrainSeconds = distribute.seconds, watch.seconds, drain.seconds
			if silent.seconds != nil {
				if *silent.seconds == 0 {
					return usagef("--silent 0 would have every device count as silent")
				}
				spec.Gates.SilentSeconds = *silent.seconds
			}
			return a.withClient(c.Context(), func(client *admin.Client) error {
				planned, err := client.PlanRotation(c.Context(), spec)
				if err != nil {
					return err
				}
				if a.json {
					return a.printJSON(planned)
				}
				return a.printRotationPlan(planned)
			})
		})
	f := c.Flags()
	f.StringVar(&spec.Old, "old", "", "`name` of the CA that is to go")
	f.StringVar(&spec.New, "new", "", "`name` of the CA that takes its place")
	f.StringVar(&spec.Kind, "kind", "", "root or issuing (default what the old CA is)")
	f.BoolVar(&spec.Emergency, "emergency", false, "the key of the old CA is in wrong hands")
	f.StringVar(&spec.KeyURI, "key-uri", "", "`URI` under which to make the new key (default an encrypted file)")
	f.StringVar(&spec.Key, "key", "", "`type` of the new key: P-256, P-384, P-521, RSA-2048, RSA-3072, RSA-4096 (default that of the old one)")
	f.StringVar(&spec.CommonName, "common-name", "", "commonName of the new CA (default that of the old one)")
	f.IntVar(&spec.ValidityDays, "validity-days", 0, "for how many `days` the new CA is valid (default as long as the old one was)")
	f.BoolVar(&spec.Elsewhere, "elsewhere", false, "the key of the new root is made in a ceremony")
	f.StringArrayVar(&spec.CanaryLabels, "canary-label", nil, "EST `label` that the new CA serves first; may be repeated")
	f.IntVar(&spec.CanaryPercent, "canary-percent", 0, "share of devices, in `percent`, that the new CA serves first")
	f.IntVar(&spec.Gates.Officers, "officers", 2, "how many `officers` must sign for each gate that asks for it")
	f.Var(&trusting, "trusting", "`percent` of devices that must have the new anchors before the switch (default 99.5)")
	f.Var(&moved, "moved", "`percent` of devices that must chain to the new CA before trust in the old one ends (default 100)")
	f.Var(&distribute, "distribute", "least time in DISTRIBUTING, as in 30d or 0 (default 30d)")
	f.Var(&watch, "watch", "least time in CANARY (default 7d)")
	f.Var(&drain, "drain", "least time in DRAINING (default 30d)")
	f.Var(&silent, "silent", "after how long without a sign a device counts as silent (default 30d)")
	require(c, "old", "new")
	return c
}

// share is a part of all, in percent with at most two decimals.
type share struct {
	text       string
	hundredths int
}

func (s *share) String() string { return s.text }

func (s *share) Type() string { return "percent" }

func (s *share) Set(text string) error {
	whole, part, _ := strings.Cut(strings.TrimSuffix(text, "%"), ".")
	wrong := fmt.Errorf("%q is not a share in percent, as in 99.5, from 0.01 to 100", text)
	if len(part) > 2 || len(whole) > 3 || strings.Trim(whole+part, "0123456789") != "" || whole == "" {
		return wrong
	}
	n, err := strconv.Atoi(whole + (part + "00")[:2])
	if err != nil || n < 1 || n > 10000 {
		return wrong
	}
	s.text, s.hundredths = text, n
	return nil
}

// wait is a length of time that may be none: 30d, 12h or 0.
type wait struct {
	text    string
	seconds *int64
}

func (w *wait) String() string { return w.text }

func (w *wait) Type() string { return "duration" }

func (w *wait) Set(text string) error {
	var seconds int64
	if text != "0" {
		var s span
		if err := s.Set(text); err != nil || s.years > 0 || s.months > 0 || s.length%time.Second != 0 {
			return fmt.Errorf("%q is not a length of time as in 30d, 12h or 0", text)
		}
		seconds = int64(s.length / time.Second)
	}
	w.text, w.seconds = text, &seconds
	return nil
}

// printRotationPlan shows what a rotation will do, and what to type next.
func (a *app) printRotationPlan(s admin.RotationStatus) error {
	plan, err := s.ReadPlan()
	if err != nil {
		return err
	}
	r, gates := s.Rotation, plan.Spec.Gates
	t := newTable(a.out)
	t.field("rotation", r.ID)
	t.field("what", fmt.Sprintf("%s: %s is replaced by %s", rotationKind(r), r.Old, r.New))
	t.field("devices", fmt.Sprintf("%d have to move, under %s", plan.Devices, listed(plan.Affected)))
	t.field("signatures", fmt.Sprintf("%d officers for each gate marked with *", gates.Officers))
	if canary := canaryWords(plan.Spec); canary != "" {
		t.field("first served", canary)
	}
	if err := t.flush(); err != nil {
		return err
	}
	var b strings.Builder
	for _, step := range plan.Steps {
		mark := " "
		if step.Sign {
			mark = "*"
		}
		fmt.Fprintf(&b, "\n%s %s\n", mark, printable(step.State))
		if step.Gate != "" {
			b.WriteString(paragraph("    ", "if "+step.Gate))
		}
		for _, change := range step.Changes {
			b.WriteString(paragraph("    ", changeWords(change)))
		}
	}
	for _, warning := range plan.Warned {
		b.WriteString("\n" + paragraph("", "warning: "+warning))
	}
	fmt.Fprintf(&b, "\nplan hash %s\n", r.Hash)
	if _, err := fmt.Fprint(a.out, b.String()); err != nil {
		return err
	}
	if r.State == "PLANNED" {
		a.say("nothing was changed yet; to drop this plan: mintmark rotate rollback %s --reason TEXT", r.ID)
	}
	a.sayNext(s)
	return nil
}

// changeWords say what is done where, and from what to what.
func changeWords(c admin.RotationPlanChange) string {
	text := c.Where + ": " + c.What
	switch {
	case c.Before != "" && c.After != "":
		text += fmt.Sprintf(", from %q to %q", c.Before, c.After)
	case c.Before != "":
		text += fmt.Sprintf(" (was %q)", c.Before)
	case c.After != "":
		text += ": " + c.After
	}
	return text
}

// paragraph breaks a text into lines of a terminal, the first one behind the indent and
// the others further in.
func paragraph(indent, text string) string { return folded(indent, indent+"    ", text) }

// hanging does so behind a head, with the other lines below the first word after it.
func hanging(head, text string) string {
	return folded(head, strings.Repeat(" ", len([]rune(head))), text)
}

func folded(head, indent, text string) string {
	var b strings.Builder
	line, begun := head, false
	for _, word := range strings.Fields(printable(strings.ReplaceAll(text, "\n", " "))) {
		switch {
		case !begun:
			line, begun = line+word, true
		case len([]rune(line))+1+len([]rune(word)) > helpWidth:
			b.WriteString(line + "\n")
			line = indent + word
		default:
			line += " " + word
		}
	}
	return b.String() + strings.TrimRight(line, " ") + "\n"
}

func canaryWords(spec admin.RotationPlanSpec) string {
	var words []string
	if len(spec.Canary.Labels) > 0 {
		words = append(words, "label "+strings.Join(spec.Canary.Labels, ", "))
	}
	if spec.Canary.Percent > 0 {
		words = append(words, fmt.Sprintf("%d %% of devices", spec.Canary.Percent))
	}
	return strings.Join(words, ", and ")
}

func listed(names []string) string {
	if len(names) == 0 {
		return "no issuing CA"
	}
	return strings.Join(names, ", ")
}

// sayNext prints what to type next.
func (a *app) sayNext(s admin.RotationStatus) {
	for _, command := range s.Next {
		a.say("next: %s", printable(command))
	}
}
