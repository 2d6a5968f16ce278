package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime/debug"
	"strings"

	"mintmark/admin"
	"mintmark/issuer/batch"
	certifying "mintmark/issuer/batch/remote"
)

// runBatch goes on with a batch as far as it gets.
func (a *app) runBatch(ctx context.Context, dir string) error {
	b, err := batch.Open(dir)
	if err != nil {
		return noBatch(dir, err)
	}
	defer b.Close()
	// Certificates by the thousand leave much that is gone at once: collecting it less often
	// costs some tens of megabytes and gives a tenth more of them.
	defer debug.SetGCPercent(debug.SetGCPercent(400))
	return a.withClient(ctx, func(client *admin.Client) error {
		lists, err := batchLists(ctx, client, b.Plan)
		if err != nil {
			return err
		}
		p := newBatchProgress(a)
		certifier := certifying.Certifier{Client: client, Profile: b.Plan.Profile, Issuer: b.Plan.Issuer, Order: b.Plan.Order}
		s, err := b.Run(ctx, certifier, batch.Options{Progress: p.update, Lists: lists})
		p.end(err == nil)
		switch {
		case ctx.Err() != nil && errors.Is(err, ctx.Err()):
			err = fmt.Errorf("ended before its time, %s: mintmark batch resume %s goes on", haveTheirs(s), dir)
		case err != nil:
			err = fmt.Errorf("%w\n%s, and nothing is lost: mintmark batch resume %s goes on", err, haveTheirs(s), dir)
		}
		return errors.Join(err, a.printBatch(dir, s, err == nil))
	})
}

// printBatch says what a run has left.
func (a *app) printBatch(dir string, s batch.Summary, well bool) error {
	if a.json {
		if err := a.printJSON(s); err != nil {
			return err
		}
	}
	if !well {
		return nil
	}
	if !a.json {
		words := haveTheirs(s)
		if s.Issued > 0 {
			words += "; what to ship is in " + filepath.Join(dir, batch.Delivery)
		}
		if _, err := fmt.Fprintln(a.out, words); err != nil {
			return err
		}
	}
	switch {
	case s.Prior == 1:
		a.say("1 was there before it was asked for")
	case s.Prior > 1:
		a.say("%d of them were there before they were asked for", s.Prior)
	}
	if s.Refused == 0 && s.Unasked == 0 {
		return nil
	}
	if err := a.printRefused(dir); err != nil {
		return err
	}
	var words []string
	if s.Refused > 0 {
		words = append(words, fmt.Sprintf("%s refused", wasWere(s.Refused)))
	}
	if s.Unasked > 0 {
		words = append(words, fmt.Sprintf("%s not asked for (%s)", wasWere(s.Unasked), s.Stopped))
	}
	return fmt.Errorf("%s: when the cause is put right, mintmark batch resume %s asks again", strings.Join(words, ", "), dir)
}

func haveTheirs(s batch.Summary) string {
	if s.Devices == 1 {
		return fmt.Sprintf("%d of 1 device has its certificate", s.Issued)
	}
	return fmt.Sprintf("%d of %d devices have their certificates", s.Issued, s.Devices)
}

func wasWere(n int) string {
	if n == 1 {
		return "1 device was"
	}
	return fmt.Sprintf("%d devices were", n)
}
