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
func Verify(dir string) (Report, error) {
	var report Report
	files, err := listFiles(dir)
	if err != nil {
		return report, err
	}
	if len(files) == 0 {
		return report, errors.New("verifying issuance log: no log in " + dir)
	}
	var w walker
	var last ledger.Head // of events
	for i, path := range files {
		t, err := w.file(path, func(b *rawBatch) error {
			return report.add(path, b, &last)
		})
		report.Head, report.Server = w.head, w.server
		if err != nil {
			return report, err
		}
		if t.torn > 0 && i != len(files)-1 {
			return report, &Break{File: path, Line: 1, Reason: fmt.Sprintf("the file ends in %d bytes that are no batch, and it is not the newest", t.torn)}
		}
		report.Files++
		report.Torn = t.torn
	}
	return report, nil
}

func (report *Report) add(path string, b *rawBatch, last *ledger.Head) error {
	if isEvent(b.kind) {
		batch, err := decode(path, b)
		if err != nil {
			return err
		}
		report.Batches++
		report.Records += int64(len(batch.Events))
		*last = b.head
		return nil
	}
	r, err := parseRecord(b.bodies[0])
	if err != nil {
		return &Break{File: path, Line: b.line, Reason: err.Error()}
	}
	switch r.kind {
	case kindAborted:
		if r.target != last.Batch {
			return &Break{File: path, Line: b.line, Reason: fmt.Sprintf("aborts batch %d, which is not the last one before it", r.target)}
		}
		report.Aborted++
	case kindTruncated:
		report.Cuts++
	}
	return nil
}
