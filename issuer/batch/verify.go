package batch

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"mintmark/internal/cms"
)

// oidDocumentSigning is id-kp-documentSigning (RFC 9336, Section 3.1).
var oidDocumentSigning = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 36}

// maxManifest bounds a manifest, in bytes, and maxSignature its signature.
const (
	maxManifest  = 64 << 20
	maxSignature = 1 << 20
)

// Verified is what Verify has found of a good delivery.
type Verified struct {
	Batch   string    `json:"batch"`
	Signed  time.Time `json:"signed"` // by the clock of the CA
	Signer  string    `json:"signer"` // of the manifest: subject of its certificate
	Files   int       `json:"files"`
	Devices int       `json:"devices"`
	// Unlisted are files in the folder that the manifest does not name: nothing is known
	// of them.
	Unlisted []string `json:"unlisted"`
}

// Verify checks a delivery against a trust anchor, offline: the signature over the manifest
// and the path of its signer, every file by its hash, and every certificate by its hash and
// its path. dir is the folder of the delivery, or that of the batch. The signer's path must
// hold now; those of the devices when the manifest was signed, for a delivery is looked at
// when they have expired, too. The first thing that is wrong is the error.
func Verify(dir string, roots []*x509.Certificate, now time.Time) (Verified, error) {
	if _, err := os.Stat(filepath.Join(dir, Delivery, ManifestFile)); err == nil {
		dir = filepath.Join(dir, Delivery)
	}
	v := verification{dir: dir, now: now, roots: x509.NewCertPool()}
	for _, c := range roots {
		v.roots.AddCert(c)
	}
	return v.run()
}

// verification is one run of Verify.
type verification struct {
	dir   string
	now   time.Time
	roots *x509.CertPool
	found Verified
}

// named is what a manifest says.
type named struct {
	header Header
	files  map[string]Entry
	certs  map[string]Entry // by serial number
}

func (v *verification) run() (Verified, error) {
	content, err := v.manifest()
	if err != nil {
		return v.found, err
	}
	n, err := readNamed(content)
	if err != nil {
		return v.found, fmt.Errorf("%s: %w", ManifestFile, err)
	}
	v.found.Batch, v.found.Files, v.found.Devices = n.header.Batch, n.header.Files, n.header.Devices
	for name, e := range n.files {
		size, sum, err := hashFile(filepath.Join(v.dir, filepath.FromSlash(name)))
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return v.found, fmt.Errorf("%s is not there", name)
		case err != nil:
			return v.found, err
		case size != e.Size || sum != e.SHA256:
			return v.found, fmt.Errorf("%s is not what was signed: it has %d bytes with SHA-256 %s, and the manifest says %d with %s", name, size, sum, e.Size, e.SHA256)
		}
	}
	if err := v.certificates(n); err != nil {
		return v.found, err
	}
	v.found.Unlisted, err = v.unlisted(n)
	return v.found, err
}

// manifest returns the manifest once its signature is good.
func (v *verification) manifest() ([]byte, error) {
	content, err := readBounded(filepath.Join(v.dir, ManifestFile), maxManifest)
	if err != nil {
		return nil, err
	}
	signature, err := readBounded(filepath.Join(v.dir, SignatureFile), maxSignature)
	if err != nil {
		return nil, err
	}
	signed, err := cms.VerifyDetached(signature, content)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", SignatureFile, err)
	}
	if err := v.path(signed.Signer, signed.Certificates, v.now); err != nil {
		return nil, fmt.Errorf("%s: who signed: %w", SignatureFile, err)
	}
	// Any device has a certificate under the same root, and could sign with it.
	signer := signed.Signer
	if signer.IsCA || signer.KeyUsage != x509.KeyUsageDigitalSignature || len(signer.ExtKeyUsage) > 0 || len(signer.UnknownExtKeyUsage) != 1 || !signer.UnknownExtKeyUsage[0].Equal(oidDocumentSigning) {
		return nil, fmt.Errorf("%s: it was signed with a certificate that is not for manifests: %s", SignatureFile, signer.Subject)
	}
	if want := "Manifest " + batchOf(content); signer.Subject.CommonName != want {
		return nil, fmt.Errorf("%s: it was signed for %q, and the manifest is %q", SignatureFile, signer.Subject.CommonName, want)
	}
	v.found.Signed, v.found.Signer = signed.SigningTime, signer.Subject.String()
	return content, nil
}

// batchOf is which batch a manifest says that it is of.
func batchOf(content []byte) string {
	m, err := ReadManifest(bytes.NewReader(content))
	if err != nil {
		return ""
	}
	return m.Header.Batch
}

// path verifies a certificate up to a root.
func (v *verification) path(c *x509.Certificate, above []*x509.Certificate, at time.Time) error {
	pool := x509.NewCertPool()
	for _, one := range above {
		if one.IsCA {
			pool.AddCert(one)
		}
	}
	_, err := c.Verify(x509.VerifyOptions{Roots: v.roots, Intermediates: pool, CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
	return err
}

// readNamed reads a manifest whole. A device or a file that is there twice refuses it.
func readNamed(content []byte) (*named, error) {
	m, err := ReadManifest(bytes.NewReader(content))
	if err != nil {
		return nil, err
	}
	n := &named{header: m.Header, files: make(map[string]Entry), certs: make(map[string]Entry)}
	for m.Next() {
		switch e := m.Entry(); {
		case e.File != "":
			if _, twice := n.files[e.File]; twice {
				return nil, fmt.Errorf("file %q is there twice", e.File)
			}
			n.files[e.File] = e
		default:
			if _, twice := n.certs[e.Serial]; twice {
				return nil, fmt.Errorf("certificate %s is there twice", e.Serial)
			}
			n.certs[e.Serial] = e
		}
	}
	return n, m.Err()
}

// certificates checks each certificate of the lists against the manifest and up to the root.
func (v *verification) certificates(n *named) error {
	work := make(chan Listed, 64)
	var wait sync.WaitGroup
	var mu sync.Mutex
	var failed error
	for range runtime.GOMAXPROCS(0) {
		wait.Go(func() {
			for one := range work {
				if err := v.path(one.Certificate, one.Chain, v.found.Signed); err != nil {
					mu.Lock()
					failed = fmt.Errorf("certificate %s of device %q: %w", serialOf(one.Certificate), one.Device, err)
					mu.Unlock()
				}
			}
		})
	}
	err := v.eachCertificate(n, func(one Listed) error {
		mu.Lock()
		defer mu.Unlock()
		if failed == nil {
			mu.Unlock()
			work <- one
			mu.Lock()
		}
		return failed
	})
	close(work)
	wait.Wait()
	if failed != nil {
		return failed
	}
	return err
}

// eachCertificate calls fn for what the lists have, and fails unless they have exactly what
// the manifest names, which it takes out of n.
func (v *verification) eachCertificate(n *named, fn func(Listed) error) error {
	for _, name := range slices.Sorted(maps.Keys(n.files)) {
		if !strings.HasSuffix(name, certificatesList) {
			continue
		}
		err := eachListed(filepath.Join(v.dir, name), func(one Listed) error {
			e, ok := n.certs[serialOf(one.Certificate)]
			if !ok || e.Device != one.Device || e.SHA256 != hashOf(one.Certificate.Raw) || name != partName(e.Part)+certificatesList {
				return fmt.Errorf("certificate %s of device %q is not the one in the manifest", serialOf(one.Certificate), one.Device)
			}
			delete(n.certs, e.Serial)
			return fn(one)
		})
		if err != nil {
			return err
		}
	}
	for serial, e := range n.certs {
		return fmt.Errorf("the manifest names certificate %s of device %q, and no list beside it has that", serial, e.Device)
	}
	return nil
}

// unlisted are the files in the folder that the manifest does not name.
func (v *verification) unlisted(n *named) ([]string, error) {
	list := []string{}
	err := filepath.WalkDir(v.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(v.dir, path)
		if err != nil {
			return err
		}
		name = filepath.ToSlash(name)
		if _, ok := n.files[name]; !ok && name != ManifestFile && name != SignatureFile {
			list = append(list, name)
		}
		return nil
	})
	return list, err
}

// hashFile returns the length and the SHA-256 of a file.
func hashFile(name string) (size int64, sum string, err error) {
	if info, err := os.Lstat(name); err != nil {
		return 0, "", err
	} else if !info.Mode().IsRegular() {
		return 0, "", fmt.Errorf("%s is no file", name)
	}
	f, err := os.Open(name)
	if err != nil {
		return 0, "", err
	}
	defer f.Close()
	h := sha256.New()
	if size, err = io.Copy(h, f); err != nil {
		return 0, "", fmt.Errorf("reading %s: %w", name, err)
	}
	return size, hex.EncodeToString(h.Sum(nil)), nil
}

// readBounded reads a file of at most so many bytes.
func readBounded(name string, most int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, most+1))
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", name, err)
	}
	if int64(len(content)) > most {
		return nil, fmt.Errorf("%s is larger than %d bytes", name, most)
	}
	return content, nil
}
