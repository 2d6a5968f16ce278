package station

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// Files is a line that hands requests over in a folder and takes chains from another.
// What is done gets the suffix .done, what has failed .failed.
type Files struct {
	in, out string
	watch   bool
	single  []byte            // the one request there is, in DER; nil with folders. out is a file then
	last    string            // the file that was answered last
	found   map[string]string // the file of each device
	seen    int
}

// UnreadableError is a file that is no request of a device, under a name that no device has.
type UnreadableError struct {
	Name string
	Err  error
}

func (e *UnreadableError) Error() string { return e.Name + ": " + e.Err.Error() }
func (e *UnreadableError) Unwrap() error { return e.Err }

// requestSuffixes are the names of files that are requests.
var requestSuffixes = []string{".csr", ".req", ".p10", ".pem", ".der"}

// maxRequest bounds the file of a request, in bytes.
const maxRequest = 64 << 10

// NewFiles returns the adapter of two folders; the one for certificates is made. With
// watch it goes on looking when all requests are done.
func NewFiles(requests, certificates string, watch bool) (*Files, error) {
	if err := os.MkdirAll(certificates, 0o755); err != nil {
		return nil, err
	}
	return &Files{in: requests, out: certificates, watch: watch, found: make(map[string]string)}, nil
}

// NewFile returns the adapter of one request, which it reads, and the file for its chain.
// "-" is standard input.
func NewFile(request, out string, stdin io.Reader) (*Files, error) {
	var body []byte
	var err error
	if request == "-" {
		request = "standard input"
		if body, err = io.ReadAll(io.LimitReader(stdin, maxRequest+1)); len(body) > maxRequest {
			err = fmt.Errorf("it is larger than %d bytes", maxRequest)
		}
	} else {
		body, err = readFile(request, maxRequest)
	}
	if err == nil {
		body, err = requestIn(body)
	}
	if err == nil {
		_, err = nameIn(body)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the request of %s: %w", request, err)
	}
	return &Files{out: out, single: body, found: make(map[string]string)}, nil
}

// Scans is true: a file is answered once, and again when its turn comes.
func (f *Files) Scans() bool { return true }

// Close has nothing to do.
func (f *Files) Close() error { return nil }

// Identify answers the next request that is not finished, in the order of names.
func (f *Files) Identify(context.Context) (string, error) {
	if f.single != nil {
		if f.seen > 0 {
			return "", io.EOF
		}
		f.seen++
		return nameIn(f.single)
	}
	list, err := os.ReadDir(f.in)
	if err != nil {
		return "", err
	}
	for _, one := range list {
		name := one.Name()
		if name <= f.last || !one.Type().IsRegular() || !slices.Contains(requestSuffixes, strings.ToLower(filepath.Ext(name))) {
			continue
		}
		f.last = name
		device, err := f.deviceOf(name)
		if err != nil {
			unreadable := "file " + name // a blank is in no identifier
			f.found[unreadable] = name
			return "", &UnreadableError{unreadable, err}
		}
		return device, nil
	}
	if !f.watch {
		return "", io.EOF
	}
	f.last = ""
	return "", ErrNoDevice
}

// read returns the request of a file in DER.
func (f *Files) read(name string) ([]byte, error) {
	body, err := readFile(filepath.Join(f.in, name), maxRequest)
	if err != nil {
		return nil, err
	}
	return requestIn(body)
}

// nameIn is whom a request is for: its commonName, or else its serialNumber.
func nameIn(der []byte) (string, error) {
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return "", err
	}
	if csr.Subject.CommonName != "" {
		return csr.Subject.CommonName, nil
	}
	if csr.Subject.SerialNumber == "" {
		return "", errors.New("the request has neither a commonName nor a serialNumber")
	}
	return csr.Subject.SerialNumber, nil
}

// deviceOf is whom the request in a file is for.
func (f *Files) deviceOf(name string) (string, error) {
	der, err := f.read(name)
	if err != nil {
		return "", err
	}
	device, err := nameIn(der)
	if err != nil {
		return "", err
	}
	if other, ok := f.found[device]; ok && other != name {
		if _, err := f.read(other); err == nil {
			return "", fmt.Errorf("it is for %s, and so is %s", device, other)
		}
	}
	f.found[device] = name
	return device, nil
}

// Request returns the request of the device's file.
func (f *Files) Request(_ context.Context, device string) ([]byte, error) {
	if f.single != nil {
		return f.single, nil
	}
	name, ok := f.found[device]
	if !ok {
		return nil, fmt.Errorf("there is no request for %s", device)
	}
	return f.read(name)
}

// target is the file for the chain of a device.
func (f *Files) target(device string) string {
	if f.single != nil {
		return f.out
	}
	if runtime.GOOS == "windows" {
		device = strings.ReplaceAll(device, ":", "%3A") // ":" is in no name there, and "%" in no identifier
	}
	return filepath.Join(f.out, device+".pem")
}

// Install writes certificate and chain to a file, whole, and the trust anchors beside it.
func (f *Files) Install(_ context.Context, device string, c Credentials) error {
	if c.Key != nil {
		return errors.New("keys do not go to files")
	}
	target := f.target(device)
	if len(c.Roots) > 0 {
		name := strings.TrimSuffix(target, ".pem") + ".roots.pem"
		if err := f.write(name, certificatesPEM(c.Roots...)); err != nil {
			return err
		}
	}
	return f.write(target, certificatesPEM(append([]*x509.Certificate{c.Leaf}, c.Chain...)...))
}

// write writes a file that others may read, whole or not at all.
func (f *Files) write(name string, content []byte) error {
	if err := replace(name, content); err != nil {
		return err
	}
	return os.Chmod(name, 0o644)
}

// Verify reads the file back.
func (f *Files) Verify(_ context.Context, device string, _ Challenge) (Proof, error) {
	content, err := readFile(f.target(device), maxBody)
	if errors.Is(err, fs.ErrNotExist) {
		return Proof{}, ErrNoCertificate
	}
	if err != nil {
		return Proof{}, err
	}
	block, _ := pem.Decode(content)
	if block == nil || !bytes.HasPrefix(content, []byte("-----BEGIN CERTIFICATE-----")) {
		return Proof{}, ErrNoCertificate
	}
	return Proof{Fingerprint: sha256.Sum256(block.Bytes)}, nil
}

// Finished renames the request, unless it waits.
func (f *Files) Finished(device string, o Outcome) error {
	name, ok := f.found[device]
	if !ok {
		return nil
	}
	switch o {
	case Done, Again:
		delete(f.found, device)
		return f.rename(name, ".done")
	case Failed:
		delete(f.found, device)
		return f.rename(name, ".failed")
	}
	return nil
}

func (f *Files) rename(name, suffix string) error {
	from := filepath.Join(f.in, name)
	return os.Rename(from, from+suffix)
}
