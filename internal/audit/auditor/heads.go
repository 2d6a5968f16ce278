package auditor

import (
	"crypto/sha256"
	"errors"
	"io/fs"
	"path/filepath"
	"time"

	"mintmark/internal/audit"
	"mintmark/internal/audit/heads"
)

func hash(b []byte) [32]byte { return sha256.Sum256(b) }

// headFolder is one directory with heads.
type headFolder struct {
	dir string
	// listed are the heads that no record was read for yet, by server.
	listed map[string]map[int64]bool
}

// listHeads is done before the logs are read: heads that a server makes
// meanwhile are not missed in them.
func (v *verification) listHeads() error {
	for _, dir := range v.Heads {
		listed, others, err := heads.List(dir)
		if err != nil {
			return err
		}
		for _, name := range others {
			v.find(filepath.Join(dir, name), 0, "is not named as a head is: it was renamed, or is something else")
		}
		v.heads = append(v.heads, &headFolder{dir, listed})
	}
	return nil
}

// head compares a head record with its note in every directory.
func (v *verification) head(log int, r audit.HeadRecord) {
	for _, f := range v.heads {
		delete(f.listed[r.Server], r.Sequence)
		path := filepath.Join(f.dir, heads.FileName(r.Server, r.Sequence))
		signed, err := heads.Read(path)
		if errors.Is(err, fs.ErrNotExist) {
			if !r.At.After(v.AsOf) {
				v.find(path, 0, "is missing: the log has record %d of a head, of %s", r.Sequence, r.At.Format(time.RFC3339))
			}
			continue
		}
		if err != nil {
			v.find(path, 0, "cannot be read: %v", err)
			continue
		}
		said, err := heads.Open(signed, v.Keys)
		switch {
		case err != nil:
			v.find(path, 0, "%v (it says that it is signed by %s)", err, heads.SignedBy(signed))
			continue
		case said != r:
			v.find(path, 0, "says that head %d of server %q is at batch %d with hash %x, and the log has it at batch %d with hash %x: the log was written anew, or the heads were exchanged",
				said.Sequence, said.Server, said.Position.Batch, said.Position.Hash[:4], r.Position.Batch, r.Position.Hash[:4])
			continue
		}
		l := &v.report.Logs[log]
		l.Heads++
		l.Uncovered, l.covered = 0, r.Position.Batch
		// A time that has not come yet says nothing about how old the log is.
		switch {
		case said.At.After(v.AsOf.Add(v.MaxAge)):
			l.ahead = true
		case said.At.After(l.Newest):
			l.Newest = said.At
		}
	}
}

// endHeads looks at what is left: heads without a record, and how old the
// newest one is.
func (v *verification) endHeads() {
	if len(v.heads) == 0 {
		return
	}
	for _, f := range v.heads {
		for server, listed := range f.listed {
			for sequence := range listed {
				v.orphan(filepath.Join(f.dir, heads.FileName(server, sequence)), server)
			}
		}
	}
	for _, l := range v.report.Logs {
		switch {
		case l.broken:
			// That is found already, and whatever would be said here follows.
		case l.Newest.IsZero() && l.ahead:
			v.find(l.Dir, 0, "the signed heads of this log are of a time after %s: the clock of the server was wrong, or that time is. They do not show that nothing was cut off",
				v.AsOf.UTC().Format(time.RFC3339))
		case l.Newest.IsZero():
			v.find(l.Dir, 0, "no signed head of this log was found: nothing shows that it is the one that was written, nor that it is all of it")
		case v.AsOf.Sub(l.Newest) > v.MaxAge:
			v.find(l.Dir, 0, "the newest signed head is of %s, %s before %s: at most %s are allowed. Records and heads after it may have been cut off",
				l.Newest.UTC().Format(time.RFC3339), v.AsOf.Sub(l.Newest).Round(time.Second), v.AsOf.UTC().Format(time.RFC3339), v.MaxAge)
		}
	}
}

// orphan judges a head that no record was read for.
func (v *verification) orphan(path, server string) {
	signed, err := heads.Read(path)
	if err == nil {
		_, err = heads.Open(signed, v.Keys)
	}
	if err != nil {
		v.find(path, 0, "%v", err)
		return
	}
	for _, l := range v.report.Logs {
		if l.Server == server && l.broken {
			return
		}
		if l.Server == server {
			v.find(path, 0, "the log of server %q in %s has no record of this head: it was cut short or written anew, or is an older copy than the heads", server, l.Dir)
			return
		}
	}
	v.find(path, 0, "is of server %q, whose log is not among those given", server)
}
