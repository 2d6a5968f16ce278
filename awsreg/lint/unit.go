package lint

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"path"
	"strings"
)

// format is how a file is written.
type format int

const (
	formatPEM format = iota
	formatDocument
	formatCode
	formatBulk
	formatSettings
	formatText // prose: read for what it promises
)

// unit is a file that was read.
type unit struct {
	report
	data    []byte
	format  format
	doc     *node // of a document, and the literals of code
	strange bool  // nothing that has rules
	broken  error // why it could not be read

	python     bool
	rotation   bool // it is known to be the hook of a rotation template
	tokens     []token
	comments   []comment
	statements []*statement

	// What was found in it, for what is checked together.
	resources []resource
	templates []*template
	hook      *hookCode
	chain     []*x509.Certificate
}

// read tells what a file is, by its name first and then by its text.
func read(f File) (*unit, error) {
	u := &unit{data: f.Data}
	u.file = f.Name
	src := strings.TrimPrefix(string(f.Data), "\ufeff")
	switch strings.ToLower(path.Ext(strings.ReplaceAll(f.Name, "\\", "/"))) {
	case ".pem", ".crt", ".cer", ".key", ".csr", ".der":
		u.format = formatPEM
	case ".py":
		u.readCode(src, true)
	case ".js", ".mjs", ".cjs", ".ts", ".mts", ".cts":
		u.readCode(src, false)
	case ".md", ".markdown", ".rst", ".txt":
		u.format = formatText
	case ".ini", ".cfg", ".conf":
		u.format = formatSettings
	case ".ndjson", ".jsonl":
		u.format = formatBulk
	case ".json":
		u.readJSON(src)
	case ".yaml", ".yml":
		u.readYAML(src)
	default:
		return u, u.sniff(src)
	}
	return u, nil
}

// sniff tells by the text what a file without a telling name is.
func (u *unit) sniff(src string) error {
	trimmed := strings.TrimSpace(src)
	if _, err := x509.ParseCertificate(u.data); err == nil || strings.Contains(src, "-----BEGIN ") && !strings.HasPrefix(trimmed, "{") {
		u.format = formatPEM
		return nil
	}
	first, _, _ := strings.Cut(trimmed, "\n")
	switch {
	case strings.HasPrefix(trimmed, "{"):
		u.readJSON(src)
	case strings.Contains(src, "AWSTemplateFormatVersion") || strings.Contains("\n"+src, "\nResources:"):
		u.readYAML(src)
	case strings.HasPrefix(trimmed, "[") && strings.HasSuffix(strings.TrimSpace(first), "]"):
		u.format = formatSettings
	case strings.Contains("\n"+src, "\ndef ") || strings.HasPrefix(trimmed, "#!") && strings.Contains(first, "python"):
		u.readCode(src, true)
	case strings.Contains(src, "exports.") || strings.Contains(src, "require(") || strings.Contains("\n"+src, "\nimport {") || strings.HasPrefix(trimmed, "#!") && strings.Contains(first, "node"):
		u.readCode(src, false)
	default:
		return ErrUnknown
	}
	return nil
}

func (u *unit) readJSON(src string) {
	u.format = formatDocument
	u.doc, u.broken = parseJSON([]byte(src))
	if u.broken == nil || !bytes.Contains(bytes.TrimSpace(u.data), []byte("\n{")) {
		return
	}
	// Objects one below the other are bulk input.
	first, _, _ := strings.Cut(strings.TrimSpace(src), "\n")
	if _, err := parseJSON([]byte(first)); err == nil {
		u.format, u.broken = formatBulk, nil
	}
}

func (u *unit) readYAML(src string) {
	u.format = formatDocument
	u.doc, u.broken = parseYAML([]byte(src))
	for i, line := range strings.Split(src, "\n") {
		if text := strings.TrimSpace(line); strings.HasPrefix(text, "#") {
			u.comments = append(u.comments, comment{i + 1, strings.TrimSpace(strings.TrimLeft(text, "#"))})
		}
	}
}

func (u *unit) readCode(src string, python bool) {
	u.format, u.python = formatCode, python
	if len(src) > maxCode {
		u.broken = fmt.Errorf("is code of %d bytes, more than %d", len(src), maxCode)
		return
	}
	var s *scanner
	if python {
		s, u.broken = scanPython(src)
	} else {
		s, u.broken = scanScript(src)
	}
	if u.broken != nil {
		return
	}
	u.tokens, u.comments = s.tokens, s.comments
	if python {
		u.statements = pythonBlocks(s.tokens)
	} else {
		u.statements = scriptBlocks(s.tokens)
	}
	u.doc = literals(s.tokens)
}

// secrets finds private keys in whatever file it is.
func (u *unit) secrets() {
	u.about("file")
	rest := u.data
	all := newLines(u.data)
	for {
		i := bytes.Index(rest, []byte("PRIVATE KEY-----"))
		if i < 0 {
			return
		}
		offset := len(u.data) - len(rest) + i
		if begin := bytes.LastIndex(rest[:i], []byte("-----BEGIN ")); begin >= 0 && !bytes.ContainsAny(rest[begin:i], "\n") {
			if encrypted, _ := pem.Decode(rest[begin:]); encrypted == nil || encrypted.Type != "ENCRYPTED PRIVATE KEY" {
				u.add("private-key", all.at(offset), "a private key stands in the file: keep keys where they are used, and have new ones made for those that this one was given to")
			}
		}
		rest = rest[i+len("PRIVATE KEY-----"):]
	}
}

// says reports whether a comment, or the prose, speaks of something, and where.
func (u *unit) says(words ...string) (int, bool) {
	if u.format == formatText {
		for i, line := range strings.Split(string(u.data), "\n") {
			if mentions(line, words) {
				return i + 1, true
			}
		}
	}
	for _, c := range u.comments {
		if mentions(c.text, words) {
			return c.line, true
		}
	}
	return 0, false
}

func mentions(text string, words []string) bool {
	text = strings.ToLower(text)
	for _, w := range words {
		if strings.Contains(text, w) {
			return true
		}
	}
	return false
}
