package station

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// port is a serial line. Read waits at most that long, and then returns no bytes and no
// error.
type port interface {
	Read(p []byte, wait time.Duration) (int, error)
	Write(p []byte) error
	Close() error
}

// deviceError is an answer ERR: a code and words.
type deviceError struct{ code, text string }

func (e *deviceError) Error() string {
	if e.text == "" {
		return "the device answered " + e.code
	}
	return fmt.Sprintf("the device answered %s: %s", e.code, e.text)
}

// Codes after which the same is worth another try, from the beginning of the transfer.
const (
	codeBad    = "bad"    // the line was damaged, or is not known
	codeOffset = "offset" // other bytes are expected: it has begun anew
	codeSum    = "sum"    // what came is not what was sent
	codeGone   = "gone"   // what is asked for is not there any more
)

// Codes with a meaning for the station.
const (
	codeNone = "none" // the device holds no certificate
	codeID   = "id"   // it is another device
)

// errSilent: the device does not answer.
var errSilent = errors.New("the device does not answer")

// talk exchanges lines with the device over an open port.
type talk struct {
	port   port
	number uint16
	answer time.Duration // how long an answer may take
	tries  int
	pause  time.Duration // after BUSY
	lines  splitter
}

// ask sends a command until its answer comes, and returns the words after OK. An answer
// ERR is a *deviceError, none is errSilent; other errors are the port's.
func (t *talk) ask(ctx context.Context, words ...string) ([]string, error) {
	t.number++
	line, err := frame{t.number, words}.encode()
	if err != nil {
		return nil, err
	}
	// The empty line ends what noise has left in the device's buffer.
	line = append([]byte("\r\n"), line...)
	var bad *deviceError
	for try := 0; try < t.tries; {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err := t.port.Write(line); err != nil {
			return nil, err
		}
		got, err := t.wait(ctx)
		switch {
		case err != nil:
			return nil, err
		case got == nil:
			try++
		case got[0] == "OK":
			return got[1:], nil
		case got[0] == "BUSY":
			// It makes a key, or writes its flash: no try is used up.
			select {
			case <-time.After(t.pause):
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		case got[0] == "ERR" && len(got) > 1:
			bad = &deviceError{got[1], strings.Join(got[2:], " ")}
			if bad.code != codeBad {
				return nil, bad
			}
			try++
		default:
			return nil, fmt.Errorf("the device answered %q, which is no answer", got[0])
		}
	}
	if bad != nil {
		return nil, bad
	}
	return nil, errSilent
}

// wait reads until the answer to the present command comes, or its time is over.
func (t *talk) wait(ctx context.Context) ([]string, error) {
	deadline := time.Now().Add(t.answer)
	buffer := make([]byte, 256)
	for {
		left := time.Until(deadline)
		if left <= 0 || ctx.Err() != nil {
			return nil, ctx.Err()
		}
		// In short turns, so that the context ends it.
		n, err := t.port.Read(buffer, min(left, 100*time.Millisecond))
		if err != nil {
			return nil, err
		}
		var words []string
		t.lines.add(buffer[:n], func(line []byte) {
			if f, ok := parseFrame(line); ok && f.number == t.number && words == nil {
				words = f.words
			}
		})
		if words != nil {
			return words, nil
		}
	}
}
