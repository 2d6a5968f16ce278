package batch

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"
	"unicode"
)

// manifestVersion is that of the format: lines of JSON, of which the first is the Header,
// then one for each file, then one for each certificate.
const manifestVersion = 1

// maxManifestLine bounds a line, in bytes.
const maxManifestLine = 4096

// Header is the first line of a manifest.
type Header struct {
	Manifest int       `json:"manifest"` // the version of the format
	Batch    string    `json:"batch"`
	Profile  string    `json:"profile"`
	Issuer   string    `json:"issuer"`
	Order    string    `json:"order,omitempty"`
	Created  time.Time `json:"created"` // when the batch was begun
	Files    int       `json:"files"`   // how many lines are about files
	Devices  int       `json:"devices"` // and how many about certificates
}

// Entry is every other line: a file, by its path below the folder of the delivery, or a
// certificate.
type Entry struct {
	File string `json:"file,omitempty"`
	Size int64  `json:"size,omitempty"`

	Device string `json:"device,omitempty"`
	Serial string `json:"serial,omitempty"`
	Part   int    `json:"part,omitempty"`

	SHA256 string `json:"sha256"` // of the file, or of the certificate in DER
}

// check refuses what is neither a file nor a certificate.
func (e Entry) check() error {
	sum, err := hex.DecodeString(e.SHA256)
	switch {
	case err != nil || len(sum) != 32 || hex.EncodeToString(sum) != e.SHA256:
		return errors.New("sha256 is not 64 lower-case hexadecimal digits")
	case (e.File == "") == (e.Serial == ""):
		return errors.New("it is about neither a file nor a certificate")
	case e.File != "" && (e.Device != "" || e.Part != 0 || e.Size < 0):
		return errors.New("it is about a file and says what a file does not have")
	case e.File != "" && (!filepath.IsLocal(e.File) || bytes.ContainsAny([]byte(e.File), "\\\x00")):
		return fmt.Errorf("file %q is not below the folder", e.File)
	case strings.ContainsFunc(e.File+e.Device, unicode.IsControl):
		return fmt.Errorf("%q has a control character", e.File+e.Device)
	case e.Serial != "" && (e.Size != 0 || e.Device == "" || e.Part < 1):
		return errors.New("it is about a certificate and does not name its device and part, or says more")
	}
	return nil
}

// Manifest reads one, a line at a time.
type Manifest struct {
	Header Header
	lines  *bufio.Scanner
	line   int
	files  int
	count  int
	entry  Entry
	err    error
}

// ReadManifest reads the header. Nothing in a manifest is believed before its signature is
// verified; Next and Err then read and check the rest.
func ReadManifest(r io.Reader) (*Manifest, error) {
	m := &Manifest{lines: bufio.NewScanner(r)}
	m.lines.Buffer(make([]byte, 0, maxManifestLine), maxManifestLine)
	if !m.scan(&m.Header) {
		if m.err == nil {
			m.err = errors.New("it is empty")
		}
		return nil, m.err
	}
	h := m.Header
	switch id, err := hex.DecodeString(h.Batch); {
	case h.Manifest != manifestVersion:
		return nil, fmt.Errorf("it is of version %d, and %d is known here", h.Manifest, manifestVersion)
	case err != nil || len(id) != 16 || hex.EncodeToString(id) != h.Batch:
		return nil, errors.New("it names no batch of 32 lower-case hexadecimal digits")
	case h.Files < 0 || h.Devices < 0 || h.Devices > MaxItems:
		return nil, fmt.Errorf("it says that it names %d files and %d certificates; %d certificates are allowed", h.Files, h.Devices, MaxItems)
	}
	return m, nil
}

// Next moves on to the next entry; false at the end, and at an error, which Err says.
func (m *Manifest) Next() bool {
	m.entry = Entry{}
	if m.err != nil || !m.scan(&m.entry) {
		if m.err == nil && (m.files != m.Header.Files || m.count != m.Header.Devices) {
			m.err = fmt.Errorf("it names %d files and %d certificates, and its first line says %d and %d", m.files, m.count, m.Header.Files, m.Header.Devices)
		}
		return false
	}
	if m.err = m.entry.check(); m.err == nil && m.entry.File != "" && m.count > 0 {
		m.err = errors.New("a file follows a certificate")
	}
	if m.entry.File != "" {
		m.files++
	} else {
		m.count++
	}
	if m.err == nil && (m.files > m.Header.Files || m.count > m.Header.Devices) {
		m.err = errors.New("it names more than its first line says")
	}
	if m.err != nil {
		m.err = fmt.Errorf("line %d: %w", m.line, m.err)
		return false
	}
	return true
}

// Entry is the one that Next has moved to.
func (m *Manifest) Entry() Entry { return m.entry }

// Err says what is wrong with the manifest, once Next has returned false; nil if it was read
// to its end.
func (m *Manifest) Err() error { return m.err }

// scan decodes the next line; false at the end and at an error.
func (m *Manifest) scan(into any) bool {
	if !m.lines.Scan() {
		if err := m.lines.Err(); err != nil {
			m.err = fmt.Errorf("line %d: %w", m.line+1, err)
		}
		return false
	}
	m.line++
	decoder := json.NewDecoder(bytes.NewReader(m.lines.Bytes()))
	decoder.DisallowUnknownFields()
	err := decoder.Decode(into)
	if err == nil && decoder.InputOffset() != int64(len(m.lines.Bytes())) {
		err = errors.New("there is more than one JSON object")
	}
	if err != nil {
		m.err = fmt.Errorf("line %d: %w", m.line, err)
		return false
	}
	return true
}
