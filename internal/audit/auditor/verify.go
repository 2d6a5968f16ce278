// Package auditor checks what an issuance log claims: not only that it is as it
// was written, which is package audit's part, but that it is as it was signed,
// that it is all there, and that what it says can be.
//
// It needs the files of the logs, signed heads and the keys to verify those by,
// and nothing of the server. Its memory does not grow with the certificates,
// but for some twenty bytes each: to see a serial number twice. One-time secrets
// and approvals are kept as well, to see one of them used twice.
package auditor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/mod/sumdb/note"

	"mintmark/internal/audit"
)

// Config says what is verified.
type Config struct {
	// Logs are the directories of issuance logs, one a server. Required.
	Logs []string
	// Heads are directories with signed heads. Every one of them must hold all
	// heads of all logs. Empty if only the logs are verified.
	Heads []string
	// Keys verify heads; required with Heads.
	Keys note.Verifiers
	// AsOf is when the copies were made. Required with Heads.
	AsOf time.Time
	// MaxAge is how old the newest head may be at AsOf; 0 means 20 minutes.
	MaxAge time.Duration
	// Unread leaves certificates unread, whose signatures are most of the work:
	// for who wants to know only that the logs are whole and what they say can be.
	Unread bool
	// Progress, if set, is told now and then how many records were read.
	Progress func(records int64)
}

// maxFindings bounds how many findings are kept. All are counted.
const maxFindings = 1000

// Finding is one thing that is not as it must be.
type Finding struct {
	// File and Line are where it shows; Line is 0 if it is no line of a log.
	File string `json:"file,omitempty"`
	Line int    `json:"line,omitempty"`
	Text string `json:"text"`
}

// String is file, line and text.
func (f Finding) String() string {
	switch {
	case f.File == "":
		return f.Text
	case f.Line == 0:
		return f.File + ": " + f.Text
	}
	return fmt.Sprintf("%s, line %d: %s", f.File, f.Line, f.Text)
}

// Report is what was verified and found.
type Report struct {
	Logs         []Log
	Certificates int64 // issued and recorded
	Imported     int64 // from before mintmark
	Revoked      int64
	Voided       int64
	Open         int64 // intents without an outcome at the end of the logs
	Authorities  int
	Approvals    int64 // signatures of second officers that were verified
	Kinds        map[string]int64
	Findings     []Finding
	// Found counts findings, those included that are not kept.
	Found int64
}

// Log is the account of one log.
type Log struct {
	audit.Report
	Dir   string
	Heads int64 // verified, of all directories
	// Newest is the time of the newest verified head, zero for none. Heads of a
	// time after Config.AsOf, by more than Config.MaxAge, do not count.
	Newest time.Time
	// Uncovered counts the records after the newest verified head: nothing
	// shows whether others were cut off behind them.
	Uncovered int64

	covered int64 // the batch of that head
	ahead   bool  // a head is of a time that had not come
	broken  bool  // nothing was read after a break
}

// Verify verifies logs and heads. What is wrong with them are findings in the
// report; the error is for what could not be read.
func Verify(ctx context.Context, c Config) (Report, error) {
	switch {
	case len(c.Logs) == 0:
		return Report{}, errors.New("verifying: no log named")
	case len(c.Heads) > 0 && (c.Keys == nil || c.AsOf.IsZero()):
		return Report{}, errors.New("verifying: heads need keys to verify them by and the time that they are as of")
	}
	if c.MaxAge == 0 {
		c.MaxAge = 20 * time.Minute
	}
	v := newVerification(c)
	defer v.pool.stop()
	if err := v.listHeads(); err != nil {
		return Report{}, err
	}
	var told int64
	for e, err := range audit.Merge(c.Logs) {
		if ctx.Err() != nil {
			return Report{}, context.Cause(ctx)
		}
		var broken *audit.Break
		switch {
		case errors.As(err, &broken):
			v.find(broken.File, broken.Line, "%s: nothing of this log was read from here on", broken.Reason)
			v.report.Logs[e.Log].broken = true
		case err != nil:
			return Report{}, err
		case e.Batch != nil:
			v.batch(e.Log, e.Batch)
			if c.Progress != nil && v.records-told >= 10_000 {
				told = v.records
				c.Progress(told)
			}
		case e.Head != nil:
			v.head(e.Log, *e.Head)
		case e.End != nil:
			v.report.Logs[e.Log].Report = *e.End
		}
	}
	v.end()
	return v.report, nil
}

// verification is one run.
type verification struct {
	Config
	report  Report
	records int64
	heads   []*headFolder
	pool    *pool

	open        map[string]*openIntent
	known       map[uint64]fate
	later       []laterSerial
	authorities map[string]*authority
	orders      map[string]*account
	people      people
	crls        map[crlKey]int64
	enrollments map[string]*entry
	waiting     int                 // intents that were read before their enrollment
	secrets     map[uint64]*oneTime // by the short form of device and secret
	current     map[uint64]uint64   // the secret that a device has, both in their short form
	rollovers   []lateRollover
	rotations   map[string]*history
}

func newVerification(c Config) *verification {
	v := &verification{
		Config: c, open: map[string]*openIntent{}, known: map[uint64]fate{}, authorities: map[string]*authority{},
		orders: map[string]*account{}, people: newPeople(), crls: map[crlKey]int64{},
		enrollments: map[string]*entry{}, secrets: map[uint64]*oneTime{}, current: map[uint64]uint64{},
		rotations: map[string]*history{},
	}
	v.report.Kinds = map[string]int64{}
	for _, dir := range c.Logs {
		v.report.Logs = append(v.report.Logs, Log{Dir: dir})
	}
	v.pool = newPool()
	return v
}

// find records a finding.
func (v *verification) find(file string, line int, format string, args ...any) {
	v.report.Found++
	if len(v.report.Findings) < maxFindings {
		v.report.Findings = append(v.report.Findings, Finding{File: file, Line: line, Text: fmt.Sprintf(format, args...)})
	}
}

// end settles what could not be judged before all logs were read.
func (v *verification) end() {
	v.settle()
	v.settleAuthorities()
	v.settleApprovals()
	v.settleTaken()
	v.settleRollovers()
	v.settleRotations()
	found, count := v.pool.finish()
	for _, f := range found {
		v.find(f.file, f.line, "%s", f.text)
	}
	v.report.Found += count - int64(len(found))
	v.endHeads()
	v.report.Open = int64(len(v.open))
	v.report.Authorities = len(v.authorities)
	servers := map[string]string{}
	for _, log := range v.report.Logs {
		if other, ok := servers[log.Server]; ok && log.Server != "" {
			v.find(log.Dir, 0, "is the log of server %q, and so is %s: they are copies of one log, or one of them is not what it says", log.Server, other)
		}
		servers[log.Server] = log.Dir
	}
	// Findings of certificates come from workers, in no order.
	slices.SortStableFunc(v.report.Findings, func(a, b Finding) int {
		if a.File != b.File || a.Line == b.Line {
			return 0
		}
		return a.Line - b.Line
	})
}
