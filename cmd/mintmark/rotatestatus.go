package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"mintmark/admin"
)

func newRotateStatus(a *app) *cobra.Command {
	var plan bool
	c := a.command("status [ID] [flags]", "Show where a rotation stands and what it waits for",
		`Status shows the state of a rotation, where its devices are, what the next gate
asks for and what was measured just now, who has signed, and what to type. It
asks the clouds, and changes nothing. Without an ID it is the rotation that
runs, or the last one. --plan prints the plan again.`,
		"  mintmark rotate status --dir ./factory\n  mintmark rotate status k3f7q2xw4m --plan --dir ./factory",
		cobra.MaximumNArgs(1), func(c *cobra.Command, args []string) error {
			return a.withClient(c.Context(), func(client *admin.Client) error {
				id := ""
				if len(args) > 0 {
					id = args[0]
				} else {
					var err error
					if id, err = runningRotation(c.Context(), client); err != nil {
						return err
					}
				}
				s, err := client.Rotation(c.Context(), id)
				switch {
				case err != nil:
					return noRotation(id, err)
				case a.json:
					return a.printJSON(s)
				case plan:
					return a.printRotationPlan(s)
				}
				return a.printRotationStatus(s)
			})
		})
	c.Flags().BoolVar(&plan, "plan", false, "print the plan")
	return c
}

// printRotationStatus shows one rotation on a page.
func (a *app) printRotationStatus(s admin.RotationStatus) error {
	plan, err := s.ReadPlan()
	if err != nil {
		return err
	}
	r := s.Rotation
	var b strings.Builder
	field := func(name, value string) {
		if value != "" {
			b.WriteString(hanging(fmt.Sprintf("%-10s ", name), value))
		}
	}
	field("rotation", r.ID)
	field("what", fmt.Sprintf("%s: %s is replaced by %s", rotationKind(r), r.Old, r.New))
	field("planned", date(r.At)+" by "+r.Actor)
	field("plan hash", r.Hash)
	field("state", fmt.Sprintf("%s since %s", rotationState(r), date(r.Since)))
	if !r.Over {
		field("paused", r.Paused)
	}
	field("ended", s.End)
	field("serving", servingWords(r, plan.Spec))
	if r.Kept {
		kept := "devices have something of " + r.New + ": it stays known, and in the clouds"
		if r.Over {
			kept += ". Once none has: mintmark rotate rollback " + r.ID + " --reason TEXT"
		}
		field("kept", kept)
	}
	field("devices", fleetWords(s.Counts, r.Kind))
	for _, signature := range r.Signatures {
		field("signed", fmt.Sprintf("%s by %s on %s", signature.Gate, signature.Officer, date(signature.At)))
	}
	b.WriteString("\n" + statePath(r, plan, s.End))
	if s.Gate != nil {
		b.WriteString(gateWords("next gate ", *s.Gate))
		for _, line := range s.Failed {
			b.WriteString(hanging("  failed    ", line))
		}
		for _, line := range s.Measured {
			b.WriteString(hanging("  found     ", line))
		}
		for _, line := range s.Blocked {
			if s.Waiting == nil || line != s.Waiting.What {
				b.WriteString(hanging("  lacking   ", line))
			}
		}
		if s.Waiting != nil {
			b.WriteString(hanging("  elsewhere ", s.Waiting.What))
		}
	}
	if s.Rollback != nil {
		b.WriteString(gateWords("or ", *s.Rollback))
	}
	if _, err := fmt.Fprint(a.out, b.String()); err != nil {
		return err
	}
	a.sayNext(s)
	return nil
}

// gateWords say what a gate asks for, and who has signed.
func gateWords(head string, g admin.RotationGate) string {
	text := "\n" + head + printable(g.State) + "\n"
	if g.Asks != "" {
		text += hanging("  asks for  ", g.Asks)
	}
	if g.Officers > 0 {
		text += hanging("  signed    ", fmt.Sprintf("%d of %d officers %s", len(g.Signed), g.Officers, strings.Join(g.Signed, ", ")))
	}
	return text
}

func servingWords(r admin.Rotation, spec admin.RotationPlanSpec) string {
	switch r.Serving {
	case "new":
		return r.New
	case "canary":
		to := canaryWords(spec)
		if to == "" {
			to = "nobody yet"
		}
		return fmt.Sprintf("%s, and %s to %s", r.Old, r.New, to)
	}
	return r.Old
}

// rolledBackFrom begins the last line of the journal of a rotation that was taken back,
// and is followed by the state in which it was.
const rolledBackFrom = "rolled back from "

// statesOf are the states that a plan leads through, in their order.
func statesOf(plan admin.RotationPlan) []string {
	states := []string{"PLANNED"}
	for _, step := range plan.Steps {
		if !slices.Contains(states, step.State) {
			states = append(states, step.State)
		}
	}
	return states
}

// statePath shows the states of the plan with marks: done, here, and to come. end is the
// last line of the journal.
func statePath(r admin.Rotation, plan admin.RotationPlan, end string) string {
	states := statesOf(plan)
	here := slices.Index(states, r.State)
	last := here - 1
	if rest, ok := strings.CutPrefix(end, rolledBackFrom); ok {
		from, _, _ := strings.Cut(rest, ":")
		last = slices.Index(states, from)
	}
	var b strings.Builder
	for i, state := range states {
		mark := "[ ]"
		switch {
		case i == here:
			mark = "[>]"
		case i <= last:
			mark = "[x]"
		}
		signs := ""
		if j := slices.IndexFunc(plan.Steps, func(s admin.RotationPlanStep) bool { return s.State == state }); j >= 0 && plan.Steps[j].Sign {
			signs = "  officers sign"
		}
		b.WriteString(strings.TrimRight(fmt.Sprintf("  %s %-18s%s", mark, printable(state), signs), " ") + "\n")
	}
	if here < 0 {
		fmt.Fprintf(&b, "  [>] %s\n", printable(r.State))
	}
	return b.String()
}

// classWords are the classes of devices, in the order in which they are shown.
var classWords = []struct{ class, one, many string }{
	{"moved", "has moved", "have moved"},
	{"trusts", "has the new anchors", "have the new anchors"},
	{"left", "does not have the new anchors", "do not have the new anchors"},
	{"silent", "is silent", "are silent"},
	{"never", "was never back", "were never back"},
	{"expired", "is expired", "are expired"},
	{"waived", "is waived", "are waived"},
}

// fleetWords say where devices are. Where an issuing CA is replaced there are no new anchors.
func fleetWords(counts map[string]int, kind string) string {
	if counts == nil {
		return ""
	}
	total := 0
	var words []string
	for _, n := range counts {
		total += n
	}
	for _, one := range classWords {
		n, is := counts[one.class], one.many
		if n == 1 {
			is = one.one
		}
		switch {
		case n == 0:
			continue
		case kind == "issuing" && one.class == "left" && n == 1:
			is = "has not moved"
		case kind == "issuing" && one.class == "left":
			is = "have not moved"
		}
		words = append(words, fmt.Sprintf("%d %s", n, is))
	}
	if len(words) == 0 {
		return fmt.Sprintf("%d", total)
	}
	return fmt.Sprintf("%d: %s", total, strings.Join(words, ", "))
}
