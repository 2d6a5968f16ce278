package audit

import (
	"compress/flate"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

func isPacked(path string) bool { return strings.HasSuffix(path, packedSuffix) }

// plainName is the name of a file of the log, whether it is packed or not.
func plainName(path string) string {
	return strings.TrimSuffix(filepath.Base(path), packedSuffix)
}

// A source is a file of the log that is read.
type source struct {
	io.Reader
	plain *os.File // nil if it is packed
	file  *os.File
}

func (s *source) Close() error { return s.file.Close() }

// openSource opens a file of the log. One that was listed may have been packed since.
func openSource(path string) (*source, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) && !isPacked(path) {
		path += packedSuffix
		f, err = os.Open(path)
	}
	if err != nil {
		return nil, fmt.Errorf("opening issuance log: %w", err)
	}
	if !isPacked(path) {
		return &source{Reader: f, plain: f, file: f}, nil
	}
	return &source{Reader: &unpacker{file: f}, file: f}, nil
}

// An unpacker reads a packed file. What is not gzip, or not all of it, is a *Break.
type unpacker struct {
	file   *os.File
	stream *gzip.Reader
}

func (u *unpacker) Read(b []byte) (n int, err error) {
	if u.stream == nil {
		u.stream, err = gzip.NewReader(u.file)
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF // an empty file is no packed one
		}
	}
	if err == nil {
		n, err = u.stream.Read(b)
	}
	var corrupt flate.CorruptInputError
	if errors.Is(err, gzip.ErrHeader) || errors.Is(err, gzip.ErrChecksum) || errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, &corrupt) {
		err = &Break{Reason: fmt.Sprintf("the packed file is damaged: %v", err)}
	}
	return n, err
}
