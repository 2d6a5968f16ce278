package inventory

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
)

// lines reads lines of at most MaxRow bytes and counts them.
type lines struct {
	in     *bufio.Reader // with a buffer of MaxRow bytes or more
	number int           // of the line that next returned last, from 1
}

// next returns a line without its end, LF or CRLF, good until the next call.
// One that is too long is a *rowError and has been skipped; io.EOF is the end.
func (l *lines) next() ([]byte, error) {
	line, err := l.in.ReadSlice('\n')
	if len(line) == 0 && errors.Is(err, io.EOF) {
		return nil, io.EOF
	}
	l.number++
	for long := false; ; long = true {
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			_, err = l.in.ReadSlice('\n')
			continue
		case err != nil && !errors.Is(err, io.EOF):
			return nil, fmt.Errorf("reading the device list: %w", err)
		case long:
			return nil, &rowError{fmt.Sprintf("it has more than %d bytes", MaxRow)}
		}
		return bytes.TrimSuffix(bytes.TrimSuffix(line, []byte("\n")), []byte("\r")), nil
	}
}
