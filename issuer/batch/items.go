package batch

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	// maxName bounds the name of a device, in bytes; profiles allow less.
	maxName = 256
	// maxRequest bounds a certification request, in bytes of DER.
	maxRequest = 16 << 10
	// maxItemLine bounds a line of the input as it is kept.
	maxItemLine = 32 << 10
)

// kept is a line of input.ndjson.
type kept struct {
	Name string `json:"name"`
	CSR  []byte `json:"csr,omitempty"`
}

// DuplicateError says that the input has a device, or a key, twice.
type DuplicateError struct {
	What          string // "device" or "key"
	Name          string
	First, Second int // which of the input, from 1
}

func (e *DuplicateError) Error() string {
	if e.What == "key" {
		return fmt.Sprintf("devices %d and %d of the input have the same key (the second is %q): every device needs one of its own", e.First, e.Second, e.Name)
	}
	return fmt.Sprintf("device %q is in the input twice, as %d and %d", e.Name, e.First, e.Second)
}

// keep writes the input into the folder of a batch, and returns how many devices it has and
// its SHA-256. Nothing of it is asked for before all of it is read: one that is there twice
// refuses all.
func keep(dir string, items iter.Seq2[Item, error], plan *Plan) (count int, sum string, err error) {
	f, err := os.OpenFile(filepath.Join(dir, temporary+inputFile), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return 0, "", err
	}
	defer f.Close()
	h := sha256.New()
	out := bufio.NewWriter(io.MultiWriter(f, h))
	names, keys := make(map[[32]byte]int), make(map[[32]byte]int)
	manifest := room{plan: plan}
	for item, err := range items {
		if err != nil {
			return 0, "", err
		}
		if count++; count > MaxItems {
			return 0, "", fmt.Errorf("the input has more than %d devices, which is what one batch may have: divide it", MaxItems)
		}
		subject, key := []byte(item.Name), []byte(nil)
		if plan.KeyType == "" {
			if subject, key, err = examine(&item); err != nil {
				return 0, "", fmt.Errorf("device %d of the input: %w", count, err)
			}
		} else if err := checkName(item.Name); err != nil {
			return 0, "", fmt.Errorf("device %d of the input: %w", count, err)
		}
		if first := note(names, subject, count); first != 0 {
			return 0, "", &DuplicateError{"device", item.Name, first, count}
		}
		if first := note(keys, key, count); key != nil && first != 0 {
			return 0, "", &DuplicateError{"key", item.Name, first, count}
		}
		if err := manifest.add(item.Name); err != nil {
			return 0, "", err
		}
		line, err := json.Marshal(kept{item.Name, item.CSR})
		if err != nil {
			return 0, "", err
		}
		if _, err := out.Write(append(line, '\n')); err != nil {
			return 0, "", fmt.Errorf("keeping the input: %w", err)
		}
	}
	if count == 0 {
		return 0, "", errors.New("the input has no device")
	}
	if err := errors.Join(out.Flush(), f.Sync()); err != nil {
		return 0, "", fmt.Errorf("keeping the input: %w", err)
	}
	return count, hex.EncodeToString(h.Sum(nil)), nil
}

// note remembers where something was first, and returns where it was before.
func note(seen map[[32]byte]int, what []byte, at int) (before int) {
	sum := sha256.Sum256(what)
	if before = seen[sum]; before == 0 {
		seen[sum] = at
	}
	return before
}

// examine reads a certification request as far as this side must: the server judges it.
func examine(item *Item) (subject, key []byte, err error) {
	if len(item.CSR) > maxRequest {
		return nil, nil, fmt.Errorf("the certification request measures %d bytes; %d are allowed", len(item.CSR), maxRequest)
	}
	csr, err := x509.ParseCertificateRequest(item.CSR)
	if err != nil {
		return nil, nil, fmt.Errorf("parsing the certification request: %w", err)
	}
	if item.Name = csr.Subject.CommonName; item.Name == "" {
		item.Name = csr.Subject.SerialNumber
	}
	if err := checkName(item.Name); err != nil {
		return nil, nil, err
	}
	return csr.RawSubject, csr.RawSubjectPublicKeyInfo, nil
}

// checkName refuses what cannot be written into a list. What a device may be called is for
// the profile to say.
func checkName(name string) error {
	switch {
	case name == "":
		return errors.New("it has no name")
	case len(name) > maxName:
		return fmt.Errorf("its name measures %d bytes; %d are allowed", len(name), maxName)
	case !utf8.ValidString(name):
		return fmt.Errorf("its name %q is not text in UTF-8", name)
	case strings.ContainsFunc(name, unicode.IsControl):
		return fmt.Errorf("its name %q has a control character", name)
	case strings.TrimSpace(name) != name:
		return fmt.Errorf("its name %q begins or ends with a blank", name)
	}
	return nil
}

// items reads the input that was kept, by number from 0.
type items struct {
	f       *os.File
	offsets []int64 // of each line, and the end
}

// openItems reads the input once, and refuses one that is not what the plan says.
func openItems(dir string, plan Plan) (*items, error) {
	f, err := os.Open(filepath.Join(dir, inputFile))
	if err != nil {
		return nil, fmt.Errorf("reading the input: %w", err)
	}
	list := &items{f: f, offsets: make([]int64, 1, min(plan.Items, MaxItems)+1)}
	h := sha256.New()
	lines := bufio.NewReaderSize(io.TeeReader(f, h), maxItemLine)
	for {
		line, err := lines.ReadSlice('\n')
		if errors.Is(err, io.EOF) && len(line) == 0 {
			break
		}
		if err == nil && len(list.offsets) > MaxItems {
			err = errors.New("it has too many lines")
		}
		if err != nil {
			f.Close()
			return nil, fmt.Errorf("reading the input: %w", err)
		}
		list.offsets = append(list.offsets, list.offsets[len(list.offsets)-1]+int64(len(line)))
	}
	if list.len() != plan.Items || hex.EncodeToString(h.Sum(nil)) != plan.Input {
		f.Close()
		return nil, fmt.Errorf("%s is not the input that plan.json names: it was changed since", f.Name())
	}
	return list, nil
}

func (l *items) len() int { return len(l.offsets) - 1 }

func (l *items) close() error { return l.f.Close() }

// get may be called concurrently.
func (l *items) get(n int) (Item, error) {
	line := make([]byte, l.offsets[n+1]-l.offsets[n])
	if _, err := l.f.ReadAt(line, l.offsets[n]); err != nil {
		return Item{}, fmt.Errorf("reading the input: %w", err)
	}
	var k kept
	if err := json.Unmarshal(bytes.TrimSpace(line), &k); err != nil {
		return Item{}, fmt.Errorf("reading the input: %w", err)
	}
	return Item{Name: k.Name, CSR: k.CSR}, nil
}
