package doctor

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

const (
	maxHead = 64 << 10
	maxBody = 1 << 20
)

// request is one request in HTTP/1.1.
type request struct {
	method string
	path   string
	header []string
	body   []byte
	cred   *credential
	agent  string
	keep   bool // the connection shall stay open
	edit   func(*tls.Config)
}

// field is a header field as it was spelled.
type field struct{ name, value string }

// answer is what stood on the wire.
type answer struct {
	status  int
	header  []field
	body    []byte // without the framing of chunks
	chunked bool
	toEnd   bool  // the end of the connection ended the body
	records []int // sizes of the TLS records since the connection began
	state   tls.ConnectionState
}

// get returns the first field of a name, in any spelling.
func (a *answer) get(name string) string {
	for _, f := range a.header {
		if strings.EqualFold(f.name, name) {
			return f.value
		}
	}
	return ""
}

// has reports a field of a name, in any spelling.
func (a *answer) has(name string) bool {
	return slices.ContainsFunc(a.header, func(f field) bool { return strings.EqualFold(f.name, name) })
}

// media is the type of the body in lower case, without parameters.
func (a *answer) media() string {
	kind, _, _ := strings.Cut(a.get("Content-Type"), ";")
	return strings.ToLower(strings.TrimSpace(kind))
}

// String describes an answer to people.
func (a *answer) String() string {
	text := fmt.Sprintf("%d %s", a.status, http.StatusText(a.status))
	if a.media() == "text/plain" || a.status >= 400 && a.media() == "" {
		if words := excerpt(a.body); words != "" {
			text += fmt.Sprintf(" (%s)", words)
		}
	}
	return text
}

// excerpt is the beginning of what a server said.
func excerpt(b []byte) string {
	words := strings.Join(strings.Fields(string(b[:min(len(b), 400)])), " ")
	if len(words) > 160 {
		words = strings.ToValidUTF8(words[:160], "") + "..."
	}
	return words
}

// do sends one request on a connection of its own.
func (p *probe) do(ctx context.Context, r request) (*answer, error) {
	var certificate *tls.Certificate
	if r.cred != nil {
		certificate = r.cred.certificate
	}
	c, err := p.dial(ctx, certificate, r.edit)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	return p.exchange(c, r)
}

// exchange sends one request on a connection and reads its answer.
func (p *probe) exchange(c *conn, r request) (*answer, error) {
	_, sent := c.Write(p.encode(r))
	// A server may answer, and close, before it has read everything.
	a, err := c.answer(r.method)
	if err != nil && sent != nil {
		return nil, fmt.Errorf("sending the request: %w", sent)
	}
	return a, err
}

func (p *probe) encode(r request) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\n", r.method, r.path, p.authority)
	if r.agent != "" {
		fmt.Fprintf(&b, "User-Agent: %s\r\n", r.agent)
	}
	if r.cred != nil && r.cred.basic {
		fmt.Fprintf(&b, "Authorization: Basic %s\r\n", base64.StdEncoding.EncodeToString([]byte(r.cred.user+":"+r.cred.password)))
	}
	for _, line := range r.header {
		b.WriteString(line + "\r\n")
	}
	if !r.keep {
		b.WriteString("Connection: close\r\n")
	}
	if r.method == http.MethodPost {
		fmt.Fprintf(&b, "Content-Length: %d\r\n", len(r.body))
	}
	b.WriteString("\r\n")
	b.Write(r.body)
	return b.Bytes()
}

// answer reads one answer.
func (c *conn) answer(method string) (*answer, error) {
	in := &reader{from: c.Conn, held: c.held}
	a, err := readAnswer(in, method)
	c.held = in.held
	if err != nil {
		return nil, err
	}
	a.records = slices.Clone(c.records.sizes)
	a.state = c.ConnectionState()
	return a, nil
}

// reader reads lines and blocks of bounded size.
type reader struct {
	from io.Reader
	held []byte
}

func (r *reader) more() error {
	b := make([]byte, 32<<10)
	n, err := r.from.Read(b)
	r.held = append(r.held, b[:n]...)
	if n > 0 {
		return nil
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return err
}

// until takes everything up to the end of mark.
func (r *reader) until(mark string, most int) (string, error) {
	for {
		if i := bytes.Index(r.held, []byte(mark)); i >= 0 {
			text := string(r.held[:i])
			r.held = r.held[i+len(mark):]
			return text, nil
		}
		if len(r.held) > most {
			return "", fmt.Errorf("more than %d bytes without an end", most)
		}
		if err := r.more(); err != nil {
			if err == io.EOF && len(r.held) > 0 {
				err = io.ErrUnexpectedEOF
			}
			return "", err
		}
	}
}

func (r *reader) take(n int) ([]byte, error) {
	for len(r.held) < n {
		if err := r.more(); err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
	}
	b := bytes.Clone(r.held[:n])
	r.held = r.held[n:]
	return b, nil
}

// readAnswer reads the final answer; interim ones (1xx) are passed over.
func readAnswer(r *reader, method string) (*answer, error) {
	for range 8 {
		a, err := readHead(r)
		if err != nil {
			return nil, err
		}
		if a.status >= 200 {
			return a, a.readBody(r, method)
		}
	}
	return nil, errors.New("interim answers without end")
}

func readHead(r *reader) (*answer, error) {
	head, err := r.until("\r\n\r\n", maxHead)
	if err != nil {
		return nil, fmt.Errorf("reading the answer: %w", err)
	}
	lines := strings.Split(head, "\r\n")
	version, rest, _ := strings.Cut(lines[0], " ")
	code, _, _ := strings.Cut(rest, " ")
	a := new(answer)
	if a.status, err = strconv.Atoi(code); err != nil || len(code) != 3 || version != "HTTP/1.1" && version != "HTTP/1.0" {
		return nil, fmt.Errorf("the answer begins with %q, which is not HTTP/1.1", excerpt([]byte(lines[0])))
	}
	for _, line := range lines[1:] {
		name, value, ok := strings.Cut(line, ":")
		if !ok || name == "" || strings.ContainsAny(name, " \t") {
			return nil, fmt.Errorf("%q is not a header field", excerpt([]byte(line)))
		}
		a.header = append(a.header, field{name, strings.Trim(value, " \t")})
	}
	return a, nil
}

func (a *answer) readBody(r *reader, method string) error {
	if method == http.MethodHead || a.status == http.StatusNoContent || a.status == http.StatusNotModified {
		return nil
	}
	if strings.EqualFold(a.get("Transfer-Encoding"), "chunked") {
		a.chunked = true
		return a.readChunks(r)
	}
	if !a.has("Content-Length") {
		a.toEnd = true
		for len(r.held) <= maxBody {
			err := r.more()
			if err == io.EOF {
				a.body, r.held = r.held, nil
				return nil
			}
			if err != nil {
				return fmt.Errorf("reading a body without length: %w", err)
			}
		}
		return fmt.Errorf("the body is larger than %d bytes", maxBody)
	}
	length, err := strconv.ParseUint(a.get("Content-Length"), 10, 31)
	if err != nil {
		return fmt.Errorf("Content-Length is %q", excerpt([]byte(a.get("Content-Length"))))
	}
	if length > maxBody {
		return fmt.Errorf("the body has %d bytes; the doctor reads %d", length, maxBody)
	}
	if a.body, err = r.take(int(length)); err != nil {
		return fmt.Errorf("reading a body of %d bytes: %w", length, err)
	}
	return nil
}

func (a *answer) readChunks(r *reader) error {
	for {
		line, err := r.until("\r\n", 1024)
		if err != nil {
			return fmt.Errorf("reading a chunk: %w", err)
		}
		size, _, _ := strings.Cut(line, ";")
		n, err := strconv.ParseUint(strings.TrimSpace(size), 16, 31)
		if err != nil || len(a.body)+int(n) > maxBody {
			return fmt.Errorf("a chunk of size %q", excerpt([]byte(size)))
		}
		if n == 0 {
			for range 64 { // trailers
				if line, err = r.until("\r\n", 1024); err != nil || line == "" {
					return err
				}
			}
			return errors.New("trailers without end")
		}
		chunk, err := r.take(int(n) + 2)
		if err != nil {
			return fmt.Errorf("reading a chunk: %w", err)
		}
		a.body = append(a.body, chunk[:n]...)
	}
}

// counted is a number with its noun.
func counted(n int, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return fmt.Sprintf("%d %s", n, noun)
}
