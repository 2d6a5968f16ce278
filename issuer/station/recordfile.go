package station

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
)

func fingerprint(c *x509.Certificate) [32]byte { return sha256.Sum256(c.Raw) }

// Record is the file of lines. Lines are appended and synced, never rewritten; its
// methods may be called concurrently.
type Record struct {
	format Format

	mu   sync.Mutex
	file *os.File
	done map[string][32]byte // the last success of each device
	all  map[success]bool
	torn error // after a write that failed: what it left must be cut off first

	step func(what string) error // for tests of crashes
}

type success struct {
	device      string
	certificate [32]byte
}

// OpenRecord opens a record, which it makes with mode 0600. What a crash left of a last
// line goes to a file with the suffix .cut, and say tells of it.
func OpenRecord(name string, format Format, say func(format string, args ...any)) (*Record, error) {
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return nil, fmt.Errorf("opening the record: %w", err)
	}
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening the record: %w", err)
	}
	// Two stations may have one record in common, and would write over each other's lines.
	if err := lockOpen(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	r := &Record{format: format, file: f, done: make(map[string][32]byte), all: make(map[success]bool)}
	if err := r.read(name, say); err != nil {
		return nil, errors.Join(fmt.Errorf("reading the record %s: %w", name, err), unlock(f))
	}
	return r, nil
}

// read learns which devices are done, and repairs the end.
func (r *Record) read(name string, say func(format string, args ...any)) error {
	in := bufio.NewReaderSize(r.file, maxLine)
	var whole int64 // how much of the file is whole lines
	var tail []byte
	heading := r.format.heading()
	for n := 1; ; n++ {
		text, err := in.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			return fmt.Errorf("line %d has more than %d bytes", n, maxLine)
		}
		if errors.Is(err, io.EOF) {
			tail = bytes.Clone(text)
			break
		}
		if err != nil {
			return err
		}
		whole += int64(len(text))
		line := bytes.TrimRight(text, "\r\n")
		if n == 1 && heading != nil {
			if !bytes.Equal(line, bytes.TrimRight(heading, "\n")) {
				return errors.New("its first line is not the heading that a station writes: name another file under record")
			}
			continue
		}
		if len(line) == 0 {
			continue
		}
		l, err := r.format.parse(line)
		if err != nil {
			return fmt.Errorf("line %d: %w: the record tells which devices are done, so that it must be whole: repair the line, or move the file away", n, err)
		}
		r.learn(l)
	}
	if len(tail) > 0 {
		if l, err := r.format.parse(tail); err == nil {
			// Only its end was lost, or an editor has left it out.
			r.learn(l)
			if _, err := r.file.WriteAt([]byte("\n"), whole+int64(len(tail))); err != nil {
				return err
			}
			whole += int64(len(tail)) + 1
		} else {
			if err := keepCut(name+".cut", tail); err != nil {
				return err
			}
			if err := r.file.Truncate(whole); err != nil {
				return err
			}
			say("the last line of %s was cut off: what there was of it is in %s.cut now", name, name)
		}
	}
	if whole == 0 && heading != nil {
		if _, err := r.file.WriteAt(heading, 0); err != nil {
			return err
		}
		whole = int64(len(heading))
	}
	if _, err := r.file.Seek(whole, io.SeekStart); err != nil {
		return err
	}
	return errors.Join(r.file.Sync(), syncFolder(filepath.Dir(name)))
}

func keepCut(name string, tail []byte) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(append(tail, '\n'))
	return errors.Join(err, f.Sync(), f.Close())
}

func (r *Record) learn(l Line) {
	if l.Result == Forgotten {
		delete(r.done, l.Device)
	}
	if l.Result != Done {
		return
	}
	sum, _ := hex.DecodeString(l.Certificate) // check has read it
	r.done[l.Device] = [32]byte(sum)
	r.all[success{l.Device, [32]byte(sum)}] = true
}

// Done returns the SHA-256 of the certificate that a device was last recorded with.
func (r *Record) Done(device string) ([32]byte, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	sum, ok := r.done[device]
	return sum, ok
}

// Devices is how many are recorded as done.
func (r *Record) Devices() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.done)
}

// Add appends a line, which is durable when Add returns nil. A success that is recorded
// already is not recorded again; then it returns false.
func (r *Record) Add(l Line) (bool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := l.check(); err != nil {
		return false, fmt.Errorf("recording: %w", err)
	}
	if l.Result == Done {
		sum, _ := hex.DecodeString(l.Certificate)
		if r.all[success{l.Device, [32]byte(sum)}] {
			return false, nil
		}
	}
	if r.torn != nil {
		return false, fmt.Errorf("nothing more is recorded, for the end of the record is not known: %w", r.torn)
	}
	data, err := r.format.encode(l)
	if err != nil {
		return false, fmt.Errorf("recording: %w", err)
	}
	if len(data) > maxLine {
		return false, fmt.Errorf("recording: a line of %d bytes", len(data))
	}
	if err := r.append(data); err != nil {
		r.torn = err
		return false, fmt.Errorf("recording: %w", err)
	}
	r.learn(l)
	return true, nil
}

func (r *Record) append(data []byte) error {
	if r.step != nil {
		if err := r.step("record"); err != nil {
			return err
		}
	}
	if _, err := r.file.Write(data); err != nil {
		return err
	}
	if err := r.file.Sync(); err != nil {
		return err
	}
	if r.step != nil {
		return r.step("recorded")
	}
	return nil
}

// Close closes the file.
func (r *Record) Close() error { return unlock(r.file) }
