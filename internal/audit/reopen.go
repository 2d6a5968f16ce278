package audit

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"mintmark/internal/ledger"
)

// Reopen closes the file, reads the end of the log from disk again and checks
// it; only then does a log that has failed accept batches again. A batch whose
// append failed is marked as aborted if its bytes are there after all.
func (l *Log) Reopen() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failed = true
	if l.file != nil {
		l.file.Close() // nothing that it could report is relied on
		l.file = nil
	}
	before, lost := l.head, l.lost
	if err := l.reopen(); err != nil {
		l.head = before // what was read may not have been on disk
		return err
	}
	if found := l.head; found.Batch < before.Batch || found.Batch == before.Batch && found != before {
		l.head = before // which the next attempt must find, too
		return fmt.Errorf("issuance log in %s ends at batch %d, but batch %d was durable: it was changed behind the server's back", l.dir, found.Batch, before.Batch)
	}
	if lost != 0 && l.events.Batch == lost {
		if err := l.abort(); err != nil {
			return err
		}
	}
	l.lost, l.failed = 0, false
	return nil
}

func (l *Log) reopen() error {
	files, err := listFiles(l.dir)
	if err != nil {
		return err
	}
	if len(files) == 0 {
		l.head, l.heads, l.events, l.open = ledger.Head{}, 0, ledger.Head{}, false
		return l.begin()
	}
	end, err := readEnd(files)
	if err != nil {
		return err
	}
	if end.server != "" && end.server != l.cfg.Server {
		return fmt.Errorf("issuance log in %s is of server %q, not of %q: every server has a directory of its own", l.dir, end.server, l.cfg.Server)
	}
	l.head, l.heads, l.events, l.open = end.head, end.heads, end.events, end.open
	newest := files[len(files)-1]
	if isPacked(newest) {
		return l.begin() // as in a copy all of which was packed: nothing is appended to that
	}
	if l.file, err = os.OpenFile(newest, os.O_RDWR, 0); err != nil {
		return fmt.Errorf("opening issuance log: %w", err)
	}
	if err := l.mend(end); err != nil {
		return err
	}
	if end.good > 0 && end.format < format {
		return l.begin() // an older version's file keeps its format
	}
	return nil
}

// mend makes the end of the newest file durable and removes what a crash left
// behind it.
func (l *Log) mend(end logEnd) error {
	// After a failed fsync the kernel holds pages as clean that are not on
	// disk, so that a later fsync would skip them. Only one batch can be in
	// that state; writing it again makes its pages dirty again.
	last := make([]byte, end.good-end.lastStart)
	if _, err := l.file.ReadAt(last, end.lastStart); err != nil {
		return fmt.Errorf("reading issuance log: %w", err)
	}
	l.size = end.lastStart
	if err := l.write(last); err != nil {
		return err
	}
	if end.good == 0 {
		// The crash came while the file was begun.
		if err := l.note(&record{kind: kindOpened, server: l.cfg.Server, prev: l.head.Hash, heads: l.heads}); err != nil {
			return err
		}
	}
	if end.torn > 0 {
		// Written over the torn bytes before they are cut: if this fails
		// halfway the end is still torn, and the cut does not go unrecorded.
		if err := l.note(&record{kind: kindTruncated, bytes: end.torn}); err != nil {
			return err
		}
	}
	if err := l.file.Truncate(l.size); err != nil {
		return fmt.Errorf("truncating issuance log: %w", err)
	}
	if err := fdatasync(l.file); err != nil {
		return err
	}
	return syncDir(l.dir)
}

// logEnd is what the last files say about the end of the log.
type logEnd struct {
	tail
	server    string
	format    int // of the newest file, if anything of it is good
	head      ledger.Head
	heads     int64
	events    ledger.Head
	open      bool
	lastStart int64 // where the last batch of the newest file begins
}

// readEnd checks the newest file and the one before it, which holds the hash
// that the newest must begin with. What is older is left to Verify.
func readEnd(files []string) (logEnd, error) {
	var end logEnd
	newest := files[len(files)-1]
	if err := forgetPages(newest); err != nil {
		return end, err
	}
	recent := files[max(0, len(files)-2):]
	var w walker
	if len(files) > 2 {
		var err error
		if w, err = startOf(recent[0]); err != nil {
			return end, err
		}
	}
	for _, path := range recent {
		end.lastStart = 0
		var err error
		end.tail, err = w.file(path, func(b *rawBatch) error {
			end.lastStart = b.start
			return end.follow(b)
		})
		if err != nil {
			return end, err
		}
		if end.torn > 0 && path != newest {
			return end, &Break{File: path, Line: 1, Reason: fmt.Sprintf("the file ends in %d bytes that are no batch, and it is not the newest", end.torn)}
		}
	}
	end.head, end.heads, end.server, end.format = w.head, w.heads, w.server, w.format
	return end, nil
}

// follow keeps track of which batch can still be aborted.
func (end *logEnd) follow(b *rawBatch) error {
	switch {
	case isEvent(b.kind):
		end.events, end.open = b.head, true
	case b.kind == kindAborted:
		r, err := parseRecord(b.bodies[0], b.format)
		if err != nil {
			return err
		}
		if r.target == end.events.Batch {
			end.open = false
		}
	}
	return nil
}

// startOf reads from a file's first record what came before the file. Without
// the file before it that is not checked.
func startOf(path string) (walker, error) {
	f, err := openSource(path)
	if err != nil {
		return walker{}, err
	}
	defer f.Close()
	buf := make([]byte, 64<<10)
	n, _ := io.ReadFull(f, buf) // a short file is the usual case
	for i, c := range buf[:n] {
		if c != '\n' {
			continue
		}
		body, _, err := splitLine(buf[:i+1])
		if err != nil {
			return walker{}, &Break{File: path, Line: 1, Reason: err.Error()}
		}
		r, err := parseRecord(body, 0)
		if err != nil {
			return walker{}, &Break{File: path, Line: 1, Reason: err.Error()}
		}
		return walker{head: ledger.Head{Batch: r.batch - 1, Hash: r.prev}, heads: r.heads}, nil
	}
	return walker{}, &Break{File: path, Line: 1, Reason: "the file does not begin with its opening record"}
}

// forgetPages asks the kernel to drop the file's clean pages, so that reading
// shows what the disk holds. It is advice: mend does not rely on it.
func forgetPages(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("opening %s: %w", filepath.Base(path), err)
	}
	defer f.Close()
	if err := unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil && !errors.Is(err, unix.ENOSYS) && !errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("dropping cached pages of %s: %w", filepath.Base(path), err)
	}
	return nil
}
