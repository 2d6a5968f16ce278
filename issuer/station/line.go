package station

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"strconv"
	"strings"
)

// The line protocol, version 1 (docs/station.md): the station sends a command in one line
// of ASCII, the device answers it with one line. Both begin with MM1 and end with the
// CRC-32 of what stands before it, so that noise and boot messages between them do no harm.
//
//	MM1 0007 PUT cert 240 MIIB... *7cf4cce2
//	MM1 0007 OK 480 *989db7a4

// protocol begins each line of version 1.
const protocol = "MM1"

// maxFrame bounds a line, with its end, in bytes.
const maxFrame = 512

// frame is a line of the protocol.
type frame struct {
	number uint16   // of the command; the answer repeats it
	words  []string // at least one; printable ASCII without blanks
}

// encode returns the line with its end.
func (f frame) encode() ([]byte, error) {
	if len(f.words) == 0 {
		return nil, errors.New("a line has no words")
	}
	for _, word := range f.words {
		if word == "" || strings.ContainsFunc(word, func(r rune) bool { return r <= ' ' || r > '~' }) {
			return nil, fmt.Errorf("%q is no word of the line protocol", word)
		}
	}
	text := fmt.Sprintf("%s %04x %s", protocol, f.number, strings.Join(f.words, " "))
	line := fmt.Appendf(nil, "%s *%08x\r\n", text, crc32.ChecksumIEEE([]byte(text)))
	if len(line) > maxFrame {
		return nil, fmt.Errorf("a line of %d bytes: %d are allowed", len(line), maxFrame)
	}
	return line, nil
}

// parseFrame reads a line without its end. What stands before the last MM1 is noise.
func parseFrame(line []byte) (frame, bool) {
	if len(line) > maxFrame {
		return frame{}, false
	}
	at := bytes.LastIndex(line, []byte(protocol+" "))
	if at < 0 {
		return frame{}, false
	}
	line = bytes.TrimRight(line[at:], "\r")
	star := len(line) - len(" *00000000")
	if star < len("MM1 0000 X") || line[star] != ' ' || line[star+1] != '*' {
		return frame{}, false
	}
	sum, ok := parseHex(line[star+2:], 32)
	if !ok || uint32(sum) != crc32.ChecksumIEEE(line[:star]) {
		return frame{}, false
	}
	words := strings.Split(string(line[:star]), " ")
	if len(words) < 3 || len(words[1]) != 4 {
		return frame{}, false
	}
	number, ok := parseHex([]byte(words[1]), 16)
	if !ok {
		return frame{}, false
	}
	for _, word := range words {
		if word == "" || strings.ContainsFunc(word, func(r rune) bool { return r <= ' ' || r > '~' }) {
			return frame{}, false
		}
	}
	return frame{uint16(number), words[2:]}, true
}

// parseHex reads lower-case hexadecimal digits, as they are written.
func parseHex(text []byte, bits int) (uint64, bool) {
	if bytes.ContainsFunc(text, func(r rune) bool { return (r < '0' || r > '9') && (r < 'a' || r > 'f') }) {
		return 0, false
	}
	n, err := strconv.ParseUint(string(text), 16, bits)
	return n, err == nil
}

// splitter takes lines out of what comes from a port.
type splitter struct {
	buffer []byte
	skip   bool // the rest of a line that is too long
}

// add takes bytes and calls fn for each line that is whole, without its end.
func (s *splitter) add(data []byte, fn func(line []byte)) {
	for _, b := range data {
		switch {
		case b == '\n':
			if !s.skip {
				fn(s.buffer)
			}
			s.buffer, s.skip = s.buffer[:0], false
		case s.skip:
		case len(s.buffer) == maxFrame:
			s.skip = true
		default:
			s.buffer = append(s.buffer, b)
		}
	}
}
