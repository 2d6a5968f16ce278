package audit

import (
	"errors"
	"fmt"

	"mintmark/internal/ledger"
)

// Report is what Verify has seen.
type Report struct {
	Server  string
	Files   int
	Batches int64 // of events
	Records int64 // events
	Aborted int   // batches that never committed
	Cuts    int   // torn ends that were cut off
	Heads   int64 // head records
	// Torn counts the bytes at the very end that are not a batch: left by a
	// crash, or being written at this moment.
	Torn int64
	// Head is where the log ends. That nothing was cut off after it shows
	// only by comparing it with one that was kept elsewhere.
	Head ledger.Head
}

// Verify checks all of the log in a directory: that every record is written as
// it must be, that the chain holds from the first record to the last and that
// no file is missing. The error is a *Break at the first place where that is
// not so; the report then covers what comes before it. The log may be in use.
//
// What the records say is package auditor's business, and so is the comparison
// with heads.
func Verify(dir string) (Report, error) { return Walk(dir, Visitor{}) }

// A Visitor is told what a Walk passes. Functions that are nil are not called;
// an error of one ends the walk and is returned as it is.
type Visitor struct {
	// Batch gets every batch of events, in their order, as soon as it is known
	// whether it was aborted: when the next one follows or the log ends.
	Batch func(Batch) error
	// Head gets every head record, before the batches that follow it and maybe
	// before the one that it follows.
	Head func(HeadRecord) error
}

// Walk verifies a log as Verify does and tells the visitor what it holds.
func Walk(dir string, v Visitor) (Report, error) {
	p := pass{visitor: v}
	files, err := listFiles(dir)
	if err != nil {
		return p.report, err
	}
	if len(files) == 0 {
		return p.report, errors.New("verifying issuance log: no log in " + dir)
	}
	var w walker
	for i, path := range files {
		t, err := w.file(path, func(b *rawBatch) error {
			p.report.Server = w.server
			return p.add(path, b)
		})
		p.report.Head = w.head
		if err != nil {
			return p.report, err
		}
		if t.torn > 0 && i != len(files)-1 {
			return p.report, &Break{File: path, Line: 1, Reason: fmt.Sprintf("the file ends in %d bytes that are no batch, and it is not the newest", t.torn)}
		}
		p.report.Files++
		p.report.Torn = t.torn
	}
	return p.report, p.release(false)
}

// A pass is one walk from the first record to the last.
type pass struct {
	visitor Visitor
	report  Report
	held    *Batch // until it is known whether it was confirmed
}

func (p *pass) add(path string, b *rawBatch) error {
	if isEvent(b.kind) {
		batch, err := decode(path, b)
		if err != nil {
			return err
		}
		p.report.Batches++
		p.report.Records += int64(len(batch.Events))
		if err := p.release(true); err != nil {
			return err
		}
		p.held = batch
		return nil
	}
	r, err := parseRecord(b.bodies[0], b.format)
	if err != nil {
		return &Break{File: path, Line: b.line, Reason: err.Error()}
	}
	switch r.kind {
	case kindAborted:
		if p.held == nil || r.target != p.held.Head.Batch || p.held.Aborted {
			return &Break{File: path, Line: b.line, Reason: fmt.Sprintf("aborts batch %d, which is not the last one before it", r.target)}
		}
		p.report.Aborted++
		p.held.Aborted = true
	case kindTruncated:
		p.report.Cuts++
	case kindHead:
		p.report.Heads++
		if p.visitor.Head != nil {
			return p.visitor.Head(HeadRecord{Server: p.report.Server, Sequence: r.heads, Position: b.head, At: r.at})
		}
	}
	return nil
}

// release hands out the batch that is held, if there is one.
func (p *pass) release(confirmed bool) error {
	b := p.held
	p.held = nil
	if b == nil || p.visitor.Batch == nil {
		return nil
	}
	b.Server = p.report.Server
	b.Confirmed = confirmed && !b.Aborted
	return p.visitor.Batch(*b)
}
