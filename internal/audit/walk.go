package audit

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"mintmark/internal/ledger"
)

// maxLine bounds a record: no certificate comes near it.
const maxLine = 16 << 20

// A Break is the first place at which the log is not what was written.
type Break struct {
	File   string
	Line   int
	Reason string
}

func (b *Break) Error() string {
	return fmt.Sprintf("issuance log is broken at %s, line %d: %s", b.File, b.Line, b.Reason)
}

// A rawBatch is one batch whose chain was checked and whose content was not
// decoded yet.
type rawBatch struct {
	kind       string // of the first record
	format     int    // of its file
	prev, head ledger.Head
	bodies     [][]byte
	line       int // of the first record
	start, end int64
}

// A walker follows the chain through the files of a log.
type walker struct {
	head   ledger.Head
	heads  int64  // head records so far
	server string // as the first file says
	format int    // of the file
	limit  int64  // read no further in the file; 0 for to its end
}

// A tail says how a file ends.
type tail struct {
	good int64 // where the last complete batch ends
	torn int64 // bytes after that: a write that a crash interrupted
}

// file walks one file and calls yield for each complete batch. It returns a
// *Break if something does not chain, and a tail with torn bytes if the file
// ends in what a crash leaves behind.
func (w *walker) file(path string, yield func(*rawBatch) error) (tail, error) {
	f, err := openSource(path)
	if err != nil {
		return tail{}, err
	}
	defer f.Close()
	var content io.Reader = f
	if w.limit > 0 && f.plain != nil {
		content = io.NewSectionReader(f.plain, 0, w.limit)
	}
	in := bufio.NewReaderSize(content, 1<<18)
	var t tail
	line := 1
	for {
		b, err := w.next(in, line, t.good)
		if errors.Is(err, io.EOF) && b == nil {
			return t, nil
		}
		if err == nil {
			if reason := w.admit(path, b, line == 1); reason != "" {
				return t, &Break{File: path, Line: b.line, Reason: reason}
			}
			b.format = w.format
			if err := yield(b); err != nil {
				return t, err
			}
			w.head = b.head
			line += len(b.bodies)
			t.good = b.end
			continue
		}
		var broken *Break
		if !errors.As(err, &broken) {
			return t, fmt.Errorf("reading %s: %w", path, err)
		}
		broken.File, broken.Line = path, max(broken.Line, line)
		if f.plain == nil {
			return t, broken // it was whole when it was packed
		}
		size, torn, terr := tornEnd(f.plain, t.good)
		if terr != nil {
			return t, fmt.Errorf("reading %s: %w", path, terr)
		}
		if torn {
			t.torn = size
			return t, nil
		}
		return t, broken
	}
}

// next reads one batch. The error is io.EOF at a clean end, *Break for
// anything that does not chain.
func (w *walker) next(in *bufio.Reader, line int, offset int64) (*rawBatch, error) {
	b := &rawBatch{prev: w.head, line: line, start: offset, end: offset}
	hash := w.head.Hash
	for {
		raw, err := readLine(in)
		if errors.Is(err, io.EOF) && len(raw) == 0 && len(b.bodies) == 0 {
			return nil, io.EOF
		}
		at := line + len(b.bodies)
		if errors.Is(err, io.EOF) || errors.Is(err, bufio.ErrBufferFull) {
			return b, &Break{Line: at, Reason: "batch is incomplete"}
		}
		if err != nil {
			return b, err
		}
		body, want, err := splitLine(raw)
		if err != nil {
			return b, &Break{Line: at, Reason: err.Error()}
		}
		p, err := parsePlace(body)
		if err != nil {
			return b, &Break{Line: at, Reason: err.Error()}
		}
		if len(b.bodies) == 0 {
			b.kind = p.kind
		}
		if p.batch != w.head.Batch+1 {
			return b, &Break{Line: at, Reason: fmt.Sprintf("batch %d follows batch %d: records are missing or out of order", p.batch, w.head.Batch)}
		}
		if p.rec != len(b.bodies) {
			return b, &Break{Line: at, Reason: fmt.Sprintf("record %d of batch %d stands where record %d belongs", p.rec, p.batch, len(b.bodies))}
		}
		if hash = chain(hash, body); hash != want {
			return b, &Break{Line: at, Reason: "hash does not follow from the line and the one before: one of them was changed"}
		}
		b.bodies = append(b.bodies, body)
		b.end += int64(len(raw))
		if p.rec == p.of-1 {
			b.head = ledger.Head{Batch: p.batch, Hash: hash}
			return b, nil
		}
	}
}

// readLine reads a line of at most maxLine bytes with its newline.
func readLine(in *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		part, err := in.ReadSlice('\n')
		line = append(line, part...)
		if !errors.Is(err, bufio.ErrBufferFull) || len(line) > maxLine {
			return line, err
		}
	}
}

// admit checks what the first record of a file says, that it is the first, and
// that heads are counted.
func (w *walker) admit(path string, b *rawBatch, first bool) string {
	if !isEvent(b.kind) && len(b.bodies) != 1 {
		return fmt.Sprintf("a record of kind %q is not a batch by itself", b.kind)
	}
	if !first {
		switch b.kind {
		case kindOpened:
			return "a file's first record stands inside the file"
		case kindHead:
			return w.count(b)
		}
		return ""
	}
	if b.kind != kindOpened {
		return "the file does not begin with its opening record"
	}
	r, err := parseRecord(b.bodies[0], 0)
	switch {
	case err != nil:
		return err.Error()
	case r.prev != b.prev.Hash:
		return "the file does not follow the one before it"
	case w.server != "" && r.server != w.server:
		return fmt.Sprintf("the file is of server %q, those before are of %q", r.server, w.server)
	case plainName(path) != fileName(r.batch):
		return fmt.Sprintf("the file was renamed: it is %s", fileName(r.batch))
	case r.heads != w.heads:
		return fmt.Sprintf("the file begins after head %d, those before end after head %d", r.heads, w.heads)
	case r.format < w.format:
		return fmt.Sprintf("the file has format %d, the one before has format %d", r.format, w.format)
	}
	w.server, w.format = r.server, r.format
	return ""
}

// count follows the sequence of heads.
func (w *walker) count(b *rawBatch) string {
	r, err := parseRecord(b.bodies[0], w.format)
	if err != nil {
		return err.Error()
	}
	if r.heads != w.heads+1 {
		return fmt.Sprintf("head %d follows head %d", r.heads, w.heads)
	}
	w.heads = r.heads
	return ""
}

// tornEnd reports whether what stands from good on is the rest of one write
// that did not get through: no batch ends there, or at most one does and pages
// of it never reached the disk and read as zeros. Anything else is not an
// accident.
func tornEnd(f *os.File, good int64) (size int64, torn bool, err error) {
	info, err := f.Stat()
	if err != nil {
		return 0, false, err
	}
	size = info.Size() - good
	in := bufio.NewReaderSize(io.NewSectionReader(f, good, size), 1<<18)
	ends, zeros := 0, false
	for {
		line, err := readLine(in)
		zeros = zeros || bytes.IndexByte(line, 0) >= 0
		if err != nil {
			return size, ends == 0 || ends == 1 && zeros, nil
		}
		if body, _, err := splitLine(line); err == nil {
			if p, err := parsePlace(body); err == nil && p.rec == p.of-1 {
				ends++
			}
		}
	}
}
