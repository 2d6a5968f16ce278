package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"mintmark/admin"
	"mintmark/internal/reconcile"
)

func newAWS(a *app) *cobra.Command {
	c := a.group("aws", "Keep AWS IoT Core in step with the CA",
		`Aws compares the AWS accounts and regions of mintmark.yaml with what they
should be, and brings them there.`,
		"  mintmark aws plan --dir ./factory\n  mintmark aws apply --target line-a --dir ./factory")
	c.AddCommand(newAWSPlan(a), newAWSRender(a), newAWSApply(a), newAWSStatus(a), newAWSPolicy(a), newAWSPublish(a),
		newAWSClaim(a), newAWSProvision(a), newAWSDrift(a), newAWSBulk(a), newAWSDoctor(a))
	return c
}

// awsPlaces are the targets to work on: the one that was named, or all.
func awsPlaces(ctx context.Context, client *admin.Client, name string) ([]admin.AWSPlace, error) {
	all, err := client.AWSPlaces(ctx)
	if err != nil {
		return nil, err
	}
	if name == "" && len(all) == 0 {
		return nil, errors.New("there is no AWS target: mintmark.yaml defines them under aws.targets")
	}
	if name == "" {
		return all, nil
	}
	var known []string
	for _, one := range all {
		if one.Target == name {
			return []admin.AWSPlace{one}, nil
		}
		known = append(known, one.Target)
	}
	return nil, fmt.Errorf("there is no AWS target %q: mintmark.yaml has %q", name, known)
}

// awsTargets are the names of the targets to work on.
func awsTargets(ctx context.Context, client *admin.Client, name string) ([]string, error) {
	places, err := awsPlaces(ctx, client, name)
	var names []string
	for _, one := range places {
		names = append(names, one.Target)
	}
	return names, err
}

// awsTarget is the one target that is meant: the named one, or the only one.
func awsTarget(ctx context.Context, client *admin.Client, name string) (string, error) {
	names, err := awsTargets(ctx, client, name)
	if err != nil {
		return "", err
	}
	if len(names) != 1 {
		return "", usagef("there are several AWS targets: choose one with --target (%s)", strings.Join(names, ", "))
	}
	return names[0], nil
}

// asking runs fn, which asks AWS, and says first whom is waited for: an account
// that does not answer takes minutes to give up. It is said on standard error
// only, with --json too.
func (a *app) asking(ctx context.Context, target string, fn func() error) error {
	a.say("asking AWS (target %s) ...", target)
	err := fn()
	if err != nil && ctx.Err() != nil {
		return interrupted{target}
	}
	return err
}

// interrupted is the end of a command that was stopped while it waited for AWS.
type interrupted struct{ target string }

func (e interrupted) Error() string {
	return fmt.Sprintf("interrupted while waiting for AWS (target %s)", e.target)
}

// awsOutcome is what became of one target.
type awsOutcome struct {
	Target    string `json:"target"`
	AccountID string `json:"account_id"`
	Region    string `json:"region"`
	Result    string `json:"result"`
	Failed    bool   `json:"failed"`

	err error
}

// eachTarget runs fn for each target, also after one that failed, and says at
// the end how each went if there are several. fn returns the result in a few
// words. The outcomes are for --json; the error is nil if no target failed. An
// interruption ends it, and what was not asked is left out.
func (a *app) eachTarget(ctx context.Context, places []admin.AWSPlace, fn func(admin.AWSPlace) (string, error)) ([]awsOutcome, error) {
	var list []awsOutcome
	var failed, proposed []error
	for _, place := range places {
		if ctx.Err() != nil {
			break
		}
		result, err := fn(place)
		one := awsOutcome{Target: place.Target, AccountID: place.AccountID, Region: place.Region, Result: result, err: err}
		var waits *admin.Proposed
		switch {
		case errors.As(err, &waits):
			one.Result = "proposed as " + waits.Approval.ID
			proposed = append(proposed, err)
		case err != nil:
			one.Failed, one.Result = true, "failed: "+firstLine(strings.TrimPrefix(err.Error(), fmt.Sprintf("AWS target %q: ", place.Target)))
			failed = append(failed, err)
			if len(places) > 1 {
				a.say("target %s: %s", place.Target, strings.TrimPrefix(err.Error(), fmt.Sprintf("AWS target %q: ", place.Target)))
			}
		}
		list = append(list, one)
	}
	if len(places) > 1 && !a.json {
		t := newTable(a.out, "TARGET", "ACCOUNT", "REGION", "RESULT")
		for _, one := range list {
			t.row(one.Target, one.AccountID, one.Region, one.Result)
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
