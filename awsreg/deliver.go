package awsreg

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"mintmark/awsreg/hook"
	"mintmark/internal/ledger"
)

const (
	// BatchSize is how many tasks are best given to one Deliver: so many that the
	// last ones of a batch, on which fewer and fewer work, do not count, and few
	// enough that it is over within minutes.
	BatchSize = 500
	// workers is how many tasks of a batch are worked on at once. A call takes
	// some hundred milliseconds and its pauses seconds, so that the quotas of ten
	// to fifteen calls a second are only used with many under way.
	workers = 48
)

// job is one task while it is told.
type job struct {
	index int
	task  ledger.Task
	rank  int // the lower, the earlier
	push  *push
	claim *claimTask
	about subject // of tasks that name their subject
}

// What takes something out of service comes first.
const (
	rankShut     = iota // orders, devices held or released, revocations
	rankLists           // device lists
	rankClaim           // claim certificates
	rankRegister        // new certificates
)

// Deliver tells a target what tasks of its kind say and returns one error a task,
// nil where it is told; Told says of an error whether the manifest has it. Tasks may be delivered again and in any order: entries of
// valid certificates never change, a revocation has an item of its own, and
// everything else is read from the ledger when it is told. Of a batch many are
// told at once, those first that take something out of service.
func (r *Registrar) Deliver(ctx context.Context, t Target, tasks []ledger.Task) []error {
	return r.deliver(ctx, t, tasks, nil)
}

// deliver makes no call to AWS IoT for certificates that settled reports as being
// there as they should; nil for none.
func (r *Registrar) deliver(ctx context.Context, t Target, tasks []ledger.Task, settled func(push) bool) []error {
	ctx, cancel := context.WithTimeout(ctx, r.cfg.Deadline)
	defer cancel()
	errs := make([]error, len(tasks))
	s, err := r.session(ctx, t, false)
	if err != nil {
		for i := range errs {
			errs[i] = err
		}
		return errs
	}
	jobs := make([]*job, 0, len(tasks))
	for i, task := range tasks {
		j, err := parseTask(task)
		if errs[i] = err; err == nil {
			j.index = i
			jobs = append(jobs, j)
		}
	}
	// The marks are in the table before a certificate is touched: package hook
	// relies on that order.
	r.writeEntries(ctx, s, jobs, errs)
	slices.SortStableFunc(jobs, func(a, b *job) int { return a.rank - b.rank })
	inParallel(workers, len(jobs), func(i int) {
		j := jobs[i]
		switch {
		case errs[j.index] != nil:
		case settled == nil || j.push == nil || !settled(*j.push):
			errs[j.index] = r.tell(ctx, s, j)
		case j.push.State == hook.Valid:
			errs[j.index] = s.rotate(ctx, *j.push)
		}
	})
	return errs
}

// parseTask reads a task.
func parseTask(task ledger.Task) (*job, error) {
	j := &job{task: task}
	for _, prefix := range []string{orderTask, deviceTask, importTask} {
		id, ok := strings.CutPrefix(task.Key, prefix)
		if !ok {
			continue
		}
		about, err := parseSubject(task.Payload)
		if err != nil {
			return nil, err
		}
		if about.ID != id {
			return nil, fmt.Errorf("task %s: its payload names another subject", task.Key)
		}
		if j.about = about; prefix == importTask {
			j.rank = rankLists
		}
		return j, nil
	}
	claim, is, err := parseClaim(task.Payload)
	if err != nil {
		return nil, err
	}
	if is {
		j.claim, j.rank = &claim, rankClaim
		return j, nil
	}
	p, err := parsePush(task.Payload)
	if err != nil {
		return nil, err
	}
	if j.push = &p; p.State == hook.Valid {
		j.rank = rankRegister
	}
	return j, nil
}

// writeEntries puts what the tasks say of certificates into the manifest, in as few
// calls as possible.
func (r *Registrar) writeEntries(ctx context.Context, s *session, jobs []*job, errs []error) {
	if !s.target.decides() {
		return
	}
	cas := make(map[string]string) // id by name
	var items []batchItem
	for _, j := range jobs {
		if j.push == nil {
			continue
		}
		entry := j.push.Entry
		if entry.State == hook.Valid {
			if cas[entry.Issuer] == "" {
				if cas[entry.Issuer], errs[j.index] = r.issuerID(ctx, entry.Issuer); errs[j.index] != nil {
					continue
				}
			}
			entry.CA = cas[entry.Issuer]
		}
		for _, item := range entry.Items() {
			items = append(items, batchItem{task: j.index, item: item})
		}
	}
	s.write(ctx, s.target.Manifest.table(), items, errs)
}

// tell does what one task takes beside its entry in the manifest.
func (r *Registrar) tell(ctx context.Context, s *session, j *job) error {
	switch {
	case j.claim != nil:
		return r.tellClaim(ctx, s, *j.claim)
	case j.push != nil && j.push.State == hook.Revoked:
		return outstanding(r.revoke(ctx, s, *j.push))
	case j.push != nil:
		return r.tellIssued(ctx, s, *j.push)
	case strings.HasPrefix(j.task.Key, orderTask):
		return r.tellOrder(ctx, s, j.about.ID)
	case strings.HasPrefix(j.task.Key, deviceTask):
		return r.tellDevice(ctx, s, j.about.ID)
	}
	return r.tellImport(ctx, s, j.about.ID)
}

// tellIssued does what a new certificate of a device takes.
func (r *Registrar) tellIssued(ctx context.Context, s *session, p push) error {
	// Under a CA that is out of service nobody comes in any more; under one that is not
	// in service yet, once TellAll has told of it.
	if ca, is := s.target.ca(p.Issuer); is && ca.Use == UseRegister && ca.active() {
		if err := r.registerDevice(ctx, s, ca, p); err != nil {
			// What the functions must know of it does not wait for that.
			if unwritten := s.rotate(ctx, p); unwritten != nil {
				return fmt.Errorf("%w; %v", unwritten, err)
			}
			return outstanding(err)
		}
	}
	return s.rotate(ctx, p)
}

func (r *Registrar) issuerID(ctx context.Context, name string) (string, error) {
	issuer, err := r.issuer(ctx, name)
	if err != nil {
		return "", err
	}
	return CertificateID(issuer.Certificate.Raw), nil
}

// Beat says in the manifest's head that everything recorded by asOf is in the
// manifest. The caller has seen the target's part of the outbox empty, and took
// asOf before it looked. While nobody beats, the manifest ages, and past its
// maximum age the functions let nobody in. A target without functions has no head.
func (r *Registrar) Beat(ctx context.Context, t Target, asOf time.Time) error {
	if !t.decides() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, r.cfg.Deadline)
	defer cancel()
	s, err := r.session(ctx, t, false)
	if err != nil {
		return err
	}
	head := hook.Head{PushedAt: asOf, Server: r.cfg.Server, MaxAge: t.Manifest.maxAge()}
	if t.Rotation != nil {
		head.Period, head.Grace = t.Rotation.period(), t.Rotation.grace()
	}
	err = retry(ctx, func() error {
		_, err := s.dynamo.PutItem(ctx, &dynamodb.PutItemInput{TableName: aws.String(t.Manifest.table()), Item: head.Item()})
		return err
	})
	return explain(fmt.Sprintf("AWS target %q: writing the head of table %q", t.Name, t.Manifest.table()), err)
}
