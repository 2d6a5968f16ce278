package awsreg

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/iot/types"

	"mintmark/internal/reconcile"
)

const (
	// listPage is the largest page that AWS gives.
	// https://docs.aws.amazon.com/iot/latest/apireference/API_ListCertificatesByCA.html
	listPage = 250
	// sweepers is how many certificates are changed at once: enough to use up the
	// quota of the operation.
	sweepers = 8
)

// sweepStatus is the status that every certificate under a CA is to have; empty
// where the CA leaves that to each certificate.
func (ca CA) sweepStatus() types.CertificateStatus {
	switch ca.sweep() {
	case SweepDeactivate:
		return types.CertificateStatusInactive
	case SweepRevoke:
		return types.CertificateStatusRevoked
	}
	return ""
}

// sweeps reports whether a certificate of one status is to be given another.
// REVOKED is final, and one in transfer belongs to two accounts: AWS changes
// neither.
func sweeps(have, want types.CertificateStatus) bool {
	switch have {
	case want, types.CertificateStatusRevoked, types.CertificateStatusPendingTransfer:
		return false
	}
	return true
}

// counts are certificates by status.
type counts map[types.CertificateStatus]int

func (c counts) String() string {
	if len(c) == 0 {
		return "no certificates"
	}
	var parts []string
	for _, status := range slices.Sorted(maps.Keys(c)) {
		parts = append(parts, fmt.Sprintf("%d %s", c[status], status))
	}
	return strings.Join(parts, ", ")
}

// swept is what becomes of them, and how many change.
func (c counts) swept(want types.CertificateStatus) (counts, int) {
	after, n := make(counts), 0
	for status, k := range c {
		if sweeps(status, want) {
			n += k
			status = want
		}
		after[status] += k
	}
	return after, n
}

// sweepResource takes every device certificate under a CA out of service. The
// plan shows the numbers, and what was done is read back by listing again.
func (r *Registrar) sweepResource(s *session, ca CA, issuer Issuer, id string) resource {
	want := ca.sweepStatus()
	examine := func(ctx context.Context) (reconcile.Change, action, error) {
		change := reconcile.Change{Kind: kindSweep, Subject: caSubject(ca, id), Action: reconcile.None, After: "the CA is " + notRegistered}
		have, err := describeCA(ctx, s.iot, id, issuer)
		if err != nil || have == nil {
			return change, nil, err
		}
		before, err := r.countByCA(ctx, s.iot, id)
		if err != nil {
			return change, nil, explain(fmt.Sprintf("listing the certificates under CA %q", ca.Issuer), err)
		}
		after, n := before.swept(want)
		change.Before, change.After = before.String(), after.String()
		if n == 0 {
			return change, nil, nil
		}
		change.Action, change.Destructive = reconcile.Update, true
		return change, func(ctx context.Context) error {
			err := r.sweepCA(ctx, s, id, want)
			return explain(fmt.Sprintf("setting the certificates under CA %q %s", ca.Issuer, want), err)
		}, nil
	}
	return resource{examine: examine, long: true}
}

// countByCA counts the certificates under a CA, however many there are. Each page
// has the Registrar's deadline, all of them together have none.
func (r *Registrar) countByCA(ctx context.Context, api sweepAPI, id string) (counts, error) {
	total := make(counts)
	err := eachPage(ctx, r.cfg.Deadline, api, id, func(_ context.Context, page []types.Certificate) error {
		for _, c := range page {
			total[c.Status]++
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return total, nil
}

// sweepCA gives the certificates under a CA a status, a page at a time. The order
// of the list is by creation, which a status does not change.
func (r *Registrar) sweepCA(ctx context.Context, s *session, id string, want types.CertificateStatus) error {
	done := 0
	return eachPage(ctx, r.cfg.Deadline, s.iot, id, func(ctx context.Context, page []types.Certificate) error {
		todo := slices.DeleteFunc(page, func(c types.Certificate) bool { return !sweeps(c.Status, want) })
		work := make(chan string)
		errs := make([]error, sweepers)
		var wait sync.WaitGroup
		for i := range errs {
			wait.Go(func() {
				for certificate := range work {
					if errs[i] == nil {
						errs[i] = setStatus(ctx, s.iot, certificate, want)
					}
				}
			})
		}
		for _, c := range todo {
			work <- aws.ToString(c.CertificateId)
		}
		close(work)
		wait.Wait()
		if err := errors.Join(errs...); err != nil {
			return err
		}
		if done += len(todo); len(todo) > 0 {
			r.cfg.Logger.Info("changing certificates at AWS", "target", s.target.Name, "ca", id, "status", want, "done", done)
		}
		return nil
	})
}

// setStatus changes one certificate; one that is gone needs no change.
func setStatus(ctx context.Context, api sweepAPI, id string, status types.CertificateStatus) error {
	err := retry(ctx, func() error {
		_, err := api.UpdateCertificate(ctx, &iot.UpdateCertificateInput{CertificateId: aws.String(id), NewStatus: status})
		return err
	})
	if code(err) == codeNotFound {
		return nil
	}
	return explain(fmt.Sprintf("setting certificate %s %s", id, status), err)
}

// eachPage calls do with each page of the certificates under a CA. Each page, and
// what is done with it, has a deadline of its own.
func eachPage(ctx context.Context, deadline time.Duration, api sweepAPI, id string, do func(context.Context, []types.Certificate) error) error {
	var marker *string
	one := func() error {
		ctx, cancel := context.WithTimeout(ctx, deadline)
		defer cancel()
		var out *iot.ListCertificatesByCAOutput
		err := retry(ctx, func() (err error) {
			out, err = api.ListCertificatesByCA(ctx, &iot.ListCertificatesByCAInput{
				CaCertificateId: aws.String(id), PageSize: aws.Int32(listPage), Marker: marker, AscendingOrder: true,
			})
			return err
		})
		if err != nil {
			return err
		}
		if next := aws.ToString(out.NextMarker); next != "" && next == aws.ToString(marker) {
			return errTooManyPages
		}
		marker = out.NextMarker
		return do(ctx, out.Certificates)
	}
	for {
		if err := one(); err != nil || aws.ToString(marker) == "" {
			return err
		}
	}
}
