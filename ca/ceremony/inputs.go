package ceremony

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"mintmark/ca"
	"mintmark/internal/access"
)

// Bounds of what is read.
const (
	maxInput  = 8 << 20 // a CRL of 100,000 entries has 4 MB
	maxInputs = 64 << 20
)

// officerKey is the public key of an officer, and its SHA-256.
type officerKey struct {
	public crypto.PublicKey
	hash   string
}

// material is all that a ceremony is given: the bytes of each input, and what they
// say.
type material struct {
	bytes    map[string][]byte
	order    []string // names of the inputs, as the file comes to them
	officers map[string]officerKey
	certs    map[string][]*x509.Certificate      // of authorities
	requests map[string]*x509.CertificateRequest // of steps
	previous map[string]*x509.RevocationList     // of steps
}

// readMaterial reads every input that the file names, by means of read, holds it
// against its digest and parses it.
func readMaterial(f *File, read func(name string) ([]byte, error)) (*material, error) {
	m := &material{
		bytes: map[string][]byte{}, officers: map[string]officerKey{}, certs: map[string][]*x509.Certificate{},
		requests: map[string]*x509.CertificateRequest{}, previous: map[string]*x509.RevocationList{},
	}
	total := 0
	get := func(name string) ([]byte, error) {
		if data, ok := m.bytes[name]; ok {
			return data, nil
		}
		data, err := read(name)
		if err != nil {
			return nil, err
		}
		if total += len(data); total > maxInputs {
			return nil, fmt.Errorf("the inputs are larger than %d bytes together", maxInputs)
		}
		m.bytes[name] = data
		m.order = append(m.order, name)
		return data, nil
	}
	var errs []error
	bad := func(err error) {
		if err != nil {
			errs = append(errs, err)
		}
	}
	for i, p := range f.Officers.People {
		data, err := get(p.Key)
		if err == nil {
			err = m.officer(p, data)
		}
		bad(within(fmt.Sprintf("officers.people[%d].key", i), err))
	}
	for _, a := range f.Authorities {
		data, err := pinned(a.Certificates, get)
		if err == nil {
			m.certs[a.Name], err = parseCertificates(data)
		}
		bad(within(fmt.Sprintf("authority %q: certificates %s", a.Name, a.Certificates.File), err))
	}
	for i := range f.Steps {
		s := &f.Steps[i]
		switch {
		case s.Issuing != nil:
			data, err := pinned(s.Issuing.Request, get)
			if err == nil {
				m.requests[s.Name], err = parseRequest(data)
			}
			bad(within(fmt.Sprintf("step %q: request %s", s.Name, s.Issuing.Request.File), err))
		case s.CRL != nil && s.CRL.Previous != nil:
			data, err := pinned(*s.CRL.Previous, get)
			if err == nil {
				m.previous[s.Name], err = parseCRL(data)
			}
			bad(within(fmt.Sprintf("step %q: previous CRL %s", s.Name, s.CRL.Previous.File), err))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return m, nil
}

func within(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
}

// items lists the inputs.
func (m *material) items() []Item {
	var list []Item
	for _, name := range m.order {
		list = append(list, itemOf(name, m.bytes[name]))
	}
	return list
}

// pinned reads an input whose digest stands in the file.
func pinned(in Input, get func(string) ([]byte, error)) ([]byte, error) {
	data, err := get(in.File)
	if err != nil {
		return nil, err
	}
	switch is := hexHash(data); in.SHA256 {
	case is:
		return data, nil
	case "":
		return nil, fmt.Errorf("sha256 is missing: that of the file is %s; write it down if it is the file that you were given", is)
	default:
		return nil, fmt.Errorf("the SHA-256 of the file is %s, not %s", is, in.SHA256)
	}
}

func (m *material) officer(p Officer, data []byte) error {
	der, err := onePEM(data, "PUBLIC KEY")
	if err != nil {
		return err
	}
	key, err := access.ParseKey(der)
	if err != nil {
		return err
	}
	switch is := hexHash(der); p.SHA256 {
	case is:
		m.officers[p.Name] = officerKey{key, is}
		return nil
	case "":
		return fmt.Errorf("sha256 is missing: that of the key is %s; write it down if %s says it is theirs", is, p.Name)
	default:
		return fmt.Errorf("the SHA-256 of the key in %s is %s, not %s", p.Key, is, p.SHA256)
	}
}

// inputsIn returns a reader of regular files in the folder dir. Nothing outside of it
// is reached, by no link either.
func inputsIn(dir string) (func(name string) ([]byte, error), func() error, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, nil, err
	}
	return func(name string) ([]byte, error) {
		info, err := root.Stat(name)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil, fmt.Errorf("%s is not beside the ceremony file: copy it there", name)
		case err != nil:
			return nil, err
		case !info.Mode().IsRegular():
			return nil, fmt.Errorf("%s is not a regular file", name)
		case info.Size() > maxInput:
			return nil, fmt.Errorf("%s is larger than %d bytes", name, maxInput)
		}
		f, err := root.Open(name)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		data, err := io.ReadAll(io.LimitReader(f, maxInput+1))
		if err == nil && len(data) > maxInput {
			err = fmt.Errorf("%s is larger than %d bytes", name, maxInput)
		}
		return data, err
	}, root.Close, nil
}

// onePEM returns the content of data, which holds one PEM block of that type and
// nothing else.
func onePEM(data []byte, kind string) ([]byte, error) {
	blocks, err := pemBlocks(data, kind)
	if err != nil {
		return nil, err
	}
	if len(blocks) != 1 {
		return nil, fmt.Errorf("it holds %d PEM blocks, not one", len(blocks))
	}
	return blocks[0], nil
}

// pemBlocks returns the contents of PEM blocks of one type. What stands around them
// is refused: it would be an input that nobody looked at.
func pemBlocks(data []byte, kind string) ([][]byte, error) {
	var list [][]byte
	for rest := bytes.TrimSpace(data); len(rest) > 0; {
		block, after := pem.Decode(rest)
		switch {
		case block == nil || !bytes.HasPrefix(rest, []byte("-----BEGIN ")):
			return nil, fmt.Errorf("it holds something else than PEM blocks of type %s", kind)
		case block.Type != kind:
			return nil, fmt.Errorf("it holds a PEM block of type %q, not %s", block.Type, kind)
		case len(block.Headers) > 0:
			return nil, errors.New("it holds a PEM block with headers")
		}
		list = append(list, block.Bytes)
		rest = bytes.TrimSpace(after)
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("it holds no PEM block of type %s", kind)
	}
	return list, nil
}

func parseCertificates(data []byte) ([]*x509.Certificate, error) {
	blocks, err := pemBlocks(data, "CERTIFICATE")
	if err != nil {
		return nil, err
	}
	if len(blocks) > 16 {
		return nil, fmt.Errorf("it holds %d certificates: more than a path has", len(blocks))
	}
	var list []*x509.Certificate
	for _, der := range blocks {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("parsing a certificate: %w", err)
		}
		list = append(list, c)
	}
	return list, nil
}

// parseRequest reads a certification request, in PEM or DER, and checks that who
// made it has the key.
func parseRequest(data []byte) (*x509.CertificateRequest, error) {
	der := data
	if !bytes.HasPrefix(data, []byte{0x30}) {
		kind := "CERTIFICATE REQUEST"
		if bytes.Contains(data, []byte("BEGIN NEW CERTIFICATE REQUEST")) {
			kind = "NEW CERTIFICATE REQUEST"
		}
		var err error
		if der, err = onePEM(data, kind); err != nil {
			return nil, err
		}
	}
	r, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil, fmt.Errorf("parsing the certification request: %w", err)
	}
	if err := ca.CheckKey(r.PublicKey); err != nil {
		return nil, fmt.Errorf("the key of the request: %w", err)
	}
	if err := r.CheckSignature(); err != nil {
		return nil, fmt.Errorf("the signature of the request, which proves that its maker has the key: %w", err)
	}
	return r, nil
}

func parseCRL(data []byte) (*x509.RevocationList, error) {
	der := data
	if !bytes.HasPrefix(data, []byte{0x30}) {
		var err error
		if der, err = onePEM(data, "X509 CRL"); err != nil {
			return nil, err
		}
	}
	l, err := x509.ParseRevocationList(der)
	if err != nil {
		return nil, fmt.Errorf("parsing the CRL: %w", err)
	}
	return l, nil
}

// keyHash is the SHA-256 of the SubjectPublicKeyInfo of a key, in hexadecimal.
func keyHash(key crypto.PublicKey) (string, error) {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return "", fmt.Errorf("encoding a public key: %w", err)
	}
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:]), nil
}

func sameKey(a, b crypto.PublicKey) bool {
	k, ok := a.(interface{ Equal(crypto.PublicKey) bool })
	return ok && k.Equal(b)
}
