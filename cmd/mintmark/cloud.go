package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"mintmark/admin"
	"mintmark/internal/reconcile"
)

// cloud is what the commands about one cloud have in common. A place is where one of
// its targets is.
type cloud[P any] struct {
	name    string // as people call it; in lower case, the key of the configuration
	kind    string // what one of its targets is called, in errors of the server too
	columns []string
	places  func(*admin.Client, context.Context) ([]P, error)
	// outcome has of a place what names it, and where holds that for the columns.
	outcome func(P) outcome
	plan    func(*admin.Client, context.Context, string) (admin.Plan, error)
	apply   func(*admin.Client, context.Context, string, admin.Apply, func(admin.Change)) (admin.Plan, error)
}

// outcome is what became of one target.
type outcome struct {
	Target        string `json:"target"`
	AccountID     string `json:"account_id,omitempty"`
	Region        string `json:"region,omitempty"`
	ResourceGroup string `json:"resource_group,omitempty"`
	Service       string `json:"service,omitempty"`
	Result        string `json:"result"`
	Failed        bool   `json:"failed"`

	where []string
	err   error
}

// key is where the configuration defines targets.
func (c cloud[P]) key() string { return strings.ToLower(c.name) + ".targets" }

// choose lists the targets to work on: the one that was named, or all.
func (c cloud[P]) choose(ctx context.Context, client *admin.Client, name string) ([]P, error) {
	all, err := c.places(client, ctx)
	if err != nil {
		return nil, err
	}
	if name == "" && len(all) == 0 {
		return nil, fmt.Errorf("there is no %s: mintmark.yaml defines them under %s", c.kind, c.key())
	}
	if name == "" {
		return all, nil
	}
	var known []string
	for _, one := range all {
		target := c.outcome(one).Target
		if target == name {
			return []P{one}, nil
		}
		known = append(known, target)
	}
	return nil, fmt.Errorf("there is no %s %q: mintmark.yaml has %q", c.kind, name, known)
}

// chooseNames are the names of the targets to work on.
func (c cloud[P]) chooseNames(ctx context.Context, client *admin.Client, name string) ([]string, error) {
	places, err := c.choose(ctx, client, name)
	var names []string
	for _, one := range places {
		names = append(names, c.outcome(one).Target)
	}
	return names, err
}

// chooseOne is the one target that is meant: the named one, or the only one.
func (c cloud[P]) chooseOne(ctx context.Context, client *admin.Client, name string) (string, error) {
	names, err := c.chooseNames(ctx, client, name)
	if err != nil {
		return "", err
	}
	if len(names) != 1 {
		return "", usagef("there are several %ss: choose one with --target (%s)", c.kind, strings.Join(names, ", "))
	}
	return names[0], nil
}

// asking runs fn, which asks the cloud, and says first whom is waited for: one that
// does not answer takes minutes to give up. It is said on standard error only, with
// --json too.
func (c cloud[P]) asking(ctx context.Context, a *app, target string, fn func() error) error {
	a.say("asking %s (target %s) ...", c.name, target)
	err := fn()
	if err != nil && ctx.Err() != nil {
		return interrupted{c.name, target}
	}
	return err
}

// interrupted is the end of a command that was stopped while it waited for a cloud.
type interrupted struct{ cloud, target string }

func (e interrupted) Error() string {
	return fmt.Sprintf("interrupted while waiting for %s (target %s)", e.cloud, e.target)
}

// each runs fn for each target, also after one that failed, and says at the end how
// each went if there are several. fn gets the target's name and returns the result in
// a few words. The outcomes are for --json; the error is nil if no target failed. An
// interruption ends it, and what was not asked is left out.
func (c cloud[P]) each(ctx context.Context, a *app, places []P, fn func(target string) (string, error)) ([]outcome, error) {
	var list []outcome
	var failed, proposed []error
	for _, place := range places {
		if ctx.Err() != nil {
			break
		}
		one := c.outcome(place)
		one.Result, one.err = fn(one.Target)
		var waits *admin.Proposed
		switch err := one.err; {
		case errors.As(err, &waits):
			one.Result = "proposed as " + waits.Approval.ID
			proposed = append(proposed, err)
		case err != nil:
			text := strings.TrimPrefix(err.Error(), fmt.Sprintf("%s %q: ", c.kind, one.Target))
			one.Failed, one.Result = true, "failed: "+firstLine(text)
			failed = append(failed, err)
			if len(places) > 1 {
				a.say("target %s: %s", one.Target, text)
			}
		}
		list = append(list, one)
	}
	if len(places) > 1 && !a.json {
		t := newTable(a.out, append(append([]string{"TARGET"}, c.columns...), "RESULT")...)
		for _, one := range list {
			t.row(append(append([]string{one.Target}, one.where...), one.Result)...)
		}
		if err := t.flush(); err != nil {
			return list, err
		}
	}
	switch {
	case len(failed) > 0 && len(places) == 1:
		return list, failed[0]
	case len(failed) > 0:
		return list, fmt.Errorf("%d of %d targets failed, for the reasons above; what is done elsewhere stays done", len(failed), len(places))
	}
	return list, errors.Join(proposed...)
}

// firstLine shortens an error for a table.
func firstLine(text string) string {
	const most = 100
	text, _, _ = strings.Cut(text, "\n")
	if runes := []rune(text); len(runes) > most {
		text = string(runes[:most-3]) + "..."
	}
	return text
}

// render writes a plan for people. What is as it should be is counted, not listed.
func (a *app) render(w io.Writer, p admin.Plan) error {
	plan, same := reconcile.Plan{Target: p.Target}, 0
	for _, c := range p.Changes {
		if reconcile.Action(c.Action) == reconcile.None {
			same++
			continue
		}
		plan.Changes = append(plan.Changes, reconcile.Change{
			Kind: printable(c.Kind), Subject: printable(c.Subject), Action: reconcile.Action(c.Action), Before: c.Before, After: c.After, Destructive: c.Destructive,
		})
	}
	if err := plan.Render(w); err != nil || same == 0 {
		return err
	}
	_, err := fmt.Fprintf(w, "%d as it should be\n", same)
	return err
}
