package batch

import (
	"archive/zip"
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/csv"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// maxSource bounds one certification request as it comes, in bytes of PEM, and one line of a list.
const maxSource = 64 << 10

// devices is what a source reads: one device after the other, or an error, which is the last.
type devices = iter.Seq2[Item, error]

// Numbered names so many devices: the prefix, and a number of at least width digits.
func Numbered(prefix string, from, count, width int) devices {
	return func(yield func(Item, error) bool) {
		for n := from; n < from+count; n++ {
			if !yield(Item{Name: fmt.Sprintf("%s%0*d", prefix, width, n)}, nil) {
				return
			}
		}
	}
}

// Named has the devices of a list.
func Named(list []string) devices {
	return func(yield func(Item, error) bool) {
		for _, name := range list {
			if !yield(Item{Name: name}, nil) {
				return
			}
		}
	}
}

// Names reads names of devices: one a line or, with a column, from a CSV file whose first
// line names that column. Empty lines are left out.
func Names(r io.Reader, column string) devices {
	if column != "" {
		return csvColumn(r, column)
	}
	return func(yield func(Item, error) bool) {
		lines := bufio.NewScanner(withoutMark(r))
		lines.Buffer(nil, maxSource)
		for n := 1; lines.Scan(); n++ {
			name := strings.TrimSuffix(lines.Text(), "\r")
			if name == "" {
				continue
			}
			// What looks like a table would become names of devices.
			if strings.ContainsAny(name, ",;\t") {
				yield(Item{}, fmt.Errorf("line %d of the names has a separator: name the column to read, or write one name a line", n))
				return
			}
			if !yield(Item{Name: name}, nil) {
				return
			}
		}
		if err := lines.Err(); err != nil {
			yield(Item{}, fmt.Errorf("reading the names: %w", inWords(err)))
		}
	}
}

// inWords says what is wrong with a line that a bufio.Scanner does not take.
func inWords(err error) error {
	if errors.Is(err, bufio.ErrTooLong) {
		return fmt.Errorf("there is a line of more than %d bytes", maxSource)
	}
	return err
}

// withoutMark takes away the byte order mark that some spreadsheets write.
func withoutMark(r io.Reader) *bufio.Reader {
	in := bufio.NewReaderSize(r, maxSource)
	if mark, err := in.Peek(3); err == nil && string(mark) == "\ufeff" {
		in.Discard(3)
	}
	return in
}

func csvColumn(r io.Reader, column string) devices {
	return func(yield func(Item, error) bool) {
		fail := func(err error) { yield(Item{}, fmt.Errorf("reading the names: %w", err)) }
		in := withoutMark(&boundedLines{r: r})
		rows := csv.NewReader(in)
		rows.ReuseRecord = true
		if head, err := in.Peek(1024); err == nil || errors.Is(err, io.EOF) {
			line, _, _ := bytes.Cut(head, []byte("\n"))
			if !bytes.ContainsRune(line, ',') && bytes.ContainsRune(line, ';') {
				rows.Comma = ';'
			}
		}
		header, err := rows.Read()
		if err != nil {
			fail(err)
			return
		}
		at := slices.Index(header, column)
		if at < 0 {
			fail(fmt.Errorf("there is no column %q in the first line: it has %q", column, header))
			return
		}
		if slices.Contains(header[at+1:], column) {
			fail(fmt.Errorf("the first line has column %q twice", column))
			return
		}
		for {
			row, err := rows.Read()
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil {
				fail(err)
				return
			}
			if !yield(Item{Name: strings.Clone(row[at])}, nil) {
				return
			}
		}
	}
}

// boundedLines fails where quotes that nobody closes, or a line without end, would have a
// table read into memory whole.
type boundedLines struct {
	r     io.Reader
	total int64
}

// maxTable bounds a table of names, in bytes.
const maxTable = 64 << 20

func (b *boundedLines) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if b.total += int64(n); b.total > maxTable {
		return 0, fmt.Errorf("the table is larger than %d bytes", maxTable)
	}
	return n, err
}

// Requests reads certification requests from a stream: PEM, one after the other; or lines
// of JSON with a field csr, in PEM or base64; or a single one in DER.
func Requests(r io.Reader) devices {
	return func(yield func(Item, error) bool) {
		in := withoutMark(r)
		first, err := in.Peek(1)
		switch {
		case err != nil && !errors.Is(err, io.EOF):
			yield(Item{}, fmt.Errorf("reading the certification requests: %w", err))
		case err != nil:
		case first[0] == '{':
			requestLines(in, yield)
		case first[0] == 0x30:
			content, err := io.ReadAll(io.LimitReader(in, maxSource+1))
			if err == nil && len(content) > maxSource {
				err = fmt.Errorf("what begins as a certification request in DER is larger than %d bytes", maxSource)
			}
			yield(Item{CSR: content}, err)
		default:
			requestTexts(in, yield)
		}
	}
}

// requestLines reads NDJSON. Fields other than csr are the sender's.
func requestLines(in io.Reader, yield func(Item, error) bool) {
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, maxSource)
	for n := 1; lines.Scan(); n++ {
		if len(bytes.TrimSpace(lines.Bytes())) == 0 {
			continue
		}
		var line struct {
			CSR string `json:"csr"`
		}
		err := json.Unmarshal(lines.Bytes(), &line)
		var der []byte
		if err == nil {
			der, err = requestIn(line.CSR)
		}
		if err != nil {
			yield(Item{}, fmt.Errorf("line %d of the certification requests: %w", n, err))
			return
		}
		if !yield(Item{CSR: der}, nil) {
			return
		}
	}
	if err := lines.Err(); err != nil {
		yield(Item{}, fmt.Errorf("reading the certification requests: %w", inWords(err)))
	}
}

// requestIn reads one request in PEM or base64.
func requestIn(text string) ([]byte, error) {
	if text == "" {
		return nil, errors.New("it has no field csr")
	}
	if !strings.Contains(text, "-----BEGIN") {
		der, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			return nil, fmt.Errorf("csr is neither PEM nor base64: %w", err)
		}
		return der, nil
	}
	block, rest := pem.Decode([]byte(text))
	if block == nil || len(bytes.TrimSpace(rest)) > 0 {
		return nil, errors.New("csr is not one certification request in PEM")
	}
	return requestBlock(block)
}

func requestBlock(block *pem.Block) ([]byte, error) {
	if block.Type != "CERTIFICATE REQUEST" && block.Type != "NEW CERTIFICATE REQUEST" {
		return nil, fmt.Errorf("there is a %s in place of a certification request", block.Type)
	}
	return block.Bytes, nil
}

// requestTexts reads PEM block by block. Text between blocks is left out, as RFC 7468
// (Section 2) allows.
func requestTexts(in io.Reader, yield func(Item, error) bool) {
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, maxSource)
	var text []byte
	count := 0
	for lines.Scan() {
		line := bytes.TrimSpace(lines.Bytes())
		if len(text) == 0 && !bytes.HasPrefix(line, []byte("-----BEGIN ")) {
			continue
		}
		text = append(append(text, line...), '\n')
		if len(text) > maxSource {
			yield(Item{}, fmt.Errorf("certification request %d is larger than %d bytes", count+1, maxSource))
			return
		}
		if !bytes.HasPrefix(line, []byte("-----END ")) {
			continue
		}
		count++
		block, _ := pem.Decode(text)
		text = text[:0]
		var der []byte
		err := errors.New("it is not PEM")
		if block != nil {
			der, err = requestBlock(block)
		}
		if err != nil {
			yield(Item{}, fmt.Errorf("certification request %d: %w", count, err))
			return
		}
		if !yield(Item{CSR: bytes.Clone(der)}, nil) {
			return
		}
	}
	switch err := lines.Err(); {
	case err != nil:
		yield(Item{}, fmt.Errorf("reading the certification requests: %w", inWords(err)))
	case len(text) > 0:
		yield(Item{}, fmt.Errorf("certification request %d is cut off", count+1))
	case count == 0:
		yield(Item{}, errors.New("there is no certification request in PEM, NDJSON or DER"))
	}
}

// RequestFolder reads the files of a folder, each of which has one request in PEM or DER.
// Those whose name begins with a dot are left out.
func RequestFolder(dir string) devices {
	return func(yield func(Item, error) bool) {
		list, err := os.ReadDir(dir)
		if err != nil {
			yield(Item{}, err)
			return
		}
		for _, one := range list {
			if strings.HasPrefix(one.Name(), ".") {
				continue
			}
			name := filepath.Join(dir, one.Name())
			item, err := requestFile(name)
			if err != nil {
				yield(Item{}, fmt.Errorf("%s: %w", name, err))
				return
			}
			if !yield(item, nil) {
				return
			}
		}
	}
}

func requestFile(name string) (Item, error) {
	if info, err := os.Stat(name); err != nil {
		return Item{}, err
	} else if !info.Mode().IsRegular() {
		return Item{}, errors.New("it is no file with a certification request")
	}
	content, err := readBounded(name, maxSource)
	if err != nil {
		return Item{}, err
	}
	return single(content)
}

// single reads one request in PEM or DER.
func single(content []byte) (Item, error) {
	if block, rest := pem.Decode(content); block != nil {
		if next, _ := pem.Decode(rest); next != nil {
			return Item{}, errors.New("it has more than one object in PEM")
		}
		der, err := requestBlock(block)
		return Item{CSR: der}, err
	}
	return Item{CSR: content}, nil
}

// RequestArchive reads the files of a ZIP, each of which has one request in PEM or DER.
// Nothing is unpacked to disk.
func RequestArchive(r io.ReaderAt, size int64) devices {
	return func(yield func(Item, error) bool) {
		z, err := zip.NewReader(r, size)
		if err != nil && !errors.Is(err, zip.ErrInsecurePath) {
			yield(Item{}, fmt.Errorf("reading the ZIP of certification requests: %w", err))
			return
		}
		for _, entry := range z.File {
			if entry.FileInfo().IsDir() {
				continue
			}
			item, err := requestEntry(entry)
			if err != nil {
				yield(Item{}, fmt.Errorf("%q in the ZIP of certification requests: %w", entry.Name, err))
				return
			}
			if !yield(item, nil) {
				return
			}
		}
	}
}

func requestEntry(entry *zip.File) (Item, error) {
	switch {
	case !filepath.IsLocal(entry.Name) || strings.ContainsAny(entry.Name, "\\\x00"):
		return Item{}, errors.New("its name leads out of the archive")
	case !entry.Mode().IsRegular():
		return Item{}, errors.New("it is no file")
	case entry.UncompressedSize64 > maxSource:
		return Item{}, fmt.Errorf("it measures %d bytes; %d are allowed", entry.UncompressedSize64, maxSource)
	}
	f, err := entry.Open()
	if err != nil {
		return Item{}, err
	}
	defer f.Close()
	// Whatever the archive says of its size.
	content, err := io.ReadAll(io.LimitReader(f, maxSource+1))
	if err != nil {
		return Item{}, err
	}
	if len(content) > maxSource {
		return Item{}, fmt.Errorf("it is larger than %d bytes", maxSource)
	}
	return single(content)
}
