package batch

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
)

// maxJournalLine bounds a line of the journal, in bytes: the files of a part in a folder,
// or its refusals.
const maxJournalLine = 4 << 20

// record is a line of the journal. One with Items begins a part, one with Done ends it, and
// one with Manifest says that the delivery was signed as it then was.
type record struct {
	Part    int       `json:"part,omitempty"`
	Items   []span    `json:"items,omitempty"`
	Done    bool      `json:"done,omitempty"`
	Issued  int       `json:"issued,omitempty"`
	Prior   int       `json:"prior,omitempty"`
	Refused []refused `json:"refused,omitempty"`
	Files   []file    `json:"files,omitempty"`

	Manifest string `json:"manifest_sha256,omitempty"`
}

// span is a run of items: from, and how many.
type span [2]int

// refused is an item that got no certificate.
type refused struct {
	Item int    `json:"item"`
	Rule string `json:"rule"`
	Text string `json:"text"`
}

// file is one of the delivery.
type file struct {
	Name   string `json:"file"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

// spans puts item numbers, which ascend, into runs.
func spans(list []int) []span {
	var out []span
	for _, n := range list {
		if last := len(out) - 1; last >= 0 && out[last][0]+out[last][1] == n {
			out[last][1]++
		} else {
			out = append(out, span{n, 1})
		}
	}
	return out
}

// journal is what was done so far, and where more is written down. Its methods may be
// called concurrently.
type journal struct {
	mu      sync.Mutex
	f       *os.File
	records []record
	broken  error // a line may be there in part: nothing can follow it
}

// openJournal reads the journal. A last line that was cut off was never acted on, and goes.
func openJournal(dir string) (*journal, error) {
	f, err := os.OpenFile(filepath.Join(dir, journalFile), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening the journal: %w", err)
	}
	j := &journal{f: f}
	whole, err := j.read()
	if err == nil {
		err = f.Truncate(whole)
	}
	if err == nil {
		_, err = f.Seek(whole, io.SeekStart)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("reading the journal: %w", err)
	}
	return j, nil
}

// read returns the length of the whole lines.
func (j *journal) read() (whole int64, err error) {
	lines := bufio.NewReaderSize(j.f, 64<<10)
	for n := 1; ; n++ {
		line, err := readLine(lines)
		if errors.Is(err, io.EOF) {
			return whole, nil
		}
		if err != nil {
			return 0, fmt.Errorf("line %d: %w", n, err)
		}
		var r record
		decoder := json.NewDecoder(bytes.NewReader(line))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&r); err != nil {
			return 0, fmt.Errorf("line %d: %w", n, err)
		}
		j.records = append(j.records, r)
		whole += int64(len(line))
	}
}

// readLine reads up to a newline; io.EOF for the rest without one.
func readLine(lines *bufio.Reader) ([]byte, error) {
	var whole []byte
	for {
		part, err := lines.ReadSlice('\n')
		whole = append(whole, part...)
		if len(whole) > maxJournalLine {
			return nil, fmt.Errorf("it has more than %d bytes", maxJournalLine)
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return whole, err
		}
	}
}

// add writes a line down; when it returns, that is on disk.
func (j *journal) add(r record) error {
	line, err := json.Marshal(r)
	if err != nil {
		return err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.broken != nil {
		return j.broken
	}
	if _, err = j.f.Write(append(line, '\n')); err == nil {
		err = j.f.Sync()
	}
	if err != nil {
		j.broken = fmt.Errorf("writing the journal: %w", err)
		return j.broken
	}
	j.records = append(j.records, r)
	return nil
}

func (j *journal) close() error { return j.f.Close() }
