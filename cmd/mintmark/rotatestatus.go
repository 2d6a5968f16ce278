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
	t := newTable(a.out)
	t.field("rotation", r.ID)
	t.field("what", fmt.Sprintf("%s: %s is replaced by %s", rotationKind(r), r.Old, r.New))
	t.field("planned", date(r.At)+" by "+r.Actor)
	t.field("plan hash", r.Hash)
	t.field("state", fmt.Sprintf("%s since %s", rotationState(r), date(r.Since)))
	if !r.Over {
		t.field("paused", r.Paused)
	}
	t.field("serving", servingWords(r, plan.Spec))
	if r.Kept {
		t.field("kept", "devices have something of "+r.New+": it stays known, and in the clouds")
	}
	t.field("devices", fleetWords(s.Counts))
	for _, signature := range r.Signatures {
		t.field("signed", fmt.Sprintf("%s by %s on %s", signature.Gate, signature.Officer, date(signature.At)))
	}
	if err := t.flush(); err != nil {
		return err
	}
	if _, err := fmt.Fprint(a.out, "\n", statePath(r, plan)); err != nil {
		return err
	}
	if g := s.Gate; g != nil {
		var b strings.Builder
		fmt.Fprintf(&b, "\nnext gate %s\n", printable(g.State))
		if g.Asks != "" {
			fmt.Fprintf(&b, "  asks for  %s\n", printable(oneLine(g.Asks)))
		}
		if g.Officers > 0 {
			fmt.Fprintf(&b, "  signed    %d of %d officers %s\n", len(g.Signed), g.Officers, printable(strings.Join(g.Signed, ", ")))
		}
		for _, line := range s.Measured {
			fmt.Fprintf(&b, "  found     %s\n", printable(oneLine(line)))
		}
		for _, line := range s.Blocked {
			fmt.Fprintf(&b, "  lacking   %s\n", printable(oneLine(line)))
		}
		if s.Waiting != nil {
			fmt.Fprintf(&b, "  elsewhere %s\n", printable(oneLine(s.Waiting.What)))
		}
		if _, err := fmt.Fprint(a.out, b.String()); err != nil {
			return err
		}
	}
	a.sayNext(s)
	return nil
}

func servingWords(r admin.Rotation, spec admin.RotationPlanSpec) string {
	switch r.Serving {
	case "new":
		return r.New
	case "canary":
		return fmt.Sprintf("%s, and %s to %s", r.Old, r.New, canaryWords(spec))
	}
	return r.Old
}

// statePath shows the states of the plan with marks: done, here, and to come.
func statePath(r admin.Rotation, plan admin.RotationPlan) string {
	states := []string{"PLANNED"}
	for _, step := range plan.Steps {
		if !slices.Contains(states, step.State) {
			states = append(states, step.State)
		}
	}
	here := slices.Index(states, r.State)
	var b strings.Builder
	for i, state := range states {
		mark := "[ ]"
		switch {
		case i == here:
			mark = "[>]"
		case i < here:
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
var classWords = []struct{ class, words string }{
	{"moved", "have moved"},
	{"trusts", "have the new anchors"},
	{"left", "do not have them"},
	{"silent", "are silent"},
	{"never", "were never back"},
	{"expired", "are expired"},
	{"waived", "are waived"},
}

// fleetWords say where devices are.
func fleetWords(counts map[string]int) string {
	if counts == nil {
		return ""
	}
	total := 0
	var words []string
	for _, n := range counts {
		total += n
	}
	for _, one := range classWords {
		if n := counts[one.class]; n > 0 {
			words = append(words, fmt.Sprintf("%d %s", n, one.words))
		}
	}
	if len(words) == 0 {
		return fmt.Sprintf("%d", total)
	}
	return fmt.Sprintf("%d: %s", total, strings.Join(words, ", "))
}
