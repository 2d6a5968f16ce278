package audit

import (
	"errors"
	"iter"
	"time"
)

// Entry is one step of a Merge. Exactly one of the last three is set.
type Entry struct {
	Log   int // index of the directory
	Batch *Batch
	Head  *HeadRecord
	End   *Report // nothing of this log follows
}

// at is the time by which logs are merged.
func (e Entry) at() time.Time {
	switch {
	case e.Batch != nil:
		return e.Batch.Events[0].At
	case e.Head != nil:
		return e.Head.At
	}
	return time.Time{} // an end holds nothing up
}

// Merge verifies logs, as Walk does, side by side: each in its own order, and
// among them by time. The clocks of servers differ, so that what one has
// recorded may come before what it follows from in the log of another. An error
// is that of the entry's log, whose end then comes next; the others go on.
func Merge(dirs []string) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		type source struct {
			next func() (Entry, error, bool)
			head Entry
			err  error
		}
		var sources []*source
		for i, dir := range dirs {
			next, stop := iter.Pull2(entries(i, dir))
			defer stop()
			s := &source{next: next}
			s.head, s.err, _ = next() // there is an end at least
			sources = append(sources, s)
		}
		for len(sources) > 0 {
			first := 0
			for i, s := range sources {
				if s.head.at().Before(sources[first].head.at()) {
					first = i
				}
			}
			s := sources[first]
			if !yield(s.head, s.err) {
				return
			}
			var more bool
			if s.head, s.err, more = s.next(); !more {
				sources = append(sources[:first], sources[first+1:]...)
			}
		}
	}
}

// entries walks one log.
func entries(log int, dir string) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		report, err := Walk(dir, Visitor{
			Batch: func(b Batch) error {
				if !yield(Entry{Log: log, Batch: &b}, nil) {
					return errStop
				}
				return nil
			},
			Head: func(r HeadRecord) error {
				if !yield(Entry{Log: log, Head: &r}, nil) {
					return errStop
				}
				return nil
			},
		})
		if errors.Is(err, errStop) || err != nil && !yield(Entry{Log: log}, err) {
			return
		}
		yield(Entry{Log: log, End: &report}, nil)
	}
}
